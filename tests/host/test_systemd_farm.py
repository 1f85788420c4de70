"""The service at work: a real controller outside, simulated phones, runs in real containers."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from support.live_farm import Hand, LiveFarm, containers, eventually, hand
from support.programs import AGENT_TOKEN, Programs, programs
from support.systemd_host import SERVICE, SystemdHost, docker, systemd_host

pytestmark = [
    pytest.mark.systemd,
    pytest.mark.docker,
    pytest.mark.asyncio(loop_scope="module"),
]

SCALE = 0.3
DROP_IN = f"/etc/systemd/system/{SERVICE}.service.d/test.conf"
STUCK_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True)
class Site:
    """A farm whose one agent is a service."""

    host: SystemdHost
    farm: LiveFarm
    agent: str

    async def containers(self, *, running: bool = False) -> list[str]:
        """Return the run containers of this agent."""
        return await containers(running=running, label=f"phonefarm.agent={self.agent}")


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
            await _install(host, made, agent)
            farm = await made.live(["SIM0001", "SIM0002"])
            yield Site(host=host, farm=farm, agent=agent)
        finally:
            for container in await containers(label=f"phonefarm.agent={agent}"):
                await docker("rm", "--force", container)


async def _install(host: SystemdHost, made: Programs, agent: str) -> None:
    token = "/etc/phonefarm-agent/token"
    await host.write(token, AGENT_TOKEN)
    options = " ".join(f"--connect {address}" for address in made.phone_addresses())
    state = str(host.state / "agent")
    words = ["--state", state, "--controller", made.grpc, "--name", agent]
    await host.agent("install", *words, "--token-file", token, "--options", options)
    await host.run("chown", SERVICE, token)
    await host.run(
        *["sh", "-c", f"printf 'PHONEFARM_PRODUCTION=0\\nPHONEFARM_TIME_SCALE={SCALE}\\n'"],
        *[">> /etc/phonefarm-agent/agent.env"][:0],
    )
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


async def test_a_run_is_found_in_the_journal_by_its_ids(site: Site, at_work: Hand) -> None:
    """Work goes through the service, and journalctl finds it by PROCESS_ID and by RUN_ID."""
    account = site.farm.phones[0].account_id
    process = await at_work.warm_up(_direct(account))
    await at_work.until(process, "completed")

    told = await site.host.events(f"PROCESS_ID={process}")
    went = next(event for event in told if event["EVENT"] == "run.went")
    of_run = await site.host.events(f"RUN_ID={went['RUN_ID']}")
    show = await site.host.until(StatusText="2 phones (2 fit)")

    assert went["SYSLOG_IDENTIFIER"] == SERVICE
    assert {"run.started", "run.went"} <= {event["EVENT"] for event in of_run}
    assert f"controller {site.farm.grpc} connected" in show["StatusText"]
    status = await site.host.run("systemctl", "status", "--no-pager", SERVICE)
    assert show["StatusText"] in status


async def test_doctor_is_content_while_the_agent_runs(site: Site, at_work: Hand) -> None:
    """Every part is looked at with the service's rights, and the agent keeps its session."""
    before = len(await site.host.events("EVENT=session.opened"))

    found = _findings(await site.host.agent("doctor", "--json"))

    verdicts = {name: finding["verdict"] for name, finding in found.items()}
    assert "fail" not in verdicts.values(), found
    assert found["adb server"]["text"] == "answers (the running agent's)"
    assert sum(name.startswith("phone 127") for name in found) == 2
    assert verdicts["controller"] == verdicts["docker"] == verdicts["image"] == "ok"
    assert verdicts["service"] == "ok"
    assert len(await site.host.events("EVENT=session.opened")) == before


async def test_a_killed_agent_takes_its_run_back(site: Site, at_work: Hand) -> None:
    """kill -9 during a run: systemd starts the agent again, the run ends once."""
    phone = site.farm.phones[0]
    mark = await at_work.phones.mark()
    process = await at_work.warm_up(_direct(phone.account_id), watch_seconds=12)
    await at_work.on_screen(phone.serialno, since=mark)
    (container,) = await site.containers(running=True)
    before = await site.host.show()

    await site.host.run("systemctl", "kill", "--kill-whom=main", "--signal=KILL", SERVICE)
    after = await site.host.until(NRestarts=str(int(before["NRestarts"]) + 1), ActiveState="active")
    record = await at_work.until(process, "completed", within=60)

    assert after["MainPID"] != before["MainPID"]
    adopted = await site.host.events("EVENT=run.adopted")
    assert [event["RUN_ID"] for event in adopted] != []
    ended = await site.host.events(f"PROCESS_ID={process}", "EVENT=phone.released")
    assert len(ended) == 1
    assert record["status"] == "completed"
    shown = await at_work.phones.ledger(phone.serialno, since=mark)
    assert sum(entry["effect"] == "video_shown" for entry in shown) == 1
    assert container not in await site.containers()
