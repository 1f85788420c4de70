"""What doctor finds, and that nothing it looks at can hold it up."""

import asyncio
import json
import os
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from phonefarm_agent.app.settings import Settings
from phonefarm_agent.app.state_dir import only_agent
from phonefarm_agent.host.checks import machine
from phonefarm_agent.host.checks.finding import Verdict, ok
from phonefarm_agent.host.checks.machine import check_clock, check_disk
from phonefarm_agent.host.checks.service import check_service
from phonefarm_agent.host.doctor import Check, examine, worst
from phonefarm_common.disk_space import GIB, DiskFigures
from phonefarm_common.service.paths import read_environment
from phonefarm_common.timers import Timers
from phonefarm_simulator.farm import Farm, simulated_phones
from support.controller import AGENT_TOKEN
from support.programs import Programs, programs

PATIENCE_SECONDS = 180.0


class Told(NamedTuple):
    """What the command said."""

    code: int
    findings: dict[str, dict[str, str]]


@pytest.fixture
async def farm(tmp_path: Path) -> AsyncIterator[Farm]:
    """Run two simulated phones."""
    async with simulated_phones(2, tmp_path / "phones") as phones:
        yield phones


@pytest.fixture
async def made(tmp_path: Path) -> AsyncIterator[Programs]:
    """Run a real controller."""
    async with programs(tmp_path) as it:
        await it.controller()
        yield it


async def doctor(state: Path, controller: str, *options: str, **environment: str) -> Told:
    """Run the command as an operator without an installed service does."""
    own = {
        "PHONEFARM_AGENT_CONTROLLER": controller,
        "PHONEFARM_AGENT_NAME": "host-1",
        "PHONEFARM_AGENT_STATE": str(state),
        "PHONEFARM_AGENT_TOKEN": AGENT_TOKEN,
        "PHONEFARM_AGENT_OPTIONS": "--runtime process",
    }
    process = await asyncio.create_subprocess_exec(
        *[sys.executable, "-m", "phonefarm_agent", "doctor", "--json"],
        *["--environment", str(state / "none"), "--", *options],
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | own | environment,
    )
    async with asyncio.timeout(PATIENCE_SECONDS):
        out, _ = await process.communicate()
    found = json.loads(out)["checks"]
    return Told(process.returncode or 0, {finding["check"]: finding for finding in found})


async def test_phones_are_told_with_what_to_do(farm: Farm, tmp_path: Path) -> None:
    """One is online, one has not accepted the key: its line says what a person must do."""
    good, shy = farm["SIM0001"], farm["SIM0002"]
    await shy.fault("unauthorized")
    options = ["--connect", good.address, "--connect", shy.address]

    with only_agent(tmp_path / "state"):
        told = await doctor(tmp_path / "state", "127.0.0.1:9", *options)

    assert told.code == 1
    assert "runs without --ready-file" in told.findings["adb server"]["text"]
    assert told.findings[f"phone {good.address}"]["verdict"] == "ok"
    finding = told.findings[f"phone {shy.address}"]
    assert (finding["verdict"], finding["text"]) == ("fail", "unauthorized")
    assert "accept this host's key" in finding["remedy"]


@pytest.mark.long
async def test_a_controller_is_pinged(made: Programs, tmp_path: Path) -> None:
    """There and with the right token: ok. A wrong token and nobody there: told apart."""
    known = await doctor(tmp_path / "s", made.grpc)
    unknown = await doctor(tmp_path / "s", made.grpc, PHONEFARM_AGENT_TOKEN="a-wrong-one")
    nobody = await doctor(tmp_path / "s", "127.0.0.1:9")
    far = await doctor(tmp_path / "s", "farm.example.com:7070")

    assert known.findings["controller"]["verdict"] == "ok"
    assert "UNAUTHENTICATED" in unknown.findings["controller"]["text"]
    assert "PHONEFARM_AGENT_TOKEN" in unknown.findings["controller"]["remedy"]
    assert "UNAVAILABLE" in nobody.findings["controller"]["text"]
    assert "has no certificate" in far.findings["controller"]["text"]
    assert unknown.code == nobody.code == far.code == 1
    assert known.findings["certificate"]["verdict"] == "warn"
    assert not [e for e in made.log("controller") if e.get("event") == "agent.connected"]


@pytest.mark.long
async def test_an_engine_that_hangs_is_told_and_not_waited_for(tmp_path: Path) -> None:
    """Its socket takes the call and never answers; doctor comes back with the rest."""
    with _silent(tmp_path / "docker.sock") as address:
        told = await doctor(
            tmp_path / "s", "127.0.0.1:9", "--runtime", "docker", DOCKER_HOST=address
        )

    assert told.code == 1
    assert told.findings["docker"]["text"] == "no answer within 10 s"
    assert told.findings["clock"]["verdict"] == "ok"


async def test_a_check_that_hangs_or_breaks_hides_no_other() -> None:
    """Each has its own limit; what breaks is a finding too."""

    async def hang() -> Any:
        await asyncio.Event().wait()

    async def broken() -> Any:
        raise RuntimeError("boom")

    async def fine() -> Any:
        return [ok("fine", "it is")]

    found = await examine(
        [
            Check(name="hangs", run=hang, seconds=0.05),
            Check(name="broken", run=broken, seconds=5),
            Check(name="fine", run=fine, seconds=5),
        ]
    )

    assert [finding.check for finding in found] == ["hangs", "broken", "fine"]
    assert [finding.verdict for finding in found] == [Verdict.FAIL, Verdict.FAIL, Verdict.OK]
    assert "boom" in found[1].text
    assert worst(found) is Verdict.FAIL


@pytest.mark.parametrize(
    ("total", "free", "verdict"),
    [
        (100 * GIB, 50 * GIB, Verdict.OK),
        (100 * GIB, 9 * GIB, Verdict.WARN),
        (100 * GIB, 4 * GIB, Verdict.FAIL),
        (4 * GIB, GIB - 1, Verdict.FAIL),
        (4 * GIB, 2 * GIB, Verdict.WARN),
    ],
)
async def test_room_is_judged_by_share_and_by_amount(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, total: int, free: int, verdict: Verdict
) -> None:
    """Below 5 % or 1 GiB nothing may begin; below 10 % or 5 GiB it is time to act."""
    figures = DiskFigures(total=total, free=free)
    monkeypatch.setattr(machine, "disk_figures", lambda _: figures)

    found = await check_disk(_settings(tmp_path))

    assert [finding.verdict for finding in found] == [verdict]


async def test_clock_and_service_say_what_they_are() -> None:
    """A wall clock that is not synchronised is a warning; so is a host without the service."""
    found = await check_clock(synchronised=False)
    service = await check_service(Path("/nowhere/phonefarm-agent.service"))

    assert [finding.verdict for finding in found] == [Verdict.OK, Verdict.WARN]
    assert service[0].verdict is Verdict.WARN
    assert "install" in service[0].remedy


@pytest.mark.parametrize(
    ("status", "verdict", "remedy"),
    [
        ("3 phones (3 fit); 0 runs; controller c:1 connected", Verdict.OK, ""),
        (
            "3 phones (1 fit, 1 needs hands); 0 runs; controller c:1 connected",
            Verdict.WARN,
            "phonefarm phones needs-hands",
        ),
        (
            "3 phones (3 fit); 1 run, 501 evidence files wait; controller c:1 connected",
            Verdict.WARN,
            "check the network and the controller's evidence store",
        ),
        (
            "3 phones (0 fit); 1 run; controller c:1 connected; host_storage_full:5 MiB free",
            Verdict.WARN,
            "until somebody repairs this: host_storage_full:5 MiB free",
        ),
    ],
)
async def test_what_a_running_agent_says_of_itself_is_a_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: str, verdict: Verdict, remedy: str
) -> None:
    """Phones that wait for a person, and a host that is withheld, are named with the way out."""
    systemctl = tmp_path / "systemctl"
    systemctl.write_text(
        "#!/bin/sh\nprintf '%s\\n' ActiveState=active SubState=running NRestarts=0"
        f" 'StatusText={status}'\n"
    )
    systemctl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    (finding,) = await check_service(systemctl)

    assert status in finding.text
    assert finding.verdict is verdict
    assert remedy in finding.remedy


def test_an_environment_file_is_read_as_systemd_reads_it(tmp_path: Path) -> None:
    """Comments, blanks and quotes."""
    file = tmp_path / "agent.env"
    file.write_text("# A=1\n; B=2\nC=3\nD = \"4 5\"\nE='6'\n\nnonsense\nF=a=b\n")

    assert read_environment(file) == {"C": "3", "D": "4 5", "E": "6", "F": "a=b"}


@contextmanager
def _silent(path: Path) -> Iterator[str]:
    """Listen without ever answering."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(16)
        yield f"unix://{path}"


def _settings(state: Path) -> Settings:
    return Settings(
        controllers=("127.0.0.1:9",),
        token="t",
        agent_id="a",
        state=state,
        runtime="docker",
        image="none",
        connect=(),
        adb_port=0,
        dummy_phones=0,
        ready_file=None,
        stop_runs_on_exit=False,
        production=False,
        time_scale=1.0,
        timers=Timers(),
    )
