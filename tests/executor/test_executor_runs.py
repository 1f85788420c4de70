"""Whole runs of the executor on a simulated phone, over the real adb server and the real proxy."""

import json
from pathlib import Path
from typing import Any

from phonefarm_agent.phones.ui_server import JAR
from support.run_bench import FOLDER, RunBench, executor, plan_of, run_bench, step

KEYWORD = "100%sure; reboot $(id) 'x'"


def titles(bench: RunBench, where: str) -> list[tuple[str, float]]:
    """Return title and seconds of the videos that were in view."""
    return [
        (entry["title"], entry["seconds"])
        for entry in bench.effects("video_shown")
        if entry["where"] == where
    ]


async def test_a_keyword_warmup_searches_and_watches(tmp_path: Path) -> None:
    """Each keyword is searched, each result watched for its time, and the app is closed."""
    async with (
        run_bench(tmp_path) as bench,
        bench.run(
            step("launch_app"),
            step("search", keyword="night trains"),
            step("watch", index=0, seconds=1.0),
            step("watch", index=1, seconds=1),
            step("search", keyword=KEYWORD),
            step("watch", index=0, seconds=1),
            step("stop_app"),
        ) as story,
    ):
        code, last = await story.ending()

        assert (code, last["outcome"], last["failure"]) == (0, "done", None)
        launched, first, one, two, second, three, _ = story.outputs()
        assert launched == {"foreground": "com.example.shortvideo/.MainActivity"}
        assert first == {"keyword": "night trains", "results": 5}
        assert second["keyword"] == KEYWORD
        assert [entry["query"] for entry in bench.effects("searched")] == ["night trains", KEYWORD]
        seen = titles(bench, "player")
        assert [title for title, _ in seen] == [video["title"] for video in (one, two, three)]
        assert one["title"] != two["title"]
        for (_, seconds), video in zip(seen, (one, two, three), strict=True):
            assert seconds >= video["seconds"] >= 1.0
        assert not bench.phone.state()["app"]["running"]


async def test_results_further_down_are_found_by_scrolling(tmp_path: Path) -> None:
    """Any result can be opened, also back up the list; one beyond the last is skipped."""
    async with (
        run_bench(tmp_path) as bench,
        bench.run(
            step("launch_app"),
            step("search", keyword="ramen"),
            *(step("watch", index=index, seconds=0.1) for index in (11, 2, 19, 20)),
        ) as story,
    ):
        code, _ = await story.ending()

        assert code == 0
        watched = story.outputs()[2:]
        assert watched[3] == {
            "title": "",
            "seconds": 0.0,
            "skipped": "the search found only 20",
        }
        expected = [bench.phone.phone.app.results[index].title for index in (11, 2, 19)]
        assert [video["title"] for video in watched[:3]] == expected


async def test_the_feed_is_watched_video_by_video(tmp_path: Path) -> None:
    """scroll_feed watches as many different videos as asked, from wherever the app is."""
    async with (
        run_bench(tmp_path) as bench,
        bench.run(
            step("launch_app"),
            step("open_feed"),
            step("tap", selector="nav.profile"),
            step("scroll_feed", videos=3, watch_seconds=0.5, judge_prompt="Grüße"),
            step("stop_app"),
        ) as story,
    ):
        code, _ = await story.ending()

        assert code == 0
        videos = story.outputs()[3]["videos"]
        assert len({video["title"] for video in videos}) == 3
        seen = titles(bench, "feed")
        assert [title for title, _ in seen[-3:]] == [video["title"] for video in videos]
        assert all(video["seconds"] >= 0.5 for video in videos)


async def test_profile_fields_are_replaced_and_read_back(tmp_path: Path) -> None:
    """Each field is cleared, typed and saved; one that holds the value already is left alone."""
    async with run_bench(tmp_path) as bench:
        bench.phone.set_account(display_name="Old name", username="old.name", bio="word " * 30)
        async with bench.run(
            step("launch_app"),
            step("edit_profile_field", field="display_name", value='New & "better" name\'s'),
            step("edit_profile_field", field="username", value="new.name"),
            step("edit_profile_field", field="bio", value="50%off; $HOME `id` \\ (x)"),
            step("edit_profile_field", field="username", value="new.name"),
        ) as story:
            code, _ = await story.ending()

        assert code == 0
        assert story.outputs()[1:] == [
            {"field": "display_name", "value": 'New & "better" name\'s'},
            {"field": "username", "value": "new.name"},
            {"field": "bio", "value": "50%off; $HOME `id` \\ (x)"},
            {"field": "username", "value": "new.name"},
        ]
        account = bench.phone.phone.app.account
        assert account.display_name == 'New & "better" name\'s'
        assert account.username == "new.name"
        assert account.bio == "50%off; $HOME `id` \\ (x)"
        assert len(bench.effects("profile_saved")) == 3


async def test_a_value_the_app_refuses_fails_with_what_it_says(tmp_path: Path) -> None:
    """Where saving leads nowhere the failure quotes the screen."""
    async with (
        run_bench(tmp_path) as bench,
        bench.run(
            step("launch_app"),
            step("edit_profile_field", field="username", value="no spaces please"),
        ) as story,
    ):
        code, last = await story.ending()

        assert code == 1
        assert last["failure"]["code"] == "screen_not_reached"
        assert "Username: 2 to 24 letters" in last["failure"]["message"]
        assert bench.effects("profile_saved") == []


async def test_evidence_is_kept_on_request(tmp_path: Path) -> None:
    """Screenshot and ui_dump send what the screen shows; find tells text and place."""
    async with (
        run_bench(tmp_path) as bench,
        bench.run(
            step("launch_app"),
            step("find", selector="nav.search", seconds=1.0),
            step("screenshot", name="feed"),
            step("ui_dump", name="feed-views"),
        ) as story,
    ):
        code, _ = await story.ending()

        assert code == 0
        found, picture, dump = story.outputs()[1:]
        assert found == {"text": "Search", "bounds": [240, 1160, 480, 1280]}
        assert picture == {"evidence": "feed.png"}
        assert dump == {"evidence": "feed-views.xml"}
        assert bench.control.evidence("feed.png").startswith(b"\x89PNG")
        assert b"nav_profile" in bench.control.evidence("feed-views.xml")


async def test_touch_and_keys(tmp_path: Path) -> None:
    """The plain actions tap, type, press and swipe where they are told."""
    async with (
        run_bench(tmp_path) as bench,
        bench.run(
            step("launch_app"),
            step("tap", x=360, y=1220),
            step("wait_for", selector="search.box", seconds=5.0),
            step("tap", selector="search.box"),
            step("type_text", text="bouldering"),
            step("press_key", key="ENTER"),
            step("wait_for", selector="results.item", seconds=5.0),
            step("swipe", direction="up"),
            step("press_key", key="BACK"),
        ) as story,
    ):
        code, _ = await story.ending()

        assert code == 0
        assert [entry["query"] for entry in bench.effects("searched")] == ["bouldering"]
        assert len(bench.effects("swiped")) == 1
        assert bench.phone.state()["app"]["screen"] == "search"


async def test_the_run_keeps_to_its_folder(tmp_path: Path) -> None:
    """Nothing is written outside the run's own folder, but the agent's jar."""
    async with (
        run_bench(tmp_path) as bench,
        bench.run(step("launch_app"), step("ui_dump", name="x"), step("stop_app")) as story,
    ):
        await story.ending()

        written = [entry["path"] for entry in bench.effects("file_written")]
        assert JAR in written
        assert all(path.startswith(FOLDER + "/") for path in written if path != JAR)


async def test_nothing_is_done_before_go(tmp_path: Path) -> None:
    """The executor gets ready by reads alone; until `go` the phone sees no effect."""
    async with (
        run_bench(tmp_path) as bench,
        bench.run(step("launch_app"), go=False) as story,
    ):
        await bench.control.until("ready")
        before = [entry.kind for entry in bench.phone.ledger() if entry.effect]
        await bench.open_gate()
        code, _ = await story.ending()

        assert before == []
        assert code == 0
        assert bench.control.of("hello") == [
            {"type": "hello", "run_id": bench.control.of("hello")[0]["run_id"]}
        ]


async def test_an_action_that_was_done_once_is_skipped(tmp_path: Path) -> None:
    """Indices in `skip` are neither begun nor told."""

    def skip(plan: dict[str, Any]) -> None:
        plan["skip"] = [1]

    async with (
        run_bench(tmp_path) as bench,
        bench.run(
            step("launch_app"),
            step("press_key", key="HOME", repeat="once"),
            step("stop_app"),
            change=skip,
        ) as story,
    ):
        code, _ = await story.ending()

        assert code == 0
        assert [line["index"] for line in story.lines if line["type"] == "action_done"] == [0, 2]
        assert bench.effects("home_pressed") == []


async def test_a_once_action_waits_for_its_acknowledgement(tmp_path: Path) -> None:
    """Until the controller is known to have its `started` line, a once action does nothing."""
    async with (
        run_bench(tmp_path) as bench,
        bench.run(
            step("launch_app"), step("press_key", key="HOME", repeat="once"), scale=1.0
        ) as story,
    ):
        started = await story.until("action_started", index=1)
        bench.control.say(type="ack", sequence=started["sequence"] - 1)
        await bench.control.hang_up()
        await bench.control.listen()
        await bench.control.until("hello", count=2)
        before = bench.effects("home_pressed")
        bench.control.say(type="ack", sequence=started["sequence"])
        code, _ = await story.ending()

        assert before == []
        assert code == 0
        assert len(bench.effects("home_pressed")) == 1


async def test_a_plan_that_cannot_be_done_never_asks_to_begin(tmp_path: Path) -> None:
    """Text no field can hold fails the run while it is prepared: no phone, no agent is asked."""
    actions = [step("launch_app"), step("search", keyword="bell\a")]
    async with executor(tmp_path, json.dumps(plan_of(actions, serial="nowhere"))) as story:
        exit_code, last = await story.ending()

    assert exit_code == 1
    assert len(story.lines) == 1
    assert last["failure"]["code"] == "text_not_typeable"
    assert "bell" in last["failure"]["message"]


async def test_a_plan_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    """Even a plan that is no JSON ends in a last line that says so."""
    async with executor(tmp_path, "[1, 2") as story:
        exit_code, last = await story.ending()

    assert exit_code == 1
    assert last["failure"]["code"] == "plan_invalid"
