"""Runs a program by a wall clock that a file sets: stepped_program.py FILE MODULE ARGUMENT...

Run as a script with `python -P`, so that the modules beside it hide none of the program's.
"""

import runpy
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from unittest.mock import patch

from phonefarm_common.clock import SystemClock

PROGRAM: Final = Path(__file__)


def set_off(file: Path, seconds: float) -> None:
    """Set the clock to be ahead of the machine's by so many seconds (behind: negative), at once.

    libfaketime reads such a file too.
    """
    new = file.with_name(f"{file.name}.new")
    new.write_text(f"{seconds:+.3f}\n")
    new.chmod(0o644)  # a server that is not root reads it
    new.replace(file)


def main() -> None:
    """Run the module as `python -m` does; its monotonic clock is the machine's."""
    file, module, *arguments = sys.argv[1:]
    place = Path(file)

    def now(_: SystemClock) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=float(place.read_text()))

    sys.argv = [module, *arguments]
    with patch.object(SystemClock, "now", now):
        runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
