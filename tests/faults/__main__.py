"""`make faults`: breaks a real farm under load, and tells whether every promise was kept."""

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

from faults.ground import say
from faults.reporting import markdown, summed, write
from faults.running import fault_run


def main() -> int:
    """Return 0 when every promise was kept."""
    parser = argparse.ArgumentParser(prog="make faults", description=__doc__)
    parser.add_argument("--seconds", type=float, default=300, help="how long to break things")
    parser.add_argument("--seed", type=int, default=None, help="repeats a schedule; else drawn")
    parser.add_argument("--engine", choices=["postgres", "sqlite"], default="postgres")
    parser.add_argument(
        "--containers", action="store_true", help="one agent's runs in containers of its own engine"
    )
    parser.add_argument("--folder", type=Path, help="where everything is kept; else in /tmp")
    parser.add_argument(
        "--sum",
        nargs="+",
        type=Path,
        metavar="REPORT",
        help="run nothing: add up report.json files",
    )
    given = parser.parse_args()
    if given.sum:
        sys.stdout.write(summed(given.sum))
        return 0
    seed = int(time.time()) % 1_000_000 if given.seed is None else given.seed
    folder = given.folder or Path(tempfile.mkdtemp(prefix=f"faults-{given.engine}-{seed}-"))
    folder.mkdir(parents=True, exist_ok=True)
    say(f"{given.engine}, seed {seed}, {given.seconds:g} s, everything in {folder}")
    verdict = asyncio.run(
        fault_run(
            folder,
            engine=given.engine,
            seed=seed,
            seconds=given.seconds,
            containers=given.containers,
        )
    )
    write(verdict, folder)
    say(markdown(verdict))
    say(f"everything is kept in {folder}")
    if not verdict.faults or not verdict.between:
        say("nothing was shown: no fault, or nothing completed between faults")
        return 1
    return 1 if verdict.found else 0


if __name__ == "__main__":
    raise SystemExit(main())
