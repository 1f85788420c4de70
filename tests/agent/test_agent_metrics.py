"""What Prometheus reads of an agent at work."""

import asyncio
import re
from contextlib import AbstractAsyncContextManager

import aiohttp
import pytest
from phonefarm_agent.app import status as status_line
from phonefarm_agent.app.agent import run_agent
from phonefarm_agent.app.run_options import parse_settings
from phonefarm_agent.app.settings import Settings
from phonefarm_agent.app.status import AgentStatus, no_reporter
from phonefarm_agent.host.metrics import serving_metrics, with_metrics
from phonefarm_common.config import ConfigError
from prometheus_client.parser import text_string_to_metric_families
from support.agents import assignment
from support.controller_script import TOKEN, ScriptedController


def metrics(page: str) -> dict[str, float]:
    """Return every sample of a page; a label's value stands behind the name."""
    return {
        ".".join([sample.name.removeprefix("phonefarm_agent_"), *sample.labels.values()]): (
            sample.value
        )
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


async def test_a_page_tells_of_runs_phones_and_backlogs(
    settings: Settings, controller: ScriptedController, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run under way whose records nobody acknowledges shows in phase and backlog."""
    monkeypatch.setattr(status_line, "EVIDENCE_BEHIND", 0)
    serving: asyncio.Future[AgentStatus] = asyncio.get_running_loop().create_future()
    stop = asyncio.Event()

    def report_status(status: AgentStatus) -> AbstractAsyncContextManager[None]:
        serving.set_result(status)
        return no_reporter(status)

    agent = asyncio.create_task(run_agent(settings, stop, report_status))
    heard = controller.heard
    await heard.until(heard.offered)
    controller.manners.acknowledge_records = False
    work = assignment(actions=1, seconds=30.0)
    await controller.assign(work)
    await heard.until(lambda: "action_started" in heard.story(work.run.run_id))

    async with (
        serving_metrics(await serving, ("127.0.0.1", 0)) as port,
        aiohttp.ClientSession() as http,
        http.get(f"http://127.0.0.1:{port}/metrics") as answer,
    ):
        told = metrics(await answer.text())
    line = (await serving).summary()
    stop.set()
    await agent

    assert answer.status == 200
    assert told["runs.going"] == 1
    assert (told["phones.ready"], told["phones_offered"]) == (2, 1)
    assert told["records_waiting"] == 1
    assert re.search(r"; 1 run, \d+ evidence files wait; controller ", line)
    assert told["connected"] == 1
    assert 0 <= told["heartbeat_age_seconds"] < settings.timers.self_fence
    assert told["adb_restarts_total"] == 0
    assert told["incidents.storage_full"] == 0
    assert {
        "journal_writes_waiting",
        "evidence_bytes_waiting",
        "withheld",
        "phones_needing_hands",
    } <= told.keys()


def test_without_an_address_nothing_is_served() -> None:
    """The supervision stays what it was."""
    assert with_metrics(no_reporter, None) is no_reporter


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "farm.example"])  # noqa: S104 - refused
def test_an_address_for_all_must_be_asked_for(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    """Anything but loopback is refused with the way out, and taken when that is said."""
    monkeypatch.setenv("PHONEFARM_AGENT_TOKEN", TOKEN)
    words = ["--controller", "127.0.0.1:1", "--state", "/nowhere", "--name", "a"]
    read = parse_settings

    with pytest.raises(ConfigError, match="--metrics-for-all"):
        read([*words, "--metrics", f"{host}:9100"])

    assert read([*words, "--metrics", f"{host}:9100", "--metrics-for-all"]).metrics == (host, 9100)
    assert read([*words, "--metrics", "127.0.0.1:9100"]).metrics == ("127.0.0.1", 9100)
