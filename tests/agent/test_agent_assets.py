"""The host's store of assets against a web server that behaves badly."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import partial
from ipaddress import IPv4Network
from pathlib import Path

import pytest
from phonefarm_agent.assets.store import Asset, AssetLimits, AssetStore, asset_store
from phonefarm_agent.assets.types import AssetFailedError, AssetKind, WantedAsset
from phonefarm_agent.runs.asset_requests import AssetRequests
from phonefarm_agent.runs.run_directory import RunDirectory
from phonefarm_common.address_policy import AddressPolicy
from phonefarm_common.ids import new_id
from phonefarm_common.reasons import FailureClass, FailureCode
from support.asset_server import AssetServer, asset_server, mp4
from support.live_farm import eventually

SIZE = 300_000
LOOPBACK = AddressPolicy(allowed=(IPv4Network("127.0.0.0/8"),))
PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)
Open = Callable[..., AbstractAsyncContextManager[AssetStore]]


@pytest.fixture
async def web() -> AsyncIterator[AssetServer]:
    """Serve pages."""
    async with asset_server() as server:
        yield server


@pytest.fixture
def opened(tmp_path: Path) -> Open:
    """Open the store of the test; again, it is the next life of the agent."""
    return partial(
        asset_store,
        folder=tmp_path / "assets",
        policy=LOOPBACK,
        limits=AssetLimits(asset_bytes=1_000_000, cache_bytes=3_000_000, spare_bytes=0),
        agent="phonefarm-agent/test",
        scale=0.02,
    )


def video(web: AssetServer, path: str = "/v.mp4", host: str = "127.0.0.1") -> WantedAsset:
    """Return the page as a video of a plan."""
    return WantedAsset(url=web.url(path, host), kind=AssetKind.VIDEO)


def read(store: AssetStore, asset: Asset) -> bytes:
    """Return what the store holds, having checked what it says of it."""
    data = store.path_of(asset).read_bytes()
    assert (len(data), hashlib.sha256(data).hexdigest()) == (asset.size, asset.sha256)
    return data


async def refusal(store: AssetStore, wanted: WantedAsset) -> AssetFailedError:
    """Return how the fetch fails."""
    with pytest.raises(AssetFailedError) as failed:
        await store.fetch("run-1", wanted)
    return failed.value


async def test_fifty_runs_at_once_share_one_download(web: AssetServer, opened: Open) -> None:
    """One request brings the video for all of them."""
    content = mp4(SIZE)
    page = web.put("/v.mp4", content, hold=asyncio.Event())
    async with opened() as store, asyncio.timeout(180):
        runs = [asyncio.create_task(store.fetch(f"run-{n}", video(web))) for n in range(50)]
        await web.until_asked(1)
        assert page.hold is not None
        page.hold.set()

        assets = await asyncio.gather(*runs)

        assert {read(store, asset) for asset in assets} == {content}
        assert len(web.asked) == 1


async def test_a_kept_asset_is_asked_for_and_not_sent_again(web: AssetServer, opened: Open) -> None:
    """Its validators go with the next request, also from the next life of the agent."""
    content = mp4(SIZE)
    page = web.put("/v.mp4", content)
    async with opened() as store:
        await store.fetch("run-1", video(web))
    async with opened() as store:
        again = await store.fetch("run-2", video(web))

        assert read(store, again) == content
    assert [asked.headers.get("if-none-match") for asked in web.asked] == [None, page.etag]
    assert web.sent == SIZE


async def test_changed_content_replaces_what_was_kept(web: AssetServer, opened: Open) -> None:
    """A new ETag brings the new bytes; a run that linked the old ones keeps them."""
    web.put("/v.mp4", mp4(SIZE))
    async with opened() as store:
        first = await store.fetch("run-1", video(web))
        link = store.path_of(first).with_name("linked")
        os.link(store.path_of(first), link)
        web.put("/v.mp4", mp4(SIZE, seed=1))

        second = await store.fetch("run-2", video(web))

        assert read(store, second) == mp4(SIZE, seed=1)
        assert link.read_bytes() == mp4(SIZE)
        assert not store.path_of(first).exists()


@pytest.mark.parametrize("validator", ["etag", "last_modified"])
async def test_a_cut_connection_goes_on_where_it_was(
    web: AssetServer, opened: Open, validator: str
) -> None:
    """Each byte is sent once, with the condition that it is still the same file."""
    date = format_datetime(datetime(2026, 1, 1, tzinfo=UTC), usegmt=True)
    manners = {"etag": '"v1"'} if validator == "etag" else {"etag": "", "last_modified": date}
    # Slow enough that what was sent is read before the cut.
    slow = {"block": 50_000, "pause": 0.02}
    web.put("/v.mp4", mp4(SIZE), cut_after=100_000, cuts=2, **slow, **manners)
    async with opened() as store:
        asset = await store.fetch("run-1", video(web))

        assert read(store, asset) == mp4(SIZE)
    assert web.sent == SIZE
    assert [asked.headers.get("range") for asked in web.asked] == [
        None,
        "bytes=100000-",
        "bytes=200000-",
    ]
    assert {asked.headers["if-range"] for asked in web.asked[1:]} == {manners[validator]}


async def test_a_server_without_ranges_is_read_from_the_beginning(
    web: AssetServer, opened: Open
) -> None:
    """What it sends instead of the rest replaces what was there."""
    web.put("/v.mp4", mp4(SIZE), cut_after=100_000, cuts=1, ranges=False)
    async with opened() as store:
        asset = await store.fetch("run-1", video(web))

        assert read(store, asset) == mp4(SIZE)
    assert web.sent == SIZE + 100_000


async def test_a_weak_or_missing_validator_resumes_nothing(web: AssetServer, opened: Open) -> None:
    """Nothing proves that the rest would fit: the file is fetched whole."""
    web.put("/v.mp4", mp4(SIZE), etag='W/"v1"', cut_after=100_000, cuts=1)
    async with opened() as store:
        asset = await store.fetch("run-1", video(web))

        assert read(store, asset) == mp4(SIZE)
    assert all("range" not in asked.headers for asked in web.asked)


async def test_content_that_changes_while_it_is_cut_is_not_mixed(
    web: AssetServer, opened: Open
) -> None:
    """The rest of another file is never put behind the first part of the old one."""
    page = web.put("/v.mp4", mp4(SIZE), cut_after=100_000, hold=asyncio.Event(), cuts=1)
    async with opened() as store, asyncio.timeout(180):
        fetching = asyncio.create_task(store.fetch("run-1", video(web)))
        await web.until_asked(1)
        web.put("/v.mp4", mp4(SIZE, seed=1))
        assert page.hold is not None
        page.hold.set()

        asset = await fetching

        assert read(store, asset) == mp4(SIZE, seed=1)


async def test_a_part_outlives_the_agent(web: AssetServer, opened: Open, tmp_path: Path) -> None:
    """A download that the agent's end broke off goes on in its next life."""
    page = web.put("/v.mp4", mp4(SIZE), block=100_000, hold=asyncio.Event())
    async with opened() as store, asyncio.timeout(180):
        fetching = asyncio.create_task(store.fetch("run-1", video(web)))
        await _until_part(tmp_path, 100_000)
        fetching.cancel()
        await asyncio.gather(fetching, return_exceptions=True)
    page.hold = None
    async with opened() as store:
        asset = await store.fetch("run-1", video(web))

        assert read(store, asset) == mp4(SIZE)
    assert web.asked[-1].headers["range"] == "bytes=100000-"


async def test_what_no_note_names_is_swept(opened: Open, web: AssetServer, tmp_path: Path) -> None:
    """Half-written notes, strangers, damaged and stale files go; what is whole stays."""
    web.put("/v.mp4", mp4(SIZE))
    web.put("/w.mp4", mp4(SIZE, seed=1))
    async with opened() as store:
        kept = await store.fetch("run-1", video(web))
        damaged = await store.fetch("run-1", video(web, "/w.mp4"))
        store.path_of(damaged).chmod(0o600)
        store.path_of(damaged).write_bytes(b"short")
    place = tmp_path / "assets"
    for name in ("x.json", "x.new", "y.data", "old.part", "old.part.json", "fresh.part"):
        (place / name).write_text("{}")
    for name in ("old.part", "old.part.json"):
        os.utime(place / name, (1, 1))

    async with opened():
        left = {path.name for path in place.iterdir()}

    assert left == {kept.file, f"{kept.key}.json", "fresh.part"}


@pytest.mark.parametrize(
    ("manners", "code"),
    [
        ({"status": 404}, FailureCode.ASSET_MISSING),
        ({"status": 410}, FailureCode.ASSET_MISSING),
        ({"status": 403}, FailureCode.ASSET_MISSING),
        ({"status": 302, "headers": {"Location": "/w.mp4"}}, FailureCode.ASSET_MISSING),
        ({"status": 500}, FailureCode.ASSET_UNREACHABLE),
        ({"status": 503}, FailureCode.ASSET_UNREACHABLE),
        ({"status": 429}, FailureCode.ASSET_UNREACHABLE),
        ({"status": 204}, FailureCode.ASSET_UNREACHABLE),
        ({"content_type": "text/html"}, FailureCode.ASSET_TYPE_NOT_ALLOWED),
        ({"content_type": "image/png"}, FailureCode.ASSET_TYPE_NOT_ALLOWED),
        ({"content": b"<html>" + bytes(500)}, FailureCode.ASSET_TYPE_NOT_ALLOWED),
        ({"content": PNG}, FailureCode.ASSET_TYPE_NOT_ALLOWED),
        ({"content": b""}, FailureCode.ASSET_TYPE_NOT_ALLOWED),
        ({"content": mp4(1_000_001)}, FailureCode.ASSET_TOO_LARGE),
        ({"content": mp4(1_000_001), "announce": 0}, FailureCode.ASSET_TOO_LARGE),
        ({"announce": 2 * SIZE}, FailureCode.ASSET_UNREACHABLE),
        ({"cut_after": 0}, FailureCode.ASSET_UNREACHABLE),
    ],
)
async def test_what_is_no_video_is_refused_by_class(
    web: AssetServer, opened: Open, tmp_path: Path, manners: dict[str, object], code: FailureCode
) -> None:
    """The work's fault is final and leaves no file; the network's may be tried again."""
    web.put("/w.mp4", mp4(SIZE))
    web.put("/v.mp4", **({"content": mp4(SIZE)} | manners))  # type: ignore[arg-type]
    async with opened() as store:
        failed = await refusal(store, video(web))

    infra = code is FailureCode.ASSET_UNREACHABLE
    assert failed.code is code, failed
    assert failed.failure_class is (FailureClass.INFRA if infra else FailureClass.WORK)
    assert failed.final is not infra
    left = {path.suffix for path in (tmp_path / "assets").iterdir()}
    assert left <= ({".part", ".json"} if infra else set())
    assert "/w.mp4" not in [asked.path for asked in web.asked]


@pytest.mark.parametrize(
    "url",
    [
        "http://10.0.0.1/v.mp4",
        "http://[::1]/v.mp4",
        "http://169.254.169.254/latest",
        "http://0x7f000001/v.mp4",
        "ftp://example.com/v.mp4",
        "not a url",
    ],
)
async def test_a_forbidden_address_is_not_dialled(opened: Open, url: str) -> None:
    """A private literal, also in disguise, and anything but http is refused for good."""
    async with opened() as store:
        failed = await refusal(store, WantedAsset(url=url, kind=AssetKind.VIDEO))

    assert failed.code is FailureCode.ASSET_URL_NOT_ALLOWED
    assert failed.final


async def test_a_name_that_means_a_private_address_is_refused(
    web: AssetServer, opened: Open
) -> None:
    """The address behind a name is looked at when it is dialled; an allowed network is dialled."""
    web.put("/v.mp4", mp4(SIZE))
    async with opened(policy=AddressPolicy()) as store:
        failed = await refusal(store, video(web, host="localhost"))
    allowed = AddressPolicy(allowed=LOOPBACK.allowed)
    async with opened(policy=allowed) as store:
        asset = await store.fetch("run-1", video(web, host="localhost"))

        assert read(store, asset) == mp4(SIZE)
    assert failed.code is FailureCode.ASSET_URL_NOT_ALLOWED
    assert len(web.asked) == 1


async def test_a_closed_port_and_a_name_that_is_none_are_unreachable(opened: Open) -> None:
    """Nobody there is the network's fault."""
    async with opened() as store:
        for url in ("http://127.0.0.1:1/v.mp4", "http://no-such-host.invalid/v.mp4"):
            failed = await refusal(store, WantedAsset(url=url, kind=AssetKind.VIDEO))

            assert failed.code is FailureCode.ASSET_UNREACHABLE


async def test_a_silent_server_is_given_up(web: AssetServer, opened: Open) -> None:
    """One that begins again and again and never goes on is as good as gone."""
    web.put("/v.mp4", mp4(SIZE), hold=asyncio.Event(), etag="")
    async with opened() as store, asyncio.timeout(180):
        failed = await refusal(store, video(web))

    assert failed.code is FailureCode.ASSET_UNREACHABLE


async def test_a_download_ends_with_the_last_run_that_waits(web: AssetServer, opened: Open) -> None:
    """One run's stop leaves the other its download; the other's ends it."""
    page = web.put("/v.mp4", mp4(SIZE), hold=asyncio.Event())
    async with opened() as store, asyncio.timeout(180):
        first = asyncio.create_task(store.fetch("run-1", video(web)))
        second = asyncio.create_task(store.fetch("run-2", video(web)))
        await web.until_asked(1)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        assert page.hold is not None
        page.hold.set()

        assert read(store, await second) == mp4(SIZE)
        assert len(web.asked) == 1


async def test_a_new_wish_right_after_a_stop_gets_its_own_download(
    web: AssetServer, opened: Open
) -> None:
    """A download that is being given up is not joined."""
    page = web.put("/v.mp4", mp4(SIZE), hold=asyncio.Event(), block=1000)
    async with opened() as store, asyncio.timeout(180):
        first = asyncio.create_task(store.fetch("run-1", video(web)))
        await web.until_asked(1)
        first.cancel()
        await asyncio.sleep(0)
        second = asyncio.create_task(store.fetch("run-2", video(web)))
        page.hold, held = None, page.hold
        assert held is not None
        held.set()

        assert read(store, await second) == mp4(SIZE)


async def test_the_oldest_unused_goes_when_the_cache_is_full(
    web: AssetServer, opened: Open
) -> None:
    """What a run still uses stays; when all is in use the host is full."""
    async with opened(
        limits=AssetLimits(asset_bytes=10**6, cache_bytes=10**6, spare_bytes=0)
    ) as store:
        for place in range(5):
            web.put(f"/{place}.mp4", mp4(SIZE, seed=place))
        assets = [await store.fetch(f"run-{n}", video(web, f"/{n}.mp4")) for n in range(3)]
        full = await refusal(store, video(web, "/3.mp4"))
        store.release("run-1")

        assets.append(await store.fetch("run-3", video(web, "/3.mp4")))

        assert full.code is FailureCode.HOST_STORAGE_FULL
        assert full.failure_class is FailureClass.INFRA
        there = [store.path_of(asset).exists() for asset in assets]
        assert there == [True, False, True, True]


async def test_a_full_disk_is_told_and_leaves_no_half_file(
    web: AssetServer, opened: Open, tmp_path: Path
) -> None:
    """The space that is left to others is not used up."""
    web.put("/v.mp4", mp4(SIZE))
    limits = AssetLimits(asset_bytes=10**6, cache_bytes=10**7, spare_bytes=2**62)
    async with opened(limits=limits) as store:
        failed = await refusal(store, video(web))

    assert failed.code is FailureCode.HOST_STORAGE_FULL
    assert "the disk is full" in failed.message
    assert list((tmp_path / "assets").iterdir()) == []


async def test_a_runs_answer_stands_over_lives_of_the_agent(
    web: AssetServer, opened: Open, tmp_path: Path
) -> None:
    """What a run was given once stays its file, read-only, whatever the server has by then."""
    web.put("/v.mp4", mp4(SIZE))
    directory = RunDirectory(tmp_path, new_id())
    directory.make()
    answers = []
    for _ in range(2):
        async with opened() as store:
            supply = AssetRequests(
                run_id="run-1", directory=directory, wanted={"video": video(web)}, store=store
            )
            answers += [await supply.fetch("video"), await supply.fetch("cover")]
        web.put("/v.mp4", mp4(SIZE, seed=1))

    given = directory.path / "assets" / "video.mp4"
    assert answers[0] == answers[2]
    assert answers[0]["path"] == "assets/video.mp4"
    assert answers[0]["sha256"] == hashlib.sha256(given.read_bytes()).hexdigest()
    assert given.stat().st_mode & 0o777 == 0o444
    assert len(web.asked) == 1
    failure = answers[1]["failure"]
    assert isinstance(failure, dict)
    assert failure["code"] == "plan_invalid"


@pytest.mark.parametrize(
    ("head", "kind", "name"),
    [
        (b"\0\0\0\x18ftypmp42", AssetKind.VIDEO, "video/mp4"),
        (b"\0\0\0\x14ftypqt  ", AssetKind.VIDEO, "video/quicktime"),
        (b"\0\0\0\x08wide\0\0\0\0mdat", AssetKind.VIDEO, "video/quicktime"),
        (b"\x1a\x45\xdf\xa3\x9f\x42\x82\x84webm", AssetKind.VIDEO, "video/webm"),
        (b"\x1a\x45\xdf\xa3\x9f\x42\x82\x88matroska", AssetKind.VIDEO, None),
        (b"\0\0\0\x18ftypM4A ", AssetKind.VIDEO, None),
        (b"\0\0\0\x18ftypheic", AssetKind.VIDEO, None),
        (b"\xff\xd8\xff\xe0", AssetKind.IMAGE, "image/jpeg"),
        (b"\x89PNG\r\n\x1a\n", AssetKind.IMAGE, "image/png"),
        (b"RIFF\0\0\0\0WEBPVP8 ", AssetKind.IMAGE, "image/webp"),
        (b"RIFF\0\0\0\0WAVEfmt ", AssetKind.IMAGE, None),
        (b"\0\0\0\x18ftypmp42", AssetKind.IMAGE, None),
        (b"PK\x03\x04\x14\0", AssetKind.APK, "application/vnd.android.package-archive"),
        (b"PK\x03\x04\x14\0", AssetKind.VIDEO, None),
        (b"\xff\xd8\xff\xe0", AssetKind.APK, None),
    ],
)
async def test_the_bytes_tell_the_type(
    web: AssetServer, opened: Open, head: bytes, kind: AssetKind, name: str | None
) -> None:
    """What a server calls it is not believed; its first bytes are."""
    web.put("/v", head + bytes(200), content_type="application/octet-stream")
    async with opened() as store:
        wanted = WantedAsset(url=web.url("/v"), kind=kind)
        if name is None:
            assert (await refusal(store, wanted)).code is FailureCode.ASSET_TYPE_NOT_ALLOWED
        else:
            assert (await store.fetch("run-1", wanted)).content_type == name


def _in_parts(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("assets/*.part"))


async def _until_part(folder: Path, size: int) -> None:
    async def look() -> bool:
        return await asyncio.to_thread(_in_parts, folder) >= size

    await eventually(look, what=f"a part of {size} bytes")
