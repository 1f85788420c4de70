"""What callers get when all is well."""

import json
import re
import uuid
from datetime import UTC, datetime

from gateway.support.farm import enqueue_body, farm, maintenance_body
from gateway.support.memory_controller import ACCOUNT, KEY, PHONE, TOKEN
from google.protobuf.timestamp_pb2 import Timestamp
from phonefarm.v1 import process_pb2

RECORD_KEYS = [
    "process_id",
    "process_type",
    "request_id",
    "status",
    "target",
    "requested_by",
    "callback",
    "result",
    "error",
    "timestamps",
    "linked_ids",
    "partial_progress",
    "trace_id",
    "outcome",
]


ITEM = "2b0c8f5e-52b4-4f5e-9d0a-8a4d5a3c1b11"


async def test_enqueue_answers_202_and_passes_everything_on() -> None:
    """An accepted request answers the contract's four keys, and the controller gets every value."""
    async with farm() as it:
        metadata = {"z": 1, "a": [10**30, 1.5, None], "ä": "ü"}
        sent = enqueue_body(
            priority=9,
            not_before="2030-01-31T12:00:00+02:00",
            deadline="2030-02-01T00:00:00.250Z",
            inputs={"keywords": ["tea"], "videos_per_keyword": 3},
            requested_by={"system": "tests", "user": "ann", "metadata": metadata},
            a_key_of_some_existing_caller=True,
        )

        answer = await it.call("POST", "/capability-requests/enqueue", sent)

        assert answer.status == 202
        process_id = answer.body["process_id"]
        assert answer.body == {
            "status": "accepted",
            "process_id": process_id,
            "request_id": "req-1",
            "process_type": "keyword_warmup",
        }
        assert str(uuid.UUID(process_id)) == process_id
        (request,) = it.controller.enqueued
        assert request.mode == process_pb2.MODE_MANUAL
        assert request.target.routing == process_pb2.ROUTING_DIRECT
        assert (request.target.account_id, request.target.phone_id) == (ACCOUNT, "")
        assert request.priority == 9
        assert request.not_before.ToDatetime(tzinfo=UTC) == datetime(2030, 1, 31, 10, tzinfo=UTC)
        assert request.deadline.ToMilliseconds() % 1000 == 250
        assert request.inputs_json == '{"keywords":["tea"],"videos_per_keyword":3}'
        assert request.requested_by.user == "ann"
        assert list(json.loads(request.requested_by.metadata_json)) == ["z", "a", "ä"]
        assert json.loads(request.requested_by.metadata_json) == metadata
        assert it.controller.metadata_seen[-1]["authorization"] == f"Bearer {KEY}"
        assert it.controller.metadata_seen[-1]["x-phonefarm-gateway-token"] == TOKEN


async def test_absent_options_stay_absent() -> None:
    """What a caller leaves out or sends as null reaches the controller as absent, not as a zero."""
    async with farm() as it:
        body = enqueue_body() | {"priority": None, "deadline": None}

        answer = await it.call("POST", "/capability-requests/enqueue", body)

        assert answer.status == 202
        (request,) = it.controller.enqueued
        for name in ("priority", "not_before", "deadline"):
            assert not request.HasField(name)
        assert not request.requested_by.HasField("user")


async def test_a_repeat_answers_200_with_the_first_process() -> None:
    """The same request again is a duplicate; a different body under its key says so."""
    async with farm() as it:
        first = await it.enqueue()

        same = await it.enqueue()
        other = await it.enqueue(inputs={"keywords": ["coffee"]})

        assert same.status == other.status == 200
        expected = first.body | {"duplicate": True, "process_status": "queued"}
        assert same.body == expected
        assert other.body == expected | {"request_differs": True}


async def test_a_dry_run_creates_nothing() -> None:
    """A dry run answers 200 without a process."""
    async with farm() as it:
        answer = await it.enqueue(dry_run=True)

        assert (answer.status, answer.body["status"]) == (200, "dry_run")
        assert answer.body["process_id"] is None
        assert answer.body["items_planned"] == 1
        assert not it.controller.processes


async def test_maintenance_becomes_a_direct_manual_enqueue() -> None:
    """A maintenance request travels as an enqueue of `maintenance`, its inputs as sent."""
    async with farm() as it:
        body = maintenance_body()

        answer = await it.call("POST", "/maintenance/requests", body)

        assert answer.status == 202
        assert answer.body["process_type"] == "maintenance"
        (request,) = it.controller.enqueued
        assert request.capability == "maintenance"
        assert request.mode == process_pb2.MODE_MANUAL
        assert request.target.routing == process_pb2.ROUTING_DIRECT
        assert request.target.account_id == ACCOUNT
        assert json.loads(request.inputs_json) == body["inputs"]


async def test_get_answers_exactly_the_record_of_the_contract() -> None:
    """A full record has every key in order, times in UTC with milliseconds, null for the rest."""
    async with farm() as it:
        process_id = (await it.enqueue()).body["process_id"]
        process = it.controller.processes[process_id]
        process.status = "failed_terminal"
        process.target_phone_id = PHONE
        process.result_json = '{"items":{"' + ITEM + '":{"watched":3}}}'
        process.queue_item_ids.append(ITEM)
        process.timestamps.finished_at.FromMilliseconds(1_900_000_000_042)
        process.error.CopyFrom(
            process_pb2.ProcessError(
                code="phone_lost", message="gone", failure_class="infra", attempt=2
            )
        )
        process.partial_progress.CopyFrom(
            process_pb2.PartialProgress(
                items_total=1,
                items_failed=1,
                items=[
                    process_pb2.ItemProgress(
                        queue_item_id=ITEM,
                        status="DEAD_LETTER",
                        actions_done=1,
                        actions_total=4,
                        deadline_at=Timestamp(seconds=1_900_086_400),
                        deadline_given=True,
                    )
                ],
            )
        )

        answer = await it.call("GET", f"/processes/{process_id.upper()}")

        assert answer.status == 200
        record = answer.body
        assert list(record) == RECORD_KEYS
        assert record["outcome"] == "failed"
        assert record["target"] == {"account_id": ACCOUNT, "phone_id": PHONE}
        assert record["requested_by"] == {"system": "tests", "user": None, "metadata": {}}
        assert record["result"] == {"items": {ITEM: {"watched": 3}}}
        assert record["error"] == {
            "code": "phone_lost",
            "message": "gone",
            "class": "infra",
            "queue_item_id": None,
            "action": None,
            "attempt": 2,
        }
        assert record["timestamps"]["finished_at"] == "2030-03-17T17:46:40.042Z"
        assert record["timestamps"]["retrying_at"] is None
        created = record["timestamps"]["created_at"]
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", created)
        assert record["linked_ids"] == {"queue_item_ids": [ITEM], "completed_queue_item_ids": []}
        assert record["partial_progress"]["items"] == [
            {
                "queue_item_id": ITEM,
                "phone_id": None,
                "account_id": None,
                "status": "DEAD_LETTER",
                "actions_done": 1,
                "actions_total": 4,
                "deadline_at": "2030-03-18T17:46:40.000Z",
                "deadline_given": True,
            }
        ]


async def test_a_bare_record_shows_nulls_and_empty_objects() -> None:
    """An ingest-like process without request id, callback or progress keeps all keys."""
    async with farm() as it:
        process_id = it.controller.add_process(url="", request_id="")
        process = it.controller.processes[process_id]
        process.ClearField("callback")

        record = (await it.call("GET", f"/processes/{process_id}")).body

        assert list(record) == RECORD_KEYS
        assert record["request_id"] is record["callback"] is record["error"] is None
        assert record["result"] == record["partial_progress"] == {}


async def test_listing_keeps_the_newest_of_the_wanted_statuses() -> None:
    """Processes are listed newest first, cut to the limit, filtered by status."""
    async with farm() as it:
        ids = [it.controller.add_process(url="http://e.example") for _ in range(3)]
        it.controller.processes[ids[0]].status = "completed"

        newest = await it.call("GET", "/processes?limit=1", key="reader-key")
        done = await it.call("GET", "/processes?status=completed&status=cancelled")

        assert [p["process_id"] for p in newest.body["processes"]] == [ids[2]]
        assert [p["process_id"] for p in done.body["processes"]] == [ids[0]]


async def test_cancel_of_an_executing_process_answers_every_key() -> None:
    """The answer has the active target, the termination and the process, as the contract says."""
    async with farm() as it:
        process_id = it.controller.add_process(url="http://e.example")
        it.controller.processes[process_id].status = "executing"
        it.controller.processes[process_id].queue_item_ids.append(ITEM)
        body = {"reason": "wrong account", "requested_by": "ann", "strategy": "hard"}

        answer = await it.call("POST", f"/processes/{process_id}/cancel", body)

        assert answer.status == 200
        assert answer.body == {
            "status": "cancel_requested",
            "cancelled_queue_item_ids": [],
            "active_queue_item_ids": [ITEM],
            "active_target": {
                "process_id": process_id,
                "phone_id": PHONE,
                "account_id": ACCOUNT,
                "queue_item_id": ITEM,
                "capability_request_id": process_id,
            },
            "termination": {
                "process_id": process_id,
                "status": "issued",
                "terminate_issued": True,
                "container": "run-1",
            },
            "process": {"process_id": process_id, "status": "executing"},
        }
        (request,) = it.controller.cancels
        assert (request.reason, request.requested_by) == ("wrong account", "ann")


async def test_cancel_defaults_and_a_terminal_process() -> None:
    """Strategy and window have defaults, `requested_by` may be the object; terminal is ignored."""
    async with farm() as it:
        process_id = it.controller.add_process(url="http://e.example")
        it.controller.processes[process_id].status = "completed"
        body = {"reason": "late", "requested_by": {"system": "crm", "user": "bob"}}

        answer = await it.call("POST", f"/processes/{process_id}/cancel", body)

        assert answer.status == 200
        assert answer.body["status"] == "ignored_terminal"
        assert answer.body["active_target"]["queue_item_id"] is None
        assert answer.body["termination"]["container"] is None
        (request,) = it.controller.cancels
        assert request.strategy == process_pb2.CANCEL_STRATEGY_SOFT_THEN_FORCE
        assert request.force_after_seconds == 10
        assert request.requested_by == "crm/bob"


async def test_health_and_readiness_need_no_key() -> None:
    """Healthz speaks for the gateway, readyz for the controller behind it too."""
    async with farm() as it:
        alive = await it.call("GET", "/healthz", key=None)
        ready = await it.call("GET", "/readyz", key=None)
        await it.controller.stop()
        still_alive = await it.call("GET", "/healthz", key=None)
        not_ready = await it.call("GET", "/readyz", key=None)

        assert (alive.status, ready.status) == (200, 200)
        assert (still_alive.status, not_ready.status) == (200, 503)
        assert not_ready.body["error"] == "controller_unavailable"


async def test_a_gateway_the_controller_does_not_know_is_not_ready() -> None:
    """A wrong token of the gateway's own is told as such, and never as the caller's 401."""
    async with farm() as it:
        it.controller.token = "another"
        ready = await it.call("GET", "/readyz", key=None)
        enqueued = await it.enqueue()
        it.controller.token = TOKEN
        again = await it.call("GET", "/readyz", key=None)

        assert (ready.status, ready.body["error"]) == (503, "gateway_token_refused")
        assert (enqueued.status, enqueued.body["error"]) == (503, "gateway_token_refused")
        assert "Retry-After" in ready.headers
        assert again.status == 200
