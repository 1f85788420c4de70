"""The commands that tell of phones: what they print, and that their JSON has every field."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from phonefarm.v1 import agent_pb2
from phonefarm_cli.main import main
from support.controller import KEY, Farm, PlayedAgent, farm_on, played_agent, request

CODE = "phone_lost"


@pytest.fixture
async def farm(tmp_path: Path) -> AsyncIterator[Farm]:
    """Run a controller."""
    async with farm_on(f"sqlite:///{tmp_path / 'farm.db'}", tmp_path / "data") as it:
        yield it


async def phonefarm(
    farm: Farm, capsys: pytest.CaptureFixture[str], *words: str, code: int = 0
) -> str:
    """Return what the command prints."""
    capsys.readouterr()  # the controller's log
    reach = ["--grpc", f"127.0.0.1:{farm.controller.port}", "--key", KEY]
    ended = await asyncio.to_thread(main, [*words, *reach])
    said = capsys.readouterr()
    assert ended == code, said.err
    return said.out


async def fail_on(farm: Farm, agent: PlayedAgent) -> None:
    """Let one run of the agent's only phone end for the phone's sake, and tell of the phone."""
    await farm.enqueue(request())
    await agent.offer()
    (assignment,) = await agent.assigned()
    await agent.start(assignment.run)
    failure = agent_pb2.Failure(
        code=CODE, message="it is gone", failure_class=agent_pb2.FAILURE_CLASS_INFRA
    )
    await agent.report(*agent.failed_run(assignment.run, failure))
    stages = [agent_pb2.Stage(name="boot", state=agent_pb2.STAGE_STATE_PASSED, limit_seconds=60)]
    report = agent_pb2.PhoneReport(
        serialno=agent.phones[0],
        adb_serial="usb-1",
        transport=agent_pb2.TRANSPORT_OFFLINE,
        stages=stages,
        needs_hands="look at its cable",
        battery_percent=77,
    )
    step = agent_pb2.RecoveryStep(number=1, serialno=agent.phones[0], step="reconnect", reason="x")
    incident = agent_pb2.HostIncident(incident_id="i", kind="adb_down", error="no answer")
    host = agent_pb2.HostReport(withheld="adb_down", recovery=[step], incidents=[incident])
    await agent.say(inventory=agent_pb2.Inventory(phones=[report], host=host))
    await agent.hear("phone_names")


async def test_show_tells_why_a_phone_is_not_offered(
    farm: Farm, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every reason with its remedy, the axes, the stages, the failure, the host, the audit."""
    async with played_agent(farm, "A1") as agent:
        await fail_on(farm, agent)

        said = await phonefarm(farm, capsys, "phones", "show", "A1")

    for told in (
        "offered   no",
        "agent-1, connected; the agent withholds all phones of the host: adb_down",
        "battery 77 %",
        "! ph-a1 is the last phone in service with an account of shortvideo",
        "phone_needs_hands\tlook at its cable",
        "host_incident\tadb_down",
        "transport\toffline",
        "health\tsuspect",
        "boot\tpassed",
        f"infra: {CODE}\tyes",
        "adb_down\t",
        "recover reconnect",
        "admit",
    ):
        assert told in said


async def test_show_says_it_all_as_json(farm: Farm, capsys: pytest.CaptureFixture[str]) -> None:
    """A script finds the same."""
    async with played_agent(farm, "A1") as agent:
        await fail_on(farm, agent)

        sheet = json.loads(await phonefarm(farm, capsys, "phones", "show", "A1", "--json"))

    assert sheet["phone"]["health"] == "suspect"
    assert {axis["axis"] for axis in sheet["axes"]} == {
        "transport",
        "readiness",
        "health",
        "lease",
        "intent",
    }
    assert [failure["code"] for failure in sheet["failures"]] == [CODE]
    assert sheet["stages"][0]["state"] == "passed"
    assert sheet["host"]["incidents"][0]["ended_at"] is None


async def test_the_lists_tell_where_hands_are_needed(
    farm: Farm, capsys: pytest.CaptureFixture[str]
) -> None:
    """`needs-hands` names agent, adb's name and what to do; `list` health and until."""
    async with played_agent(farm, "A1") as agent:
        await fail_on(farm, agent)

        needed = await phonefarm(farm, capsys, "phones", "needs-hands")
        listed = await phonefarm(farm, capsys, "phones", "list")

    assert "agent-1\tusb-1\tph-a1\t" in needed
    assert needed.rstrip().endswith("look at its cable")
    assert "suspect until 20" in listed
    assert "phone_needs_hands: look at its cable" in listed


async def test_the_audit_tells_who_did_what(farm: Farm, capsys: pytest.CaptureFixture[str]) -> None:
    """Of one phone by any of its names, of anything else by its id."""
    async with played_agent(farm, "A1"):
        of_phone = await phonefarm(farm, capsys, "audit", "--phone", "A1", "--since", "1h")
        of_account = await phonefarm(farm, capsys, "audit", "--about", "acc-A1", "--json")

    assert "\tadmit\tph-a1" in of_phone
    assert [entry["verb"] for entry in json.loads(of_account)] == ["put account"]


async def test_who_withholds_the_last_of_its_kind_is_warned(
    farm: Farm, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is done all the same."""
    async with played_agent(farm, "A1", "B2"):
        first = await phonefarm(farm, capsys, "phones", "maintain", "A1", "--reason", "battery")
        last = await phonefarm(farm, capsys, "phones", "retire", "B2", "--reason", "sold")

    assert "last phone" not in first
    assert "! ph-b2 is the last phone in service with an account of shortvideo" in last
