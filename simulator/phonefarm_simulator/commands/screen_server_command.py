"""Runs scrcpy-server, as `CLASSPATH=JAR app_process / com.genymobile.scrcpy.Server ...` does."""

import asyncio
import contextlib
import hashlib
from collections.abc import Sequence

from phonefarm_simulator.commands.call import Call
from phonefarm_simulator.faults import Fault
from phonefarm_simulator.screen_encoder import NoEncoderError, load_encoder
from phonefarm_simulator.screen_server import CannotListenError, ScreenServer
from phonefarm_simulator.screen_server_options import OptionsError, ServerOptions, read_options
from phonefarm_simulator.screen_server_output import ServerOutput
from phonefarm_simulator.screen_video import ENCODERS

MAIN_CLASS = "com.genymobile.scrcpy.Server"
JAR_SHA256 = "8588238c9a5a00aa542906b6ec7e6d5541d9ffb9b5d0f6e1bc0e365e2303079e"
"""scrcpy-server-v3.3.4: this phone plays that program and no other."""
VM_START_SECONDS = 0.4
KILLED = 137


def is_jar(data: bytes) -> bool:
    """Tell whether a file is the jar of this server."""
    return hashlib.sha256(data).hexdigest() == JAR_SHA256


async def screen_server(call: Call, jar: str, words: Sequence[str], arguments: str) -> int:
    """Serve until a socket ends, the process is killed, or the command's stream is closed."""
    phone = call.phone
    slow = phone.faults.get(Fault.SCREEN_SERVER_SLOW)
    await asyncio.sleep(VM_START_SECONDS + (slow.seconds if slow is not None else 0.0))
    try:
        options = read_options(words)
    except OptionsError as error:
        output = ServerOutput(call, "info")
        await output.error(str(error), trace=f"java.lang.IllegalArgumentException: {error}")
        return 1
    output = ServerOutput(call, options.log_level)
    for key in options.unknown:
        await output.warn(f"Unknown server option: {key}")
    build = phone.properties
    await output.info(
        f"Device: [{build['ro.product.manufacturer']}] {build['ro.product.brand']} "
        f"{build['ro.product.model']} (Android {build['ro.build.version.release']})"
    )
    if options.cleanup:
        with contextlib.suppress(OSError):
            phone.remove_file(jar, recursive=False)
    if options.list_encoders or options.list_displays:
        if options.list_encoders:
            await output.info(ENCODERS)
        if options.list_displays:
            width, height = phone.display.size
            await output.info(f"List of displays:\n    --display-id=0    ({width}x{height})")
        return 0
    return await _serve(call, options, output, arguments)


async def _serve(call: Call, options: ServerOptions, output: ServerOutput, arguments: str) -> int:
    if options.video:
        try:
            await asyncio.to_thread(load_encoder)
        except NoEncoderError as error:
            await output.error(str(error))
            return 1
    server = ScreenServer(phone=call.phone, options=options, output=output)
    with call.phone.processes.running(arguments) as process:
        killed = asyncio.create_task(process.killed.wait())
        ended = asyncio.create_task(server.ended.wait())
        try:
            async with server.running():
                await asyncio.wait({killed, ended}, return_when=asyncio.FIRST_COMPLETED)
        except CannotListenError as error:
            await output.error("Server error", trace=str(error))
            return_code = 1
        else:
            return_code = KILLED if process.killed.is_set() else 0
        finally:
            killed.cancel()
            ended.cancel()
            if options.cleanup and options.power_off_on_close:
                call.phone.display.darken()
    return return_code
