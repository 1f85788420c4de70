"""Checks that adb starts, and each phone that it lists."""

import asyncio
import json
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from phonefarm_common.clock import SystemClock

from phonefarm_agent.app.settings import Settings
from phonefarm_agent.app.state_dir import is_used
from phonefarm_agent.host.checks.finding import Finding, fail, ok, run_program, warn
from phonefarm_agent.host.checks.phone_network import check_phone_network
from phonefarm_agent.phones.adb.client import Adb, AdbError
from phonefarm_agent.phones.adb.server import AdbStartError, adb_binary, adb_server

CONNECT_SECONDS = 5.0
USUAL_PORT = 5037
USB_SECONDS = 2.0
"""A server that doctor starts has this long to find the phones on USB."""

_REMEDIES = {
    "unauthorized": "unlock the phone, and accept this host's key with `always allow`",
    "offline": "unplug the phone, and plug it in again; if that does not help, restart the phone",
    "connecting": "wait a moment; if nothing changes, unplug the phone, and plug it in again",
    "authorizing": "unlock the phone, and accept this host's key with `always allow`",
    "recovery": "restart the phone into Android (choose `reboot system now` in the recovery menu)",
    "bootloader": "restart the phone into Android (`fastboot reboot`)",
    "sideload": "restart the phone into Android",
}
_NO_PERMISSION = (
    "`phonefarm-agent install` writes the udev rule; then unplug the phone and plug it in again, "
    "or run `udevadm trigger --subsystem-match=usb --action=change`"
)


async def check_program() -> list[Finding]:
    """Ask the adb binary for its version."""
    try:
        binary = await asyncio.to_thread(adb_binary)
        said = await run_program(binary, "version")
    except (OSError, RuntimeError) as error:
        return [fail("adb", f"adb does not run: {error}", "pip install --force-reinstall adbutils")]
    lines = said.text.splitlines()
    if said.code != 0 or len(lines) < 2:
        return [fail("adb", f"{binary} exited with code {said.code}", "reinstall phonefarm")]
    return [ok("adb", f"{lines[0]}, {lines[1]}")]


async def check_phones(settings: Settings, ready: Path) -> list[Finding]:
    """Check the phones through the running agent's adb server, or through one of its own."""
    if settings.dummy_phones:
        return [
            ok(
                "phones",
                f"the agent pretends to have {settings.dummy_phones} phones (--dummy-phones)",
            )
        ]
    try:
        async with _server(settings, ready) as (adb, whose):
            found = await adb.devices()
            online = [serial for serial, state in found.items() if state == "device"]
            reached = await check_phone_network(adb, online)
    except AdbStartError as error:
        return [
            fail(
                "adb server",
                str(error),
                (
                    "read adb's error message; check libusb, and check whether another program "
                    "uses the port"
                ),
            )
        ]
    except AdbError as error:
        return [fail("adb server", str(error), "systemctl restart phonefarm-agent")]
    findings = [ok("adb server", f"answers ({whose})"), *await check_other_server()]
    for serial in settings.connect:
        found.setdefault(serial, "not connected")
    findings += [_of_phone(serial, state) for serial, state in sorted(found.items())]
    findings += reached
    if not found:
        findings.append(
            warn(
                "phones",
                "adb does not list any phone",
                (
                    "plug in a phone with USB debugging on, or name a phone on the network with "
                    "--connect in PHONEFARM_AGENT_OPTIONS"
                ),
            )
        )
    return findings


async def check_other_server() -> list[Finding]:
    """Look for another adb server: the first one takes a phone's USB interface for itself.

    `adb devices`, scrcpy and IDEs start one on port 5037 (adb_shell#213, libadb.js#8).
    """
    other = Adb(host="127.0.0.1", port=USUAL_PORT)
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            found = await other.devices()
    except (AdbError, TimeoutError):
        return []
    held = f", and holds {', '.join(sorted(found))}" if found else ""
    return [
        warn(
            "other adb server",
            (
                f"another adb server runs on port {USUAL_PORT}{held}: the agent cannot "
                "use the USB phones that this server holds"
            ),
            (
                "run `adb kill-server`, and do not run other programs that start an adb server on "
                "this host (scrcpy, an IDE, `adb devices`)"
            ),
        )
    ]


def _of_phone(serial: str, state: str) -> Finding:
    name = f"phone {serial}"
    if state == "device":
        return ok(name, "online")
    if state.startswith("no permissions"):
        return fail(name, state, _NO_PERMISSION)
    if state == "not connected":
        return fail(
            name,
            state,
            "check that the phone is on, is on this network, and accepts connections (adb tcpip)",
        )
    return fail(name, state, _REMEDIES.get(state, "restart the phone"))


@asynccontextmanager
async def _server(settings: Settings, ready: Path) -> AsyncIterator[tuple[Adb, str]]:
    """Yield the running agent's adb server, or one that ends with the block."""
    if (running := _of_agent(ready)) is not None:
        yield running, "the server of the running agent"
        return
    home = settings.state / "adb"  # its key is the one the phones know
    with tempfile.TemporaryDirectory(prefix="phonefarm-doctor-") as scratch:
        own = adb_server(
            home=home if os.access(settings.state, os.W_OK) else Path(scratch),
            port=0,
            clock=SystemClock(),
        )
        async with own as server:
            await asyncio.gather(*(_connected(server.adb, one) for one in settings.connect))
            await asyncio.sleep(USB_SECONDS)  # the server does not say when it has looked
            why = "no agent runs"
            if is_used(settings.state):
                why = f"the agent that uses {settings.state} runs without --ready-file {ready}"
            yield server.adb, f"a server that doctor started, because {why}"


async def _connected(adb: Adb, address: str) -> None:
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            await adb.connect(address)
    except (AdbError, TimeoutError):
        return  # the listing shows it


def _of_agent(ready: Path) -> Adb | None:
    """Return the adb server of the agent that wrote the ready file, if that agent lives."""
    try:
        facts = json.loads(ready.read_text())
        host, _, port = str(facts["adb"]).rpartition(":")
        command = Path(f"/proc/{int(facts['pid'])}/cmdline").read_bytes()
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not host or not port.isdigit() or b"phonefarm" not in command:
        return None
    return Adb(host=host, port=int(port))
