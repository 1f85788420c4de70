"""The real adb's shell, exec, push and pull against a simulated phone."""

import asyncio
import hashlib
import random
from pathlib import Path

from phonefarm_simulator.farm import SimulatedPhone
from phonefarm_simulator.ledger import Kind
from support.adb import AdbServer


async def test_exit_code_and_both_outputs_arrive_apart(
    adb: AdbServer, phone: SimulatedPhone
) -> None:
    """A shell call gives stdout, stderr and the exit code as a phone with shell v2 does."""
    answer = await adb.shell(phone.address, "echo out; ls /nope; exit 7")

    assert answer.status == 7
    assert answer.text == "out"
    assert answer.error == b"ls: /nope: No such file or directory\n"


async def test_unknown_command_is_127(adb: AdbServer, phone: SimulatedPhone) -> None:
    """A command the phone has not is refused in the words of Android's sh."""
    answer = await adb.shell(phone.address, "nosuch --flag")

    assert answer.status == 127
    assert answer.error == b"/system/bin/sh: nosuch: inaccessible or not found\n"


async def test_properties_and_proc(adb: AdbServer, phone: SimulatedPhone) -> None:
    """What an agent probes is there: serial, boot state, uptime and boot id."""
    answer = await adb.shell(
        phone.address,
        "getprop ro.serialno; getprop sys.boot_completed; "
        "cat /proc/sys/kernel/random/boot_id; cat /proc/uptime",
    )

    serial, booted, boot_id, uptime = answer.text.splitlines()
    assert (serial, booted) == ("SIM0001", "1")
    assert boot_id == phone.state()["boot_id"]
    assert 0 <= float(uptime.split()[0]) < 60


async def test_push_and_pull_keep_every_byte(
    adb: AdbServer, phone: SimulatedPhone, tmp_path: Path
) -> None:
    """Five MiB go there and back unchanged, and the phone's own sum agrees."""
    data = random.Random(5).randbytes(5 * 1024 * 1024)
    source, target = tmp_path / "blob", tmp_path / "back"
    await asyncio.to_thread(source.write_bytes, data)

    pushed = await adb.run("push", str(source), "/data/local/tmp/deep/blob", serial=phone.address)
    pulled = await adb.run("pull", "/data/local/tmp/deep/blob", str(target), serial=phone.address)
    summed = await adb.shell(phone.address, "sha256sum /data/local/tmp/deep/blob")

    wanted = hashlib.sha256(data).hexdigest()
    assert (pushed.status, pulled.status) == (0, 0)
    assert hashlib.sha256(await asyncio.to_thread(target.read_bytes)).hexdigest() == wanted
    assert summed.text == f"{wanted}  /data/local/tmp/deep/blob"


async def test_pull_of_a_folder(adb: AdbServer, phone: SimulatedPhone, tmp_path: Path) -> None:
    """A whole directory can be pulled: list and stat of both versions are right."""
    await adb.shell(
        phone.address,
        "mkdir -p /sdcard/run/inner; echo one > /sdcard/run/a.txt; echo two > /sdcard/run/inner/b",
    )

    answer = await adb.run("pull", "/sdcard/run", str(tmp_path / "got"), serial=phone.address)

    assert answer.status == 0, answer
    assert (tmp_path / "got" / "a.txt").read_text() == "one\n"
    assert (tmp_path / "got" / "inner" / "b").read_text() == "two\n"


async def test_pull_of_nothing_says_so(
    adb: AdbServer, phone: SimulatedPhone, tmp_path: Path
) -> None:
    """A file that is not there is an error of adb, not an empty file."""
    answer = await adb.run("pull", "/sdcard/none", str(tmp_path / "x"), serial=phone.address)

    assert answer.status == 1
    assert b"No such file or directory" in answer.error


async def test_push_where_the_shell_may_not_write(
    adb: AdbServer, phone: SimulatedPhone, tmp_path: Path
) -> None:
    """Outside the shared storage and /data/local/tmp a push is refused with the reason."""
    (tmp_path / "f").write_bytes(b"x")

    denied = await adb.run("push", str(tmp_path / "f"), "/data/f", serial=phone.address)
    read_only = await adb.run("push", str(tmp_path / "f"), "/system/f", serial=phone.address)

    assert (denied.status, read_only.status) == (1, 1)
    assert b"Permission denied" in denied.error + denied.out
    assert b"Read-only file system" in read_only.error + read_only.out


async def test_exec_out_is_raw_and_stdin_arrives(adb: AdbServer, phone: SimulatedPhone) -> None:
    """`exec-out` and a shell's input carry any byte."""
    data = bytes(range(256)) * 300

    fed = await adb.run("shell", "cat > /sdcard/bytes", serial=phone.address, stdin=data)
    got = await adb.run("exec-out", "cat /sdcard/bytes", serial=phone.address)

    assert fed.status == 0, fed
    assert got.out == data


async def test_an_interactive_shell(adb: AdbServer, phone: SimulatedPhone) -> None:
    """Lines come in, answers come out, `exit` ends it with its status; a terminal gets an echo."""
    lines = b"getprop ro.serialno\nexit 3\n"

    plain = await adb.run("shell", serial=phone.address, stdin=lines)
    terminal = await adb.run("shell", "-tt", serial=phone.address, stdin=lines)

    assert (plain.status, plain.out) == (3, b"SIM0001\n")
    assert terminal.status == 3
    assert terminal.out.startswith(b"sim_phone:/ $ getprop ro.serialno\r\nSIM0001\r\n")


async def test_many_commands_at_once_on_one_connection(
    adb: AdbServer, phone: SimulatedPhone
) -> None:
    """Forty streams share a connection and none gets another's bytes."""
    wanted = [f"number {number}" for number in range(40)]

    answers = await asyncio.gather(
        *(adb.shell(phone.address, f"sleep 0.05; echo {text}") for text in wanted)
    )

    assert [answer.text for answer in answers] == wanted
    assert {entry.connection for entry in phone.ledger()} == {1}


async def test_streaming_logcat_stays_open_and_stops_with_its_reader(
    adb: AdbServer, phone: SimulatedPhone
) -> None:
    """The log without -d tells of what happens later, and its service ends when adb leaves."""
    process = await asyncio.create_subprocess_exec(
        adb.binary,
        *("-P", str(adb.port), "-s", phone.address, "logcat", "-v", "threadtime", "-T", "1"),
        stdout=asyncio.subprocess.PIPE,
        env=adb.environment,
    )
    assert process.stdout is not None
    assert b"beginning of main" in await asyncio.wait_for(process.stdout.readline(), 60)

    await adb.shell(phone.address, "input keyevent HOME")
    async with asyncio.timeout(180):
        while b"home_pressed" not in await process.stdout.readline():
            pass
    before = phone.phone.ledger.sequence
    process.kill()
    await process.wait()

    closed = await phone.wait_for(Kind.SERVICE_CLOSED, since=before)
    assert closed.detail["outcome"] == "broken off"


async def test_a_command_stops_when_its_caller_leaves(
    adb: AdbServer, phone: SimulatedPhone
) -> None:
    """The hang-up reaches the shell: what stood behind a sleep is never done."""
    process = await asyncio.create_subprocess_exec(
        adb.binary,
        *("-P", str(adb.port), "-s", phone.address, "shell", "sleep 600; touch /sdcard/late"),
        stdin=asyncio.subprocess.PIPE,
        env=adb.environment,
    )
    opened = await phone.wait_for(Kind.SERVICE_OPENED)
    process.kill()
    await process.wait()

    await phone.wait_for(Kind.SERVICE_CLOSED, since=opened.sequence)
    assert not phone.phone.files.exists("/sdcard/late")


async def test_services_a_phone_has_not_are_refused(adb: AdbServer, phone: SimulatedPhone) -> None:
    """What this phone has no service for ends in an error, and the phone goes on."""
    refused = [
        await adb.run(*words, serial=phone.address)
        for words in (("remount",), ("jdwp",), ("disable-verity",))
    ]
    alive = await adb.shell(phone.address, "echo alive")

    assert all(answer.status != 0 or answer.error for answer in refused), refused
    assert alive.text == "alive"


async def test_the_lease_file_stamps_the_ledger(adb: AdbServer, phone: SimulatedPhone) -> None:
    """From the moment the lease file is written every entry carries its epoch, run and agent."""
    lease = '{"epoch": 41, "run": "r-1", "agent": "a-1"}'
    await adb.shell(phone.address, f"echo '{lease}' > /data/local/tmp/phonefarm-lease")

    await adb.shell(phone.address, "input keyevent HOME")

    pressed = await phone.wait_for(Kind.HOME_PRESSED)
    assert (pressed.epoch, pressed.run, pressed.agent) == (41, "r-1", "a-1")
    assert (pressed.connection, pressed.stream) == (1, 2)
    assert phone.ledger()[0].epoch is None


async def test_install_from_the_host_and_removal(
    adb: AdbServer, phone: SimulatedPhone, tmp_path: Path
) -> None:
    """`adb install` streams an APK in, and something that is none is refused by name."""
    import zipfile  # noqa: PLC0415 -- only this test makes one

    apk, text = tmp_path / "other.apk", tmp_path / "not.apk"
    with zipfile.ZipFile(apk, "w") as archive:
        archive.writestr(
            "AndroidManifest.xml", '<manifest package="com.example.other" versionName="2.1"/>'
        )
    text.write_bytes(b"no apk")

    installed = await adb.run("install", str(apk), serial=phone.address)
    refused = await adb.run("install", str(text), serial=phone.address)
    listed = await adb.shell(phone.address, "pm list packages -3")

    assert installed.status == 0, installed
    assert refused.status == 1
    assert "INSTALL_PARSE_FAILED_NOT_APK" in (refused.out + refused.error).decode()
    assert "package:com.example.other" in listed.text.splitlines()
