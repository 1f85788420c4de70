"""The contract's rules about the legacy ingest and the snapshots, over HTTP."""

import itertools
import json
from typing import Any

import pytest
from aiohttp import web
from gateway.support.receiver import Received
from support.rest_farm import RestFarm

pytestmark = pytest.mark.asyncio(loop_scope="module")

_NUMBERS = itertools.count()


def ingest_body(still: RestFarm, **changes: Any) -> dict[str, Any]:
    """Return a body that is accepted, with *changes*; None removes a key."""
    body = {
        "content_id": f"content-{next(_NUMBERS)}",
        "account_id": "acc-SIM1",
        "video_path": still.receiver.url("/v.mp4"),
        "caption": "tea",
    }
    return {name: value for name, value in (body | changes).items() if value is not None}


@pytest.mark.parametrize(
    ("changes", "status", "told"),
    [
        *[
            ({name: None}, 422, name)
            for name in ("content_id", "account_id", "video_path", "caption")
        ],
        ({"caption": ""}, 422, "caption"),
        ({"caption": "x" * 4001}, 422, "caption"),
        ({"caption": "bell\a"}, 422, "caption"),
        ({"caption": "one\r\ntwo"}, 422, "caption"),
        ({"hashtags": ["tea", "a\tb"]}, 422, "hashtags[1]"),
        ({"video_path": "file:///etc/passwd"}, 422, "video_path"),
        ({"video_path": "http://10.0.0.1/v"}, 422, "video_path"),
        ({"cover_image_path": "/c.png"}, 422, "cover_image_path"),
        ({"callback_url": "http://10.0.0.1/"}, 422, "callback_url"),
        ({"hashtags": "tea"}, 422, "hashtags"),
        ({"scheduling_hint": "tomorrow"}, 422, "scheduling_hint"),
        ({"metadata": []}, 422, "metadata"),
        ({"account_id": "nobody"}, 404, "unknown_account:nobody"),
        ({"account_id": "acc-off"}, 404, "inactive_account:acc-off"),
    ],
)
async def test_a_wrong_ingest_is_refused(
    still: RestFarm, changes: dict[str, Any], status: int, told: str
) -> None:
    """Each field by its name; the account must be active."""
    answer = await still.post("/ingest", ingest_body(still, **changes))

    assert answer.status == status
    assert told in (answer.fields if status == 422 else [answer.body["error"]])


async def test_an_ingest_is_one_item_of_a_process(still: RestFarm) -> None:
    """202 with the item; its process has no request_id, the system ingest, a callback or none."""
    plain = await still.post("/ingest", ingest_body(still))
    full = await still.post(
        "/ingest",
        ingest_body(
            still,
            hashtags=["a", "#b"],
            sound_id="s",
            cover_image_path=still.receiver.url("/c.png"),
            callback_url=still.receiver.url("/cb"),
            metadata={"campaign": 7},
        ),
    )
    page = await still.get("/processes?type=post_video&limit=2")

    assert plain.status == full.status == 202
    assert full.body["queue_status"] == "QUEUED"
    second, first = page["processes"]
    assert first["linked_ids"]["queue_item_ids"] == [plain.body["queue_item_id"]]
    assert second["linked_ids"]["queue_item_ids"] == [full.body["queue_item_id"]]
    for record in (first, second):
        assert record["process_type"] == "post_video"
        assert record["request_id"] is None
        assert record["requested_by"]["system"] == "ingest"
        assert record["target"] == {"account_id": "acc-SIM1", "phone_id": "ph-sim1"}
    assert first["callback"] is None
    assert second["callback"] == {
        "url": still.receiver.url("/cb"),
        "metadata": {"campaign": 7},
    }


async def test_an_ingest_may_wait_for_its_moment_and_be_taken_back(still: RestFarm) -> None:
    """SCHEDULED until the hint; cancelled from there, the second time is a conflict."""
    body = ingest_body(still, scheduling_hint="2100-01-01T00:00:00Z")
    scheduled = await still.post("/ingest", body)
    named = {"content_id": body["content_id"], "account_id": "acc-SIM1"}

    no_reason = await still.post("/cancel", named)
    cancelled = await still.post("/cancel", named | {"reason": "r"})
    again = await still.post("/cancel", named | {"reason": "r"})
    repeat = await still.post("/ingest", body)
    unknown = await still.post("/cancel", named | {"content_id": "none", "reason": "r"})

    assert scheduled.body["queue_status"] == "SCHEDULED"
    assert (no_reason.status, no_reason.fields) == (422, ["reason"])
    assert (cancelled.status, cancelled.body) == (
        200,
        {
            "status": "cancelled",
            "queue_item_id": scheduled.body["queue_item_id"],
            "previous_status": "SCHEDULED",
        },
    )
    assert (again.status, again.body["error"]) == (409, "state_conflict:CANCELLED")
    assert (repeat.status, repeat.body["queue_status"]) == (200, "CANCELLED")
    assert (unknown.status, unknown.body["error"]) == (404, "unknown_content")


async def test_a_repeat_succeeds_after_its_asset_expired(still: RestFarm) -> None:
    """And a new content with that asset does not."""
    body = ingest_body(still)
    first = await still.post("/ingest", body)

    async def gone(_: Received) -> web.StreamResponse:
        return web.Response(status=404)

    before, still.receiver.answer = still.receiver.answer, gone
    repeat = await still.post("/ingest", body)
    new = await still.post("/ingest", ingest_body(still))
    still.receiver.answer = before

    assert (first.status, repeat.status) == (202, 200)
    assert repeat.body == first.body | {"status": "duplicate"}
    assert (new.status, new.body["error"]) == (422, "asset_missing:video_path")


def snapshot(**changes: Any) -> dict[str, Any]:
    """Return a snapshot that is accepted, with *changes*; None removes a key."""
    body = {
        "account_id": "acc-SIM2",
        "ugc_account_id": "u",
        "snapshot_id": "s",
        "strategy_version": 5,
        "content_hash": "h",
        "strategy_synced_at": "2026-01-31T12:00:00Z",
        "personality": {"tone": "warm"},
        "stage": None,
        "active_action": None,
        "active_skills": [],
    }
    return body | changes


@pytest.mark.parametrize(
    ("changes", "status", "told"),
    [
        ({"strategy_version": 0}, 422, "strategy_version"),
        ({"strategy_synced_at": "soon"}, 422, "strategy_synced_at"),
        ({"personality": []}, 422, "personality"),
        ({"active_skills": "x"}, 422, "active_skills"),
        ({"snapshot_id": ""}, 422, "snapshot_id"),
        ({"account_id": "acc-off"}, 404, "inactive_account:acc-off"),
        ({"account_id": "nobody"}, 404, "unknown_account:nobody"),
    ],
)
async def test_a_wrong_snapshot_is_refused(
    still: RestFarm, changes: dict[str, Any], status: int, told: str
) -> None:
    """Each field by its name; the account must be active."""
    answer = await still.post("/runtime-snapshots/upsert", snapshot(**changes))

    assert answer.status == status
    assert told in (answer.fields if status == 422 else [answer.body["error"]])


async def test_only_a_newer_snapshot_is_kept(still: RestFarm) -> None:
    """Stale: a lower version, or the same with an earlier sync; the same again is not."""
    steps: list[tuple[dict[str, Any], str]] = [
        ({}, "upserted"),
        ({}, "upserted"),
        ({"strategy_version": 4, "strategy_synced_at": "2030-01-01T00:00:00Z"}, "ignored_stale"),
        ({"strategy_synced_at": "2026-01-31T11:59:59Z"}, "ignored_stale"),
        ({"strategy_synced_at": "2026-01-31T12:00:01Z"}, "upserted"),
        ({"strategy_version": 6, "strategy_synced_at": "2020-01-01T00:00:00Z"}, "upserted"),
    ]
    for changes, status in steps:
        sent = snapshot(**changes)

        answer = await still.post("/runtime-snapshots/upsert", sent)

        expected = {
            "status": status,
            "account_id": "acc-SIM2",
            "snapshot_id": "s",
            "strategy_version": sent["strategy_version"],
        }
        if status == "upserted":
            expected["strategy_synced_at"] = sent["strategy_synced_at"].replace("Z", ".000Z")
        assert (answer.status, answer.body) == (200, expected)


@pytest.mark.asyncio(loop_scope="function")
async def test_a_run_gets_the_snapshot_that_is_current_at_its_claim(moving: RestFarm) -> None:
    """It is in the plan, as data; a later one changes nothing there."""
    await moving.post("/runtime-snapshots/upsert", snapshot(account_id="acc-SIM1"))
    await moving.enqueue()

    assignment = await moving.assigned("SIM1")

    plan = json.loads(assignment.plan_json)
    assert plan["snapshot"]["personality"] == {"tone": "warm"}
    assert plan["snapshot"]["snapshot_id"] == "s"
