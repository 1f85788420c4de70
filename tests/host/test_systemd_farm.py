"""The service at work: a real controller outside, simulated phones, runs in real containers."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
from support.controller import AGENT_TOKEN
from support.live_farm import Hand, LiveFarm, containers, eventually, hand
from support.programs import Programs, programs
from support.systemd_host import SERVICE, SystemdHost, docker, systemd_host

pytestmark = [
    pytest.mark.systemd,
    pytest.mark.docker,
    pytest.mark.asyncio(loop_scope="module"),
]

SCALE = 0.3
DROP_IN = f"/etc/systemd/system/{SERVICE}.service.d/test.conf"
STUCK_SECONDS = 30.0
NEWER = "999.0.0"


@dataclass(frozen=True, kw_only=True)
class Site:
    """A farm whose one agent is a service."""

    host: SystemdHost
    farm: LiveFarm
    agent: str

    async def runs(self, *, running: bool = False) -> list[str]:
        """Return the run containers of this agent."""
        of_this = f"phonefarm.agent={self.agent}"
        return await containers(running=running, label=of_this, name="^/?pf-[0-9a-f]{8}-")

    async def containers(self) -> list[str]:
        """Return its containers, those that wait for runs included."""
        return await containers(label=f"phonefarm.agent={self.agent}")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(
    tmp_path_factory: pytest.TempPathFactory, executor_image: str
) -> AsyncIterator[Site]:
    """Install the service with the command, start it, and bring its two phones into service."""
    data = tmp_path_factory.mktemp("farm")
    async with (
        systemd_host(tmp_path_factory.mktemp("host")) as host,
        programs(data, scale=SCALE) as made,
    ):
        await made.simulator(2)
        await made.controller()
        await made.gateway()
        agent = host.state.name
        try:
            await _install(host, made, agent, executor_image)
            farm = await made.live(["SIM0001", "SIM0002"])
            yield Site(host=host, farm=farm, agent=agent)
        finally:
            for container in await containers(label=f"phonefarm.agent={agent}"):
                await docker("rm", "--force", container)


async def _install(host: SystemdHost, made: Programs, agent: str, image: str) -> None:
    token = "/etc/phonefarm-agent/token"
    await host.write(token, AGENT_TOKEN)
    options = " ".join(f"--connect {address}" for address in made.phone_addresses())
    options += f" --image {image}"  # also of the newer program
    state = str(host.state / "agent")
    words = ["--state", state, "--controller", made.grpc, "--name", agent]
    await host.agent("install", *words, "--token-file", token, "--options", options)
    await host.run("chown", SERVICE, token)
    added = f"PHONEFARM_PRODUCTION=0\nPHONEFARM_TIME_SCALE={SCALE}\n"
    settings = await host.run("cat", "/etc/phonefarm-agent/agent.env")
    await host.write("/etc/phonefarm-agent/agent.env", settings + added)
    await host.run("systemctl", "start", SERVICE)


@pytest_asyncio.fixture(loop_scope="module")
async def at_work(site: Site) -> AsyncIterator[Hand]:
    """Yield a hand on the farm once both phones are offered."""
    async with hand(site.farm) as it:
        await it.offered()
        yield it


@pytest.mark.long
async def test_a_run_is_found_in_the_journal_by_its_ids(site: Site, at_work: Hand) -> None:
    """Work goes through the service, and journalctl finds it by PROCESS_ID and by RUN_ID."""
    account = site.farm.phones[0].account_id
    process = await at_work.warm_up(_direct(account))
    await at_work.until(process, "completed")

    told = await site.host.events(f"PROCESS_ID={process}")
    went = next(event for event in told if event["EVENT"] == "run.go_received")
    of_run = await site.host.events(f"RUN_ID={went['RUN_ID']}")
    show = await site.host.until(StatusText="2 phones (2 fit); 0 runs")

    assert went["SYSLOG_IDENTIFIER"] == SERVICE
    assert {"run.started", "run.go_received"} <= {event["EVENT"] for event in of_run}
    assert f"controller {site.farm.grpc} connected" in show["StatusText"]
    status = await site.host.run("systemctl", "status", "--no-pager", SERVICE)
    assert show["StatusText"] in status


@pytest.mark.long
async def test_doctor_is_content_while_the_agent_runs(site: Site, at_work: Hand) -> None:
    """Every part is looked at with the service's rights, and the agent keeps its session."""
    before = len(await site.host.events("EVENT=session.opened"))

    async def content() -> dict[str, dict[str, str]] | None:
        told = _findings(await site.host.agent("doctor", "--json"))
        # It repeats the agent's own line, which the agent writes anew now and then.
        return told if told["service"]["verdict"] == "ok" else None

    found = await eventually(content, what="a line of the agent's without a worry")

    verdicts = {name: finding["verdict"] for name, finding in found.items()}
    assert "fail" not in verdicts.values(), found
    assert found["adb server"]["text"] == "answers (the server of the running agent)"
    assert sum(name.startswith("phone 127") for name in found) == 2
    assert verdicts["controller"] == verdicts["docker"] == verdicts["image"] == "ok"
    assert len(await site.host.events("EVENT=session.opened")) == before


@pytest.mark.long
async def test_a_killed_agent_takes_its_run_back(site: Site, at_work: Hand) -> None:
    """After kill -9 during a run systemd starts the agent again, and the run ends once."""
    process, container = await _begin_run(site, at_work)
    phone = site.farm.phones[0]
    before = await site.host.show()

    await site.host.run("systemctl", "kill", "--kill-whom=main", "--signal=KILL", SERVICE)
    after = await site.host.until(NRestarts=_one_more(before), ActiveState="active")
    await at_work.until(process, "completed", within=180)

    assert after["MainPID"] != before["MainPID"]
    adopted = await site.host.events("EVENT=run.adopted")
    assert len(adopted) == 1
    ledger = await at_work.phones.ledger(phone.serialno)
    of_run = [entry for entry in ledger if entry["run"] == adopted[0]["RUN_ID"]]
    assert [entry["kind"] for entry in of_run].count("searched") == 1

    async def released() -> bool:
        # The process is completed when its run ends; the clean-up comes after that.
        return bool(await site.host.events(f"PROCESS_ID={process}", "EVENT=phone.released"))

    await eventually(released, what="the phone is released")
    assert len(await site.host.events(f"PROCESS_ID={process}", "EVENT=phone.released")) == 1

    async def removed() -> bool:
        return container not in await site.runs()

    await eventually(removed, what="the end of the container")


@pytest.mark.long
async def test_a_newer_program_takes_the_run_of_the_older_back(site: Site, at_work: Hand) -> None:
    """Upgraded in place during a run and started anew: the run goes on and ends once."""
    process, container = await _begin_run(site, at_work, seconds=40)  # longer than the upgrade
    begun = len(await site.host.events("EVENT=agent.started"))
    adopted = len(await site.host.events("EVENT=run.adopted"))

    await site.host.upgrade(NEWER)
    await site.host.agent("install", "--state", str(site.host.state / "agent"))
    meanwhile = await site.runs(running=True)
    await site.host.run("systemctl", "restart", SERVICE)
    await at_work.until(process, "completed", within=180)
    await at_work.offered()

    starts = [told["VERSION"] for told in await site.host.events("EVENT=agent.started")]
    assert starts[begun:] == [NEWER]
    assert starts[begun - 1] != NEWER
    assert container in meanwhile
    assert len(await site.host.events("EVENT=run.adopted")) == adopted + 1
    assert len(await site.host.events(f"PROCESS_ID={process}", "EVENT=run.ended")) == 1
    assert len(await site.host.events(f"PROCESS_ID={process}", "EVENT=phone.released")) == 1


@pytest.mark.long
async def test_a_stopped_agent_is_killed_by_the_watchdog(site: Site, at_work: Hand) -> None:
    """An agent that does nothing any more is ended with SIGABRT and started again."""
    await site.host.write(DROP_IN, "[Service]\nWatchdogSec=4\nRestartSec=1\n")
    await site.host.run("systemctl", "daemon-reload")
    await site.host.run("systemctl", "restart", SERVICE)
    before = await site.host.until(ActiveState="active", StatusText="connected")

    await site.host.run("systemctl", "kill", "--kill-whom=main", "--signal=STOP", SERVICE)
    after = await site.host.until(
        within=STUCK_SECONDS, NRestarts=_one_more(before), ActiveState="active"
    )

    assert after["MainPID"] != before["MainPID"]
    said = await site.host.run("journalctl", "--no-pager", "-u", SERVICE)
    assert "Watchdog timeout" in said
    await at_work.offered()


@pytest.mark.long
async def test_a_reboot_brings_the_agent_back(site: Site, at_work: Hand) -> None:
    """Stopped in order by the shutdown, it is up again with its host, its phones offered."""
    before = len(await site.host.events("EVENT=agent.started"))

    await site.host.reboot()
    await site.host.until(ActiveState="active", StatusText="2 phones (2 fit)")
    await at_work.offered()

    stops = await site.host.events("EVENT=agent.stopped")
    assert stops[-1]["EXIT_CODE"] == "0"
    assert len(await site.host.events("EVENT=agent.started")) == before + 1


@pytest.mark.long
async def test_doctor_looks_while_the_agent_is_stopped(site: Site, at_work: Hand) -> None:
    """With a server of its own it finds the same phones, as the service's user."""
    await site.host.run("systemctl", "stop", SERVICE)

    found = _findings(await site.host.agent("doctor", "--json"))
    told = await site.host.agent("doctor")
    left = await site.host.run("sh", "-c", f"find {site.host.state}/agent ! -user {SERVICE}")
    await site.host.run("systemctl", "start", SERVICE)

    assert found["service"]["verdict"] == "warn"
    assert found["service"]["remedy"] == f"systemctl start {SERVICE}"
    assert "no agent runs" in found["adb server"]["text"]
    phones = [finding for name, finding in found.items() if name.startswith("phone 127")]
    assert [finding["verdict"] for finding in phones] == ["ok", "ok"]
    assert told.startswith(f"checking with the permissions of {SERVICE}")
    assert left.strip() == ""


@pytest.mark.long
async def test_uninstall_ends_everything_also_during_a_run(site: Site, at_work: Hand) -> None:
    """Nothing of the service is left: no process, container, file, user."""
    await _begin_run(site, at_work)

    await site.host.agent("uninstall", "--remove-state", seconds=150)

    assert await site.containers() == []
    left = [path for path in await site.host.files() if SERVICE in path or "/agent" in path]
    assert left == []
    assert SERVICE not in await site.host.run("cat", "/etc/passwd", "/etc/group")
    processes = await site.host.run("sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
    assert "phonefarm_agent" not in processes
    assert "adb -L" not in processes


async def _begin_run(site: Site, at_work: Hand, seconds: int = 12) -> tuple[str, str]:
    """Return a process and the container in which its video plays now, for so many *seconds*."""
    phone = site.farm.phones[0]
    seen = (await at_work.phones.ledger(phone.serialno))[-1]["sequence"]
    before = set(await site.runs())
    process = await at_work.warm_up(_direct(phone.account_id), watch_seconds=seconds)
    await at_work.on_screen(phone.serialno, since=seen)
    (container,) = set(await site.runs(running=True)) - before
    return process, container


def _direct(account: str) -> dict[str, Any]:
    return {"routing": "direct", "account_id": account}


def _one_more(told: dict[str, str]) -> str:
    return str(int(told["NRestarts"]) + 1)


def _findings(text: str) -> dict[str, dict[str, str]]:
    return {finding["check"]: finding for finding in json.loads(text)["checks"]}
