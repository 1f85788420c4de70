"""Builds the commands that clean up a phone after a run, and reads their answers."""

import re
from collections.abc import Iterable

from phonefarm_common.wire_enums import CleanupStep

from phonefarm_agent.phones import ui_server
from phonefarm_agent.phones.adb.client import Answer
from phonefarm_agent.phones.interface import CleanupRequest

_PACKAGE = re.compile(r"[A-Za-z][A-Za-z0-9_]*(\.[A-Za-z0-9_]+)+")
_FOLDER = re.compile(r"/data/local/tmp/phonefarm/[A-Za-z0-9-]+")
_MEDIA_FOLDER = re.compile(r"/sdcard/Movies/phonefarm-[A-Za-z0-9-]+")
# What runs start shows up in `ps` as one of these; other tools' helpers are none of ours
# (`com.github.uiautomator`, `io.appium.uiautomator2.server`: uiautomator2#329).
_TOOLS = frozenset({"uiautomator", "screencap", "monkey"})
_TOOL_CLASS = re.compile(r"com\.android\.commands\.(uiautomator|monkey|input)\.\w+")

_WHERE_HOME = (
    "cmd package resolve-activity --brief -a android.intent.action.MAIN"
    " -c android.intent.category.HOME"
)
_WHO_IS_IN_FRONT = "dumpsys window | grep mCurrentFocus"
_COMPONENT = re.compile(r"([\w.]+)/[\w.$]+")
_FOCUS = re.compile(r"mCurrentFocus=Window\{\S+ \S+ ([\w.]+)/")
# Its keyguard and its shade lie over whatever is in front; a locked screen has a stage of its own.
_SYSTEM_UI = "com.android.systemui"

LIST_LEFTOVERS = "ls -d /data/local/tmp/phonefarm/* /sdcard/Movies/phonefarm-*"
"""Lists the folders of this farm's runs; each line that passes `is_leftover` is one."""


def is_leftover(line: str) -> bool:
    """Tell whether *line* is a folder that only a run of this farm can have made."""
    return bool(_FOLDER.fullmatch(line) or _MEDIA_FOLDER.fullmatch(line))


def remove_leftovers(folders: Iterable[str]) -> str:
    """Return the command that removes *folders*, each of which `is_leftover`."""
    words = []
    for folder in folders:
        if _MEDIA_FOLDER.fullmatch(folder):
            words.append(f"content delete {_rows(folder)}")
        words.append(f"rm -rf {folder}")
    return "; ".join(words)


def clean_up(request: CleanupRequest) -> str:
    """Return the command that cleans up after a run and lists what is left."""
    resources = request.resources
    package = resources.package if _PACKAGE.fullmatch(resources.package) else ""
    folder = resources.phone_folder if _FOLDER.fullmatch(resources.phone_folder) else ""
    media = resources.media_folder if _MEDIA_FOLDER.fullmatch(resources.media_folder) else ""
    if CleanupStep.STOP_APPS not in request.steps:
        package = ""
    if CleanupStep.REMOVE_ADDED not in request.steps:
        media = ""
    rows = _rows(media)
    # Its closed stream has ended the run's UI server; one that did not hear of it is killed.
    words = [f"pkill -9 -f {ui_server.pattern(request.run_id)}"]
    if package:
        words.append(f"am force-stop {package}")
    if folder:
        words.append(f"rm -rf {folder}")
    if media:
        words += [f"content delete {rows}", f"rm -rf {media}"]
    if CleanupStep.HOME in request.steps:
        words.append("input keyevent 3")
    words.append("echo --left")
    if folder:
        words.append(f"ls -d {folder}")
    if media:
        words += [f"ls -d {media}", f"content query --projection _id {rows}"]
    if package:
        words.append(f"pidof {package}")
    words += ["echo --ps", "ps -A -o PID,ARGS"]
    if CleanupStep.HOME in request.steps:
        words += ["echo --home", _WHERE_HOME, _WHO_IS_IN_FRONT]
    return "; ".join(words)


def residue(request: CleanupRequest, answer: Answer) -> tuple[str, ...] | None:
    """Return what is left by the answer to `clean_up`; None when it does not say."""
    _, mark, left = answer.out.partition("--left\n")
    if not mark:
        return None
    lines = [line.strip() for line in left.splitlines()]
    # What a phone does not tell of its home screen is not held against it.
    home = lines.index("--home") if "--home" in lines else len(lines)
    listed = lines.index("--ps") if "--ps" in lines else home
    found: list[str] = []
    for text in lines[:listed]:
        if text and text in {request.resources.phone_folder, request.resources.media_folder}:
            found.append(f"folder {text}")
        elif text.startswith("Row: "):
            found.append(f"media {text[:100]}")
        elif text.replace(" ", "").isdigit():
            found.append(f"process {request.resources.package}")
    for text in lines[listed:home]:
        _, _, arguments = text.partition(" ")
        if "ps -A" not in arguments and _is_ours(arguments.split(), request.run_id):
            found.append(f"process {text[:200]}")
    return (*found, *_in_front(lines[home:]))


def _is_ours(arguments: list[str], run_id: str) -> bool:
    """Tell whether a command line is of what the run started."""
    return any(run_id in word or _TOOL_CLASS.fullmatch(word) for word in arguments) or (
        bool(arguments) and arguments[0].rpartition("/")[2] in _TOOLS
    )


def _in_front(lines: list[str]) -> list[str]:
    """Return the app in the foreground, if it is known not to be the home screen."""
    homes = [match[1] for line in lines if (match := _COMPONENT.fullmatch(line))]
    fronts = [match[1] for line in lines if (match := _FOCUS.search(line))]
    if not homes or not fronts or fronts[-1] in {homes[-1], _SYSTEM_UI}:
        return []
    return [f"foreground {fronts[-1]}"]


def _rows(media: str) -> str:
    # MediaStore forgets a file with its removal from Android 11 on; on 10 its row stays.
    return f"--uri content://media/external/file --where \"_data LIKE '{_real(media)}/%'\""


def _real(folder: str) -> str:
    """Return what MediaStore calls a folder of the shared storage."""
    return folder.replace("/sdcard/", "/storage/emulated/0/", 1)
