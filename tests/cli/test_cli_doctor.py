"""`phonefarm doctor`: a line for each part, what helps, and an exit code for scripts."""

import json
from pathlib import Path

import pytest
from phonefarm_cli.errors import ExitCode
from support.commanding import Operator
from support.controller import farm_on, played_agent


async def test_a_farm_that_is_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every part has its line; only what should be mended has a remedy below it."""
    url = f"sqlite:///{tmp_path / 'farm.db'}"
    async with farm_on(url, tmp_path / "data") as farm, played_agent(farm, "A1") as agent:
        await agent.offer()
        await farm.lease_deliveries()
        operator = Operator.of(farm, capsys)
        told = await operator.command("doctor")
        whole = await operator.command("doctor", "--all")
        document = json.loads((await operator.command("doctor", "--json")).out)

    checks = {line["check"]: line["verdict"] for line in document["checks"]}
    assert told.code is ExitCode.OK
    assert checks | {"versions": "warn"} == checks
    assert set(checks) == {
        *("controller", "loops", "database", "clock", "queue", "agents", "versions"),
        *("certificates", "scheduler", "dirty phones", "callbacks", "disk", "evidence"),
        *("controllers", "pauses", "phones", "hosts", "drains", "gateways", "alerts"),
        "schedules",
    }
    assert (document["verdict"], document["problems"]) == ("warn", 1)
    first, second, *rest = told.out.splitlines()
    assert first == "1 problem needs your attention"
    assert second == document["summary"] == "1 phone: 1 free; 1 of 1 host connected"
    assert [line[:5] for line in rest] == ["warn ", "     ", "ok: c"]
    assert rest[-1].endswith("(--all prints each)")
    assert "ok    database      the database answers within" in whole.out
    assert told.out.count("->") == whole.out.count("->") == 1


async def test_what_fails_is_an_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All agents are away: nothing can be done, and the command says so to a script."""
    url = f"sqlite:///{tmp_path / 'farm.db'}"
    async with farm_on(url, tmp_path / "data") as farm:
        async with played_agent(farm, "A1") as agent:
            await agent.offer()
        async with farm.controller.database.writing() as tx:
            await tx.rows("UPDATE agents SET connected = FALSE RETURNING agent_id", ())
        told = await Operator.of(farm, capsys).command("doctor")

    assert told.code is ExitCode.FAILED
    assert told.out.splitlines()[0] == "2 problems need your attention"
    assert told.out.splitlines()[2].split() == ["fail", "agents", "not", "connected:", "agent-1"]
    assert "-> run `phonefarm-agent doctor` on each of these hosts" in told.out


async def test_a_controller_that_does_not_answer(capsys: pytest.CaptureFixture[str]) -> None:
    """That is a finding too, with what helps."""
    told = await Operator("127.0.0.1:1", capsys).command("doctor", "--json")

    (finding,) = json.loads(told.out)["checks"]
    assert told.code is ExitCode.FAILED
    assert (finding["check"], finding["verdict"]) == ("controller", "fail")
    assert "does not answer" in finding["text"]
    assert finding["remedy"].startswith("start the controller")
