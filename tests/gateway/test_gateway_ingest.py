"""The legacy ingest: order of checks, the look at the assets, cancel, snapshots."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web
from gateway.support.farm import Farm, Names, farm
from gateway.support.receiver import Received, Receiver

Answer = Callable[[Received], Awaitable[web.StreamResponse]]


def ingest_body(video: str, **changes: Any) -> dict[str, Any]:
    """Return a body that is accepted when *video* is there; None removes a key."""
    body = {
        "content_id": "c-1",
        "account_id": "acc-1",
        "video_path": video,
        "caption": "tea",
        "hashtags": ["a", "#b"],
        "metadata": {"n": 2**70},
    }
    return {name: value for name, value in (body | changes).items() if value is not None}


def answering(status: int, **headers: str) -> Answer:
    """Return a server's answer of this status."""

    async def answer(_: Received) -> web.StreamResponse:
        return web.Response(status=status, headers=headers)

    return answer


def by_method(**answers: int) -> Answer:
    """Return an answer whose status depends on the method."""

    async def answer(received: Received) -> web.StreamResponse:
        return web.Response(status=answers[received.method])

    return answer


async def _ingest(it: Farm, **changes: Any) -> Any:
    return await it.call("POST", "/ingest", ingest_body(**changes))


async def test_a_new_video_is_202_and_a_repeat_200_though_its_asset_is_gone() -> None:
    """The duplicate is answered before the asset is looked at, with the state of now."""
    async with farm() as it, Receiver.serving() as server:
        first = await _ingest(it, video=server.url("/v.mp4"))
        server.answer = answering(404)
        again = await _ingest(it, video=server.url("/v.mp4"))

        assert first.status == 202
        assert list(first.body) == [
            "status",
            "queue_item_id",
            "content_id",
            "account_id",
            "queue_status",
        ]
        assert first.body["status"] == "accepted"
        assert first.body["queue_status"] == "QUEUED"
        assert (again.status, again.body) == (200, first.body | {"status": "duplicate"})
        (sent,) = it.controller.content.ingested
        assert sent.metadata_json == '{"n":1180591620717411303424}'
        assert list(sent.hashtags) == ["a", "#b"]
        assert [one.method for one in server.received] == ["HEAD"]


async def test_a_scheduling_hint_and_a_callback_go_along() -> None:
    """The hint is a moment, the answer says SCHEDULED."""
    async with farm() as it, Receiver.serving() as server:
        answer = await _ingest(
            it,
            video=server.url(),
            scheduling_hint="2030-01-01T01:00:00+01:00",
            callback_url="http://hooks.example.com/x",
        )

        (sent,) = it.controller.content.ingested
        assert answer.body["queue_status"] == "SCHEDULED"
        assert sent.scheduling_hint.ToJsonString() == "2030-01-01T00:00:00Z"
        assert sent.callback_url == "http://hooks.example.com/x"


@pytest.mark.parametrize(
    ("answer", "methods"),
    [
        (by_method(HEAD=200), ["HEAD"]),
        (by_method(HEAD=405, GET=206), ["HEAD", "GET"]),
        (by_method(HEAD=501, GET=200), ["HEAD", "GET"]),
        (by_method(HEAD=403, GET=206), ["HEAD", "GET"]),
    ],
)
async def test_an_asset_that_is_there(answer: Answer, methods: list[str]) -> None:
    """HEAD decides; a server that knows none, or signs for GET only, is asked for one byte."""
    async with farm() as it, Receiver.serving() as server:
        server.answer = answer

        got = await _ingest(it, video=server.url())

        assert got.status == 202
        assert [one.method for one in server.received] == methods
        if "GET" in methods:
            assert server.received[-1].headers["Range"] == "bytes=0-0"


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (answering(404), "asset_missing:video_path"),
        (answering(410), "asset_missing:video_path"),
        (answering(400), "asset_missing:video_path"),
        (by_method(HEAD=405, GET=404), "asset_missing:video_path"),
        (by_method(HEAD=403, GET=403), "asset_missing:video_path"),
        (answering(302, Location="http://127.0.0.1/x"), "asset_unreachable:video_path"),
        (answering(304), "asset_unreachable:video_path"),
        (answering(429), "asset_unreachable:video_path"),
        (answering(500), "asset_unreachable:video_path"),
        (answering(503), "asset_unreachable:video_path"),
    ],
)
async def test_an_asset_that_is_not_there(answer: Answer, error: str) -> None:
    """422 names the field and the remedy; nothing is ingested, no redirect is followed."""
    async with farm() as it, Receiver.serving() as server:
        server.answer = answer

        got = await _ingest(it, video=server.url())

        assert (got.status, got.body["error"]) == (422, error)
        assert [one["field"] for one in got.body["errors"]] == ["video_path"]
        assert not it.controller.content.ingested
        assert len(server.received) <= 2


async def test_all_assets_are_looked_at_at_once_and_all_are_named() -> None:
    """Neither waits for the other: each answers only once both were asked."""
    async with farm() as it, Receiver.serving() as server:
        both = asyncio.Barrier(2)

        async def answer(_: Received) -> web.StreamResponse:
            await both.wait()
            return web.Response(status=404)

        server.answer = answer
        got = await _ingest(it, video=server.url("/v"), cover_image_path=server.url("/c"))

        assert got.status == 422
        fields = [one["field"] for one in got.body["errors"]]
        assert fields == ["video_path", "cover_image_path"]


async def test_a_server_that_never_answers_is_given_up() -> None:
    """After the seconds of a look the asset counts as unreachable."""
    async with farm(changes={"asset_seconds": 0.2}) as it, Receiver.serving() as server:
        done = asyncio.Event()

        async def answer(_: Received) -> web.StreamResponse:
            await done.wait()
            return web.Response()

        server.answer = answer
        got = await _ingest(it, video=server.url())
        done.set()

        assert (got.status, got.body["error"]) == (422, "asset_unreachable:video_path")
        assert "0.2 s" in got.body["errors"][0]["message"]


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:9/v",
        "http://[::1]/v",
        "http://[::ffff:127.0.0.1]/v",
        "http://[64:ff9b::7f00:1]/v",
        "http://0x7f000001/v",
        "http://2130706433/v",
        "http://10.0.0.1/v",
        "http://169.254.169.254/latest/meta-data",
        "http://inside.example/v",
    ],
)
async def test_an_address_that_is_not_public_is_not_dialled(url: str) -> None:
    """By literal or by name, it is refused by its field."""
    names = Names(inside_example=("10.1.2.3",))
    async with farm(allowed=(), lookup=names) as it:
        got = await _ingest(it, video=url)

        error = "asset_url_not_allowed"
        assert got.body["error"].partition(":")[0] == error
        assert [one["field"] for one in got.body["errors"]] == ["video_path"]


@pytest.mark.parametrize("port", [9])
async def test_a_closed_port_and_an_unknown_name_are_unreachable(port: int) -> None:
    """Nobody there is not the same as not there."""
    async with farm() as it:
        closed = await _ingest(it, video=f"http://127.0.0.1:{port}/v")
        unknown = await _ingest(it, video="http://nobody.example/v")

        for got in (closed, unknown):
            assert (got.status, got.body["error"]) == (422, "asset_unreachable:video_path")


@pytest.mark.parametrize(
    ("changes", "status", "told"),
    [
        ({"content_id": None}, 422, "content_id"),
        ({"content_id": ""}, 422, "content_id"),
        ({"account_id": None}, 422, "account_id"),
        ({"caption": ""}, 422, "caption"),
        ({"caption": "x" * 4001}, 422, "caption"),
        ({"hashtags": "tea"}, 422, "hashtags"),
        ({"hashtags": [""]}, 422, "hashtags[0]"),
        ({"hashtags": ["x" * 101]}, 422, "hashtags[0]"),
        ({"hashtags": ["x"] * 101}, 422, "hashtags"),
        ({"sound_id": 7}, 422, "sound_id"),
        ({"cover_image_path": "ftp://e.example/c"}, 422, "cover_image_path"),
        ({"callback_url": "http://127.0.0.1.:1/x"}, 422, "callback_url"),
        ({"scheduling_hint": "2030-01-01T00:00:00"}, 422, "scheduling_hint"),
        ({"metadata": []}, 422, "metadata"),
        ({"video": "e.example/v"}, 422, "video_path"),
        ({"account_id": "acc-off"}, 404, "inactive_account:acc-off"),
        ({"account_id": "acc-9"}, 404, "unknown_account:acc-9"),
    ],
)
async def test_what_is_wrong_is_told_before_any_asset_is_looked_at(
    changes: dict[str, Any], status: int, told: str
) -> None:
    """Shape first, then the account; the asset's server is not asked."""
    async with farm() as it, Receiver.serving() as server:
        got = await _ingest(it, **({"video": server.url()} | changes))

        assert got.status == status
        if status == 422:
            assert [one["field"] for one in got.body["errors"]] == [told]
        else:
            assert got.body["error"] == told
        assert not server.received


async def test_content_is_cancelled_while_it_waits() -> None:
    """The state before is told; what runs, or has ended, is a conflict; unknown is 404."""
    async with farm() as it, Receiver.serving() as server:
        item = (await _ingest(it, video=server.url())).body["queue_item_id"]
        body = {"content_id": "c-1", "account_id": "acc-1", "reason": "no"}

        cancelled = await it.call("POST", "/cancel", body)
        again = await it.call("POST", "/cancel", body)
        unknown = await it.call("POST", "/cancel", body | {"content_id": "c-2"})
        wrong = await it.call("POST", "/cancel", {"content_id": "c-1", "account_id": "acc-1"})

        assert cancelled.status == 200
        assert cancelled.body == {
            "status": "cancelled",
            "queue_item_id": item,
            "previous_status": "QUEUED",
        }
        assert (again.status, again.body["error"]) == (409, "state_conflict:CANCELLED")
        assert (unknown.status, unknown.body["error"]) == (404, "unknown_content")
        assert (wrong.status, wrong.body["errors"][0]["field"]) == (422, "reason")


def snapshot_body(**changes: Any) -> dict[str, Any]:
    """Return a snapshot that is accepted, with *changes*; None removes a key."""
    body = {
        "account_id": "acc-1",
        "ugc_account_id": "u-1",
        "snapshot_id": "s-1",
        "strategy_version": 3,
        "content_hash": "h",
        "strategy_synced_at": "2026-01-31T12:00:00.1234Z",
        "personality": {"z": 1, "a": [1.5]},
        "stage": None,
        "active_skills": ["x", {"y": 1}],
    }
    return {name: value for name, value in (body | changes).items() if value is not None}


async def test_a_snapshot_is_kept_unless_it_is_stale() -> None:
    """Upserted with its time; an older one is told to be, with its own values."""
    async with farm() as it:
        kept = await it.call("POST", "/runtime-snapshots/upsert", snapshot_body())
        stale = await it.call(
            "POST",
            "/runtime-snapshots/upsert",
            snapshot_body(strategy_version=2, snapshot_id="s-0"),
        )

        assert kept.body == {
            "status": "upserted",
            "account_id": "acc-1",
            "snapshot_id": "s-1",
            "strategy_version": 3,
            "strategy_synced_at": "2026-01-31T12:00:00.123Z",
        }
        assert stale.body == {
            "status": "ignored_stale",
            "account_id": "acc-1",
            "snapshot_id": "s-0",
            "strategy_version": 2,
        }
        sent = it.controller.content.snapshots["acc-1"]
        assert sent.personality_json == '{"z":1,"a":[1.5]}'
        assert sent.active_skills_json == '["x",{"y":1}]'
        assert not sent.HasField("stage")


@pytest.mark.parametrize(
    ("changes", "status", "told"),
    [
        *[
            ({name: None}, 422, name)
            for name in (
                "account_id",
                "ugc_account_id",
                "snapshot_id",
                "strategy_version",
                "content_hash",
                "strategy_synced_at",
                "personality",
            )
        ],
        ({"strategy_version": 0}, 422, "strategy_version"),
        ({"strategy_version": 2**63}, 422, "strategy_version"),
        ({"strategy_version": "3"}, 422, "strategy_version"),
        ({"strategy_synced_at": "2026-01-31"}, 422, "strategy_synced_at"),
        ({"personality": "kind"}, 422, "personality"),
        ({"active_skills": {}}, 422, "active_skills"),
        ({"stage": 1}, 422, "stage"),
        ({"account_id": "acc-off"}, 404, "inactive_account:acc-off"),
    ],
)
async def test_a_wrong_snapshot_is_refused(changes: dict[str, Any], status: int, told: str) -> None:
    """Each field by its name, an account that is not active as such."""
    async with farm() as it:
        got = await it.call("POST", "/runtime-snapshots/upsert", snapshot_body(**changes))

        assert got.status == status
        if status == 422:
            assert [one["field"] for one in got.body["errors"]] == [told]
        else:
            assert got.body["error"] == told
