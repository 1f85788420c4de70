"""Posting a video from the run directory on a simulated phone, and proving that it was posted."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from phonefarm_simulator.personality import names
from support.asset_server import mp4
from support.run_bench import MEDIA_FOLDER, RunBench, Story, run_bench, step

VIDEO = mp4(200_000)
SHA256 = hashlib.sha256(VIDEO).hexdigest()
CAPTION = "My 1st film & 100%sure; #one #two"


def posting(*, caption: str = CAPTION, confirm: float = 15.0) -> list[dict[str, Any]]:
    """Return the actions of post_video."""
    return [
        step("launch_app"),
        step("fetch_asset", asset="video", url="http://203.0.113.9/v.mp4", type="video"),
        step("push_file", asset="video"),
        step("share_video", asset="video"),
        step("write_caption", text=caption),
        step("confirm_post", repeat="once", limit=confirm),
        step("verify_posted", caption=caption, limit=6),
        step("stop_app"),
    ]


def lay_out(bench: RunBench, **changes: object) -> dict[str, object]:
    """Put the video into the run directory; return the agent's answer about it."""
    (bench.directory / "assets").mkdir(exist_ok=True)
    (bench.directory / "assets/video.mp4").write_bytes(VIDEO)
    answer: dict[str, object] = {
        "path": "assets/video.mp4",
        "bytes": len(VIDEO),
        "sha256": SHA256,
        "content_type": "video/mp4",
    }
    return answer | changes


async def play_agent(bench: RunBench, answer: dict[str, object]) -> None:
    """Answer `fetch` and acknowledge the once action, as the agent does."""
    await bench.control.until("fetch")
    bench.control.say(type="asset", asset="video", **answer)
    bench.control.say(type="ack", sequence=1000)


@asynccontextmanager
async def posting_run(
    bench: RunBench, *actions: dict[str, Any], answer: dict[str, object] | None = None
) -> AsyncIterator[Story]:
    """Run the actions with a played agent."""
    given = lay_out(bench) if answer is None else answer
    playing = asyncio.create_task(play_agent(bench, given))
    try:
        async with bench.run(*(actions or posting())) as story:
            yield story
    finally:
        playing.cancel()
        await asyncio.gather(playing, return_exceptions=True)


@pytest.mark.parametrize("sdk", [29, 34])
async def test_a_video_is_posted_with_its_caption(tmp_path: Path, sdk: int) -> None:
    """The very bytes are posted once with the caption, on Android 10 and 14 alike."""
    async with run_bench(tmp_path) as bench:
        bench.phone.phone.sdk = sdk
        async with posting_run(bench) as story:
            code, last = await story.ending()

        assert (code, last["failure"]) == (0, None)
        _, fetched, pushed, shared, written, confirmed, verified, _ = story.outputs()
        assert fetched == {"bytes": len(VIDEO), "sha256": SHA256, "content_type": "video/mp4"}
        assert pushed == {"path": f"{MEDIA_FOLDER}/video.mp4", "bytes": len(VIDEO)}
        assert shared == {"screen": "composer"}
        assert written == {"text": CAPTION}
        assert confirmed == {"confirmed": True}
        assert verified == {"title": CAPTION, "posts": 1}
        [post] = bench.effects("posted")
        assert (post["caption"], post["sha256"]) == (CAPTION, SHA256)
        assert post["stream"].startswith("content://media/external")


async def test_a_retry_after_the_post_skips_it_and_finds_it(tmp_path: Path) -> None:
    """What an earlier attempt has posted is verified, though a new composer was opened."""
    async with run_bench(tmp_path) as bench:
        async with posting_run(bench) as story:
            assert (await story.ending())[0] == 0
        bench.control.messages.clear()
        playing = asyncio.create_task(play_agent(bench, lay_out(bench)))

        async with bench.run(*posting(), change=lambda plan: plan.update(skip=[5])) as story:
            code, last = await story.ending()

        await playing
        assert (code, last["failure"]) == (0, None)
        assert story.outputs()[5] == {"title": CAPTION, "posts": 1}
        assert len(bench.effects("posted")) == 1


@pytest.mark.long
async def test_an_older_post_with_the_same_words_proves_nothing(tmp_path: Path) -> None:
    """Posting twice the same caption is seen as two posts; one that was refused is not found."""
    async with run_bench(tmp_path) as bench:
        async with posting_run(bench) as story:
            assert (await story.ending())[0] == 0
        bench.control.messages.clear()
        await bench.phone.fault("post_crashes", posted=False)

        async with posting_run(bench) as story:
            code, last = await story.ending()

        assert code == 1
        assert last["failure"]["code"] == "outcome_unknown:confirm_post"
        assert (
            "verify_posted did not find it: no post but an older one" in last["failure"]["message"]
        )
        assert len(bench.effects("posted")) == 1


async def test_a_post_without_a_sign_is_proven_by_the_profile(tmp_path: Path) -> None:
    """The app dies after the tap: the post is found on the profile, and the run goes on."""
    async with run_bench(tmp_path) as bench:
        await bench.phone.fault("post_crashes", posted=True)

        async with posting_run(bench) as story:
            code, _ = await story.ending()

        assert code == 0
        assert story.outputs()[5] == {"confirmed": True, "proven_by": "verify_posted"}
        assert story.outputs()[6] == {"title": CAPTION, "posts": 1}
        assert len(bench.effects("posted")) == 1


async def test_a_refusal_by_the_app_is_told_and_not_tapped_again(tmp_path: Path) -> None:
    """The app's own words are in the failure; the button is touched once."""
    async with run_bench(tmp_path) as bench:
        await bench.phone.fault("post_fails")

        async with posting_run(bench) as story:
            code, last = await story.ending()

        assert code == 1
        assert last["failure"]["code"] == "post_not_confirmed"
        assert "Could not post. Try again." in last["failure"]["message"]
        taps = [entry["target"] for entry in bench.effects("tapped")]
        assert taps.count("post_button") == 1


@pytest.mark.long
async def test_a_post_that_takes_too_long_is_unknown(tmp_path: Path) -> None:
    """Neither a sign nor the post within the limits: outcome_unknown, touched once."""
    async with run_bench(tmp_path) as bench:
        await bench.phone.fault("post_slow", seconds=600)

        async with posting_run(bench, *posting(confirm=3)) as story:
            code, last = await story.ending()

        assert code == 1
        assert last["failure"]["code"] == "outcome_unknown:confirm_post"
        assert last["failure"]["final"]
        assert len(bench.effects("posted")) == 1


async def test_a_slow_post_is_waited_for(tmp_path: Path) -> None:
    """An upload of some seconds is within the limit."""
    async with run_bench(tmp_path) as bench:
        await bench.phone.fault("post_slow", seconds=3)

        async with posting_run(bench) as story:
            code, _ = await story.ending()

        assert code == 0
        assert story.outputs()[5] == {"confirmed": True}


@pytest.mark.parametrize(
    ("code", "owner", "told"),
    [
        ("asset_missing", "work", "asset_missing"),
        ("asset_too_large", "work", "asset_too_large"),
        ("asset_type_not_allowed", "work", "asset_type_not_allowed"),
        ("asset_url_not_allowed", "work", "asset_url_not_allowed"),
        ("asset_unreachable", "infra", "asset_unreachable"),
        ("host_storage_full", "infra", "host_storage_full"),
        ("something_newer", "infra", "asset_unreachable"),
    ],
)
async def test_what_the_agent_cannot_fetch_fails_the_action(
    tmp_path: Path, code: str, owner: str, told: str
) -> None:
    """The agent's failure is the action's; only the network's and the host's may be tried again."""
    failure = {
        "code": code,
        "class": owner,
        "final": owner == "work",
        "message": "as the test says",
    }
    async with (
        run_bench(tmp_path) as bench,
        posting_run(bench, answer={"failure": failure}) as story,
    ):
        exit_code, last = await story.ending()

        assert exit_code == 1
        assert last["failure"] == {
            "code": told,
            "class": owner,
            "final": owner == "work",
            "message": "fetch_asset: as the test says",
        }
        assert bench.effects("posted") == []


async def test_a_fetch_that_never_ends_is_the_networks_fault(tmp_path: Path) -> None:
    """No answer within the action's limit is asset_unreachable, which may be tried again."""
    actions = posting()
    actions[1]["limit_seconds"] = 3.0
    async with run_bench(tmp_path) as bench, bench.run(*actions) as story:
        code, last = await story.ending()

        assert code == 1
        assert last["failure"]["code"] == "asset_unreachable"
        assert last["failure"]["class"] == "infra"


async def test_a_stop_ends_the_wait_for_a_fetch(tmp_path: Path) -> None:
    """A stop while the agent fetches ends the run at once."""
    async with run_bench(tmp_path) as bench, bench.run(*posting()) as story:
        await bench.control.until("fetch")
        bench.control.say(type="stop", reason="a test")

        code, last = await story.ending()

        assert (code, last["outcome"]) == (3, "stopped")


async def test_a_fetch_is_asked_again_over_a_new_connection(tmp_path: Path) -> None:
    """An agent that came back is told what is still wanted."""
    async with run_bench(tmp_path) as bench, bench.run(*posting()) as story:
        await bench.control.until("fetch")
        await bench.control.hang_up()
        await bench.control.listen()
        await bench.control.until("fetch", count=2)
        await play_agent(bench, lay_out(bench))

        code, _ = await story.ending()

        assert code == 0


async def test_other_bytes_than_announced_are_not_posted(tmp_path: Path) -> None:
    """What the phone reads back must be what the agent fetched."""
    async with run_bench(tmp_path) as bench:
        answer = lay_out(bench, sha256="0" * 64)
        async with posting_run(bench, answer=answer) as story:
            code, last = await story.ending()

        assert code == 1
        assert last["failure"]["code"] == "adb_failed"
        assert "differs from the file that was pushed" in last["failure"]["message"]


async def test_a_full_phone_fails_the_push_with_its_words(tmp_path: Path) -> None:
    """The phone's reason is in the failure."""
    async with run_bench(tmp_path) as bench:
        actions = [step("launch_app"), *posting()[1:3]]
        assert bench.control.ui_server is not None
        assert await bench.control.ui_server.start() == ""  # its jar has found room before
        bench.phone.phone.files.capacity = bench.phone.phone.files.used + 100_000
        async with posting_run(bench, *actions) as story:
            code, last = await story.ending()

        assert code == 1
        assert last["failure"]["code"] == "adb_failed"
        assert "No space left on device" in last["failure"]["message"]


@pytest.mark.parametrize("caption", ["bell\a", "esc\x1b[1m", "\ud83c"])
async def test_a_caption_that_cannot_be_typed_fails_before_the_gate(
    tmp_path: Path, caption: str
) -> None:
    """Nothing is fetched, pushed or opened for it."""
    async with (
        run_bench(tmp_path) as bench,
        bench.run(*posting(caption=caption), go=False) as story,
    ):
        code, last = await story.ending()

        assert code == 1
        assert last["failure"]["code"] == "text_not_typeable"
        assert not bench.control.of("ready")
        assert bench.effects("app_started") == []


@pytest.mark.parametrize(
    ("gone", "missing"),
    [
        (("share_activity",), "share_activity"),
        (("screens", "composer"), "screen composer"),
        (("selectors", "composer", "posted"), "composer.posted"),
        (("selectors", "profile", "post"), "profile.post"),
    ],
)
async def test_a_profile_that_cannot_post_is_told_before_the_gate(
    tmp_path: Path, gone: tuple[str, ...], missing: str
) -> None:
    """plan_invalid names the part that posting needs."""

    def change(plan: dict[str, Any]) -> None:
        table = plan["profile"]
        for name in gone[:-1]:
            table = table[name]
        del table[gone[-1]]

    async with (
        run_bench(tmp_path) as bench,
        bench.run(*posting(), go=False, change=change) as story,
    ):
        code, last = await story.ending()

        assert code == 1
        assert last["failure"]["code"] == "plan_invalid"
        assert missing in last["failure"]["message"]


async def test_a_profile_is_checked_screen_by_screen(tmp_path: Path) -> None:
    """Every screen a tap leads to is reached and read; nothing is typed, saved or posted."""

    def change(plan: dict[str, Any]) -> None:
        profile = plan["profile"]
        profile["selectors"]["search"]["ghost"] = {"id": "not_there"}
        profile["screens"]["far"] = {"shows": {"id": "no_such_screen"}, "tap": "nav.feed"}

    async with (
        run_bench(tmp_path) as bench,
        bench.run(
            step("launch_app"),
            step("check_profile", limit=60),
            step("stop_app"),
            change=change,
            scale=0.05,
        ) as story,
    ):
        code, _ = await story.ending()

        assert code == 0
        screens = {screen["screen"]: screen for screen in story.outputs()[1]["screens"]}
        found = {
            entry["selector"]: entry for screen in screens.values() for entry in screen["selectors"]
        }
        reached = {name for name, screen in screens.items() if screen["reached"]}
        assert reached == {"feed", "search", "profile", "edit_profile", "nav"}
        assert screens["results"]["why"] == "only an action leads to this screen, not a tap"
        assert "screen far did not appear" in screens["far"]["why"]
        assert found["search.box"]["found"]
        assert found["profile.username"]["text"] == "@sim0001"
        assert found["nav.feed"]["bounds"] == [0, 1160, 240, 1280]
        assert not found["search.ghost"]["found"]
        assert not found["composer.caption"]["found"]
        assert not {"typed", "profile_saved", "posted"} & {e.kind for e in bench.phone.ledger()}


@pytest.mark.long
async def test_a_profile_that_fits_nothing_is_told_whole(tmp_path: Path) -> None:
    """Without any screen it knows the check still reports every screen and selector."""

    def change(plan: dict[str, Any]) -> None:
        for screen in plan["profile"]["screens"].values():
            screen["shows"] = {"id": "of_another_version"}

    async with (
        run_bench(tmp_path) as bench,
        bench.run(step("check_profile", limit=60), change=change, scale=0.02) as story,
    ):
        code, _ = await story.ending()

        assert code == 0
        screens = story.outputs()[0]["screens"]
        assert not any(screen["reached"] for screen in screens)
        assert all("did not appear" in s["why"] or "tap" in s["why"] for s in screens[:-1])
        assert not any(entry["found"] for screen in screens for entry in screen["selectors"])


async def test_a_post_whose_way_was_lost_before_the_tap_goes_on(tmp_path: Path) -> None:
    """Nothing was touched yet: the executor waits for adb.sock, and posts once."""
    async with run_bench(tmp_path) as bench:
        given = lay_out(bench)
        async with bench.run(*posting()) as story:
            await bench.control.until("fetch")
            bench.control.say(type="asset", asset="video", **given)
            await story.until("action_started", index=5)
            await bench.close_proxy()
            bench.control.say(type="ack", sequence=1000)
            await asyncio.sleep(0.3)  # It finds its way closed: the fault, not a wait.
            await bench.open_proxy()
            code, last = await story.ending()

        assert (code, last["failure"]) == (0, None)
        assert story.outputs()[5] == {"confirmed": True}
        assert len(bench.effects("posted")) == 1


@pytest.mark.long
@pytest.mark.parametrize("personality", [name for name in names() if name != "old-android"])
async def test_a_video_is_posted_from_every_kind_of_phone(tmp_path: Path, personality: str) -> None:
    """Accents and an emoji in the caption, whatever the phone does on the way."""
    caption = "Caf\u00e9 f\u00fcr alle \U0001f35c"
    async with run_bench(tmp_path, personality=personality) as bench:
        async with posting_run(bench, *posting(caption=caption)) as story:
            code, last = await story.ending()

        assert (code, last["failure"]) == (0, None)
        [post] = bench.effects("posted")
        assert (post["caption"], post["sha256"]) == (caption, SHA256)
