"""Whole runs of the executor on a simulated phone, over the real adb server and the real proxy."""

from pathlib import Path

from support.run_bench import FOLDER, run_bench, step


async def test_a_keyword_warmup_searches_and_watches(tmp_path: Path) -> None:
    """Each keyword is searched, each result watched for its time, and the app is closed."""
    async with (
        run_bench(tmp_path) as bench,
        bench.run(
            step("launch_app"),
            step("search", keyword="night trains"),
            step("watch", index=0, seconds=1.0),
            step("watch", index=1, seconds=1.0),
            step("search", keyword="100%sure; reboot $(id) 'x'"),
            step("watch", index=0, seconds=1),
            step("stop_app"),
        ) as story,
    ):
        code, last = await story.ending()

        assert (code, last["outcome"], last["failure"]) == (0, "done", None)
        launched, first, one, two, second, three, _ = story.outputs()
        assert launched == {"foreground": "com.example.shortvideo/.MainActivity"}
        assert first == {"keyword": "night trains", "results": 5}
        assert second["keyword"] == "100%sure; reboot $(id) 'x'"
        searched = [entry["query"] for entry in bench.effects("searched")]
        assert searched == ["night trains", "100%sure; reboot $(id) 'x'"]
        shown = [entry for entry in bench.effects("video_shown") if entry["where"] == "player"]
        assert [entry["title"] for entry in shown] == [v["title"] for v in (one, two, three)]
        assert one["title"] != two["title"]
        for seen, told in zip(shown, (one, two, three), strict=True):
            assert seen["seconds"] >= told["seconds"] >= 1.0
        assert not bench.phone.state()["app"]["running"]
