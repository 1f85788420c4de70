"""A program that prints how it was started, and ends with 3: `python -m support.shown_start`."""

import json
import os
import signal
import sys
import threading
from pathlib import Path


def _of_proc(name: str) -> list[str]:
    return Path(f"/proc/self/{name}").read_text().rstrip("\0").split("\0")


if __name__ == "__main__":
    shown = {
        "arguments": sys.argv,
        "words": sys.orig_argv,
        "environment": dict(os.environ),
        "directory": str(Path.cwd()),
        "path": sys.path,
        "input": sys.stdin.read(),
        "command line in /proc": _of_proc("cmdline"),
        "environment in /proc": sorted(_of_proc("environ")),
        "descriptors": sorted(os.listdir("/proc/self/fd"), key=int),  # noqa: PTH208 - names only
        "parent": os.getppid(),
        "leads a session": os.getsid(0) == os.getpid(),
        "leads a group": os.getpgrp() == os.getpid(),
        "thread": threading.get_native_id() == os.getpid(),
        "signals": [str(signal.getsignal(one)) for one in (signal.SIGINT, signal.SIGPIPE)],
        "encodings": [sys.stdout.encoding, sys.stderr.errors],
        "options": [str(sys.flags), sys.executable, sys.prefix],
    }
    print(json.dumps(shown))  # noqa: T201 - for the test that started it
    sys.exit(3)
