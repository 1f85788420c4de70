"""A real agent that kills itself with SIGKILL at one step of a run, named on the command line.

`python -m support.mortal_agent LOG STEP EPOCH run --controller ...`: what is behind EPOCH goes to
the agent's own command line. STEP is `before NAME` or `after NAME`, or empty: then it lives. The
names of the steps as they pass are written to LOG. Counted are the journal's transactions and what
the agent does to runtime, directory and phone between them, of the run whose lease has EPOCH.
"""

import functools
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from phonefarm_agent.cli import main
from phonefarm_agent.phones.adb_phones import AdbPhones
from phonefarm_agent.phones.dummy import DummyPhones
from phonefarm_agent.runs.journal import Journal
from phonefarm_agent.runs.journal_schema import Statement
from phonefarm_agent.runs.run_directory import RunDirectory
from phonefarm_agent.runtimes.docker import DockerRuntime
from phonefarm_agent.runtimes.dummy import DummyRuntime
from phonefarm_agent.runtimes.process import ProcessRuntime


class Fate:
    """Knows the run to be watched, and the step at which the agent ends."""

    def __init__(self, log: Path, step: str, epoch: int) -> None:
        self._log = log
        self._step = step
        self._epoch = epoch
        self._run = ""

    def meet(self, run_id: str, epoch: int) -> None:
        """Learn of a run that came."""
        if epoch == self._epoch:
            self._run = run_id

    @contextmanager
    def passing(self, *steps: tuple[str, str]) -> Iterator[None]:
        """Go through steps that happen together, each a run and a name, or end on the way."""
        names = [name for run_id, name in steps if run_id == self._run]
        self._end_at("before", names)
        yield
        with self._log.open("a") as log:
            log.writelines(f"{name}\n" for name in names)
        self._end_at("after", names)

    def _end_at(self, moment: str, names: Sequence[str]) -> None:
        at, _, wanted = self._step.partition(" ")
        # A name's first word stands for it: which number is acknowledged first is nobody's choice.
        if at == moment and any(wanted in {name, name.split()[0]} for name in names):
            os.kill(os.getpid(), signal.SIGKILL)


def name_of(statement: Statement) -> tuple[str, str] | None:
    """Return the run a write belongs to and the write's name; None for what is of no run.

    What is written together with a record goes by the record's name.
    """
    sql, values = statement.sql, statement.values
    if isinstance(values, Mapping):
        return str(values["run_id"]), "manifest"
    match sql.split()[:5]:
        case ["INSERT", "OR", "IGNORE", "INTO", "runs"]:
            return str(values[0]), "run"
        case ["INSERT", "OR", "IGNORE", "INTO", "records"]:
            return str(values[0]), f"{json.loads(str(values[4]))['kind']} {values[2]}"
        case ["DELETE", "FROM", "records", *_]:
            return str(values[0]), f"acknowledged {values[2]}"
        case ["INSERT", "OR", "REPLACE", "INTO", "evidence"]:
            return str(values[0]), "evidence"
        case ["UPDATE", "runs", *_]:
            return _state_name(str(values[2]), json.loads(str(values[1])))
        case _:
            return None


def _state_name(run_id: str, state: dict[str, Any]) -> tuple[str, str] | None:
    if state["last_sequence"] and state["phase"] != "forgotten":
        return None
    known = ("located" if state["adb_serial"] else "", "started" if state["handle_name"] else "")
    words = [state["phase"], *(word for word in known if state["phase"] == "preparing" and word)]
    return run_id, " ".join(words)


def _count_writes(fate: Fate) -> None:
    transact = Journal._transact

    def counted(self: Journal, statements: Sequence[Statement]) -> None:
        steps = [found for one in statements if (found := name_of(one))]
        for one in statements:
            if not isinstance(one.values, Mapping) and (name_of(one) or ("", ""))[1] == "run":
                fate.meet(str(one.values[0]), json.loads(str(one.values[2]))["ref"]["epoch"])
        with fate.passing(*steps):
            transact(self, statements)

    Journal._transact = counted  # type: ignore[method-assign]


def _count_calls(
    fate: Fate, owner: type, method: str, name: str, run_of: Callable[..., str]
) -> None:
    wanted = getattr(owner, method)

    @functools.wraps(wanted)
    async def counted_task(*given: Any, **named: Any) -> Any:
        with fate.passing((run_of(*given, **named), name)):
            return await wanted(*given, **named)

    @functools.wraps(wanted)
    def counted(*given: Any, **named: Any) -> Any:
        with fate.passing((run_of(*given, **named), name)):
            return wanted(*given, **named)

    setattr(owner, method, counted if owner is RunDirectory else counted_task)


def count(fate: Fate) -> None:
    """Have every step of a run pass through *fate*."""
    _count_writes(fate)
    for runtime in (DummyRuntime, ProcessRuntime, DockerRuntime):
        _count_calls(fate, runtime, "start", "container made", lambda _, spec: spec.run_id)
        _count_calls(fate, runtime, "begin", "container begun", lambda _, handle, __: handle.run_id)
        _count_calls(fate, runtime, "remove", "container gone", lambda _, handle: handle.run_id)
    for phones in (DummyPhones, AdbPhones):
        _count_calls(fate, phones, "write_lease", "lease left", lambda *_, run_id, **__: run_id)
        _count_calls(fate, phones, "clean_up", "phone cleaned", lambda _, request: request.run_id)
    _count_calls(fate, RunDirectory, "make", "directory made", lambda it, *_: str(it.path.name))
    _count_calls(fate, RunDirectory, "remove", "directory gone", lambda it: str(it.path.name))


if __name__ == "__main__":
    count(Fate(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
    sys.exit(main(sys.argv[4:]))
