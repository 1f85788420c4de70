"""Measures what a person waits for, and what an idle farm costs: the part `use` of make bench."""

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from support.up_process import started_up

PROGRAMS: Final = {
    "phonefarm": "phonefarm_cli",
    "phonefarm-controller": "phonefarm_controller",
    "phonefarm-agent": "phonefarm_agent",
    "phonefarm-gateway": "phonefarm_gateway",
    "phonefarm-simulator": "phonefarm_simulator",
}
TICK: Final = os.sysconf("SC_CLK_TCK")
SETTLE_SECONDS: Final = 30  # after the start: every phone has been looked at by then
PHONES: Final = 50


def help_ratios(samples: int = 5) -> dict[str, float]:
    """Return each program's processor time for `--help`, divided by that of `python -c pass`."""
    bare = _cpu(["-c", "pass"], samples)
    found = {
        name: round(_cpu(["-m", module, "--help"], samples) / bare, 1)
        for name, module in PROGRAMS.items()
    }
    return {f"{name} --help": ratio for name, ratio in found.items()}


def _cpu(words: list[str], samples: int) -> float:
    """Return the least processor time (user and kernel) in seconds that Python needs for this."""
    least = float("inf")
    for _ in range(samples):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        least = min(least, used)
    return least


def up_to_ready(samples: int = 3) -> float:
    """Return the least seconds from the start of `up --simulate 3` until it says it is ready."""
    least = float("inf")
    for _ in range(samples):
        with tempfile.TemporaryDirectory() as scratch:
            began = time.monotonic()
            with started_up(Path(scratch) / "farm", scale=1) as up:
                up.ready()
                least = min(least, time.monotonic() - began)
    return round(least, 2)


def idle(seconds: float = 60) -> dict[str, Any]:
    """Return what each program of a farm of idle phones costs: % of a core, and MiB."""
    with (
        tempfile.TemporaryDirectory() as scratch,
        started_up(Path(scratch) / "farm", simulate=PHONES, scale=1) as up,
    ):
        up.ready()
        time.sleep(SETTLE_SECONDS)  # measuring is waiting
        pids = up.pids
        before, began = {name: _ticks(pid) for name, pid in pids.items()}, time.monotonic()
        time.sleep(seconds)
        lasted = time.monotonic() - began
        return {
            "phones": PHONES,
            **{
                name: {
                    "percent_of_a_core": round(
                        100 * (_ticks(pid) - before[name]) / TICK / lasted, 1
                    ),
                    "mib": _resident(pid),
                }
                for name, pid in pids.items()
            },
        }


def _ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])  # utime and stime: proc(5)


def _resident(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS:")).split()[1]) // 1024


def measure_use() -> dict[str, Any]:
    """Return all figures of first use."""
    return {
        "cpu_to_bare_python": help_ratios(),
        "up_to_ready_seconds": up_to_ready(),
        "idle": idle(),
    }
