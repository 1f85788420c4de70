"""What the parts of bench_console.py share: the table, and the farm that they measure."""

import os
import statistics
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from playwright.async_api import Browser, Page
from support.adb import AdbServer
from support.live_farm import Hand, LivePhone, eventually
from support.raw_viewer import RawViewer, raw_viewer
from support.up_process import UpProcess

APP: Final = "com.example.shortvideo"
SCREEN: Final = "document.querySelector('pf-screen')"
WAIT_SECONDS: Final = 60.0


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table; `reached` is None for a figure that only explains others."""

    what: str
    accept: str
    seen: str
    reached: bool | None


class Received:
    """Counts what a page's sockets receive."""

    def __init__(self, page: Page) -> None:
        self.bytes = 0
        self.messages = 0
        page.on("websocket", lambda one: one.on("framereceived", self._add))

    def _add(self, payload: str | bytes) -> None:
        self.bytes += len(payload)
        self.messages += isinstance(payload, bytes)


class Bench:
    """One farm, one browser, and the rows measured so far."""

    def __init__(
        self,
        *,
        it: Hand,
        up: UpProcess,
        browser: Browser,
        adb: AdbServer,
        seconds: float,
        rows: list[Row],
    ) -> None:
        self.it = it
        self.up = up
        self.browser = browser
        self.adb = adb
        self.seconds = seconds
        self.rows = rows
        self.base = f"http://{it.farm.rest}"

    def add(self, what: str, accept: str, seen: str, *, reached: bool | None) -> None:
        """Add a row, and show it."""
        self.rows.append(Row(what=what, accept=accept, seen=seen, reached=reached))
        print(f"  {what}: {seen}", flush=True)

    def cpu(self, *names: str) -> dict[str, float]:
        """Return the seconds of processor time that programs of the farm have used."""
        return {name: _used(self.up.pids[name]) for name in names}

    def browser_cpu(self) -> float:
        """Return the seconds of processor time of the browser's processes that live now."""
        return sum(_used(pid) for pid in _children(os.getpid()) if "chrom" in _name(pid))

    async def logged_in(self, page: Page, path: str) -> None:
        """Open the page of *path* in a tab that is not logged in."""
        await page.goto(path)
        await page.get_by_label("API key", exact=True).fill(self.it.farm.api_key)
        await page.get_by_role("button", name="Log in").click()
        await page.locator("nav").wait_for(state="attached")

    async def newest(self, phone: LivePhone) -> int:
        """Return the number of the newest entry in the phone's ledger."""
        return int((await self.it.phones.ledger(phone.serialno))[-1]["sequence"])

    async def viewer(
        self, phone: LivePhone, *, small: bool = False
    ) -> AbstractAsyncContextManager[RawViewer]:
        """Return a viewer of a phone without a browser."""
        _, made = await self.it.call("POST", f"/phones/{phone.phone_id}/screen/tickets")
        return raw_viewer(self.it.farm.rest, phone.phone_id, made["ticket"], small=small)

    async def open_feed(self, phone: LivePhone) -> None:
        """Wake a phone, unlock it, and open its app, whose feed moves."""
        address = await self.address(phone)
        await self.adb.connect(address)
        command = f"input keyevent WAKEUP; wm dismiss-keyguard; am start -n {APP}/.MainActivity"
        await self.adb.shell(address, command)

    async def address(self, phone: LivePhone) -> str:
        """Return where the simulated phone listens for adb."""
        phones = await self.it.phones.phones()
        return next(str(one["address"]) for one in phones if one["serial"] == phone.serialno)


async def until(page: Page, expression: str) -> None:
    """Wait until an expression of the page is true."""

    async def look() -> bool:
        return bool(await page.evaluate(expression))

    await eventually(look, within=WAIT_SECONDS, what=expression)


def middle_and_high(values: Sequence[float]) -> tuple[float, float]:
    """Return the median and the 95th percentile; infinite when there are no values."""
    if len(values) < 2:
        return (*values, float("inf"))[0], (*values, float("inf"))[0]
    return statistics.median(values), statistics.quantiles(values, n=20)[-1]


def shares(before: dict[str, float], after: dict[str, float], seconds: float) -> dict[str, float]:
    """Return the processor time between two readings, in percent of a core."""
    return {name: 100 * (after[name] - before[name]) / seconds for name in before}


def table(rows: Sequence[Row]) -> str:
    """Return the rows as one table of Markdown."""
    words: dict[bool | None, str] = {True: "reached", False: "**not reached**", None: ""}
    lines = ["| figure | accept | seen | |", "|---|---|---|---|"]
    lines += [f"| {row.what} | {row.accept} | {row.seen} | {words[row.reached]} |" for row in rows]
    return "\n".join(lines)


def _used(pid: int) -> float:
    """Return a process's seconds of processor time (proc(5)); 0 when it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text()
    except OSError:
        return ""


def _children(pid: int) -> list[int]:
    """Return the processes that a process started, and theirs."""
    found: list[int] = []
    waiting = [pid]
    while waiting:
        one = waiting.pop()
        for task in Path(f"/proc/{one}/task").glob("*/children"):
            try:
                started = [int(each) for each in task.read_text().split()]
            except OSError:
                continue
            found += started
            waiting += started
    return found
