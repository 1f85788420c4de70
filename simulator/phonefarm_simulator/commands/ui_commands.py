"""Commands that hold the phone's UiAutomation: `uiautomator dump` and the UI server."""

import asyncio
from collections.abc import Sequence

from phonefarm_simulator.commands.call import Call, Table
from phonefarm_simulator.faults import Fault
from phonefarm_simulator.ui_automation import ALREADY_REGISTERED, UiAutomationTakenError
from phonefarm_simulator.ui_dump import dump
from phonefarm_simulator.ui_server import DEFAULT_PORT, MAIN_CLASS, UiServer

DUMP_PATH = "/sdcard/window_dump.xml"
VM_START_SECONDS = 0.4
QUIET_SECONDS = 1.0
IDLE_LIMIT_SECONDS = 10.0
"""A dump waits for a second of quiet, at most 10 s (AOSP DumpCommand: waitForIdle(1000, 10000))."""
KILLED = 137
STACK_TRACE = (
    "java.io.FileNotFoundException: /data/system/theme_config/theme_compatibility.xml: "
    "open failed: ENOENT (No such file or directory)\n"
    "\tat libcore.io.IoBridge.open(IoBridge.java:574)"
)


async def uiautomator(call: Call) -> int:
    """Dump the window's views to a file, or to the output for /dev/tty.

    Source of the order and of what is printed where: AOSP DumpCommand.run.
    """
    compressed = "--compressed" in call.arguments
    words = [word for word in call.arguments if word != "--compressed"]
    if words[:1] != ["dump"]:
        return await call.complain("Usage: uiautomator dump [--compressed] [file]")
    path = words[1] if len(words) > 1 else DUMP_PATH
    phone = call.phone
    if Fault.STACK_TRACES in phone.faults:
        await call.complain(STACK_TRACE)
    if Fault.DUMP_KILLED in phone.faults:
        await call.complain("Killed")
        return KILLED
    if phone.personality.dump_waits:
        await asyncio.sleep(VM_START_SECONDS)
    if Fault.UI_AUTOMATION_TAKEN in phone.faults:
        return await call.complain(ALREADY_REGISTERED)
    try:
        with phone.ui_automation.registered("uiautomator"):
            if not await _rests(call, compressed=compressed):
                await call.complain("ERROR: could not get idle state.")
                return 0
            if not phone.awake:
                await call.complain("ERROR: null root node returned by UiTestAutomationBridge.")
                return 0
            text = dump(phone.looked_at(), rotation=phone.display.rotation)
    except UiAutomationTakenError:
        return await call.complain(ALREADY_REGISTERED)
    if path == "/dev/tty":
        await call.write_out(text.encode())
    else:
        try:
            phone.write_file(path, text.encode())
        except OSError as error:
            return await call.complain(f"ERROR: could not write {path}: {error.strerror}")
    await call.say(f"UI hierchary dumped to: {path}")
    return 0


async def _rests(call: Call, *, compressed: bool) -> bool:
    """Wait for a second in which nothing moves; tell whether there was one within 10 s."""
    fault = call.phone.faults.get(Fault.NEVER_IDLE)
    if not call.phone.moves or (compressed and fault is not None and fault.compressed_helps):
        if call.phone.personality.dump_waits:
            await asyncio.sleep(QUIET_SECONDS)
        return True
    await asyncio.sleep(IDLE_LIMIT_SECONDS)
    return False


async def ui_server(call: Call, words: Sequence[str], arguments: str) -> int:
    """Run the UI server until it is killed, dies, or the command's stream is closed."""
    phone = call.phone
    match words:
        case ["-p", number] if number.isdecimal():
            port = int(number)
        case _:
            port = DEFAULT_PORT
    socket = f"tcp:{port}"
    await call.say("[server] INFO: [UiAutomator2Server] Starting Server")
    await asyncio.sleep(VM_START_SECONDS)
    if Fault.UI_SERVER_KILLED_AT_START in phone.faults:
        await call.complain("Killed")
        return KILLED
    if Fault.UI_AUTOMATION_TAKEN in phone.faults:
        return await call.complain(ALREADY_REGISTERED)
    taken = phone.faults.get(Fault.UI_SERVER_PORT_TAKEN)
    if taken is not None:
        phone.count_down(Fault.UI_SERVER_PORT_TAKEN)
    if taken is not None or socket in phone.sockets:
        return await call.complain(
            "java.net.BindException: bind failed: EADDRINUSE (Address already in use)"
        )
    try:
        with (
            phone.ui_automation.registered(MAIN_CLASS),
            phone.processes.running(arguments) as process,
        ):
            server = UiServer(phone, port)
            phone.sockets[socket] = server.serve
            await call.say(f"[server] INFO: http server listening on *:{port}")
            try:
                await _first_of(process.killed, server.died)
            finally:
                del phone.sockets[socket]
                server.died.set()
    except UiAutomationTakenError:
        return await call.complain(ALREADY_REGISTERED)
    return KILLED if process.killed.is_set() else 0


async def _first_of(*events: asyncio.Event) -> None:
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


COMMANDS: Table = {"uiautomator": uiautomator}
