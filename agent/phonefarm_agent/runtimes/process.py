"""The process runtime: runs as plain processes of this host, without isolation.

Each run is a session of its own, led by a shell that outlives the agent and notes the exit code.
What must be found again lies in one folder: `<run>.json`, `.out`, `.err` and, at the end, `.exit`.
"""

import json
import os
import signal
import sys
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from phonefarm_common.lifecycle import write_private_json

from phonefarm_agent.runtimes.interface import Exit, Handle, RunSpec, RuntimeFailedError
from phonefarm_agent.runtimes.line_splitter import LineSplitter
from phonefarm_agent.runtimes.process_groups import ProcessMark, members, send

# The leader begins once the agent has noted it: an agent that dies before leaves nothing behind.
_LEADER = """
read -r _ || exit 0
trap : TERM INT HUP
cd /
exit_file=$1
shift
"$@" </dev/null
echo $? >"$exit_file.new"
mv "$exit_file.new" "$exit_file"
"""
_KINDS = ("out", "err", "exit.new", "exit", "json")
_READ_BYTES = 64 * 1024
_LOOK_SECONDS = 0.05
_KILLED_WITHIN_SECONDS = 20
_KILLED_CODE = 137  # as a shell and the container engine tell it


class ProcessRuntime:
    """One session of processes per run, with this user's rights; refused in production."""

    name = "process"

    def __init__(
        self,
        *,
        farm: str,
        agent: str,
        folder: Path,
        environment: Mapping[str, str] | None = None,
        command: Sequence[str] = (sys.executable, "-m", "phonefarm_executor"),
    ) -> None:
        """Keep state that must survive the agent in *folder*; add *environment* to a bare one."""
        self._owner = {"farm": farm, "agent": agent}
        self._folder = folder
        self._environment = dict(environment or {})
        self._command = list(command)

    async def check(self) -> None:
        """Return when the folder can be written and processes can be looked at."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            ProcessMark.of(os.getpid())
        except OSError as error:
            raise RuntimeFailedError(
                f"the process runtime needs {self._folder} and /proc: {error}"
            ) from error

    async def start(self, spec: RunSpec) -> Handle:
        """Start the run's session."""
        note = self._file(spec.run_id, "json")
        if note.exists():
            raise RuntimeFailedError(f"run {spec.run_id} was already started: {note} exists")
        try:
            leader = self._begin(spec, note)
        except OSError as error:
            raise RuntimeFailedError(f"run {spec.run_id} cannot be started: {error}") from error
        return _handle(spec.run_id, leader)

    async def begin(self, handle: Handle, directory: Path) -> None:
        """Do nothing: the run has begun already."""

    async def held(self) -> list[Handle]:
        """Return the runs of this farm and this agent that were not removed."""
        found = []
        for note in sorted(self._folder.glob("*.json")):
            facts = json.loads(note.read_text())
            if facts.items() >= self._owner.items():
                found.append(_handle(note.stem, ProcessMark.parse(facts["token"])))
        return found

    async def lines(self, handle: Handle) -> AsyncGenerator[bytes, None]:
        """Yield stdout from its first line; looks for more 20 times a second."""
        leader, splitter = ProcessMark.parse(handle.token), LineSplitter()
        with suppress(FileNotFoundError), self._file(handle.run_id, "out").open("rb") as source:
            ended = False
            while not ended:
                ended = not leader.lives()  # looked at before the last read, not after it
                while chunk := source.read(_READ_BYTES):
                    for line in splitter.feed(chunk):
                        yield line
                if not ended:
                    await leader.ended(within=_LOOK_SECONDS)
        for line in splitter.rest():
            yield line

    async def wait(self, handle: Handle) -> Exit:
        """Return when the session's leader has ended."""
        leader = ProcessMark.parse(handle.token)
        await leader.ended(within=None)
        leader.reap()
        try:
            code = int(self._file(handle.run_id, "exit").read_text())
        except (FileNotFoundError, ValueError):
            return Exit(code=None, detail="the process has disappeared and left no exit code")
        return Exit(code=code)

    async def stop(self, handle: Handle, *, grace: float) -> None:
        """Ask the whole session with SIGTERM, kill what is left of it after *grace* seconds."""
        leader = ProcessMark.parse(handle.token)
        if grace > 0 and leader.lives():
            send(members(leader), signal.SIGTERM)
            await leader.ended(within=grace)
        if leader.lives():
            self._note_killed(handle)
        # Until none is left: a process may have started another before it was killed.
        while remaining := members(leader):
            send(remaining, signal.SIGKILL)
            for mark in remaining:
                if not await mark.ended(within=_KILLED_WITHIN_SECONDS):
                    raise RuntimeFailedError(
                        f"process {mark.pid} of {handle.name} is still running after SIGKILL"
                    )
        leader.reap()

    async def remove(self, handle: Handle) -> None:
        """Kill what still runs and forget the run."""
        await self.stop(handle, grace=0)
        for kind in _KINDS:
            self._file(handle.run_id, kind).unlink(missing_ok=True)

    def _file(self, run_id: str, kind: str) -> Path:
        return self._folder / f"{run_id}.{kind}"

    def _note_killed(self, handle: Handle) -> None:
        path = self._file(handle.run_id, "exit")
        with suppress(FileExistsError), path.open("x") as file:
            file.write(str(_KILLED_CODE))

    def _begin(self, spec: RunSpec, note: Path) -> ProcessMark:
        gate_out, gate_in = os.pipe()
        with _closing(gate_in):
            with _closing(gate_out):
                leader = ProcessMark.of(self._spawn(spec, gate=gate_out))
            try:
                write_private_json(note, {**self._owner, "token": leader.text, "epoch": spec.epoch})
                os.write(gate_in, b"\n")
            except OSError:
                note.unlink(missing_ok=True)
                os.kill(leader.pid, signal.SIGKILL)
                os.waitpid(leader.pid, 0)
                raise
        return leader

    def _spawn(self, spec: RunSpec, *, gate: int) -> int:
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "LANG": "C.UTF-8",
            "PYTHONUNBUFFERED": "1",
            "PHONEFARM_RUN_DIR": str(spec.directory),
            **self._environment,
        }
        leader = ["/bin/sh", "-c", _LEADER, "phonefarm-run"]
        leader += [str(self._file(spec.run_id, "exit")), *self._command]
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND
        out = os.open(self._file(spec.run_id, "out"), flags, 0o600)
        with _closing(out):
            err = os.open(self._file(spec.run_id, "err"), flags, 0o600)
            with _closing(err):
                return os.posix_spawn(
                    leader[0],
                    leader,
                    environment,
                    setsid=True,
                    file_actions=[
                        (os.POSIX_SPAWN_DUP2, gate, 0),
                        (os.POSIX_SPAWN_DUP2, out, 1),
                        (os.POSIX_SPAWN_DUP2, err, 2),
                    ],
                )


def _handle(run_id: str, leader: ProcessMark) -> Handle:
    return Handle(run_id=run_id, name=f"process-{leader.pid}", token=leader.text)


@contextmanager
def _closing(descriptor: int) -> Iterator[None]:
    try:
        yield
    finally:
        os.close(descriptor)
