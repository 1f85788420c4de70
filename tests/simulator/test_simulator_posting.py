"""A video from a file on the phone to a post: MediaStore, the share intent, the composer."""

import hashlib
import re

import pytest
from phonefarm_simulator.farm import SimulatedPhone
from phonefarm_simulator.ledger import Kind
from support.adb import AdbServer

APP = "com.example.shortvideo"
CLIP = "/sdcard/Movies/run-1/clip.mp4"
CONTENT = b"a film of no length"
SCAN = "content call --uri content://media --method scan_file --arg /storage/emulated/0/{}"


async def share(adb: AdbServer, phone: SimulatedPhone, uri: str, *words: str) -> str:
    """Send the share intent; return what the app shows then."""
    command = (
        f"am start -W -n {APP}/.ShareActivity -a android.intent.action.SEND -t video/mp4 "
        f"--eu android.intent.extra.STREAM {uri} {' '.join(words)}"
    )
    await adb.shell(phone.address, command)
    return str(phone.state()["app"]["screen"])


async def index(adb: AdbServer, phone: SimulatedPhone) -> str:
    """Put the clip on the phone, index it and return its content name."""
    await adb.shell(
        phone.address, f"mkdir -p /sdcard/Movies/run-1; echo -n '{CONTENT.decode()}' > {CLIP}"
    )
    answer = await adb.shell(phone.address, SCAN.format("Movies/run-1/clip.mp4"))
    found = re.search(r"STREAM=(content://\S+)\}", answer.text)
    assert found is not None, answer
    return found[1]


async def test_a_scanned_file_has_a_name_until_it_is_removed(
    adb: AdbServer, phone: SimulatedPhone
) -> None:
    """scan_file tells the name, query finds it by its path, and rm takes the row as well."""
    where = "--where \"_data='/storage/emulated/0/Movies/run-1/clip.mp4'\""
    query = f"content query --uri content://media/external/video/media --projection _id {where}"
    uri = await index(adb, phone)

    found = await adb.shell(phone.address, query)
    await adb.shell(phone.address, "rm -rf /sdcard/Movies/run-1")
    gone = await adb.shell(phone.address, query)

    assert found.text == f"Row: 0 _id={uri.rpartition('/')[2]}"
    assert gone.text == "No result found."


async def test_android_10_scans_by_broadcast_only_and_keeps_rows(
    adb: AdbServer, phone: SimulatedPhone
) -> None:
    """Its scan_file throws; a row outlives its file until it is deleted by itself."""
    phone.phone.sdk = 29
    await adb.shell(phone.address, "mkdir -p /sdcard/Movies/run-1; echo x > " + CLIP)
    path = "/storage/emulated/0/Movies/run-1/clip.mp4"
    below = "_data LIKE '/storage/emulated/0/Movies/run-1/%'"
    like = f'--uri content://media/external/file --where "{below}"'

    refused = await adb.shell(phone.address, SCAN.format("Movies/run-1/clip.mp4"))
    sent = await adb.shell(
        phone.address,
        f"am broadcast -a android.intent.action.MEDIA_SCANNER_SCAN_FILE -d file://{path}",
    )
    await adb.shell(phone.address, "rm -rf /sdcard/Movies/run-1")
    kept = await adb.shell(phone.address, f"content query --projection _id {like}")
    await adb.shell(phone.address, f"content delete {like}")
    deleted = await adb.shell(phone.address, f"content query --projection _id {like}")

    assert (refused.status, refused.out) == (0, b"")
    assert b"NullPointerException" in refused.error
    assert "Broadcast completed" in sent.text
    assert kept.text.startswith("Row: 0 _id=")
    assert deleted.text == "No result found."
    assert (await adb.shell(phone.address, "getprop ro.build.version.release")).text == "10"


async def test_the_app_opens_only_what_it_was_granted(
    adb: AdbServer, phone: SimulatedPhone
) -> None:
    """Without the grant, with a grant of something else or of nothing there, no composer opens."""
    uri = await index(adb, phone)
    grant = "--grant-read-uri-permission"

    assert await share(adb, phone, uri) == "feed"
    assert await share(adb, phone, uri, grant) == "feed"
    assert await share(adb, phone, uri, "-d", uri) == "feed"
    assert await share(adb, phone, uri + "0", "-d", uri + "0", grant) == "feed"
    assert await share(adb, phone, "file:///data/local/tmp/x") == "feed"
    assert await share(adb, phone, uri, "-d", uri, grant) == "composer"


async def test_a_picture_is_not_taken_as_a_video(adb: AdbServer, phone: SimulatedPhone) -> None:
    """The share activity's filter takes videos alone."""
    answer = await adb.shell(
        phone.address,
        f"am start -n {APP}/.ShareActivity -a android.intent.action.SEND -t image/png "
        "--eu android.intent.extra.STREAM content://media/external/images/media/1",
    )

    assert b"does not exist" in answer.error


async def test_a_post_is_the_very_bytes_and_outlives_the_app(
    adb: AdbServer, phone: SimulatedPhone
) -> None:
    """The ledger has caption and sha256 of what was posted; the newest comes first."""
    uri = await index(adb, phone)
    for caption in ("first", "second"):
        await share(adb, phone, uri, "-d", uri, "--grant-read-uri-permission")
        await adb.shell(phone.address, f"input tap 360 716; input text {caption}")
        await adb.shell(phone.address, "input tap 360 844")
    await adb.shell(phone.address, f"am force-stop {APP}; am start -n {APP}/.MainActivity")

    posts = phone.state()["account"]["posts"]
    made = [entry.detail for entry in phone.ledger() if entry.kind is Kind.POSTED]

    assert [post["caption"] for post in posts] == ["first", "second"]
    assert [post["caption"] for post in made] == ["first", "second"]
    assert {post["sha256"] for post in made} == {hashlib.sha256(CONTENT).hexdigest()}
    assert {post["size"] for post in made} == {len(CONTENT)}


@pytest.mark.parametrize(
    ("fault", "settings", "left"),
    [
        ("post_fails", {}, (0, True)),
        ("post_crashes", {}, (1, False)),
        ("post_crashes", {"posted": False}, (0, False)),
        ("post_slow", {"seconds": 600}, (1, True)),
    ],
)
async def test_what_can_go_wrong_with_a_post(
    adb: AdbServer,
    phone: SimulatedPhone,
    fault: str,
    settings: dict[str, float],
    left: tuple[int, bool],
) -> None:
    """Each fault falls on one tap; a slow post is made but not to be seen yet."""
    uri = await index(adb, phone)
    await share(adb, phone, uri, "-d", uri, "--grant-read-uri-permission")
    await phone.fault(fault, **settings)

    await adb.shell(phone.address, "input tap 360 844")

    state = phone.state()
    assert (len(state["account"]["posts"]), state["app"]["running"]) == left
    assert not phone.phone.app.posts()
    assert phone.state()["faults"] == (["post_slow"] if fault == "post_slow" else [])
