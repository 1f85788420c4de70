"""Takes pictures of a terminal with phonefarm's output, on a farm of simulated phones.

make pictures  writes docs/pictures/terminal-*.svg, for docs/tutorial.md
"""

import asyncio
import io
import os
import pty
import re
import struct
import subprocess
import sys
import tempfile
from fcntl import ioctl
from pathlib import Path
from termios import TIOCSWINSZ
from typing import Final

from phonefarm.v1 import agent_pb2
from rich.console import Console
from rich.text import Text

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from support.live_farm import (  # noqa: E402 - after the path of the support
    Hand,
    eventually,
    hand,
)
from support.up_process import started_up  # noqa: E402

PICTURES: Final = ROOT / "docs" / "pictures"
COLUMNS: Final = 112
INPUTS: Final = ("keywords=tiny houses", "videos_per_keyword=2", "watch_seconds=2")
SUBMIT: Final = ("submit", "keyword_warmup", *(f"--input={one}" for one in INPUTS))
"""The work of the tutorial."""
FONTS: Final = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)
"""rich's pictures would fetch a font from elsewhere; without it, they use the reader's own."""


def output_of(data: Path, *words: str) -> str:
    """Return what a command writes on a terminal, with its colours."""
    ours, theirs = pty.openpty()
    ioctl(theirs, TIOCSWINSZ, struct.pack("HHHH", 50, COLUMNS, 0, 0))
    command = [sys.executable, "-m", "phonefarm_cli", *words, "--data", str(data)]
    environment = os.environ | {"TERM": "xterm-256color"}
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment):
        os.close(theirs)
        written = bytearray()
        while chunk := read(ours):
            written += chunk
    os.close(ours)
    return written.decode().replace("\r\n", "\n")


def read(terminal: int) -> bytes:
    """Return the next bytes; none when the command has ended, which Linux reports as EIO."""
    try:
        return os.read(terminal, 65536)
    except OSError:
        return b""


def draw(name: str, data: Path, *words: str) -> None:
    """Write the picture of one command and its output."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    line = " ".join(words)
    console.print(Text(f"$ phonefarm {line}", style="bold"))
    console.print(Text.from_ansi(output_of(data, *words)))
    path = PICTURES / f"terminal-{name}.svg"
    drawn = console.export_svg(title=f"phonefarm {' '.join(words[:2])}", unique_id=name)
    path.write_text(FONTS.sub("", drawn))
    print(f"{path}  {path.stat().st_size // 1024} KiB")


async def take(it: Hand) -> None:
    """Do what the tutorial does, and take its pictures."""
    data = it.farm.data
    await it.offered()
    draw("phones", data, "phones", "list")
    process_id, _, _ = output_of(data, *SUBMIT).partition(":")
    await it.until(process_id, "completed")
    draw("process", data, "processes", "show", process_id)
    phone = it.farm.phones[0]
    await it.phones.fault(phone.serialno, "unplug")

    async def is_away() -> bool:
        return (await it.phone(phone.phone_id)).transport == agent_pb2.TRANSPORT_ABSENT

    await eventually(is_away, what="the absence of the phone")
    output_of(data, *SUBMIT, "--phone", phone.serialno)
    draw("doctor", data, "doctor")


async def main() -> None:
    """Run a farm, and take the pictures."""
    with tempfile.TemporaryDirectory() as folder, started_up(Path(folder) / "farm") as up:
        async with hand(up.ready()) as it:
            await take(it)
        up.stop()


if __name__ == "__main__":
    asyncio.run(main())
