"""The agent's screens against a scripted scrcpy-server: one stream, many viewers, each fallback."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import pytest
from phonefarm_agent.model.phone import PhoneNotFitError
from phonefarm_agent.model.screen import (
    NORMAL,
    Clipboard,
    ClipboardSet,
    Frame,
    InputRefused,
    ScreenRefusedError,
    ScreensPolicy,
    StreamInfo,
    ViewEnded,
    ViewEvent,
    ViewMode,
)
from phonefarm_agent.phones.adb.client import Adb
from phonefarm_agent.phones.proxy.gate import Gate
from phonefarm_agent.phones.screen.screen_session import ScreenDevice
from phonefarm_agent.phones.screen.screens import Screens
from phonefarm_agent.phones.screen.server_jar import ScreenServerJarError
from phonefarm_agent.phones.screen.viewer import Viewer
from phonefarm_common.clock import SystemClock
from support.scrcpy_peer import SERIAL, TALL, WIDE, ScrcpyPeer, png, scrcpy_peer

T = TypeVar("T")
PATIENCE = 180.0
KEY = bytes(14)


class OneRun:
    """What the agent knows of runs: at most one run at work, and one hold."""

    def __init__(self) -> None:
        self.working = False
        self.evidence: tuple[bytes, datetime] | None = None
        self.hold = Gate(deadline=float("inf"), clock=SystemClock(), going=True)

    def gate(self, *, run_id: str, epoch: int, serialno: str) -> Gate | None:
        """Return the hold's gate."""
        return self.hold if (run_id, epoch, serialno) == ("r", 7, "S") else None

    def at_work(self, serialno: str) -> bool:
        """Tell whether a run is on the phone."""
        return self.working

    def picture(self, serialno: str) -> tuple[bytes, datetime] | None:
        """Return the run's evidence."""
        return self.evidence


class Host:
    """A host with one phone, its screens, and what its runs do."""

    def __init__(self, peer: ScrcpyPeer, jar: Path, tasks: asyncio.TaskGroup) -> None:
        self.peer = peer
        self.runs = OneRun()
        self.policy = ScreensPolicy.ALWAYS
        self.jar = jar
        self.missing = False
        self.tasks = tasks
        self.screens = self.made(ScreensPolicy.ALWAYS)

    def made(self, policy: ScreensPolicy) -> Screens:
        """Return screens with this policy."""
        return Screens(
            find=self.find,
            runs=self.runs,
            policy=policy,
            jar=self.find_jar,
            clock=SystemClock(),
            scale=0.02,
            tasks=self.tasks,
        )

    def find(self, serialno: str) -> ScreenDevice:
        """Return the phone, unless its cable is out."""
        if self.peer.gone:
            raise PhoneNotFitError("phone_absent")
        adb = Adb(host="127.0.0.1", port=self.peer.port)
        return ScreenDevice(adb=adb, adb_serial=SERIAL, model="model")

    def find_jar(self) -> Path:
        """Return the jar, unless there is none."""
        if self.missing:
            raise ScreenServerJarError("there is no jar: phonefarm-agent screens install")
        return self.jar

    def view(self, mode: ViewMode = ViewMode.VIDEO) -> AbstractAsyncContextManager[Viewer]:
        """Watch the phone."""
        return self.screens.view("S", mode=mode, quality=NORMAL)


class _StopError(Exception):
    """Ends the tasks of a host."""


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[Host]:
    """Run a host."""
    jar = tmp_path / "jar"
    jar.write_bytes(b"the jar")
    async with scrcpy_peer() as peer, hosting(peer, jar) as opened:
        yield opened


@asynccontextmanager
async def hosting(peer: ScrcpyPeer, jar: Path) -> AsyncIterator[Host]:
    """Yield a host whose tasks end with the block."""
    try:
        async with asyncio.TaskGroup() as tasks:
            stopping = asyncio.Event()
            tasks.create_task(_stop(stopping))
            yield Host(peer, jar, tasks)
            stopping.set()
    except* _StopError:
        pass


async def _stop(stopping: asyncio.Event) -> None:
    """End the group of tasks that this one belongs to."""
    await stopping.wait()
    raise _StopError


def press(viewer: Viewer, control: bytes) -> None:
    """Send a control message under the hold."""
    viewer.control(run_id="r", epoch=7, data=control)


async def event(viewer: Viewer) -> ViewEvent:
    """Return the viewer's next event."""
    async with asyncio.timeout(PATIENCE):
        return await viewer.next()


async def next_of(viewer: Viewer, kind: type[T]) -> T:
    """Return the viewer's next event of a kind."""
    while True:
        found = await event(viewer)
        if isinstance(found, kind):
            return found


async def test_video_comes_with_its_size_and_decodable_key_frames(host: Host) -> None:
    """Info first, then a key frame with SPS and PPS in front, then frames as they are."""
    async with host.view() as viewer:
        await host.peer.begin()
        await host.peer.send(b"frame")

        info, key, frame = [await event(viewer) for _ in range(3)]

    assert info == StreamInfo(mode=ViewMode.VIDEO, codec="avc1.42c01f", width=576, height=1280)
    assert key == Frame(data=TALL + b"key", key=True, timestamp_us=1000)
    assert frame == Frame(data=b"frame", key=False, timestamp_us=1000)
    assert host.peer.jar == b"the jar"
    options = host.peer.server.options
    assert (options["max_size"], options["max_fps"]) == ("1280", "30")
    assert (options["power_on"], options["clipboard_autosync"]) == ("false", "false")


async def test_a_turned_phone_tells_its_new_size(host: Host) -> None:
    """Scrcpy 3 says the size once; after a rotation the SPS says it."""
    async with host.view() as viewer:
        await host.peer.begin(TALL)
        await next_of(viewer, Frame)
        await host.peer.begin(WIDE)

        info = await next_of(viewer, StreamInfo)

    assert (info.width, info.height) == (1280, 576)


async def test_many_watch_one_server_and_a_late_one_gets_a_key_frame(host: Host) -> None:
    """The second viewer starts no second server: the phone is asked to begin again."""
    async with host.view() as first:
        await host.peer.begin()
        await next_of(first, Frame)
        async with host.view() as second:
            await host.peer.until(lambda: host.peer.resets >= 1)
            await host.peer.send(b"not decodable yet")
            await host.peer.begin(frame=b"again")

            info, frame = await event(second), await next_of(second, Frame)

    assert isinstance(info, StreamInfo)
    assert frame.data == TALL + b"again"
    assert len(host.peer.servers) == 1


async def test_key_frames_are_asked_for_at_most_once_a_second(host: Host) -> None:
    """However often viewers want one; the last wish is fulfilled a second later."""
    async with host.view() as viewer:
        await host.peer.begin()
        await next_of(viewer, Frame)
        began = asyncio.get_running_loop().time()
        for _ in range(50):
            viewer.want_key_frame()
        await host.peer.until(lambda: host.peer.resets >= 1)
        for _ in range(50):
            viewer.want_key_frame()
        await host.peer.until(lambda: host.peer.resets >= 2)
        took = asyncio.get_running_loop().time() - began

    assert host.peer.resets == 2
    assert took >= 1.0 - 0.05


async def test_a_slow_viewer_misses_frames_and_holds_up_nobody(host: Host) -> None:
    """One does not read: the other has every frame, and the slow one goes on at a key frame."""
    async with host.view() as slow, host.view() as quick:
        await host.peer.begin()
        seen = [await next_of(quick, Frame)]
        for number in range(100):
            await host.peer.send(b"frame %d" % number)
            seen.append(await next_of(quick, Frame))
        await host.peer.begin(frame=b"again")
        await next_of(quick, Frame)

        first = await next_of(slow, Frame)

    assert [frame.data for frame in seen[1:]] == [b"frame %d" % n for n in range(100)]
    assert first.data == TALL + b"again"
    assert slow.dropped >= 90


async def test_the_server_ends_a_while_after_the_last_viewer(host: Host) -> None:
    """Who comes back soon finds it running; then it ends."""
    async with host.view() as viewer:
        await host.peer.begin()
        await next_of(viewer, Frame)
    async with host.view() as viewer:
        await next_of(viewer, StreamInfo)

    await host.peer.until(lambda: host.peer.server.stop.is_set())

    assert len(host.peer.servers) == 1


async def test_another_encoder_is_tried_and_its_reason_told(host: Host) -> None:
    """The phone's own encoder fails: Android's in software takes over."""
    host.peer.refuses = lambda options: (
        "" if options.get("video_encoder") else "[server] ERROR: Video encoding error: MediaCodec"
    )

    async with host.view() as viewer:
        await host.peer.until(lambda: len(host.peer.servers) == 2)
        await host.peer.begin()
        info = await next_of(viewer, StreamInfo)

    assert info.mode is ViewMode.VIDEO
    assert info.reason.startswith("encoder_failed: [server] ERROR: Video encoding error")
    assert host.peer.server.options["video_encoder"] == "c2.android.avc.encoder"


async def test_without_any_video_there_are_stills_with_the_reason(host: Host) -> None:
    """A hidden API is gone: JPEGs come, and again when the picture has changed."""
    host.peer.refuses = lambda _: "Exception: NoSuchMethodException: SurfaceControl"

    async with host.view() as viewer:
        info, first = await event(viewer), await next_of(viewer, Frame)
        host.peer.picture = png((200, 0, 0))
        second = await next_of(viewer, Frame)
        press(viewer, KEY)
        refused = await next_of(viewer, InputRefused)

    assert isinstance(info, StreamInfo)
    assert (info.mode, info.codec, info.width) == (ViewMode.STILLS, "jpeg", 90)
    assert info.reason == ("screen_server_failed: Exception: NoSuchMethodException: SurfaceControl")
    assert first.data[:2] == second.data[:2] == b"\xff\xd8"
    assert first.data != second.data
    assert refused.reason == "no_input"
    assert len(host.peer.servers) == 2


async def test_a_model_that_has_shown_what_works_begins_there(host: Host) -> None:
    """The next stream does not try again what failed, and still says why."""
    host.peer.refuses = lambda options: (
        "" if options.get("video_encoder") else "[server] ERROR: encoder"
    )
    async with host.view() as viewer:
        await host.peer.until(lambda: len(host.peer.servers) == 2)
        await host.peer.begin()
        await next_of(viewer, StreamInfo)
    await host.peer.until(lambda: host.peer.server.stop.is_set())

    async with host.view() as viewer:
        await host.peer.until(lambda: len(host.peer.servers) == 3)
        await host.peer.begin()
        info = await next_of(viewer, StreamInfo)

    assert info.reason.startswith("encoder_failed")


async def test_without_the_jar_there_are_stills_and_the_remedy(host: Host) -> None:
    """What the host lacks is said, and not remembered of the model."""
    host.missing = True
    async with host.view() as viewer:
        lacking = await next_of(viewer, StreamInfo)
    host.missing = False
    async with host.screens.view("S2", mode=ViewMode.VIDEO, quality=NORMAL) as viewer:
        await host.peer.begin()
        info = await next_of(viewer, StreamInfo)

    assert lacking.mode is ViewMode.STILLS
    assert lacking.reason.startswith("screen_server_missing: ")
    assert "phonefarm-agent screens install" in lacking.reason
    assert info.reason == ""


async def test_a_pulled_cable_ends_the_view(host: Host) -> None:
    """The viewer is told that the phone is away."""
    async with host.view() as viewer:
        await host.peer.begin()
        await next_of(viewer, Frame)
        host.peer.gone = True
        host.peer.server.stop.set()

        ended = await next_of(viewer, ViewEnded)

    assert ended.reason == "phone_away"


async def test_input_reaches_the_phone_under_the_hold_and_never_after_it(host: Host) -> None:
    """Touches pass; the hold ends: it is said within a second, and 10,000 more reach nothing."""
    async with host.view() as viewer:
        await host.peer.begin()
        await next_of(viewer, Frame)
        press(viewer, KEY)
        await host.peer.until(lambda: len(host.peer.control) == 1)
        host.runs.hold.close("given back")

        refused = await next_of(viewer, InputRefused)
        for _ in range(10_000):
            press(viewer, KEY)
        viewer.want_key_frame()
        await host.peer.until(lambda: host.peer.resets == 1)

    assert refused.reason == "hold_ended"
    assert "given back" in refused.message
    assert host.peer.control == [KEY]


async def test_input_that_the_phone_does_not_take_at_once_is_not_kept(host: Host) -> None:
    """A phone that reads nothing: what would wait is thrown away, and the stream restarts."""
    text = b"x" * 200_000
    paste = bytes([9]) + bytes(9) + len(text).to_bytes(4, "big") + text
    async with host.view() as viewer:
        await host.peer.begin()
        await next_of(viewer, Frame)
        host.peer.reads_control.clear()
        for _ in range(400):
            press(viewer, paste)
        refused = await next_of(viewer, InputRefused)
        host.runs.hold.close("given back")
        host.peer.reads_control.set()
        await host.peer.until(lambda: len(host.peer.servers) == 2)
        before = len(host.peer.control)
        await host.peer.begin()
        await next_of(viewer, Frame)

    assert refused.reason == "no_input"
    assert len(host.peer.control) == before


async def test_a_phone_that_forbids_input_says_what_to_do(host: Host) -> None:
    """Xiaomi's second switch: the picture goes on, the remedy is in words."""
    host.peer.says = b"java.lang.SecurityException: Injecting requires INJECT_EVENTS permission\n"
    async with host.view() as viewer:
        await host.peer.begin()
        info = await next_of(viewer, StreamInfo)
        press(viewer, KEY)
        refused = await next_of(viewer, InputRefused)

    assert refused.reason == "inject_denied"
    assert "USB debugging (Security settings)" in info.warning
    assert host.peer.control == []


async def test_the_clipboard_goes_to_the_viewer_that_asked(host: Host) -> None:
    """Its text to one, the acknowledgement of a paste to one; nobody else hears of it."""
    async with host.view() as asker, host.view() as other:
        await host.peer.begin()
        await next_of(asker, Frame)
        press(asker, bytes([8, 0]))
        press(asker, bytes([9]) + (5).to_bytes(8, "big") + bytes(5))
        await host.peer.until(lambda: len(host.peer.control) == 2)
        await host.peer.say(bytes([0]) + (4).to_bytes(4, "big") + b"text")
        await host.peer.say(bytes([1]) + (5).to_bytes(8, "big"))
        await host.peer.say(bytes([2, 0, 1, 0, 2]) + b"xx")  # of a UHID device: nobody waits

        heard = await next_of(asker, Clipboard), await next_of(asker, ClipboardSet)
        await host.peer.send(b"last")
        events = [await event(other) for _ in range(3)]

    assert heard == (Clipboard(text="text"), ClipboardSet(sequence=5))
    assert [type(each) for each in events] == [StreamInfo, Frame, Frame]


@pytest.mark.parametrize(
    ("policy", "working", "reason"),
    [
        (ScreensPolicy.OFF, False, "screens_off"),
        (ScreensPolicy.IDLE, True, "run_on_phone"),
        (ScreensPolicy.IDLE, False, ""),
        (ScreensPolicy.ALWAYS, True, ""),
    ],
)
async def test_the_host_says_when_its_screens_may_be_seen(
    host: Host, policy: ScreensPolicy, working: bool, reason: str
) -> None:
    """`--screens`: never, only without a run, always; a still as well as a view."""
    host.runs.working = working
    screens = host.made(policy)
    found = ""
    try:
        async with screens.view("S", mode=ViewMode.STILLS, quality=NORMAL) as viewer:
            await next_of(viewer, Frame)
        await screens.still("S", png=True, tree=False)
    except ScreenRefusedError as error:
        found = error.reason

    assert found == reason


async def test_a_run_that_begins_ends_a_view_of_an_idle_phone(host: Host) -> None:
    """With --screens idle the viewer is told, and sees nothing more."""
    screens = host.made(ScreensPolicy.IDLE)
    async with screens.view("S", mode=ViewMode.STILLS, quality=NORMAL) as viewer:
        await next_of(viewer, Frame)
        host.runs.working = True

        ended = await next_of(viewer, ViewEnded)

    assert ended.reason == "run_on_phone"


async def test_a_still_is_what_the_phone_shows(host: Host) -> None:
    """PNG as the phone makes it, JPEG made of it, each with its size."""
    plain = await host.screens.still("S", png=True, tree=False)
    packed = await host.screens.still("S", png=False, tree=False)

    assert plain.picture.data == host.peer.picture
    assert packed.picture.data[:2] == b"\xff\xd8"
    assert (plain.picture.width, plain.picture.height) == (90, 200)
    assert (packed.picture.width, packed.picture.height) == (90, 200)


async def test_a_still_has_the_tree_unless_a_run_reads_the_screen(host: Host) -> None:
    """Without the UI server a dump gives it; a run is not disturbed for it."""
    host.peer.dump = '<hierarchy><node text="Search" bounds="[0,0][9,9]"/></hierarchy>'

    with_tree = await host.screens.still("S", png=True, tree=True)
    host.runs.working = True
    without = await host.screens.still("S", png=True, tree=True)

    assert [node.text for node in with_tree.nodes] == ["Search"]
    assert (with_tree.tree_refused, with_tree.moved) == ("", False)
    assert without.nodes == ()
    assert without.tree_refused.startswith("run_on_phone")
    assert sum("uiautomator dump" in command for command in host.peer.commands) == 1


async def test_a_phone_without_a_picture_says_what_it_said(host: Host) -> None:
    """What screencap prints instead of a PNG is in the refusal."""
    host.peer.picture = b"Capturing failed.\n"

    with pytest.raises(ScreenRefusedError, match=r"Capturing failed\.") as refused:
        await host.screens.still("S", png=True, tree=False)

    assert refused.value.reason == "failed"


async def test_thumbnails_ask_a_phone_seldom_and_a_phone_with_a_run_never(host: Host) -> None:
    """However many look: one picture in 5 s. A run's evidence is shown instead of the phone."""
    thumbnails = host.screens.thumbnails
    looked = await asyncio.gather(*(thumbnails.look("S") for _ in range(20)))
    host.runs.working = True
    without = await thumbnails.look("S")
    host.runs.evidence = (png((0, 99, 0)), datetime(2026, 1, 2, tzinfo=UTC))
    evidence = await thumbnails.look("S")

    assert {each.picture for each in looked} == {looked[0].picture}
    assert looked[0].picture is not None
    assert host.peer.captures == 1
    assert (without.picture, without.refused) == (None, "no_picture_yet")
    assert evidence.is_evidence
    assert evidence.taken_at == datetime(2026, 1, 2, tzinfo=UTC)
