"""`phonefarm up` as an operator meets it: starts, refusals, ends of every kind."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from support.live_farm import Hand, LiveFarm, containers, executors, hand, lives
from support.up_process import UpProcess, started_up

GONE_SECONDS = 30.0


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return a data folder that does not exist yet."""
    return tmp_path / "farm"


async def _busy_run(it: Hand) -> tuple[str, str]:
    """Start a long run and return its process id and run id once it is at work on the phone."""
    phone = it.farm.phones[0]
    process_id = await it.warm_up({"routing": "queue"}, watch_seconds=60)
    shown = await it.on_screen(phone.serialno)
    return process_id, shown["run"]


def _wait_until_gone(pids: list[int]) -> list[int]:
    """Return those that still live after a while."""
    deadline = time.monotonic() + GONE_SECONDS
    while (left := [pid for pid in pids if lives(pid)]) and time.monotonic() < deadline:
        time.sleep(0.05)  # they are nobody's children here
    return left


def _wait_until_said(up: UpProcess, words: str) -> None:
    deadline = time.monotonic() + GONE_SECONDS
    while words not in up.said:
        assert time.monotonic() < deadline, up.said
        time.sleep(0.01)  # a file gives no news


@pytest.mark.parametrize(
    "runtime", ["process", pytest.param("docker", marks=[pytest.mark.docker, pytest.mark.long])]
)
async def test_up_stops_clean_in_the_middle_of_a_run(data: Path, runtime: str) -> None:
    """SIGTERM: exit code 0, no process, no container, no up.json; the work is taken up again.

    The signal comes twice at once, as from a kernel that tells of a parent's death per thread.
    """
    with started_up(data, simulate=1, runtime=runtime) as up:
        farm = up.ready()
        pids = up.pids
        async with hand(farm) as it:
            process_id, run_id = await _busy_run(it)
            runs = await executors(farm, run_id)
        up.process.send_signal(signal.SIGTERM)
        _wait_until_said(up, "stopping")
        code = up.stop()
        said = up.said

    assert code == 0, said
    assert "had to be killed" not in said
    assert set(pids) == {"simulator", "controller", "agent", "gateway", "up"}
    assert runs
    assert not [pid for pid in [*pids.values(), *runs] if lives(pid)]
    assert not (data / "up.json").exists()
    if runtime == "docker":
        assert not await containers(name=f"pf-{run_id}")

    with started_up(data, simulate=1, runtime=runtime) as again:
        async with hand(again.ready()) as it:
            record = await it.until(process_id, "retrying", "queued", "executing")
            await it.cancel(process_id, strategy="hard")
            await it.until(process_id, "cancelled")
        assert again.stop(signal.SIGINT) == 0, again.said
    assert record["process_id"] == process_id


@pytest.mark.parametrize(
    ("simulate", "kinds", "reason"),
    [
        (0, "samsung", "--personality requires --simulate N"),
        (1, "samsung,nokia", "invalid choice: 'nokia' (choose from 'android-10', 'board',"),
    ],
)
def test_a_personality_that_cannot_be_had_is_refused(
    data: Path, simulate: int, kinds: str, reason: str
) -> None:
    """The farm does not start, and says which kinds of phone there are."""
    with started_up(data, "--personality", kinds, simulate=simulate) as up:
        code = up.process.wait(60)

    assert code != 0
    assert reason in up.said


@pytest.mark.long
async def test_programs_die_with_a_killed_up(data: Path) -> None:
    """Kill -9 of `up`: no program and no run is left; the next start takes the folder over."""
    with started_up(data, simulate=1, scale=0.1) as up:
        farm = up.ready()
        pids = up.pids
        async with hand(farm) as it:
            process_id, run_id = await _busy_run(it)
            runs = await executors(farm, run_id)
        up.process.kill()
        up.process.wait()
        left = _wait_until_gone([*pids.values(), *runs])

    assert runs
    assert left == []
    assert (data / "up.json").exists()

    with started_up(data, simulate=1, scale=0.1) as again:
        async with hand(again.ready()) as it:
            await it.cancel(process_id, strategy="hard")
            await it.until(process_id, "cancelled")
        assert again.stop() == 0, again.said


@pytest.mark.long
async def test_a_program_that_dies_ends_the_farm_and_is_quoted(data: Path) -> None:
    """Kill -9 of the agent: exit code 1, its last log lines, nothing left, not even its run."""
    with started_up(data, simulate=1) as up:
        farm = up.ready()
        pids = up.pids
        async with hand(farm) as it:
            _, run_id = await _busy_run(it)
            runs = await executors(farm, run_id)
        os.kill(pids["agent"], signal.SIGKILL)
        code = up.process.wait(60)
        left = _wait_until_gone([*pids.values(), *runs])

    assert code == 1
    assert "the agent was killed by SIGKILL" in up.said
    assert "agent.started" in up.said or "run.go_received" in up.said
    assert left == []
    assert not (data / "up.json").exists()


def test_a_program_that_cannot_start_is_quoted(data: Path) -> None:
    """A database nobody can open: exit code 1 and the controller's own words."""
    with started_up(data, "--database", "sqlite:////dev/null/farm.db", simulate=1) as up:
        code = up.process.wait(60)

    assert code == 1
    assert "the controller exited with code" in up.said
    assert "/dev/null" in up.said
    assert "Traceback" not in up.said.partition("controller exited")[0]


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[UpProcess, LiveFarm]]:
    """Run one farm that nobody gives work to, with secrets given by the environment."""
    data = tmp_path_factory.mktemp("quiet") / "farm"
    key_file = data.with_name("key")
    key_file.write_text("a-given-key\n")
    environment = {"INGEST_SECRET_FILE": str(key_file), "PHONE_FARM_WEBHOOK_SECRET": "given too"}
    with started_up(data, simulate=2, environment=environment) as up:
        yield up, up.ready()
        assert up.stop() == 0, up.said


@pytest.fixture
async def at_quiet(quiet: tuple[UpProcess, LiveFarm]) -> AsyncIterator[Hand]:
    """Yield a hand on the quiet farm."""
    async with hand(quiet[1]) as it:
        yield it


def test_up_json_tells_the_owner_everything(quiet: tuple[UpProcess, LiveFarm]) -> None:
    """Addresses, secrets, phones and process ids; readable by nobody else."""
    up, farm = quiet

    facts = json.loads((farm.data / "up.json").read_text())

    assert facts["api_key"] == "a-given-key"
    assert facts["webhook_secret"] == "given too"
    assert facts["runtime"] == "process"
    assert [p["account_id"] for p in facts["phones"]] == ["sim-0001", "sim-0002"]
    assert [p["phone_id"] for p in facts["phones"]] == ["ph-sim0001", "ph-sim0002"]
    assert all(p["serial"].startswith("127.0.0.1:") for p in facts["phones"])
    assert all(lives(pid) for pid in facts["pids"].values())
    assert facts["pids"]["up"] == up.process.pid
    for name in ("up.json", "secrets.json"):
        assert stat.S_IMODE((farm.data / name).stat().st_mode) == 0o600
    assert stat.S_IMODE(farm.data.stat().st_mode) == 0o700
    logged = "".join(path.read_text() for path in (farm.data / "logs").iterdir())
    told = up.said + logged
    kept = json.loads((farm.data / "secrets.json").read_text())
    for secret in ("a-given-key", "given too", kept["PHONEFARM_AGENT_TOKEN"]):
        assert secret not in told
    assert "runs are NOT isolated" in told


def test_secrets_stay_with_who_needs_them(quiet: tuple[UpProcess, LiveFarm]) -> None:
    """No program finds another's secret in its environment."""
    pids = quiet[0].pids
    wanted = {
        "simulator": set(),
        "controller": {"INGEST_SECRET", "PHONEFARM_AGENT_TOKEN", "PHONEFARM_GATEWAY_TOKEN"},
        "agent": {"PHONEFARM_AGENT_TOKEN"},
        "gateway": {"PHONEFARM_GATEWAY_TOKEN", "PHONE_FARM_WEBHOOK_SECRET"},
    }

    for program, names in wanted.items():
        environment = Path(f"/proc/{pids[program]}/environ").read_bytes().decode().split("\0")
        found = {line.partition("=")[0] for line in environment}
        ours = {name for name in found if name.startswith(("PHONEFARM_", "PHONE_FARM_", "INGEST_"))}
        secrets = {name for name in ours if "SECRET" in name or "TOKEN" in name}
        assert secrets == names


@pytest.mark.long
def test_a_second_up_on_the_folder_is_refused_by_name(quiet: tuple[UpProcess, LiveFarm]) -> None:
    """It names folder and process, ends with 4, and does the first no harm."""
    up, farm = quiet

    with started_up(farm.data, simulate=1) as second:
        code = second.process.wait(30)

    assert code == 4
    assert str(farm.data) in second.said
    assert f"process {up.process.pid}" in second.said
    assert "--data" in second.said
    assert (farm.data / "up.json").exists()


@pytest.mark.parametrize("option", ["--rest", "--grpc"])
def test_a_busy_port_is_refused_by_its_option(data: Path, option: str) -> None:
    """The error names the option and the remedy; nothing was started."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with started_up(data, option, address, simulate=1) as up:
            code = up.process.wait(30)

    assert code == 2
    assert f"{option} {address} is in use" in up.said
    assert f"give another {option}" in up.said
    assert not (data / "logs").exists()


@pytest.mark.long
async def test_operators_commands_work_on_a_running_farm(
    at_quiet: Hand, capsys: pytest.CaptureFixture[str]
) -> None:
    """Phones, accounts, processes and simulated faults from another terminal."""
    data = str(at_quiet.farm.data)
    process_id = await at_quiet.warm_up({"routing": "direct", "account_id": "sim-0002"})
    await at_quiet.until(process_id, "completed")
    await at_quiet.offered()

    def run(*words: str) -> str:
        command = [sys.executable, "-m", "phonefarm_cli", *words, "--data", data]
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=180)
        return done.stdout

    phones = run("phones", "list").splitlines()
    assert [line.split("\t")[0] for line in phones] == ["PHONE", "ph-sim0001", "ph-sim0002"]
    assert [line.split("\t")[2] for line in phones[1:]] == ["free", "free"]
    assert "sim-0001\tshortvideo\tph-sim0001\tyes\tok" in run("accounts", "list")
    second = ("second", "--app", "shortvideo", "--phone", "SIM0002", "--inactive")
    assert "active no" in run("accounts", "put", *second)
    assert "second\tshortvideo\tph-sim0002\tno" in run("accounts", "list")
    assert f"{process_id}\tkeyword_warmup" in run("processes", "list", "--status", "completed")
    shown = json.loads(run("processes", "show", process_id, "--json"))
    assert shown["status"] == "completed"
    assert "ignored_terminal" in run("processes", "cancel", process_id, "--reason", "too late")
    assert "is good" in run("phones", "return", "ph-sim0001", "--reason", "looked at it")
    for word in ("ph-sim0001", "SIM0001", "sim0001"):
        assert json.loads(run("sim", "state", word))["serial"] == "SIM0001"
    assert run("sim", "fault", "SIM0001", "slow", "milliseconds=1") == "SIM0001: slow\n"
    assert (await at_quiet.phones.state("SIM0001"))["faults"] == ["slow"]
    assert run("sim", "fault", "SIM0001", "--clear") == "SIM0001: no faults\n"
