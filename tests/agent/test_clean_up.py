"""What a clean-up asks of a phone, and what it takes from the answer."""

import pytest
from phonefarm_agent.phones import cleanup
from phonefarm_agent.phones.adb.client import Answer
from phonefarm_agent.phones.interface import CleanupRequest, RunResources
from phonefarm_common.wire_enums import EVERY_CLEANUP_STEP, CleanupStep

GROUND = RunResources(
    phone_folder="/data/local/tmp/phonefarm/r1",
    media_folder="/sdcard/Movies/phonefarm-r1",
    package="com.example.app",
)
HOME = "priority=0 preferredOrder=0 match=0x108000 isDefault=true\ncom.android.launcher3/.Launcher"


def request(steps: frozenset[CleanupStep] = EVERY_CLEANUP_STEP) -> CleanupRequest:
    """Return what a run left."""
    return CleanupRequest(run_id="r1", epoch=1, serialno="S", resources=GROUND, steps=steps)


@pytest.mark.parametrize(
    ("without", "gone"),
    [
        (CleanupStep.STOP_APPS, ["am force-stop", "pidof"]),
        (CleanupStep.REMOVE_ADDED, ["/sdcard/Movies", "content"]),
        (CleanupStep.HOME, ["keyevent 3", "--home"]),
    ],
)
def test_a_step_that_is_not_wanted_is_neither_done_nor_looked_at(
    without: CleanupStep, gone: list[str]
) -> None:
    """The others are; the run's own folder is always removed."""
    whole, less = (
        cleanup.clean_up(request()),
        cleanup.clean_up(request(EVERY_CLEANUP_STEP - {without})),
    )

    assert all(word in whole for word in gone)
    assert not any(word in less for word in gone)
    assert "rm -rf /data/local/tmp/phonefarm/r1" in less


@pytest.mark.parametrize(
    ("focus", "left"),
    [
        ("mCurrentFocus=Window{1a u0 com.android.launcher3/com.android.launcher3.Launcher}", ()),
        ("mCurrentFocus=Window{1a u0 com.other/com.other.Main}", ("foreground com.other",)),
        ("mCurrentFocus=Window{1a u0 com.android.systemui/com.android.systemui.Keyguard}", ()),
        ("mCurrentFocus=Window{1a u0 NotificationShade}", ()),
        ("mCurrentFocus=null", ()),
        ("", ()),
    ],
)
def test_what_is_in_front_instead_of_the_home_screen_is_left(
    focus: str, left: tuple[str, ...]
) -> None:
    """What a phone does not tell is not held against it."""
    out = f"--left\n  1 /sbin/init\n--home\n{HOME}\n  {focus}\n"

    assert cleanup.residue(request(), Answer(out=out, error="", code=0)) == left


def test_a_phone_that_does_not_know_its_home_screen_is_not_called_dirty() -> None:
    """Before Android 7 nothing answers that question."""
    out = "--left\n--home\nError: unknown command\n mCurrentFocus=Window{1a u0 com.other/.Main}\n"

    assert cleanup.residue(request(), Answer(out=out, error="", code=0)) == ()


def test_behind_a_run_without_an_app_no_app_is_stopped() -> None:
    """Its folder goes, and the home screen comes."""
    alone = RunResources(phone_folder=GROUND.phone_folder, media_folder="", package="")
    asked = cleanup.clean_up(CleanupRequest(run_id="r1", epoch=1, serialno="S", resources=alone))

    assert "force-stop" not in asked
    assert "pidof" not in asked
    assert "rm -rf /data/local/tmp/phonefarm/r1" in asked
    assert "input keyevent 3" in asked
