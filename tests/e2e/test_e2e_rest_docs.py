"""docs/rest.md: every endpoint is on it, and every line works against a farm as it stands there."""

import asyncio
import json
import os
import re
import shutil
from collections.abc import AsyncIterator, Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from gateway.support.published import operation_of, published
from gateway.support.receiver import Receiver
from support.brokenapp import NAME, put_broken_app
from support.live_farm import Hand, LiveFarm, eventually, hand
from support.up_process import started_up

DOC = (Path(__file__).resolve().parent.parent.parent / "docs" / "rest.md").read_text()
LINES = re.findall(r"^```sh\n(.*?)^```$", DOC, re.DOTALL | re.MULTILINE)
LINE_SECONDS = 60
PROFILE = (resources.files("phonefarm_controller") / "profiles" / "shortvideo.toml").read_text()


@pytest.fixture(scope="module")
def documented(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveFarm]:
    """Run a farm of one phone for this page."""
    data = tmp_path_factory.mktemp("docs") / "farm"
    put_broken_app(data)
    with started_up(data, simulate=1) as up:
        yield up.ready()
        assert up.stop() == 0, up.said


@pytest.fixture
async def at_farm(documented: LiveFarm) -> AsyncIterator[Hand]:
    """Yield a hand on it."""
    async with hand(documented) as it:
        yield it


def operation(line: str) -> str:
    """Return the operationId that a curl line calls."""
    found = re.search(r'"\$FARM(/[^"?]*)', line)
    assert found, line
    path = re.sub(r"\$\w+", "x", found[1])
    has_body = " -d " in line
    method = re.search(r"-X (\w+)", line)
    called = operation_of(method[1] if method else "POST" if has_body else "GET", path)
    assert called, line
    return str(called["operationId"])


def test_every_endpoint_has_a_line() -> None:
    """Neither one too few nor one that is not published."""
    there = {
        one["operationId"] for methods in published()["paths"].values() for one in methods.values()
    }

    assert {operation(line) for line in LINES} == there


async def _run(line: str, environment: dict[str, str], *, refused: str = "") -> str:
    process = await asyncio.create_subprocess_exec(
        "bash",
        "-euc",
        line,
        env={"PATH": os.environ["PATH"]} | environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(LINE_SECONDS):
        said, wrong = await process.communicate()
    if refused:
        assert process.returncode == 22, (line, said.decode()[-2000:])
        assert json.loads(said)["error"].startswith(refused)
    else:
        assert process.returncode == 0, (line, said.decode()[-2000:], wrong.decode())
    return said.decode()


REFUSED = {
    "invite": "joining_closed",
    "sendTestAlert": "state_conflict:no_alert_url",
    "replayAlertEvent": "state_conflict:no_alert_url",
    "recordVerification": "state_conflict:",
    "revokeAgent": "unknown_member:",
    "revokeGateway": "unknown_member:",
}
"""What this farm cannot do: verify its process, let others join, send alerts (it has no URL)."""


async def _held(it: Hand, phone_id: str) -> str:
    """Hold the phone once it is given back; return the epoch of its lease."""
    body = {"seconds": 600, "wait_seconds": 600, "reason": "a test"}

    async def hold() -> str | None:
        status, answer = await it.call("POST", f"/phones/{phone_id}/hold", body)
        assert status in {200, 409}, answer
        return str(answer["process_id"]) if status == 200 else None

    process_id = await eventually(hold, what="a hold")

    async def look() -> str | None:
        _, details = await it.call("GET", f"/phones/{phone_id}")
        phone = details["phone"]
        return str(phone["lease_epoch"]) if phone["process_id"] == process_id else None

    return await eventually(look, what="its lease")


async def _failed(it: Hand) -> str:
    """Return a process that failed on its phone, which leaves evidence."""
    phone = it.farm.phones[0]
    account = {"phone_id": phone.phone_id, "app": NAME, "active": True}
    status, answer = await it.call("PUT", "/accounts/broken", account)
    assert status == 200, answer
    process_id = await it.warm_up({"routing": "direct", "account_id": "broken"})
    await it.until(process_id, "failed_terminal")
    return process_id


@pytest.mark.long
async def test_every_line_works(at_farm: Hand, tmp_path: Path) -> None:
    """In their order, by curl; what an answer names is what the next lines are about."""
    if shutil.which("curl") is None:
        pytest.skip("no curl found: `apt-get install curl` (scripts/provision.sh python)")
    answers: dict[str, Any] = {}
    first = ""
    async with Receiver.serving() as receiver:
        environment = {
            "FARM": f"http://{at_farm.farm.rest}",
            "KEY": at_farm.farm.api_key,
            "HOOK": receiver.url("/hook"),
            "VIDEO": receiver.url("/v.mp4"),
            "FILE": str(tmp_path / "evidence"),
        }
        for line in LINES:
            name = operation(line)
            if name == "listEvidence":
                first = environment["PROCESS"]
                environment["PROCESS"] = await _failed(at_farm)
            if name == "listDeliveries":
                environment["PROCESS"] = first
            if name == "releasePhone":
                environment["EPOCH"] = await _held(at_farm, environment["PHONE"])
            said = await _run(line, environment, refused=REFUSED.get(name, ""))
            answers[name] = json.loads(said) if said.startswith("{") else said
            match name:
                case "enqueue":
                    environment["PROCESS"] = answers[name]["process_id"]
                case "listProcesses":
                    record = await at_farm.record(environment["PROCESS"])
                    environment["ITEM"] = record["linked_ids"]["queue_item_ids"][0]
                case "listPhones":
                    phone_id = answers[name]["phones"][0]["phone_id"]
                    check = {"name": "shortvideo", "profile_toml": PROFILE, "phone_id": phone_id}
                    check |= {"account_id": "sim-0001", "requested_by": "ada"}
                    environment |= {"PHONE": phone_id, "CHECK": json.dumps(check)}
                case "listAgents":
                    environment["AGENT"] = answers[name]["agents"][0]["agent_id"]
                case "holdPhone":
                    environment["HOLD"] = answers[name]["process_id"]
                case "listEvidence":
                    environment["EVIDENCE"] = answers[name]["evidence"][0]["evidence_id"]
                case _:
                    pass

    evidence = answers["listEvidence"]["evidence"][0]
    assert (tmp_path / "evidence").stat().st_size == evidence["bytes"]
    assert "event: process.updated" in answers["streamEvents"]
    assert '"status":"completed"' in answers["streamEvents"]
    assert answers["cancelProcess"]["status"] == "ignored_terminal"
    assert answers["replayDeliveries"]["sequences"] == [1]
    assert answers["ingest"]["queue_status"] == "SCHEDULED"
    assert answers["cancelContent"]["previous_status"] == "SCHEDULED"
    assert answers["upsertSnapshot"]["status"] == "upserted"
    assert answers["putAccount"]["account_id"] == "spare-1"
    assert "event: farm.reset" in answers["streamFarm"]
    assert answers["rerunProcess"]["already"] is False
    assert "101 Switching Protocols" in answers["viewScreen"]
    assert "101 Switching Protocols" in answers["watchThumbnails"]
    assert answers["inspectScreen"]["width"] > 0
    assert answers["unholdPhone"]["process_id"] == environment["HOLD"]
    assert answers["returnPhone"]["health"] != "retired"
