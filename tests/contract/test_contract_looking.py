"""Looking into a process at work, over HTTP against the real system."""

import asyncio
import hashlib
import json
import os
from typing import Any
from urllib.parse import urlencode, urljoin

import aiohttp
from aiohttp import web
from gateway.support.published import check_schema
from gateway.support.receiver import Received
from phonefarm.v1 import agent_pb2, agent_pb2_grpc
from phonefarm_common.channel import bearer
from phonefarm_controller.store import retention
from support.controller import AGENT_TOKEN, KEY
from support.live_farm import eventually
from support.rest_farm import RestFarm

PATIENCE_SECONDS = 180.0


async def _done(farm: RestFarm, **changes: Any) -> str:
    """Return a process that was acted out."""
    process_id = await farm.enqueue(**changes)
    assignment = await farm.begun("SIM1")
    await farm.agent.report(*farm.agent.whole_run(assignment))
    await farm.until(process_id, "completed")
    return process_id


async def test_the_timeline_is_a_chain_from_the_making_to_the_end(moving: RestFarm) -> None:
    """For the process and its item: each step begins where the one before ended."""
    process_id = await _done(moving)

    timeline = await moving.get(f"/processes/{process_id}/timeline")

    assert timeline["truncated"] is False
    chains: dict[str | None, list[dict[str, Any]]] = {}
    for step in timeline["transitions"]:
        chains.setdefault(step["queue_item_id"], []).append(step)
    (item,) = (await moving.record(process_id))["linked_ids"]["queue_item_ids"]
    assert set(chains) == {None, item}
    for chain in chains.values():
        assert chain[0]["from_state"] is None
        assert [step["from_state"] for step in chain[1:]] == [s["to_state"] for s in chain[:-1]]
        assert chain[-1]["to_state"] == "DONE"
        assert all(step["actor"] and step["reason"] for step in chain)
    numbers = [step["number"] for step in timeline["transitions"]]
    assert numbers == sorted(set(numbers))
    assert [step["to_state"] for step in chains[item]] == [
        "QUEUED",
        "CLAIMED",
        "EXECUTING",
        "DONE",
    ]


async def _events(
    farm: RestFarm, process_id: str, *, after: int | None = None
) -> list[tuple[int, dict[str, Any]]]:
    """Return number and data of every event, up to the end of the stream."""
    headers = {"Authorization": f"Bearer {KEY}"}
    if after is not None:
        headers["Last-Event-ID"] = str(after)
    found = []
    async with (
        asyncio.timeout(PATIENCE_SECONDS),
        aiohttp.ClientSession(headers=headers) as session,
        session.get(f"{farm.caller.base}/processes/{process_id}/events") as response,
    ):
        assert response.status == 200
        number = 0
        async for line in response.content:
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if name == "id":
                number = int(value)
            if name == "data":
                data = json.loads(value)
                check_schema({"$ref": "#/components/schemas/ProcessEvent"}, data)
                found.append((number, data))
    return found


async def test_events_follow_a_process_to_its_end(moving: RestFarm) -> None:
    """From queued to completed; numbers rise; no transition comes twice or is left out."""
    process_id = await moving.enqueue()
    watching = asyncio.create_task(_events(moving, process_id))
    assignment = await moving.begun("SIM1")
    await moving.agent.report(*moving.agent.whole_run(assignment))
    events = await watching
    timeline = await moving.get(f"/processes/{process_id}/timeline")

    numbers = [number for number, _ in events]
    assert numbers == sorted(set(numbers))
    assert events[-1][1]["process"] == await moving.record(process_id)
    told = [step for _, data in events for step in data["transitions"]]
    assert told == timeline["transitions"]


async def test_events_resume_after_the_last_one_seen(moving: RestFarm) -> None:
    """What is newer comes; when nothing is, 204 says not to come again."""
    process_id = await _done(moving)
    everything = await _events(moving, process_id)
    newest = everything[-1][0]
    steps = (await moving.get(f"/processes/{process_id}/timeline"))["transitions"]

    resumed = await _events(moving, process_id, after=steps[2]["number"])
    nothing = await moving.caller.call(
        "GET", f"/processes/{process_id}/events", headers={"Last-Event-ID": str(newest)}
    )

    told = [step for _, data in resumed for step in data["transitions"]]
    assert told == steps[3:]
    assert nothing.status == 204


async def test_waiting_work_is_explained(moving: RestFarm) -> None:
    """No phone is offered: a reason, a count, a remedy, for the item and its phone."""
    process_id = await moving.enqueue()

    explanation = await moving.get(f"/processes/{process_id}/explain")

    assert explanation["status"] == "queued"
    assert explanation["summary"]
    (item,) = explanation["items"]
    assert item["status"] == "QUEUED"
    assert explanation["reasons"]
    assert all(reason["count"] == 1 and reason["remedy"] for reason in explanation["reasons"])
    assert [phone["phone_id"] for phone in item["phones"]] == ["ph-sim1"]


async def test_work_whose_time_has_not_come_is_explained(moving: RestFarm) -> None:
    """not_due, with the moment."""
    process_id = await moving.enqueue(not_before="2100-01-01T00:00:00Z")

    explanation = await moving.get(f"/processes/{process_id}/explain")

    assert "not_due" in {reason["reason"] for reason in explanation["reasons"]}
    assert explanation["items"][0]["ready_at"] == "2100-01-01T00:00:00.000Z"


async def test_a_queue_item_shows_its_plan_and_attempts(moving: RestFarm) -> None:
    """Each action with its state, each attempt with its run, phone and account."""
    process_id = await _done(moving)
    (item_id,) = (await moving.record(process_id))["linked_ids"]["queue_item_ids"]

    item = await moving.get(f"/queue-items/{item_id}")

    assert item["process_id"] == process_id
    assert (item["status"], item["phone_id"], item["account_id"]) == (
        "DONE",
        "ph-sim1",
        "acc-SIM1",
    )
    assert {action["status"] for action in item["actions"]} == {"done"}
    (attempt,) = item["attempts"]
    assert (attempt["attempt"], attempt["phone_id"]) == (1, "ph-sim1")
    assert attempt["ended_at"] is not None


async def test_deliveries_are_logged_and_sent_again(moving: RestFarm) -> None:
    """Every attempt; a replay sends the same event once more."""
    failing = 1

    async def answer(_: Received) -> web.StreamResponse:
        nonlocal failing
        failing -= 1
        return web.Response(status=500 if failing >= 0 else 204)

    moving.receiver.answer = answer
    process_id = await moving.enqueue()
    path = f"/processes/{process_id}/deliveries"

    async def delivered() -> dict[str, Any] | None:
        (line,) = (await moving.get(path))["deliveries"]
        return line if line["status"] == "delivered" else None

    line = await eventually(delivered, what="the delivery")
    again = await moving.post(f"{path}/replay", {"sequences": [1]})
    received = await moving.receiver.wait(3)
    nothing = await moving.post(f"{path}/replay", {"sequences": [7]})

    assert [one["outcome"] for one in line["log"]] == ["failed", "delivered"]
    assert line["log"][0]["http_status"] == 500
    assert (again.status, again.body["sequences"]) == (200, [1])
    assert len({one.body for one in received}) == 1
    assert nothing.status in {409, 422}


async def test_evidence_is_listed_and_read(moving: RestFarm) -> None:
    """What the agent uploaded, to the byte; nothing of another process."""
    process_id = await moving.enqueue()
    assignment = await moving.begun("SIM1")
    data = b"\x89PNG" + os.urandom(200_000)
    digest = hashlib.sha256(data).hexdigest()
    head = agent_pb2.EvidenceHead(
        run=assignment.run,
        name="a1-screen.png",
        kind="screenshot",
        bytes=len(data),
        sha256=digest,
        action_index=1,
    )
    chunks = [agent_pb2.EvidenceChunk(head=head), agent_pb2.EvidenceChunk(data=data)]
    stub: Any = agent_pb2_grpc.AgentServiceStub(moving.farm.channel)
    await stub.UploadEvidence(iter(chunks), metadata=bearer(AGENT_TOKEN))
    other = await moving.enqueue(request_id="other")
    (half,) = (await moving.get(f"/processes/{process_id}/evidence"))["runs"]
    last = agent_pb2.EvidenceHead(
        run=assignment.run,
        name="manifest.json",
        kind="manifest",
        bytes=2,
        sha256=hashlib.sha256(b"{}").hexdigest(),
        action_index=-1,
    )
    chunks = [agent_pb2.EvidenceChunk(head=last), agent_pb2.EvidenceChunk(data=b"{}")]
    await stub.UploadEvidence(iter(chunks), metadata=bearer(AGENT_TOKEN))

    (run,) = (await moving.get(f"/processes/{process_id}/evidence"))["runs"]
    line, _ = (await moving.get(f"/processes/{process_id}/evidence"))["evidence"]
    url = urljoin(f"/processes/{process_id}/evidence", line["url"])
    read = await moving.caller.call("GET", url)
    head_only = await moving.caller.call("HEAD", url)
    elsewhere = await moving.caller.call(
        "GET", f"/processes/{other}/evidence/{line['evidence_id']}"
    )
    async with moving.farm.controller.database.writing() as tx:
        await retention.mark_removed(tx, [line["evidence_id"]], why="retention: a test")
    gone = await moving.caller.call("GET", url)
    (left, _) = (await moving.get(f"/processes/{process_id}/evidence"))["evidence"]

    assert (half["run_id"], half["complete"]) == (assignment.run.run_id, False)
    assert run == half | {"complete": True}
    assert (line["name"], line["sha256"], line["action_index"]) == ("a1-screen.png", digest, 1)
    assert read.body == data
    assert read.headers["Content-Type"] == "image/png"
    assert (head_only.body, head_only.headers["Content-Length"]) == (b"", str(len(data)))
    assert (elsewhere.status, elsewhere.body["error"]) == (404, "unknown_evidence")
    assert (gone.status, gone.body["error"]) == (404, "evidence_removed")
    assert "a1-screen.png was removed on" in gone.body["detail"]
    assert (line["removed_at"], left["removed_why"]) == (None, "retention: a test")
    assert left["removed_at"] is not None


async def test_capabilities_publish_what_checks_the_inputs(moving: RestFarm) -> None:
    """The registry of the contract: modes, routings, a schema each."""
    found = {one["name"]: one for one in (await moving.get("/capabilities"))["capabilities"]}

    assert set(found) >= {"keyword_warmup", "fyp_warmup", "maintenance", "post_video"}
    assert found["fyp_warmup"]["modes"] == ["manual"]
    assert set(found["keyword_warmup"]["routings"]) == {"direct", "queue", "group"}
    assert found["post_video"]["endpoint"] == "/ingest"
    assert "keywords" in found["keyword_warmup"]["inputs_schema"]["required"]
    assert not found["keyword_warmup"]["apps"][0]["live_verified"]


async def test_the_longest_filters_are_read(moving: RestFarm) -> None:
    """A character of a filter can take twelve bytes of the request line."""
    longest = {"system": 128, "request_id": 256, "account_id": 128, "phone_id": 128}
    filters = [(name, "\N{MOBILE PHONE}" * length) for name, length in longest.items()]
    filters += [("type", f"{number:02}" + "\N{MOBILE PHONE}" * 126) for number in range(20)]
    line = urlencode(filters)

    assert len(line) > 30_000
    assert (await moving.get(f"/processes?{line}"))["processes"] == []
    subject = urlencode({"subject": "\N{MOBILE PHONE}" * 300})
    assert (await moving.get(f"/audit?{subject}"))["entries"] == []
