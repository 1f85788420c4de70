"""Lists, selections and JSON: the verbs an operator of many phones needs, on a real controller."""

import argparse
import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from phonefarm.v1 import process_pb2
from phonefarm_cli.client.client import ControllerClient
from phonefarm_cli.console import list_verbs
from phonefarm_cli.errors import CommandError
from phonefarm_cli.main import COMMANDS, build_parser
from support.commanding import Operator
from support.controller import KEY, PATIENCE, Farm, farm_on, played_agent, request

WITHOUT_JSON = {
    "phonefarm up",  # runs until Ctrl-C and writes up.json
    "phonefarm demo",  # shows a farm to people
    "phonefarm completion",  # prints a program
}


@pytest.fixture
async def farm(tmp_path: Path) -> AsyncIterator[Farm]:
    """Run a controller."""
    async with farm_on(f"sqlite:///{tmp_path / 'farm.db'}", tmp_path / "data") as it:
        yield it


@pytest.fixture
def operator(farm: Farm, capsys: pytest.CaptureFixture[str]) -> Operator:
    """Return an operator of the farm."""
    return Operator.of(farm, capsys)


def _verbs(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """Yield every parser that performs something."""
    inner = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not inner:
        yield parser
    for action in inner:
        for each in action.choices.values():
            yield from _verbs(each)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_verb_has_json(command: str) -> None:
    """Scripts read no tables; the few verbs without --json have nothing to tell a script."""
    own = {action.dest: action for action in build_parser(command)._actions}["command"]
    assert isinstance(own, argparse._SubParsersAction)

    verbs = list(_verbs(own.choices[command]))

    without = {v.prog for v in verbs if "--json" not in v.format_help()}
    assert without <= WITHOUT_JSON


async def test_phones_are_filtered_sorted_and_counted(farm: Farm, operator: Operator) -> None:
    """By host, state and group; the same selection for tables and JSON."""
    async with (
        played_agent(farm, "A10", "A9") as agent,
        played_agent(farm, "B1", agent_id="agent-2"),
    ):
        await agent.offer()
        await operator.command("groups", "put", "rack", "--phones", "A9", "B1")
        await operator.command("phones", "maintain", "A10", "--reason", "a cable")

        every = await operator.command("phones", "list", "--sort", "serial")
        here = await operator.command("phones", "list", "--host", "agent-1", "--json")
        rack = await operator.command("phones", "list", "--group", "rack", "--reverse")
        kept = await operator.command("phones", "list", "--state", "in_maintenance", "--json")
        away = await operator.command("phones", "list", "--not-offered", "--json")
        with pytest.raises(CommandError, match="there is no group of phones nope; known: rack"):
            await operator.command("phones", "list", "--group", "nope")
        with pytest.raises(CommandError, match="there is no column hots; choose from phone, host"):
            await operator.command("phones", "list", "--sort", "hots")

    assert [row[0] for row in every.rows[1:]] == ["ph-a9", "ph-a10", "ph-b1"]
    assert {phone["phone_id"] for phone in json.loads(here.out)} == {"ph-a9", "ph-a10"}
    assert [row[0] for row in rack.rows[1:]] == ["ph-b1", "ph-a9"]
    assert [phone["phone_id"] for phone in json.loads(kept.out)] == ["ph-a10"]
    assert {phone["phone_id"] for phone in json.loads(away.out)} == {"ph-a10", "ph-b1"}


async def test_verbs_change_all_phones_of_a_host_a_group_or_all_new_ones(
    farm: Farm, operator: Operator
) -> None:
    """A selection leaves out retired phones and those that the verb does not concern."""
    async with played_agent(farm, "A1", "A2", "A3", "A4"):
        await operator.command("groups", "put", "rack", "--phones", "A2", "A3")
        await operator.command("phones", "retire", "A4", "--reason", "its screen is broken")

        drained = await operator.command("phones", "drain", "--group", "rack", "--reason", "x")
        back = await operator.command("phones", "admit", "--host", "agent-1", "--json")
        new = await operator.command("phones", "admit", "--all-new")
        returned = await operator.command(
            "phones", "return", "--host", "agent-1", "--reason", "nothing was wrong"
        )

    assert drained.out.splitlines()[:2] == ["ph-a2: draining", "ph-a3: draining"]
    assert {phone["phone_id"] for phone in json.loads(back.out)} == {"ph-a2", "ph-a3"}
    assert (new.out, returned.out) == ("", "")
    assert "no such phone" in new.err
    assert "no such phone" in returned.err


async def test_one_refused_phone_does_not_stop_the_others(farm: Farm, operator: Operator) -> None:
    """The refusals come at the end, and the command fails."""
    async with played_agent(farm, "A1", "A2"):
        await operator.command("phones", "retire", "A1", "--reason", "broken")
        with pytest.raises(CommandError) as caught:
            await operator.command("phones", "drain", "A1", "A2", "--reason", "x")
        listed = json.loads((await operator.command("phones", "list", "--json")).out)

    assert str(caught.value).startswith("1 phone of 2 not changed:\n  ph-a1: ")
    assert {phone["phone_id"]: phone["intent"] for phone in listed}["ph-a2"] == "draining"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["phones", "drain", "--reason", "x"], "name phones, or select them with --host"),
        (["phones", "admit", "A1", "--all-new"], "--host or --group or --all-new"),
        (["phones", "retire", "A", "--reason", "x"], "several phones begin with A"),
    ],
)
async def test_a_selection_is_clear_or_refused(
    farm: Farm, operator: Operator, words: list[str], told: str
) -> None:
    """Nothing changes unless it is clear which phones are meant."""
    async with played_agent(farm, "A1", "A2"):
        with pytest.raises(CommandError, match=told):
            await operator.command(*words)


async def test_a_process_is_named_by_the_beginning_of_its_id(
    farm: Farm, operator: Operator
) -> None:
    """Every verb that takes PROCESS takes it; an unclear one lists what begins so."""
    ids = [(await farm.enqueue(request(request_id=f"r-{n}"))).process_id for n in range(3)]
    cut = next(n for n in range(4, 37) if len({one[:n] for one in ids}) == len(ids))

    shown = await operator.command("processes", "show", ids[0][:cut].upper(), "--json")
    cancelled = await operator.command(
        "processes", "cancel", ids[1][:cut], "--reason", "x", "--json"
    )
    with pytest.raises(CommandError, match="there is no process whose id begins with 0000"):
        await operator.command("processes", "timeline", "00000000-0000-0000-0000-00000000000")
    with pytest.raises(CommandError, match="at least its first 4 characters"):
        await operator.command("processes", "timeline", ids[0][:3])

    assert json.loads(shown.out)["process_id"] == ids[0]
    assert json.loads(cancelled.out)["process_id"] == ids[1]


async def test_the_controller_names_every_process_that_begins_alike(farm: Farm) -> None:
    """And refuses what cannot begin an id: no sign of LIKE reaches the database."""
    process_id = (await farm.enqueue(request())).process_id
    target = f"127.0.0.1:{farm.controller.port}"
    async with ControllerClient.opened(target, KEY) as client:
        ask = process_pb2.ListProcessesRequest(process_id_prefix=process_id[:6])
        found = await client.call(client.processes.ListProcesses, ask)
        for wrong in ("abc", "zzzz", "ab%_", "a" * 37):
            ask = process_pb2.ListProcessesRequest(process_id_prefix=wrong)
            with pytest.raises(CommandError, match="process_id_prefix: must be 4 to 36"):
                await client.call(client.processes.ListProcesses, ask)

    assert [process.process_id for process in found.processes] == [process_id]


@pytest.mark.parametrize(
    "words",
    [
        ["accounts", "put", "acc-9", "--app", "shortvideo", "--phone", "A1"],
        ["groups", "put", "rack", "--phones", "A1"],
        ["keys", "create", "crm", "--scope", "submit"],
        ["pause", "--all", "--reason", "x"],
        ["resume", "--all"],
        ["agents", "drain", "agent-1", "--reason", "x"],
        ["agents", "undrain", "agent-1", "--reason", "x"],
        ["agents", "list"],
        ["keys", "list"],
        ["audit"],
        ["profiles", "list"],
        ["phones", "needs-hands"],
    ],
)
async def test_what_a_verb_did_is_json(farm: Farm, operator: Operator, words: list[str]) -> None:
    """Stdout has one JSON document and nothing else."""
    async with played_agent(farm, "A1"):
        told = await operator.command(*words, "--json")

    assert isinstance(json.loads(told.out), dict | list)


async def test_a_watched_list_is_printed_when_it_changes(
    farm: Farm, operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For other programs: once at the beginning, then with each change, until cancelled."""
    printed: asyncio.Queue[list[str]] = asyncio.Queue()
    monkeypatch.setattr(list_verbs, "WATCH_SECONDS", 0.05)
    monkeypatch.setattr(
        list_verbs,
        "print_listing",
        lambda shown, _: printed.put_nowait([str(row[2]) for row in shown.rows]),
    )
    async with played_agent(farm, "A1"):
        watching = asyncio.create_task(operator.command("phones", "list", "--watch"))
        first = await asyncio.wait_for(printed.get(), PATIENCE)
        await operator.command("phones", "maintain", "A1", "--reason", "x")
        while (last := await asyncio.wait_for(printed.get(), PATIENCE)) == first:
            pass
        watching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await watching

    assert last == ["in_maintenance"]
