"""Which command lines a run may give."""

import shlex

import pytest
from hypothesis import strategies as st
from phonefarm_agent.phones.proxy.allowlist import (
    DEFAULT_WORDS,
    META,
    Effect,
    RequestRefusedError,
    Scope,
    check_command,
    split,
)
from support.examples import given

FOLDER = "/data/local/tmp/phonefarm/run-1"
SCOPE = Scope(phone_folder=FOLDER, package="com.example.shortvideo", words=DEFAULT_WORDS)

READS = [
    "getprop",
    "getprop ro.serialno",
    "wm size",
    "wm density",
    "settings get global airplane_mode_on",
    "pm path com.example.shortvideo",
    "pm list packages -3",
    "dumpsys battery",
    "dumpsys window windows",
    "dumpsys package com.example.shortvideo",
]
ACTS = [
    "input tap 10 20",
    "input swipe 10 900 10 200 300",
    "input text 'night%strains; rm -rf /'",
    'input text "plain words"',
    "input keyevent 66",
    "input keyevent --longpress KEYCODE_DEL",
    "input keyevent 123 67 67 67",
    "am start -W -n com.example.shortvideo/.MainActivity",
    (
        "am start -a android.intent.action.SEND -t video/mp4 --eu android.intent.extra.STREAM "
        f"file://{FOLDER}/clip.mp4 -n com.example.shortvideo/.ShareActivity"
    ),
    "am force-stop com.example.shortvideo",
    f"uiautomator dump {FOLDER}/ui.xml",
    "uiautomator dump --compressed /dev/tty",
    "screencap -p",
    f"screencap -p {FOLDER}/screen.png",
    f"cat {FOLDER}/ui.xml",
    f"rm -rf {FOLDER}",
    f"mkdir -p {FOLDER}/a",
    f"ls -la {FOLDER}",
    f"sha256sum {FOLDER}//./clip.mp4",
    f"cat '{FOLDER}/a name; with $signs'",
]
FORBIDDEN = [
    "",
    "   ",
    "sh",
    "su 0 id",
    "reboot",
    "root",
    "logcat",
    "ln -s / /data/local/tmp/phonefarm/run-1/x",
    "mv a b",
    "monkey -p com.example.shortvideo 1",
    "content query --uri content://settings/global",
    "svc power reboot",
    "cmd package list packages",
    "FOO=bar input tap 1 2",
    "'' input tap 1 2",
    "input tap 1 2; reboot",
    "input tap 1 2 && reboot",
    "input tap 1 2 | sh",
    "input tap 1 2 &",
    "input text $(reboot)",
    "input text `reboot`",
    'input text "$HOME"',
    'input text "`id`"',
    'input text "a\\"; reboot"',
    "input text a\\ b",
    "input text 'open",
    "input text a\nreboot",
    "input text 'a\nreboot'",
    "input text a\rreboot",
    "input text a\tb",
    "input text *",
    "input text a?b",
    "input text [a]",
    "input text ~",
    "input text {a,b}",
    "input text !x",
    "input text #x",
    "input text <x",
    f"cat {FOLDER}/x > /sdcard/x",
    "input text \x00",
    "input tap 1 2 3",
    "input tap $X 2",
    "input text a b",
    "input keyevent 26",
    "input keyevent 026",
    "input keyevent KEYCODE_POWER",
    "input keyevent KEYCODE_26",
    "input keyevent KEYCODE_026",
    "input keyevent +26",
    "input keyevent",
    "input roll 1 2",
    "settings put global airplane_mode_on 1",
    "settings get global",
    "settings list global",
    "settings delete global x",
    "wm size 100x100",
    "wm density 100",
    "wm",
    "pm uninstall com.example.shortvideo",
    "pm clear com.example.shortvideo",
    "pm install /data/local/tmp/x.apk",
    "pm list users",
    "dumpsys",
    "dumpsys battery set level 5",
    "dumpsys battery reset",
    "dumpsys deviceidle force-idle",
    "dumpsys package --write",
    "am start -n com.android.settings/.Settings",
    "am start -a android.settings.SETTINGS",
    "am start com.example.shortvideo",
    "am start -n com.example.shortvideo/.A -n com.android.settings/.Settings",
    "am start -n com.example.shortvideo/.A -n com.example.shortvideo/.B",
    "am start -n com.example.shortvideo/.A --user 10",
    "am start -n com.example.shortvideo/",
    "am start -n",
    "am force-stop com.android.settings",
    "am force-stop --user all com.example.shortvideo",
    "am broadcast -a x",
    "am instrument x",
    "am kill-all",
    "uiautomator runtest x.jar",
    "uiautomator dump",
    "uiautomator dump /sdcard/window_dump.xml",
    "screencap -p /sdcard/x.png",
    f"screencap -p {FOLDER}/../x.png",
    "cat",
    "cat /data/local/tmp/phonefarm-lease",
    "cat /data/local/tmp/phonefarm/run-12/x",
    f"cat {FOLDER}/../run-2/x",
    f"cat {FOLDER}/x /etc/hosts",
    "cat ui.xml",
    "cat -",
    "rm -rf /",
    f"rm -rf {FOLDER}/..",
    "rm -rf /data/local/tmp/phonefarm",
    f"rm --no-preserve-root {FOLDER}",
    f"ls -R {FOLDER} /",
    f"mkdir -m 777 {FOLDER}/x",
]


@pytest.mark.parametrize("command", READS)
def test_a_read_passes_before_the_gate(command: str) -> None:
    """What changes nothing is known as a read."""
    assert check_command(command, SCOPE).effect is Effect.READS


@pytest.mark.parametrize("command", ACTS)
def test_an_act_is_known_as_one(command: str) -> None:
    """What acts is allowed, and told apart from a read."""
    assert check_command(command, SCOPE).effect is Effect.ACTS


@pytest.mark.parametrize("command", FORBIDDEN)
def test_what_is_not_listed_is_refused(command: str) -> None:
    """The list is closed: every other word, option, path and shell character is refused."""
    with pytest.raises(RequestRefusedError, match=r"."):
        check_command(command, SCOPE)


def test_a_word_outside_the_plans_list_is_refused() -> None:
    """The plan's list may be shorter than what the proxy knows."""
    scope = Scope(phone_folder=FOLDER, package="com.example.a", words=frozenset({"getprop"}))

    assert check_command("getprop", scope).effect is Effect.READS
    with pytest.raises(RequestRefusedError, match="command is not on the run's allow-list: input"):
        check_command("input tap 1 2", scope)


@pytest.mark.parametrize("folder", ["/", "/data", "data/x", "/a/../b", "/a//b", "/a/b/"])
def test_a_folder_that_is_too_wide_is_refused(folder: str) -> None:
    """A scope needs a plain folder of its own."""
    with pytest.raises((ValueError, RequestRefusedError)):
        Scope(phone_folder=folder, package="com.example.a", words=DEFAULT_WORDS)


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z"))), min_size=1))
def test_quoted_words_come_back_as_they_were(words: list[str]) -> None:
    """Quoting by the standard library is understood, whatever the words hold."""
    assert split(shlex.join(words)) == words


@given(st.text(st.sampled_from(["'", '"', " ", "a", "\\", "$", ";", "\n", "é", *META])))
def test_a_line_that_passes_holds_nothing_a_shell_acts_on(text: str) -> None:
    """What split accepts, a POSIX lexer reads as the same words."""
    try:
        words = split(text)
    except RequestRefusedError:
        return

    assert shlex.split(text) == words
    assert split(shlex.join(words)) == words


INSTALLING = Scope(phone_folder=FOLDER, package="", words=DEFAULT_WORDS, installs=True)


def test_a_run_that_installs_may_install_a_file_of_its_folder() -> None:
    """After `go`; other runs install nothing."""
    command = f"pm install -r {FOLDER}/app.apk"

    assert check_command(command, INSTALLING).effect is Effect.ACTS
    with pytest.raises(RequestRefusedError, match="the plan installs nothing"):
        check_command(command, SCOPE)


@pytest.mark.parametrize(
    "words",
    [
        "install -r /sdcard/app.apk",
        f"install -r {FOLDER}-other/app.apk",
        f"install -r {FOLDER}/../other/app.apk",
        f"install -r {FOLDER}",
        f"install {FOLDER}/app.apk",
        f"install -r -d {FOLDER}/app.apk",
        f"install -r -g {FOLDER}/app.apk",
        f"install -r {FOLDER}/a.apk {FOLDER}/b.apk",
        "install -r -S 100",
        "uninstall com.example.tool",
        "clear com.example.tool",
        "install-create",
    ],
)
def test_a_run_that_installs_may_install_nothing_else(words: str) -> None:
    """Neither a file from elsewhere, nor a downgrade, nor with permissions granted."""
    with pytest.raises(RequestRefusedError):
        check_command(f"pm {words}", INSTALLING)


URL = "https://example.com/a?q=1&x=$(2)#top"
OPENING = Scope(phone_folder=FOLDER, package="", words=DEFAULT_WORDS, urls=frozenset({URL}))
VIEW = "-a android.intent.action.VIEW -d"
WHICH = f"cmd package resolve-activity --brief {VIEW}"


def test_a_run_may_open_the_urls_of_its_plan_and_no_other() -> None:
    """Which viewer it would be is a read; starting it is an act; other runs may do neither."""
    which, start = f"{WHICH} '{URL}'", f"am start {VIEW} '{URL}'"

    assert check_command(which, OPENING).effect is Effect.READS
    assert check_command(start, OPENING).effect is Effect.ACTS
    assert split(check_command(start, OPENING).text)[-1] == URL
    for command in (which, start):
        with pytest.raises(RequestRefusedError):
            check_command(command, SCOPE)


@pytest.mark.parametrize(
    "command",
    [
        f"am start {VIEW} https://example.com/",
        f"am start {VIEW} '{URL}/'",
        f"am start {VIEW} intent:#Intent",
        f"am start {VIEW} file:///sdcard/x",
        f"am start -a android.intent.action.CALL -d '{URL}'",
        f"am start {VIEW} '{URL}' -n com.android.settings/.Settings",
        f"am start {VIEW} '{URL}' --es a b",
        f"am start -d '{URL}'",
        f"am start -W {VIEW} '{URL}'",
        f"am start '{URL}'",
        f"am broadcast {VIEW} '{URL}'",
        "am start -n /.Main",
        "am start -n com.example.shortvideo/.Main",
        "am force-stop ''",
        "am force-stop com.example.browser",
        f"{WHICH} https://example.com/",
        f"cmd package resolve-activity {VIEW} '{URL}'",
        "cmd package list packages",
        "cmd package uninstall com.example.browser",
        "cmd activity force-stop com.example.browser",
    ],
)
def test_a_run_without_an_app_may_do_nothing_else_to_apps(command: str) -> None:
    """It starts and stops none; an empty package is none either."""
    with pytest.raises(RequestRefusedError, match=r"."):
        check_command(command, OPENING)


MEDIA = "/sdcard/Movies/phonefarm-run-1"
REAL = "/storage/emulated/0/Movies/phonefarm-run-1"
POSTING = Scope(
    phone_folder=FOLDER,
    media_folder=MEDIA,
    package="com.example.shortvideo",
    words=DEFAULT_WORDS,
)
SHARE = (
    "am start -W -n com.example.shortvideo/.ShareActivity -a android.intent.action.SEND "
    "-t video/mp4 -d {uri} --eu android.intent.extra.STREAM {uri} --grant-read-uri-permission"
)
SCAN = "am broadcast -a android.intent.action.MEDIA_SCANNER_SCAN_FILE -d "
QUERY = "content query --uri content://media/external/{}/media --projection _id --where "


@pytest.mark.parametrize(
    "command",
    [
        f"content call --uri content://media --method scan_file --arg {REAL}/video.mp4",
        QUERY.format("video") + f"\"_data='{REAL}/video.mp4'\"",
        QUERY.format("images") + f"\"_data='{REAL}/cover.png'\"",
        SCAN + f"file://{REAL}/video.mp4",
        SHARE.format(uri="content://media/external_primary/video/media/37"),
        SHARE.format(uri="content://media/external/video/media/37"),
        f"mkdir -p {MEDIA}",
        f"sha256sum {MEDIA}/video.mp4",
        f"rm -rf {MEDIA}",
    ],
)
def test_a_posting_run_may_index_and_share_its_own_files(command: str) -> None:
    """The exact forms pass after the gate, for such a run alone."""
    judged = check_command(command, POSTING)

    assert judged.effect is Effect.ACTS
    assert split(judged.text) == split(command)
    with pytest.raises(RequestRefusedError):
        check_command(command, SCOPE)


@pytest.mark.parametrize(
    "command",
    [
        "content call --uri content://media --method scan_file --arg /storage/emulated/0/a.mp4",
        f"content call --uri content://media --method scan_file --arg {REAL}",
        f"content call --uri content://media --method scan_file --arg {REAL}/../a.mp4",
        f"content call --uri content://media --method scan_file --arg {MEDIA}/video.mp4",
        f"content call --uri content://media --method scan_volume --arg {REAL}/video.mp4",
        f"content call --uri content://settings --method scan_file --arg {REAL}/video.mp4",
        "content query --uri content://sms --projection _id --where \"_data='x'\"",
        "content query --uri content://media/external/video/media",
        QUERY.format("video") + "\"_data LIKE '%'\"",
        QUERY.format("video") + f"\"_data='{REAL}/v.mp4' OR 1=1\"",
        QUERY.format("audio") + f"\"_data='{REAL}/v.mp4'\"",
        QUERY.format("video").replace("_id", "_data") + f"\"_data='{REAL}/v.mp4'\"",
        "content delete --uri content://media/external/file --where '_id=1'",
        "content insert --uri content://settings/secure --bind name:s:x",
        SCAN + "file:///storage/emulated/0/DCIM/a.mp4",
        SCAN + f"{REAL}/video.mp4",
        f"am broadcast -a android.intent.action.BOOT_COMPLETED -d file://{REAL}/video.mp4",
        f"am broadcast -n com.android.settings/.R -d file://{REAL}/video.mp4",
        SHARE.format(uri="content://com.android.contacts/1"),
        SHARE.format(uri=f"file://{REAL}/video.mp4"),
        SHARE.format(uri="content://media/external/video/media/37").replace("-d ", "--es x "),
        "rm -rf /sdcard/Movies",
        "cat /sdcard/Movies/phonefarm-run-10/video.mp4",
    ],
)
def test_a_posting_run_may_not_reach_further(command: str) -> None:
    """Other files, other providers, other broadcasts and other grants are refused."""
    with pytest.raises(RequestRefusedError):
        check_command(command, POSTING)


@pytest.mark.parametrize("folder", ["/sdcard", "/sdcard/Movies/../..", "/data/x/y", "sdcard/a/b"])
def test_a_media_folder_is_a_folder_of_the_shared_storage(folder: str) -> None:
    """Anything else is a fault of the agent, told at once."""
    with pytest.raises((ValueError, RequestRefusedError)):
        Scope(
            phone_folder=FOLDER,
            media_folder=folder,
            package="com.example.a",
            words=DEFAULT_WORDS,
        )
