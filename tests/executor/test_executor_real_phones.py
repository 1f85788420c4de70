"""What real phones do, by public reports, and what a run makes of it (research: real-phones)."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest
from phonefarm_executor.adb_link import Answer, Link
from phonefarm_executor.deadlines import Pace
from phonefarm_executor.failures import Code, FailedError
from phonefarm_executor.phone import Phone
from phonefarm_executor.signals import Signals
from phonefarm_simulator.commands import ui_commands
from phonefarm_simulator.personality import names
from PIL import Image
from support.run_bench import RunBench, run_bench, step


@pytest.fixture(autouse=True)
def impatient_dump(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have `uiautomator dump` give up after a second instead of ten: nothing here is about them."""
    monkeypatch.setattr(ui_commands, "IDLE_LIMIT_SECONDS", 1.0)


SEARCH = (step("launch_app"), step("search", keyword="ramen"))


async def failure_of(bench: RunBench, *actions: dict[str, Any]) -> dict[str, Any]:
    """Run the actions and return the failure the run ends with."""
    async with bench.run(*actions) as story:
        code, last = await story.ending()
    assert code == 1, last
    return dict(last["failure"])


async def done_by(bench: RunBench, *actions: dict[str, Any]) -> Sequence[dict[str, Any]]:
    """Run the actions to a good end and return their outputs."""
    async with bench.run(*actions) as story:
        code, last = await story.ending()
    assert (code, last["failure"]) == (0, None)
    return story.outputs()


@pytest.mark.parametrize("personality", [name for name in names() if name != "old-android"])
async def test_the_feed_is_watched_on_every_kind_of_phone(tmp_path: Path, personality: str) -> None:
    """The main job: a feed that moves, a search, and a picture of it."""
    async with run_bench(tmp_path, personality=personality) as bench:
        outputs = await done_by(
            bench,
            step("launch_app"),
            step("scroll_feed", videos=3, watch_seconds=0.5),
            step("search", keyword="ramen"),
            step("watch", index=0, seconds=0.5),
            step("screenshot", name="player"),
            step("stop_app"),
        )

        titles = [video["title"] for video in outputs[1]["videos"]]
        assert len(set(titles)) == 3
        assert [entry["query"] for entry in bench.effects("searched")] == ["ramen"]
        picture = bench.control.evidence("player.png")
        assert picture.startswith(b"\x89PNG")
        assert len(picture) > 5000  # a black one has less


async def test_a_dark_display_behind_a_swipe_lock_is_lit(tmp_path: Path) -> None:
    """The run presses WAKEUP and takes the keyguard away, at its start and on the way."""
    async with run_bench(tmp_path, personality="pixel-15") as bench:
        await bench.phone.fault("display_times_out", seconds=1.5)
        bench.phone.phone.display.darken()
        await done_by(bench, step("launch_app"), step("watch", seconds=2.0), step("open_feed"))

        assert 224 in [code for entry in bench.effects("keys_pressed") for code in entry["codes"]]


async def test_a_display_that_no_key_lights_is_the_phones_fault(tmp_path: Path) -> None:
    """An LG G5 that ignores WAKEUP (appium#8108) is told as it is, and charged to the phone."""
    async with run_bench(tmp_path) as bench:
        await bench.phone.fault("wake_fails")
        bench.phone.phone.display.darken()
        failure = await failure_of(bench, step("launch_app"))

    assert (failure["code"], failure["class"]) == ("display_dark", "infra")
    assert "WAKEUP" in failure["message"]


async def test_a_lock_with_a_secret_is_the_phones_fault(tmp_path: Path) -> None:
    """Nobody guesses a secret: the run ends, and the phone is counted, not the work."""
    async with run_bench(tmp_path) as bench:
        await bench.phone.fault("screen_locked")
        failure = await failure_of(bench, step("launch_app"))

    assert (failure["code"], failure["class"]) == ("screen_locked", "infra")


@pytest.mark.parametrize(
    ("fault", "settings"),
    [
        ("ui_server_dies", {"nth": 4}),
        ("ui_server_dies", {"nth": 5, "after_effect": True}),
        ("ui_server_overflows", {}),
        ("ui_server_port_taken", {}),
        ("ui_server_slow", {"milliseconds": 300}),
        ("am_wait_hangs", {}),
        ("letters_lost", {}),
        ("stack_traces", {}),
        ("landscape", {}),
        ("no_battery", {}),
    ],
)
async def test_a_run_copes_with(tmp_path: Path, fault: str, settings: dict[str, Any]) -> None:
    """What a phone may do without being unfit changes nothing of what a run brings."""
    async with run_bench(tmp_path) as bench:
        await bench.phone.fault(fault, **settings)
        outputs = await done_by(
            bench,
            step("launch_app"),
            step("scroll_feed", videos=2, watch_seconds=0.3),
            step("search", keyword="night trains"),
            step("watch", index=0, seconds=0.3),
        )

    assert outputs[2]["keyword"] == "night trains"
    assert [entry["query"] for entry in bench.effects("searched")] == ["night trains"]


@pytest.mark.parametrize(
    ("fault", "code", "owner"),
    [
        ("ui_automation_taken", "ui_automation_taken", "infra"),
        ("ui_server_killed_at_start", "ui_server_failed", "infra"),
        ("ui_server_not_connected", "ui_server_failed", "infra"),
        ("ui_server_http_500", "ui_server_failed", "infra"),
        ("ui_server_blind", "screen_unreadable", "work"),
    ],
)
async def test_a_screen_that_cannot_be_read_is_told_by_whose_fault_it_is(
    tmp_path: Path, fault: str, code: str, owner: str
) -> None:
    """With the UI server away and a shell that cannot dump either, the phone is blamed, or not."""
    async with run_bench(tmp_path) as bench:
        await bench.phone.fault(fault)
        if fault != "ui_server_blind":
            await bench.phone.fault("dump_killed")
        failure = await failure_of(bench, step("launch_app"))

    assert (failure["code"], failure["class"]) == (code, owner), failure["message"]


async def test_a_phone_without_a_ui_server_works_by_the_shell_where_nothing_moves(
    tmp_path: Path,
) -> None:
    """A ROM that cannot start it (uiautomator2#1076) still serves screens that rest."""
    async with run_bench(tmp_path, personality="ideal") as bench:
        await bench.phone.fault("ui_server_killed_at_start")
        outputs = await done_by(bench, *SEARCH)

    assert outputs[1]["results"] == 5


async def test_a_refused_start_tells_what_the_phone_said(tmp_path: Path) -> None:
    """`am start` that ends with 255 (appium#11307) fails at once, in the phone's own words."""
    async with run_bench(tmp_path) as bench:
        await bench.phone.fault("am_start_denied")
        failure = await failure_of(bench, step("launch_app"))

    assert failure["code"] == "screen_not_reached"
    assert "Permission Denial" in failure["message"]
    assert "exit 255" in failure["message"]


@pytest.mark.parametrize(
    "text", ["plain words", "caf\u00e9 na\u00efve", "\u6771\u4eac", "noodles \U0001f35c!"]
)
async def test_any_text_gets_into_a_field(tmp_path: Path, text: str) -> None:
    """Keys where there are some, setText for accents, CJK and emoji; read back either way."""
    async with run_bench(tmp_path) as bench:
        await done_by(bench, step("launch_app"), step("search", keyword=text))

        assert [entry["query"] for entry in bench.effects("searched")] == [text]


async def test_an_emoji_of_the_profile_is_replaced_by_another(tmp_path: Path) -> None:
    """A dump writes both as `..` (uiautomator2#1111): neither fails, and neither is skipped."""
    async with run_bench(tmp_path) as bench:
        bench.phone.set_account(bio="caf\u00e9 \U0001f35c")
        outputs = await done_by(
            bench,
            step("launch_app"),
            step("edit_profile_field", field="bio", value="caf\u00e9 \U0001f389"),
        )

        assert outputs[1]["value"] == "caf\u00e9 \U0001f389"
        assert bench.phone.state()["account"]["bio"] == "caf\u00e9 \U0001f389"


async def test_a_field_that_takes_no_text_is_told(tmp_path: Path) -> None:
    """SetText that says true and does nothing, and a refused clipboard: nothing is posted."""
    async with run_bench(tmp_path) as bench:
        await bench.phone.fault("set_text_ignored")
        await bench.phone.fault("clipboard_denied")
        failure = await failure_of(bench, step("launch_app"), step("search", keyword="caf\u00e9"))

    assert (failure["code"], failure["final"]) == ("text_not_typeable", True)
    assert "setText" in failure["message"]


async def test_a_claimed_keyboard_is_not_closed(tmp_path: Path) -> None:
    """MInputShown without a keyboard (appium-adb#56): BACK would leave the form."""
    async with run_bench(tmp_path) as bench:
        await bench.phone.fault("keyboard_claimed")
        outputs = await done_by(
            bench,
            step("launch_app"),
            step("edit_profile_field", field="bio", value="Trains and noodles"),
        )

    assert outputs[1]["value"] == "Trains and noodles"


async def test_where_screencap_fails_the_ui_server_takes_the_picture(tmp_path: Path) -> None:
    """The picture is kept as a PNG of the whole screen."""
    async with run_bench(tmp_path) as bench:
        await bench.phone.fault("screencap_fails")
        outputs = await done_by(
            bench, step("launch_app"), step("ui_dump", name="a"), step("screenshot", name="shown")
        )
        with Image.open(io.BytesIO(bench.control.evidence("shown.png"))) as picture:
            size, colours = picture.size, len(picture.convert("RGB").getcolors(1 << 20) or ())

    assert outputs[2] == {"evidence": "shown.png"}
    assert size == (720, 1280)
    assert colours > 5  # a black one has one


async def test_a_picture_that_no_way_gives_is_told_with_both_reasons(tmp_path: Path) -> None:
    """The UI server has not been started before the first look: what screencap said comes first."""
    async with run_bench(tmp_path) as bench:
        await bench.phone.fault("screencap_fails")
        failure = await failure_of(bench, step("screenshot", name="never"))

    assert failure["code"] == "adb_failed"
    assert "screencap did not send a PNG" in failure["message"]
    assert "the UI server did not provide a picture either" in failure["message"]


async def test_the_pictures_of_a_foldable_are_of_the_lit_display(tmp_path: Path) -> None:
    """The warning before the PNG is cut, and the display that is unfolded is the one shown."""
    async with run_bench(tmp_path, personality="foldable") as bench:
        await bench.phone.fault("screencap_warns", on_stdout=True)
        await done_by(bench, step("launch_app"), step("screenshot", name="one"))

        assert len(bench.control.evidence("one.png")) > 5000


@pytest.mark.long
async def test_a_shell_dump_of_a_moving_screen_is_heard_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a UI server the run waits the ten seconds and says what the phone said."""
    monkeypatch.setattr(ui_commands, "IDLE_LIMIT_SECONDS", 10.4)
    async with run_bench(tmp_path) as bench:
        await bench.phone.fault("ui_server_killed_at_start")
        failure = await failure_of(bench, step("launch_app"))

    assert (failure["code"], failure["class"]) == ("ui_server_failed", "infra")
    assert "could not get idle state" in failure["message"]
    assert "Killed" in failure["message"]


async def test_a_phone_that_may_not_be_touched(tmp_path: Path) -> None:
    """MIUI refuses touches until a person allows them (scrcpy#4352): the phone's own words."""
    async with run_bench(tmp_path) as bench:
        await bench.phone.fault("inject_denied")
        failure = await failure_of(bench, step("launch_app"), step("search", keyword="noodles"))

    assert (failure["code"], failure["class"]) == ("adb_failed", "infra")
    assert "INJECT_EVENTS permission" in failure["message"]


class ScriptedLink:
    """A phone that is well, behind an adb that fails the first commands."""

    def __init__(self, *, failures: int) -> None:
        self.failures = failures

    def shell(self, words: Sequence[str], *, limit: float) -> Answer:
        """Fail, or answer as a phone does."""
        assert limit > 0
        if self.failures:
            self.failures -= 1
            raise FailedError(Code.ADB_FAILED, "the connection ended before the answer was whole")
        said = {
            "getprop": b"34",
            "wm": b"Physical size: 720x1280",
            "pm": b"package:/base.apk",
            "mkdir": b"",
        }
        return Answer(stdout=said[words[0]], stderr=b"", code=0)


@pytest.mark.parametrize(("failures", "met"), [(0, True), (2, True), (3, False)])
def test_a_phone_behind_an_adb_that_begins_anew_is_met(failures: int, met: bool) -> None:
    """The agent that takes a run over starts adb: what it cut is asked again, twice."""
    link = ScriptedLink(failures=failures)
    phone = Phone(cast(Link, link), Pace(Signals(), cap_seconds=60), folder="/data/run")

    if met:
        phone.greet("com.example.shortvideo")
        assert phone.size == (720, 1280)
    else:
        with pytest.raises(FailedError, match="the connection ended"):
            phone.greet("com.example.shortvideo")


@pytest.mark.parametrize(("failures", "made"), [(0, True), (2, True), (3, False)])
def test_the_folder_is_made_behind_an_adb_that_begins_anew(failures: int, made: bool) -> None:
    """The first command after the gate may be cut as well; to make a folder twice does no harm."""
    link = ScriptedLink(failures=failures)
    phone = Phone(cast(Link, link), Pace(Signals(), cap_seconds=60), folder="/data/run")

    if made:
        phone.make_folder()
        assert link.failures == 0
    else:
        with pytest.raises(FailedError, match="the connection ended"):
            phone.make_folder()
