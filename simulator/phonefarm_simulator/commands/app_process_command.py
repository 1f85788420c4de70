"""The command app_process: it runs the main class of a jar that was pushed."""

import io
import re
import zipfile

from phonefarm_simulator.commands import screen_server_command, ui_commands
from phonefarm_simulator.commands.call import Call, Table
from phonefarm_simulator.faults import Fault
from phonefarm_simulator.ui_server import MAIN_CLASS as UI_SERVER

_NICE_NAME = re.compile(r"--nice-name=(\S+)")


async def app_process(call: Call) -> int:
    """Run a program that this phone knows: the UI server, or scrcpy-server."""
    words = list(call.arguments)
    if Fault.STACK_TRACES in call.phone.faults:
        await call.complain(ui_commands.STACK_TRACE)
    jar = call.environment.get("CLASSPATH", "")
    named = _NICE_NAME.search(" ".join(words))
    arguments = " ".join([named[1] if named else "app_process", *words])
    data = _read(call, jar)
    if UI_SERVER in words and _is_dex(data):
        given = words[words.index(UI_SERVER) + 1 :]
        return await ui_commands.ui_server(call, given, arguments)
    screen_server = screen_server_command.MAIN_CLASS
    if screen_server in words and screen_server_command.is_jar(data):
        given = words[words.index(screen_server) + 1 :]
        return await screen_server_command.screen_server(call, jar, given, arguments)
    return await call.complain(f"Error: could not load main class {words[-1:]}", status=1)


def _read(call: Call, path: str) -> bytes:
    try:
        return call.phone.files.read(path)
    except OSError:
        return b""


def _is_dex(data: bytes) -> bool:
    """Tell whether a file is a jar with Android's code in it."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return "classes.dex" in archive.namelist()
    except zipfile.BadZipFile:
        return False


COMMANDS: Table = {"app_process": app_process}
