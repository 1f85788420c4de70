"""A stand-in for the executor: does what the plan's `acts` say; sent to Python as text (`-c`)."""
# ruff: noqa: T201 - printing is what an executor does

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any


def main() -> None:
    """Perform each act: [name, argument]."""
    folder = Path(os.environ.get("PHONEFARM_RUN_DIR", "/run/phonefarm"))
    plan = json.loads((folder / "plan.json").read_text())
    for name, argument in plan["acts"]:
        perform(name, argument)


def perform(name: str, argument: Any) -> None:
    """Perform one act."""
    match name:
        case "say":
            print(argument, flush=True)
        case "say_without_end":
            sys.stdout.write(argument)
            sys.stdout.flush()
        case "say_long":
            print(f"{'x' * argument}!", flush=True)
        case "complain":
            print(argument, file=sys.stderr, flush=True)
        case "tick":
            for number in range(argument):
                print(number, flush=True)
                threading.Event().wait(0.01)
        case "exit_when_asked":
            signal.signal(signal.SIGTERM, lambda *_: leave(argument))
        case "ignore_asking":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        case "leave_child":
            subprocess.Popen(["sleep", str(argument)], stdout=subprocess.DEVNULL)
        case "eat_memory":
            eaten = [bytearray(1024 * 1024) for _ in range(argument)]
            print(len(eaten), flush=True)
        case "hang":
            while True:
                signal.pause()
        case "exit":
            sys.exit(argument)
        case _:
            sys.exit(f"no act {name}")


def leave(code: int) -> None:
    """Say good-bye, as an executor that was asked to stop."""
    print("asked", flush=True)
    os._exit(code)


if __name__ == "__main__":
    main()
