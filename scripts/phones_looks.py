"""How long a run takes to look at a screen, and to touch it."""

import asyncio
import logging
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog
from phonefarm_executor.adb_link import Link
from phonefarm_executor.deadlines import Pace
from phonefarm_executor.phone import Phone
from phonefarm_executor.screen import Screen
from phonefarm_executor.screen_reader import ScreenReader
from phonefarm_executor.signals import Signals
from phonefarm_executor.ui_server import UiServer
from support.run_bench import FOLDER, RunBench, run_bench

PACKAGE: Final = "com.example.shortvideo"
COMPONENT: Final = f"{PACKAGE}/.MainActivity"
SHELL_SAMPLES: Final = 8
"""A dump by the shell that is refused takes more than 10 s."""


async def figures_of_looks(folder: Path, *, samples: int) -> list[str]:
    """Return the tables of looks and taps on a phone of the default personality."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    async with run_bench(folder) as bench:
        bench.gate.going = True
        loop = asyncio.get_running_loop()

        def ask_agent(up: bool, _why: str) -> str:
            if (server := bench.control.ui_server) is None:
                raise RuntimeError("the bench has a UI server")
            coming = server.start() if up else server.stop()
            return asyncio.run_coroutine_threadsafe(coming, loop).result() or ""

        signals = Signals()
        pace = Pace(signals, cap_seconds=3600)
        link = Link(bench.directory / "adb.sock", bench.phone.address, pace)
        phone = Phone(link, pace, folder=FOLDER)
        reader = ScreenReader(
            phone=phone,
            server=UiServer(link, pace),
            ask_agent=ask_agent,
            package=PACKAGE,
            pace=pace,
        )
        await asyncio.to_thread(_opened, phone)
        rows = [await _taps(bench, phone, samples)]
        looks = {"moving": await asyncio.to_thread(_timed, reader.look, samples)}
        await asyncio.to_thread(ask_agent, False, "the shell's turn")
        shell = {
            "moving": await asyncio.to_thread(
                _timed, lambda: phone.dump(compressed=False), SHELL_SAMPLES
            )
        }
        await bench.phone.clear("never_idle")
        shell["at rest"] = await asyncio.to_thread(
            _timed, lambda: phone.dump(compressed=False), SHELL_SAMPLES
        )
        looks["at rest"] = await asyncio.to_thread(_timed, reader.look, samples)
    lines = [
        "| look, dump to parsed tree | screen | looks | read | p50 | p95 |",
        "|---|---|---|---|---|---|",
    ]
    for way, found in (("UI server", looks), ("`uiautomator dump`", shell)):
        for screen, (seconds, read) in found.items():
            lines.append(f"| {way} | {screen} | {len(seconds)} | {read} | {_parts(seconds)} |")
    return [*lines, "", *rows[0]]


def _opened(phone: Phone) -> None:
    """Bring the app to the front, on a lit display."""
    phone.greet(PACKAGE)
    phone.make_folder()
    phone.uncover()
    phone.start(COMPONENT)


def _timed(look: Callable[[], Screen | str], samples: int) -> tuple[list[float], int]:
    """Return the seconds of so many looks, and how many gave the screen of the app."""
    seconds, read = [], 0
    for _ in range(samples):
        begun = time.perf_counter()
        screen = look()
        seconds.append(time.perf_counter() - begun)
        read += isinstance(screen, Screen) and PACKAGE in screen.packages()
    return seconds, read


async def _taps(bench: RunBench, phone: Phone, samples: int) -> list[str]:
    """Return the table of taps: the executor's and those of the adb program, in turn."""
    ours, theirs = [], []
    for _ in range(samples):
        begun = time.perf_counter()
        await asyncio.to_thread(phone.tap, 5, 5)
        ours.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        await bench.adb.shell(bench.phone.address, "input tap 5 5")
        theirs.append(time.perf_counter() - begun)
    ratio = statistics.median(ours) / statistics.median(theirs)
    return [
        "| tap | taps | p50 | p95 |",
        "|---|---|---|---|",
        f"| the executor, by the run's proxy | {samples} | {_parts(ours)} |",
        f"| `adb shell input tap` | {samples} | {_parts(theirs)} |",
        "",
        f"A tap of the executor takes {ratio:.2f} times as long as `adb shell input tap`.",
    ]


def _parts(seconds: list[float]) -> str:
    cuts = statistics.quantiles(seconds, n=20)
    return f"{statistics.median(seconds) * 1000:.0f} ms | {cuts[18] * 1000:.0f} ms"
