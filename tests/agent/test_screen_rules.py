"""The rules of screens: which input passes, what a queue keeps, what an SPS and a UI tree say."""

import random
from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import strategies as st
from phonefarm_agent.model.screen import InputRefused
from phonefarm_agent.phones.proxy.gate import Gate
from phonefarm_agent.phones.screen.control_messages import (
    MOST_CLIPBOARD,
    MOST_TEXT,
    NAMES,
    ControlNotAllowedError,
    check_control,
)
from phonefarm_agent.phones.screen.h264 import BadSpsError, VideoFormat, video_format
from phonefarm_agent.phones.screen.ui_tree import BadTreeError, read_tree
from phonefarm_agent.phones.screen.viewer_input import MOST_A_SECOND, ViewerInput
from phonefarm_common.clock import SystemClock
from phonefarm_common.frame_queue import MOST_FRAMES, MOST_OTHERS, FrameQueue
from support.examples import given

KEY = bytes([0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0])
WHOLE = {
    0: KEY,
    1: bytes([1, 0, 0, 0, 2]) + b"ab",
    2: bytes([2]) + bytes(31),
    3: bytes([3]) + bytes(20),
    4: bytes([4, 0]),
    8: bytes([8, 0]),
    9: bytes([9]) + bytes(9) + (3).to_bytes(4, "big") + b"abc",
    11: bytes([11]),
    17: bytes([17]),
}


class HandClock(SystemClock):
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.at = 1000.0

    def monotonic(self) -> float:
        """Return the test's time."""
        return self.at

    def now(self) -> datetime:
        """Return a moment."""
        return datetime.fromtimestamp(self.at, UTC)


class OneHold:
    """One hold, run `r` of epoch 7 on phone S."""

    def __init__(self, clock: HandClock) -> None:
        self.hold = Gate(deadline=clock.at + 60, clock=clock, going=True)

    def gate(self, *, run_id: str, epoch: int, serialno: str) -> Gate | None:
        """Return its gate to who names it rightly."""
        return self.hold if (run_id, epoch, serialno) == ("r", 7, "S") else None


class Hand:
    """A viewer's input, with what reached the phone and what was refused."""

    def __init__(self) -> None:
        self.clock = HandClock()
        self.holds = OneHold(self.clock)
        self.phone: list[bytes] = []
        self.refused: list[InputRefused] = []
        self.input = ViewerInput(
            serialno="S", holds=self.holds, clock=self.clock, refused=self.refused.append
        )

    def send(self, data: bytes, *, run_id: str = "r", epoch: int = 7) -> None:
        """Try to have *data* reach the phone."""

        def write(allowed: bytes) -> str:
            self.phone.append(allowed)
            return ""

        self.input.pass_on(run_id=run_id, epoch=epoch, data=data, write=write)

    @property
    def reasons(self) -> list[str]:
        """Return the words of the refusals."""
        return [each.reason for each in self.refused]


def test_each_allowed_message_passes_whole_and_no_other_length() -> None:
    """Nine types; a byte less or more of any is refused."""
    assert set(WHOLE) == set(NAMES)

    for kind, whole in WHOLE.items():
        assert check_control(whole) == NAMES[kind]
        for wrong in (whole[:-1], whole + b"\0"):
            with pytest.raises(ControlNotAllowedError):
                check_control(wrong)


@given(st.one_of(st.binary(max_size=400), st.sampled_from(list(WHOLE.values())).map(bytes)))
def test_what_passes_is_one_whole_message_of_an_allowed_type(data: bytes) -> None:
    """Whatever a viewer sends: scrcpy would read exactly one message in it, of an allowed type."""
    try:
        check_control(data)
    except ControlNotAllowedError:
        return

    fixed = {kind: len(whole) for kind, whole in WHOLE.items() if kind not in {1, 9}}
    match data[0]:
        case 1:
            length = int.from_bytes(data[1:5], "big")
            assert len(data) == 5 + length
            assert length <= MOST_TEXT
        case 9:
            length = int.from_bytes(data[10:14], "big")
            assert len(data) == 14 + length
            assert length <= MOST_CLIPBOARD
        case kind:
            assert len(data) == fixed[kind]


@pytest.mark.parametrize("kind", [kind for kind in range(256) if kind not in WHOLE])
def test_no_other_type_passes(kind: int) -> None:
    """Neither panels, display power, UHID, settings and apps, nor types of later releases."""
    for length in (0, 1, 13, 20, 31):
        with pytest.raises(ControlNotAllowedError, match=f"type {kind} "):
            check_control(bytes([kind]) + bytes(length))


@pytest.mark.parametrize(("kind", "most"), [(1, MOST_TEXT), (9, MOST_CLIPBOARD)])
def test_texts_have_a_bound(kind: int, most: int) -> None:
    """The longest text of scrcpy passes, one byte more does not, nor a length that lies."""
    head = bytes([1]) if kind == 1 else bytes([9]) + bytes(9)

    assert check_control(head + most.to_bytes(4, "big") + bytes(most))
    for length, text in ((most + 1, bytes(most + 1)), (2**32 - 1, b""), (5, b"abc")):
        with pytest.raises(ControlNotAllowedError):
            check_control(head + length.to_bytes(4, "big") + text)


def test_input_passes_under_its_hold_alone() -> None:
    """Another run, another epoch, a hold that has not begun: nothing reaches the phone."""
    hand = Hand()

    hand.send(KEY)
    hand.send(KEY, run_id="other")
    hand.send(KEY, epoch=6)
    hand.holds.hold.going = False
    hand.send(KEY)

    assert hand.phone == [KEY]
    assert set(hand.reasons) == {"hold_ended", "hold_required"}
    assert hand.input.counts == {"key": 1}


@pytest.mark.parametrize("end", ["closed", "expired"])
def test_nothing_reaches_the_phone_after_the_hold(end: str) -> None:
    """Of 10,000 tries behind the end of the hold none passes, and the viewer hears of it."""
    hand = Hand()
    chance = random.Random(7)
    messages = list(WHOLE.values())
    hand.send(KEY)

    if end == "closed":
        hand.holds.hold.close("a person gave it back")
    else:
        hand.clock.at += 60
    hand.input.check_hold()
    for _ in range(10_000):
        hand.clock.at += chance.random() * 0.01
        hand.send(chance.choice(messages))

    assert hand.phone == [KEY]
    assert hand.reasons[0] == "hold_ended"
    assert set(hand.reasons) == {"hold_ended"}
    assert not hand.input.is_open


def test_no_more_than_500_messages_pass_in_a_second() -> None:
    """A burst passes to the bound; a second later as much passes again."""
    hand = Hand()

    for _ in range(2 * MOST_A_SECOND):
        hand.send(KEY)
    first = len(hand.phone)
    hand.clock.at += 1
    for _ in range(2 * MOST_A_SECOND):
        hand.send(KEY)

    assert (first, len(hand.phone)) == (MOST_A_SECOND, 2 * MOST_A_SECOND)
    assert hand.reasons == ["too_many_messages", "too_many_messages"]


def test_a_refusal_is_said_once_a_second() -> None:
    """Whoever floods does not fill the queue of what is said."""
    hand = Hand()

    for _ in range(10):
        hand.send(b"\xff")
    hand.clock.at += 1
    hand.send(b"\xff")

    assert hand.reasons == ["control_not_allowed", "control_not_allowed"]


@pytest.mark.parametrize(
    ("sps", "expected"),
    [
        ("6742c01fda0240286840000003004000000f23c60ca8", ("avc1.42c01f", 576, 1280)),
        ("6742c01fda0140126840000003004000000f23c60ca8", ("avc1.42c01f", 1280, 576)),
        ("6742c01fda0250287aa840000003004000000f23c60ca8", ("avc1.42c01f", 590, 1278)),
        ("6742c01fda0220257b8884000003000400000300f23c60ca80", ("avc1.42c01f", 540, 1170)),
        ("6764001facb20128143d5420000003002000000791e30649", ("avc1.64001f", 590, 1278)),
        ("67f4001f919640220257963e10000003001000000303c8f1832480", ("avc1.f4001f", 540, 1170)),
        ("677a001ebcb201405ff13080000003008000001e478b1724", ("avc1.7a001e", 640, 360)),
    ],
)
def test_an_sps_has_codec_and_size(sps: str, expected: tuple[str, int, int]) -> None:
    """Those of x264 in its profiles, cropped and not; PPS and other units are passed over."""
    codec, width, height = expected
    config = b"\0\0\0\1" + bytes.fromhex(sps) + b"\0\0\0\1" + bytes.fromhex("68ce0fc8")

    assert video_format(config) == VideoFormat(codec=codec, width=width, height=height)


@given(st.binary(max_size=64))
def test_bytes_that_are_no_sps_are_refused(noise: bytes) -> None:
    """Whatever comes: a format, or BadSpsError."""
    try:
        found = video_format(b"\0\0\1\x67" + noise)
    except BadSpsError:
        return

    assert found.width > 0
    assert found.height > 0


async def test_a_full_queue_jumps_to_the_next_key_frame() -> None:
    """Eight frames wait; the ninth empties it, and only a key frame enters."""
    queue: FrameQueue[str] = FrameQueue()
    queue.put("info")
    assert queue.put_frame("early", key=False)
    assert not queue.put_frame("key 1", key=True)
    for number in range(MOST_FRAMES - 1):
        assert not queue.put_frame(f"frame {number}", key=False)

    assert queue.put_frame("too many", key=False)
    assert queue.put_frame("after it", key=False)
    assert not queue.put_frame("key 2", key=True)

    assert [await queue.get() for _ in range(2)] == ["info", "key 2"]
    assert queue.dropped == 1 + MOST_FRAMES + 2


@given(st.lists(st.sampled_from(["key", "frame", "info", "get"]), max_size=300))
def test_a_queue_never_shows_a_frame_whose_key_frame_was_dropped(steps: list[str]) -> None:
    """In any order of frames and reading: bounded, in order, and decodable."""
    queue: FrameQueue[tuple[str, int]] = FrameQueue()
    read: list[tuple[str, int]] = []

    for number, step in enumerate(steps):
        if step in {"key", "frame"}:
            queue.put_frame((step, number), key=step == "key")
        elif step == "info":
            queue.put((step, number))
        elif queue.waiting:
            coming = queue.get()
            with pytest.raises(StopIteration) as done:
                coming.send(None)
            read.append(done.value.value)
        assert len(queue) <= MOST_FRAMES
        assert queue.waiting <= MOST_FRAMES + MOST_OTHERS

    frames = [(kind, number) for kind, number in read if kind != "info"]
    sent = [number for number, step in enumerate(steps) if step in {"key", "frame"}]
    assert [number for _, number in frames] == sorted(number for _, number in frames)
    assert not frames or frames[0][0] == "key"
    for (_, before), (kind, number) in pairwise(frames):
        skipped = sent.index(number) - sent.index(before) > 1
        assert kind == "key" or not skipped


TREE = """<?xml version='1.0' encoding='UTF-8' standalone='yes' ?><hierarchy rotation="0">
<node class="A" bounds="[0,0][10,20]" enabled="true" package="p">
<node class="B" text="a &amp; b" resource-id="p:id/b" content-desc="d" clickable="true"/>
</node><node class="C" bounds="[-1,0][5,6]"/></hierarchy>"""


def test_a_tree_is_read_with_its_parents() -> None:
    """Class, text, id, description, bounds and flags, in the document's order."""
    first, second, third = read_tree(TREE)

    assert (first.parent, first.class_name, first.bounds) == (-1, "A", (0, 0, 10, 20))
    assert first.flags == {"enabled"}
    assert (second.parent, second.text, second.resource_id) == (0, "a & b", "p:id/b")
    assert (second.description, second.flags) == ("d", frozenset({"clickable"}))
    assert (third.parent, third.bounds) == (-1, (-1, 0, 5, 6))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ERROR: could not get idle state.",
        "<hierarchy/>",
        "<hierarchy><node",
        '<!DOCTYPE a [<!ENTITY x "y">]><hierarchy><node text="&x;"/></hierarchy>',
        f"<hierarchy>{'<node/>' * 5001}</hierarchy>",
    ],
)
def test_what_is_no_tree_is_refused(text: str) -> None:
    """No XML, no element, entities, or too many elements."""
    with pytest.raises(BadTreeError):
        read_tree(text)
