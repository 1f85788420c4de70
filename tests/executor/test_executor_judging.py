"""The feed under a judge: what is not wished for is watched short, no verdict is waited for."""

from pathlib import Path
from typing import Any

from support.run_bench import run_bench, step

WISH = "films about bread"


def scroll(videos: int, seconds: float, *, wish: str = WISH) -> dict[str, Any]:
    """Return the action that watches the feed."""
    return step("scroll_feed", limit=90.0, videos=videos, watch_seconds=seconds, judge_prompt=wish)


async def test_a_video_that_is_not_wished_for_is_watched_short(tmp_path: Path) -> None:
    """Each verdict stands beside its video; what is wished for is watched as ordered."""
    async with (
        run_bench(tmp_path) as bench,
        bench.run(step("launch_app"), scroll(2, 6.0)) as story,
    ):
        said = []
        for number, word in enumerate(("pass", "watch"), start=1):
            asked = await bench.control.until("judge", count=number)
            said.append(asked)
            bench.control.say(
                type="judged", id=asked["id"], verdict=word, by="model", score=0.5, why=word
            )
        code, last = await story.ending()

        assert code == 0, last
        first, second = story.outputs()[1]["videos"]
        assert 2.0 <= first["seconds"] < 6.0 <= second["seconds"]
        assert first["judged"] == {"verdict": "pass", "by": "model", "score": 0.5, "why": "pass"}
        assert second["judged"]["verdict"] == "watch"
        assert [one["action"] for one in said] == [1, 1]
        assert said[0]["texts"][0] == first["title"]
        assert len(said[0]["texts"]) == 2  # the title and the author: nothing else of the screen


async def test_an_agent_that_says_nothing_is_not_waited_for(tmp_path: Path) -> None:
    """As one of an older release: the run watches on, and the output says that nobody judged."""
    async with (
        run_bench(tmp_path) as bench,
        bench.run(step("launch_app"), scroll(2, 0.3)) as story,
    ):
        code, last = await story.ending()

        assert code == 0, last
        videos = story.outputs()[1]["videos"]
        assert len(bench.control.of("judge")) == 2
        assert [one["judged"]["by"] for one in videos] == ["none", "none"]
        assert all(one["seconds"] >= 0.3 for one in videos)


async def test_an_answer_that_comes_late_or_is_none_changes_nothing(tmp_path: Path) -> None:
    """A verdict on another question, and lines that are no verdict."""
    async with (
        run_bench(tmp_path) as bench,
        bench.run(step("launch_app"), scroll(1, 2.5)) as story,
    ):
        asked = await bench.control.until("judge")
        bench.control.say(type="judged", id="one", verdict="pass")
        bench.control.say(type="judged", id=asked["id"] + 7, verdict="pass")
        code, last = await story.ending()

        assert code == 0, last
        (video,) = story.outputs()[1]["videos"]
        assert video["judged"]["verdict"] == "unsure"
        assert video["seconds"] >= 2.5


async def test_without_a_wish_nobody_is_asked(tmp_path: Path) -> None:
    """The videos then say nothing of a judge."""
    async with (
        run_bench(tmp_path) as bench,
        bench.run(step("launch_app"), scroll(1, 0.2, wish="")) as story,
    ):
        code, last = await story.ending()

        assert code == 0, last
        assert bench.control.of("judge") == []
        assert [sorted(video) for video in story.outputs()[1]["videos"]] == [["seconds", "title"]]
