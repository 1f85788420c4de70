"""Every fault, as the real adb sees it."""

import asyncio
import time
from pathlib import Path

import pytest
from phonefarm_simulator.farm import Farm, SimulatedPhone
from phonefarm_simulator.ledger import Kind
from support.adb import AdbServer, adb_server

APP = "com.example.shortvideo"


async def reconnected(adb: AdbServer, phone: SimulatedPhone, *, since: int) -> None:
    """Wait until adb has connected anew after that entry of the ledger."""
    await phone.wait_for(Kind.CONNECTION_OPENED, since=since, timeout=180)
    await adb.wait_for_state(phone.address, "device")


async def test_offline_and_back(adb: AdbServer, phone: SimulatedPhone) -> None:
    """An offline phone is listed as offline and answers again once it is cleared."""
    await phone.fault("offline")

    assert await adb.wait_for_state(phone.address, "offline") == "offline"
    failed = await adb.shell(phone.address, "echo hi", timeout=5)
    await phone.clear("offline")

    assert failed.status != 0
    await adb.wait_for_state(phone.address, "device")
    assert (await adb.shell(phone.address, "echo hi")).text == "hi"


async def test_unauthorized_and_back(adb: AdbServer, phone: SimulatedPhone) -> None:
    """An unauthorized phone takes no key, is listed so, and lets the host in once cleared."""
    await phone.fault("unauthorized")

    assert await adb.wait_for_state(phone.address, "unauthorized") == "unauthorized"
    refused = await adb.shell(phone.address, "echo hi")
    await phone.clear("unauthorized")

    assert b"unauthorized" in refused.error
    await adb.wait_for_state(phone.address, "device")


async def test_unplugged_phone_refuses_connections(adb: AdbServer, phone: SimulatedPhone) -> None:
    """Unplugged, the phone is not to be reached; plugged in again it has the same address."""
    address = phone.address
    await phone.fault("unplug")
    await adb.wait_for_state(address, "offline", "")
    await adb.run("disconnect", address)

    refused = await adb.run("connect", address)
    await phone.clear("unplug")

    assert "Connection refused" in refused.text
    assert phone.address == address
    await adb.connect(address)
    assert (await adb.shell(address, "getprop ro.serialno")).text == "SIM0001"


async def test_a_slow_phone_takes_its_time(adb: AdbServer, phone: SimulatedPhone) -> None:
    """Every chunk is late by the time set, and the answer is whole all the same."""
    await phone.fault("slow", milliseconds=400)

    began = time.monotonic()
    answer = await adb.shell(phone.address, "echo late")

    assert answer.text == "late"
    assert time.monotonic() - began >= 0.8


async def test_a_hanging_shell_answers_nothing_until_cleared(
    adb: AdbServer, phone: SimulatedPhone
) -> None:
    """The phone is listed as a device and a command hangs; it runs when the fault goes."""
    await phone.fault("shell_hangs")
    hanging = asyncio.create_task(adb.shell(phone.address, "echo at last"))
    await phone.wait_for(Kind.SERVICE_OPENED)

    assert await adb.state_of(phone.address) == "device"
    done, _ = await asyncio.wait({hanging}, timeout=0.5)
    assert not done
    await phone.clear("shell_hangs")

    assert (await hanging).text == "at last"


async def test_a_hung_command_that_was_given_up_is_never_run(
    adb: AdbServer, phone: SimulatedPhone
) -> None:
    """When the caller left during the hang, clearing it has no late effect."""
    await phone.fault("shell_hangs")
    with pytest.raises(TimeoutError):
        await adb.shell(phone.address, "touch /sdcard/late", timeout=0.5)
    await phone.wait_for(Kind.SERVICE_CLOSED)

    await phone.clear()

    assert (await adb.shell(phone.address, "ls /sdcard/late")).status == 1


async def test_full_storage(adb: AdbServer, phone: SimulatedPhone, tmp_path: Path) -> None:
    """Writes by shell and by push fail with the reason, reads go on, and df shows nothing free."""
    (tmp_path / "f").write_bytes(b"x" * 1000)
    await adb.shell(phone.address, "echo kept > /sdcard/kept")
    await phone.fault("storage_full")

    written = await adb.shell(phone.address, "echo more > /sdcard/more")
    pushed = await adb.run("push", str(tmp_path / "f"), "/sdcard/f", serial=phone.address)
    read = await adb.shell(phone.address, "cat /sdcard/kept; df /sdcard")

    assert b"No space left on device" in written.error
    assert pushed.status == 1
    assert b"No space left on device" in pushed.out + pushed.error
    assert read.text.startswith("kept")
    assert " 0 100% /data" in read.text


async def test_battery_faults_and_levels(adb: AdbServer, phone: SimulatedPhone) -> None:
    """Low and hot read as such in dumpsys and go with the fault; a level can be set."""
    await phone.fault("battery_low", level=3)
    await phone.fault("battery_hot", celsius=51.5)
    bad = await adb.shell(phone.address, "dumpsys battery")
    await phone.clear()
    phone.set_battery(level=64, charging=False)

    good = await adb.shell(phone.address, "dumpsys battery")

    assert "  level: 3\n" in bad.text
    assert "  temperature: 515\n" in bad.text
    assert "  level: 64\n" in good.text
    assert "  USB powered: false\n" in good.text
    assert "  temperature: 275\n" in good.text


async def test_reboot_changes_the_boot_id_and_keeps_the_files(
    adb: AdbServer, phone: SimulatedPhone
) -> None:
    """A reboot cuts the connection, ends the app, and leaves files and account alone."""
    await adb.shell(phone.address, f"echo kept > /sdcard/kept; am start -n {APP}/.MainActivity")
    before = phone.state()

    await phone.fault("reboot", seconds=0.3)
    rebooted = await phone.wait_for(Kind.REBOOTED)
    await reconnected(adb, phone, since=rebooted.sequence)
    answer = await adb.shell(
        phone.address, f"cat /proc/sys/kernel/random/boot_id /sdcard/kept; pidof {APP}"
    )

    after = phone.state()
    boot_id, kept = answer.text.splitlines()
    assert boot_id == after["boot_id"] != before["boot_id"]
    assert (kept, answer.status) == ("kept", 1)
    assert after["account"] == before["account"]
    assert after["address"] == before["address"]


async def test_adb_reboot_reboots(adb: AdbServer, phone: SimulatedPhone) -> None:
    """`adb reboot` ends in another boot id, as it does on a real phone."""
    before = phone.state()["boot_id"]

    answer = await adb.run("reboot", serial=phone.address)
    await phone.wait_for(Kind.REBOOTED)

    assert answer.status == 0
    assert phone.state()["boot_id"] != before


async def test_a_phone_that_is_still_booting_says_so(adb: AdbServer, phone: SimulatedPhone) -> None:
    """After a reboot adb may answer long before sys.boot_completed is set."""
    await phone.fault("reboot", seconds=0, boot_seconds=3600)
    rebooted = await phone.wait_for(Kind.REBOOTED)
    await reconnected(adb, phone, since=rebooted.sequence)

    booting = await adb.shell(phone.address, "getprop sys.boot_completed")
    await phone.fault("reboot", seconds=0)
    again = await phone.wait_for(Kind.REBOOTED, since=rebooted.sequence)
    await reconnected(adb, phone, since=again.sequence)

    assert booting.text == ""
    assert (await adb.shell(phone.address, "getprop sys.boot_completed")).text == "1"


async def test_duplicate_and_empty_serials(adb: AdbServer, phone: SimulatedPhone) -> None:
    """Two phones may claim one serial, and a phone may claim none."""
    await phone.fault("duplicate_serial", as_serial="SIM0002")
    duplicate = await adb.shell(phone.address, "getprop ro.serialno")
    await phone.fault("duplicate_serial", as_serial="")
    empty = await adb.shell(phone.address, "getprop ro.serialno")

    assert (duplicate.text, empty.text) == ("SIM0002", "")


async def test_a_drop_after_the_command_had_its_effect(
    adb: AdbServer, phone: SimulatedPhone
) -> None:
    """The caller sees a broken connection although the phone did what it was told, once."""
    await phone.fault("drop_mid_command", match="touch")

    before = await adb.shell(phone.address, "echo before")
    dropped = await adb.shell(phone.address, "touch /sdcard/made; echo said")
    written = await phone.wait_for(Kind.FILE_WRITTEN)
    await reconnected(adb, phone, since=written.sequence)
    after = await adb.shell(phone.address, "ls /sdcard/made")

    assert before.text == "before"
    assert (dropped.out, dropped.status) == (b"", 255)
    assert after.text == "/sdcard/made"
    assert phone.state()["faults"] == []


async def test_a_drop_on_an_effect(adb: AdbServer, phone: SimulatedPhone) -> None:
    """The cut can wait for an effect, here the post, and falls on the command that had it."""
    await adb.shell(
        phone.address,
        "echo film > /sdcard/c.mp4; am start -a android.intent.action.SEND --eu "
        f"android.intent.extra.STREAM file:///sdcard/c.mp4 -n {APP}/.ShareActivity",
    )
    await phone.fault("drop_mid_command", effect="posted")
    harmless = await adb.shell(phone.address, "input tap 10 300; echo fine")

    cut = await adb.shell(phone.address, "input tap 360 840; echo unheard")

    assert harmless.text == "fine"
    assert cut.out == b""
    assert cut.status != 0
    assert len(phone.state()["account"]["posts"]) == 1


async def test_logged_out_and_consent(adb: AdbServer, phone: SimulatedPhone) -> None:
    """Both lie over the app; consent goes with a tap, the log-in page only with the fault."""

    async def dump() -> str:
        answer = await adb.run("exec-out", "uiautomator dump /dev/tty", serial=phone.address)
        return answer.out.decode()

    await adb.shell(phone.address, f"am start -n {APP}/.MainActivity")
    await phone.fault("consent_dialog")
    consent = await dump()
    await adb.shell(phone.address, "input tap 360 764")
    dismissed = await dump()
    await phone.fault("logged_out")
    logged_out = await dump()
    await adb.shell(phone.address, "input tap 360 600")
    still = await dump()
    await phone.clear("logged_out")

    assert "consent_accept_button" in consent
    assert "screen_title" not in consent
    assert "For you" in dismissed
    assert "login_button" in logged_out
    assert "login_button" in still
    assert "For you" in await dump()
    assert [entry for entry in phone.ledger() if entry.kind is Kind.DIALOG_DISMISSED]


async def test_two_hosts_are_told_apart(
    adb: AdbServer, farm: Farm, phone: SimulatedPhone, tmp_path: Path
) -> None:
    """The ledger says by which connection each effect came when two servers drive one phone."""
    async with adb_server(tmp_path / "second") as other:
        await other.connect(phone.address)
        await adb.shell(phone.address, "touch /sdcard/one")
        await other.shell(phone.address, "touch /sdcard/two")

        written = {
            entry.detail["path"]: entry.connection
            for entry in phone.ledger()
            if entry.kind is Kind.FILE_WRITTEN
        }

    assert written == {"/sdcard/one": 1, "/sdcard/two": 2}
    assert farm["SIM0002"].ledger() == []
