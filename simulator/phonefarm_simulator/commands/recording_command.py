"""The command screenrecord."""

import asyncio
import os
import time

from phonefarm_simulator.capture import captured
from phonefarm_simulator.commands.call import Call, Table
from phonefarm_simulator.screen_recording import mp4_of
from phonefarm_simulator.screenshot import jpeg_of

LONGEST_SECONDS = 180.0
FRAME_SECONDS = 0.25
QUALITY = 60
_WITH_VALUE = ("--size", "--bit-rate", "--time-limit", "--display-id")


async def screenrecord(call: Call) -> int:
    """Film the screen into a file until interrupted, hung up, or at its limit (3 minutes)."""
    options: dict[str, str] = {}
    paths = []
    words = iter(call.arguments)
    for word in words:
        if word in _WITH_VALUE:
            options[word] = next(words, "")
        elif not word.startswith("--"):
            paths.append(word)
    if len(paths) != 1:
        return await call.complain("Must specify output file (see --help).", status=2)
    try:  # first of all it creates the file (AOSP screenrecord.cpp, main)
        call.phone.write_file(paths[0], b"", append=True)
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        return await call.complain(f"Unable to open '{paths[0]}': {reason}")
    limit = options.get("--time-limit", "")
    seconds = min(float(limit) if limit.isdecimal() else LONGEST_SECONDS, LONGEST_SECONDS)
    begun = time.monotonic()
    frames: list[tuple[float, bytes]] = []

    async def film() -> None:
        while True:
            frames.append((time.monotonic() - begun, jpeg_of(captured(call.phone), QUALITY)))
            await asyncio.sleep(FRAME_SECONDS)

    try:
        async with asyncio.timeout(seconds):
            await film()
    except TimeoutError:
        pass
    finally:
        call.phone.write_file(paths[0], mp4_of(frames, time.monotonic() - begun))
    return 0


COMMANDS: Table = {"screenrecord": screenrecord}
