"""The endpoints that look into the work, and the farm's: each answer as published."""

import uuid
from typing import Any

import pytest
from gateway.support.farm import Farm, farm
from gateway.support.memory_controller import KEY, READ_ONLY_KEY
from phonefarm.v1 import inspect_pb2

NOBODY = "6f1c2f0e-8f0f-4c55-9d55-0f6a1a2b3c4d"
ITEM = "2b0c8f5e-52b4-4f5e-9d0a-8a4d5a3c1b11"

OF_A_PROCESS = ("timeline", "explain", "deliveries", "evidence", "events")
GETS = (
    "/processes",
    *(f"/processes/{NOBODY}{under}" for under in ("", *(f"/{word}" for word in OF_A_PROCESS))),
    f"/processes/{NOBODY}/evidence/{ITEM}",
    f"/queue-items/{ITEM}",
    "/capabilities",
    "/phones",
    "/accounts",
    "/metrics",
)
SENDS = (
    ("POST", "/ingest"),
    ("POST", "/cancel"),
    ("POST", "/runtime-snapshots/upsert"),
    ("POST", f"/processes/{NOBODY}/deliveries/replay"),
    ("PUT", "/accounts/acc-1"),
)


@pytest.mark.parametrize(("method", "path"), [*(("GET", path) for path in GETS), *SENDS])
@pytest.mark.parametrize("key", [None, "wrong"])
async def test_nobody_without_a_key_learns_anything(
    method: str, path: str, key: str | None
) -> None:
    """Every endpoint about the farm is 401 without a good key, whatever the body or query."""
    async with farm() as it:
        answer = await it.call(method, f"{path}?limit=x", b"{not json", key=key)

        assert (answer.status, answer.body["error"]) == (401, "unauthenticated")


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("POST", "/ingest", "submit"),
        ("POST", "/cancel", "cancel"),
        ("POST", "/runtime-snapshots/upsert", "submit"),
        ("POST", f"/processes/{NOBODY}/deliveries/replay", "operate"),
        ("PUT", "/accounts/acc-1", "operate"),
    ],
)
async def test_a_key_that_may_only_read_changes_nothing(method: str, path: str, scope: str) -> None:
    """Each call names the scope it lacks, before the body is looked at."""
    async with farm() as it:
        answer = await it.call(method, path, b"{not json", key=READ_ONLY_KEY)

        assert (answer.status, answer.body["error"]) == (403, f"insufficient_scope:{scope}")


@pytest.mark.parametrize("word", OF_A_PROCESS)
@pytest.mark.parametrize("process_id", [NOBODY, "nonsense"])
async def test_what_belongs_to_an_unknown_process_is_404(word: str, process_id: str) -> None:
    """A process nobody knows has no timeline, no explanation, no deliveries, nothing."""
    async with farm() as it:
        answer = await it.call("GET", f"/processes/{process_id}/{word}")

        assert (answer.status, answer.body["error"]) == (404, "unknown_process")


async def test_the_timeline_tells_every_transition() -> None:
    """Oldest first; a making has no state before, the process itself no item."""
    async with farm() as it:
        process_id = it.controller.add_process(url="http://e.example")
        await it.controller.inspection.move(process_id, "QUEUED")
        await it.controller.inspection.move(process_id, "PLANNED")

        answer = await it.call("GET", f"/processes/{process_id}/timeline")

        assert answer.status == 200
        assert list(answer.body) == ["process_id", "transitions", "truncated"]
        first, second = answer.body["transitions"]
        assert (first["from_state"], first["to_state"]) == (None, "QUEUED")
        assert (second["from_state"], second["to_state"]) == ("QUEUED", "PLANNED")
        assert first["queue_item_id"] is None
        assert first["at"].endswith("Z")


async def test_the_explanation_names_reasons_and_remedies() -> None:
    """Counts per reason with a remedy, each item with its phones."""
    async with farm() as it:
        process_id = it.controller.add_process(url="http://e.example")

        answer = await it.call("GET", f"/processes/{process_id}/explain")

        assert answer.status == 200
        assert answer.body["summary"] == "It waits for a phone."
        assert answer.body["reasons"] == [
            {"reason": "phone_busy", "count": 1, "remedy": "Wait until its run ends."}
        ]
        (item,) = answer.body["items"]
        assert item["items_ahead"] == 2
        assert item["ready_at"] is None
        assert item["phones"][0]["phone_id"] == "phone-1"


async def test_a_queue_item_is_shown_whole() -> None:
    """Its plan, attempts, outputs as JSON; what is not known is null."""
    async with farm() as it:
        item = inspect_pb2.QueueItem(
            queue_item_id=ITEM,
            process_id=NOBODY,
            process_type="keyword_warmup",
            status="DONE",
            priority=5,
            attempt=2,
            outputs_json='{"watched": 3}',
        )
        item.actions.add(index=0, kind="launch_app", limit_seconds=60, repeat="safe", status="done")
        item.attempts.add(attempt=1, run_id=str(uuid.uuid4()), status="ENDED", outcome="failed")
        it.controller.inspection.items[ITEM] = item

        answer = await it.call("GET", f"/queue-items/{ITEM.upper()}")
        unknown = await it.call("GET", f"/queue-items/{NOBODY}")
        no_id = await it.call("GET", "/queue-items/x")

        assert answer.status == 200
        assert answer.body["outputs"] == {"watched": 3}
        assert answer.body["actions"][0]["limit_seconds"] == 60.0
        assert answer.body["attempts"][0]["phone_id"] is None
        assert answer.body["error"] is None
        for missing in (unknown, no_id):
            assert (missing.status, missing.body["error"]) == (404, "unknown_queue_item")


async def test_deliveries_are_listed_and_sent_again() -> None:
    """The log of attempts; replay takes some, or without a body all that were not delivered."""
    async with farm() as it:
        process_id = it.controller.add_process(url="http://e.example")
        line = inspect_pb2.DeliveryLine(
            delivery_id=str(uuid.uuid4()),
            sequence=1,
            milestone="accepted",
            url="http://e.example",
            status="dead",
            attempts=1,
            last_error="HTTP 500",
        )
        line.log.add(attempt=1, outcome="failed", http_status=500, error="HTTP 500", gateway_id="g")
        it.controller.inspection.lines[process_id].append(line)
        path = f"/processes/{process_id}/deliveries"

        listed = await it.call("GET", path)
        again = await it.call("POST", f"{path}/replay")
        none = await it.call("POST", f"{path}/replay", {})
        line.status = "delivered"
        named = await it.call("POST", f"{path}/replay", {"sequences": [1]})

        (delivery,) = listed.body["deliveries"]
        assert delivery["log"][0]["http_status"] == 500
        assert delivery["settled_at"] is None
        assert (again.status, again.body) == (200, {"process_id": process_id, "sequences": [1]})
        assert (none.status, none.body["error"]) == (409, "state_conflict")
        assert named.body["sequences"] == [1]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"sequences": [0]}, "sequences[0]"),
        ({"sequences": ["1"]}, "sequences[0]"),
        ({"sequences": 1}, "sequences"),
        ({"sequences": [1] * 1001}, "sequences"),
        ([], "body"),
    ],
)
async def test_a_wrong_replay_names_the_field(body: Any, field: str) -> None:
    """Only a list of numbers from 1 is taken."""
    async with farm() as it:
        process_id = it.controller.add_process(url="http://e.example")

        answer = await it.call("POST", f"/processes/{process_id}/deliveries/replay", body)

        assert (answer.status, answer.body["errors"][0]["field"]) == (422, field)


async def test_capabilities_carry_the_schema_of_their_inputs() -> None:
    """The schema is JSON, not text; what is verified is told by app."""
    async with farm() as it:
        answer = await it.call("GET", "/capabilities")

        (warmup,) = answer.body["capabilities"]
        assert warmup["inputs_schema"]["required"] == ["keywords"]
        assert warmup["apps"][0]["live_verified"] is True
        assert warmup["apps"][0]["run_id"] is None


async def test_phones_tell_each_axis_in_words() -> None:
    """Enumerations become words; a phone nobody drives has no run."""
    async with farm() as it:
        answer = await it.call("GET", "/phones")

        phone, _ = answer.body["phones"]
        assert (phone["transport"], phone["readiness"]) == ("no_permission", "ready")
        assert phone["run_id"] is None
        assert phone["offered"] is True
        assert (phone["health_until"], phone["cooling_until"]) == (None, None)
        assert (phone["needs_hands"], phone["reasons"]) == ("", [])


async def test_a_phone_without_work_tells_every_reason() -> None:
    """Each with what helps, and until when where time alone ends it."""
    async with farm() as it:
        answer = await it.call("GET", "/phones")

        _, phone = answer.body["phones"]
        assert phone["health_until"] == "2027-01-15T08:00:00.000Z"
        assert phone["cooling_until"] == "2023-11-14T22:13:20.000Z"
        assert phone["needs_hands"] == "allow debugging on its screen"
        assert [(each["reason"], each["until"]) for each in phone["reasons"]] == [
            ("phone_quarantined", "2027-01-15T08:00:00.000Z"),
            ("phone_needs_hands", None),
        ]
        assert all(each["remedy"] and each["detail"] for each in phone["reasons"])


async def test_an_account_is_put_and_listed() -> None:
    """PUT replaces it; left out, it is active and in order."""
    async with farm() as it:
        put = await it.call("PUT", "/accounts/acc-2", {"phone_id": None, "app": "shortvideo"})
        listed = await it.call("GET", "/accounts")

        assert put.status == 200
        assert put.body == {
            "account_id": "acc-2",
            "phone_id": None,
            "app": "shortvideo",
            "active": True,
            "condition": "ok",
            "condition_reason": "",
        }
        assert put.body in listed.body["accounts"]


@pytest.mark.parametrize(
    ("account_id", "body", "status", "field"),
    [
        ("acc-1", {"app": "shortvideo"}, 422, "phone_id"),
        ("acc-1", {"phone_id": "phone-1"}, 422, "app"),
        ("acc-1", {"phone_id": "phone-1", "app": "other"}, 422, "app"),
        ("acc-1", {"phone_id": 1, "app": "shortvideo"}, 422, "phone_id"),
        ("acc-1", {"phone_id": None, "app": "shortvideo", "active": "yes"}, 422, "active"),
        ("acc-1", {"phone_id": None, "app": "shortvideo", "condition": "bad"}, 422, "condition"),
        ("a%20b", {"phone_id": None, "app": "shortvideo"}, 422, "account_id"),
        ("%00", {"phone_id": None, "app": "shortvideo"}, 422, "account_id"),
        ("acc-1", {"phone_id": "phone-9", "app": "shortvideo"}, 404, None),
    ],
)
async def test_a_wrong_account_names_the_field(
    account_id: str, body: Any, status: int, field: str | None
) -> None:
    """As it stands in the body, or in the path."""
    async with farm() as it:
        answer = await it.call("PUT", f"/accounts/{account_id}", body)

        assert answer.status == status
        assert [error["field"] for error in answer.body["errors"]] == ([field] if field else [])


async def test_every_filter_reaches_the_controller() -> None:
    """Each parameter is one field of the call, times with their zone."""
    async with farm() as it:
        query = (
            "status=queued&status=executing&type=keyword_warmup&type=maintenance&system=s"
            "&request_id=r&account_id=a&phone_id=p&created_from=2026-01-31T12:00:00%2B02:00"
            "&created_before=2026-02-01T00:00:00Z&limit=7"
        )

        answer = await it.call("GET", f"/processes?{query}")

        (asked,) = it.controller.listed
        assert answer.body == {"processes": [], "next_cursor": None}
        assert list(asked.statuses) == ["queued", "executing"]
        assert list(asked.process_types) == ["keyword_warmup", "maintenance"]
        assert (asked.system, asked.request_id) == ("s", "r")
        assert (asked.account_id, asked.phone_id, asked.limit) == ("a", "p", 7)
        assert asked.created_from.ToJsonString() == "2026-01-31T10:00:00Z"
        assert asked.created_before.ToJsonString() == "2026-02-01T00:00:00Z"


async def test_pages_follow_each_other() -> None:
    """Every process is on one page; the last has no cursor."""
    async with farm() as it:
        made = [it.controller.add_process(url="http://e.example") for _ in range(5)]

        seen = await _all(it, "/processes?limit=2")

        assert seen == list(reversed(made))


async def _all(it: Farm, path: str) -> list[str]:
    seen: list[str] = []
    cursor = ""
    while True:
        page = (await it.call("GET", path + cursor)).body
        seen += [one["process_id"] for one in page["processes"]]
        if page["next_cursor"] is None:
            return seen
        cursor = f"&cursor={page['next_cursor']}"


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("stauts=queued", "stauts"),
        ("limit=1&limit=2", "limit"),
        ("system=", "system"),
        ("system=a%00b", "system"),
        ("created_from=yesterday", "created_from"),
        ("created_from=2026-01-31T12:00:00", "created_from"),
        ("cursor=nonsense", "cursor"),
        ("type=" + "x" * 129, "type"),
        ("a" * 100 + "=1", "a" * 64 + "..."),
    ],
)
async def test_a_wrong_filter_is_422(query: str, field: str) -> None:
    """A misspelt filter is refused rather than ignored."""
    async with farm() as it:
        answer = await it.call("GET", f"/processes?{query}")

        assert (answer.status, answer.body["error"]) == (422, "invalid_request")
        assert [error["field"] for error in answer.body["errors"]] == [field]


async def test_readyz_tells_a_refused_token_from_an_absent_controller() -> None:
    """Ready; then its own token is refused, or its certificate; then nobody answers."""
    async with farm() as it:
        ready = await it.call("GET", "/readyz", key=None)
        it.controller.token = "another"
        refused = await it.call("GET", "/readyz", key=None)
        it.controller.refusal = "certificate_refused"
        revoked = await it.call("GET", "/readyz", key=None)
        await it.controller.stop()
        away = await it.call("GET", "/readyz", key=None)

        assert (ready.status, ready.body) == (200, {"status": "ready"})
        assert (refused.status, refused.body["error"]) == (503, "gateway_token_refused")
        assert "PHONEFARM_GATEWAY_TOKEN" in refused.body["detail"]
        assert revoked.body["error"] == "gateway_token_refused"
        assert "`phonefarm gateways invite --gateway-id ID`" in revoked.body["detail"]
        assert (away.status, away.body["error"]) == (503, "controller_unavailable")


async def test_metrics_count_requests_by_endpoint() -> None:
    """The template of the path is counted, not each path; an odd method is no new series."""
    async with farm() as it:
        await it.call("GET", f"/processes/{NOBODY}")
        await it.call("PROPFIND", "/healthz")

        page = (await it.call("GET", "/metrics")).body.decode()

        wanted = 'phonefarm_gateway_requests_total{method="GET",path="/processes/{process_id}"'
        assert f'{wanted},status="404"}} 1.0' in page
        assert 'method="?"' in page
        assert "PROPFIND" not in page
        assert NOBODY not in page
        assert KEY not in page
        assert "phonefarm_gateway_event_streams 0.0" in page


async def test_metrics_may_be_open() -> None:
    """--open-metrics asks for no key."""
    async with farm(changes={"open_metrics": True}) as it:
        answer = await it.call("GET", "/metrics", key=None)

        assert answer.status == 200
