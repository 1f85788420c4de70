"""Print what phones of every personality do, as Markdown tables for docs/reliability.md.

Main jobs: on phones of the default personality, whose feed moves, runs of keyword_warmup (2
keywords x 3 videos) and fyp_warmup (10 videos), and how many completed.
Looks: from a dump to the parsed tree, by the UI server and by the shell, on a screen that moves and
on one at rest; a tap of the executor beside `adb shell input tap` (scripts/phones_looks.py).
Matrix: each personality with each capability, the golden job and what its agent says of it; and
phones with a lasting fault, of which some must be quarantined and others must not.

Every farm is real (controller, gateway, agent, executor, adb), with the timers of production; only
the phones are simulated.
"""

import argparse
import asyncio
import sqlite3
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests")]

from phonefarm.v1 import fleet_pb2  # noqa: E402
from phonefarm_common.ids import new_id  # noqa: E402
from phonefarm_simulator.personality import DEFAULT, names  # noqa: E402
from phones_looks import figures_of_looks  # noqa: E402 - after the path is set
from support.asset_server import asset_server, mp4  # noqa: E402
from support.live_farm import TERMINAL, Hand, LivePhone, eventually, hand  # noqa: E402
from support.programs import Programs, programs  # noqa: E402

TOO_OLD: Final = "old-android"
LONGEST_SECONDS: Final = 3600.0
AGENTS: Final = 3
"""Three phones of one host that fail within a minute are an incident of the host, not of them."""
CAPABILITIES: Final = ("keyword_warmup", "fyp_warmup", "maintenance", "post_video")


@dataclass(frozen=True, kw_only=True)
class Broken:
    """A phone with faults that stay, and whether it must be quarantined for them."""

    faults: dict[str, dict[str, Any]]
    quarantined: bool


BROKEN: Final = (
    Broken(faults={"ui_server_killed_at_start": {}, "dump_killed": {}}, quarantined=True),
    Broken(faults={"ui_automation_taken": {}}, quarantined=True),
    Broken(faults={"wake_fails": {}, "display_times_out": {"seconds": 0.5}}, quarantined=True),
    Broken(faults={"ui_server_killed_at_start": {}}, quarantined=True),
    Broken(faults={"ui_server_hangs": {}, "dump_killed": {}}, quarantined=True),
    Broken(faults={"am_start_denied": {}}, quarantined=False),
    Broken(faults={"ui_server_blind": {}}, quarantined=False),
    Broken(faults={"package_manager_gone": {}}, quarantined=False),
    Broken(faults={"set_text_ignored": {}, "clipboard_denied": {}}, quarantined=False),
    Broken(faults={"ui_server_slow": {"milliseconds": 500}}, quarantined=False),
    Broken(faults={"logged_out": {}}, quarantined=False),
)
"""Phones of the default personality, whose feed moves: the shell's dump alone cannot read it."""


def body_of(capability: str, account_id: str, **inputs: Any) -> dict[str, Any]:
    """Return a request for one run on the account's phone."""
    return {
        "request_id": new_id(),
        "capability": capability,
        "mode": "manual",
        "target": {"routing": "direct", "account_id": account_id},
        "inputs": inputs,
        "callback": {"url": "http://127.0.0.1:9/"},
        "requested_by": {"system": "figures"},
    }


async def asked(it: Hand, capability: str, account_id: str, *, video: str, videos: int) -> str:
    """Ask for one run; return its process."""
    text = "caf\u00e9 na\u00efve \u6771\u4eac \U0001f35c"
    enqueue = "/capability-requests/enqueue"
    match capability:
        case "keyword_warmup":
            inputs = {"keywords": ["tiny houses", text], "videos_per_keyword": videos}
            body = body_of(capability, account_id, watch_seconds=1, **inputs)
            return await it.accepted(enqueue, body)
        case "fyp_warmup":
            inputs = {"judge_prompt": "houses", "max_videos": videos, "watch_seconds": 1}
            return await it.accepted(enqueue, body_of(capability, account_id, **inputs))
        case "maintenance":
            steps = [{"action": "edit_profile", "params": {"bio": text}}]
            return await it.accepted(enqueue, body_of(capability, account_id, steps=steps))
        case _:
            names = {"content_id": new_id(), "account_id": account_id}
            status, answer = await it.call(
                "POST", "/ingest", names | {"video_path": video, "caption": text}
            )
            if status != HTTPStatus.ACCEPTED:
                raise RuntimeError(f"/ingest answered {status}: {answer}")
            item = answer["queue_item_id"]
            _, record = await it.call("GET", f"/queue-items/{item}")
            return str(record["process_id"])


async def ended(it: Hand, process_id: str, *, unless: LivePhone | None = None) -> str:
    """Return how the process ended; "withheld" once the phone *unless*, or its account, is."""

    async def look() -> str | None:
        _, record = await it.call("GET", f"/processes/{process_id}")
        if record.get("status") in TERMINAL:
            return str(record["status"])
        if unless is not None:
            accounts = await it.controller.accounts()
            [account] = [one for one in accounts if one.account_id == unless.account_id]
            phone = await it.phone(unless.phone_id)
            if phone.health == "quarantined" or account.condition != "ok":
                return "withheld"
        return None

    return await eventually(look, within=LONGEST_SECONDS, what=f"the end of {process_id}")


async def main_jobs(folder: Path, *, phones: int, runs: int) -> list[str]:
    """Return the table of the main jobs on the default personality."""
    jobs = {"keyword_warmup": 3, "fyp_warmup": 10}
    took: dict[str, list[float]] = {name: [] for name in jobs}
    ends: dict[str, Counter[str]] = {name: Counter() for name in jobs}
    async with programs(folder, scale=1.0) as made:
        serials = await _started(made, [DEFAULT] * phones)
        farm = await made.live(serials)
        async with hand(farm) as it:
            await it.offered()
            accounts = [phone.account_id for phone in farm.phones]

            async def one(number: int) -> None:
                capability = list(jobs)[number % len(jobs)]
                account = accounts[number // len(jobs) % len(accounts)]
                process = await asked(it, capability, account, video="", videos=jobs[capability])
                ends[capability][await ended(it, process)] += 1

            await asyncio.gather(*(one(number) for number in range(runs)))
    with closing(sqlite3.connect(folder / "controller" / "farm.db")) as database:
        for name, seconds in database.execute(_DURATIONS):
            took[name].append(seconds)
    lines = [
        "| job | runs | completed | at the first attempt | seconds p50 |",
        "|---|---|---|---|---|",
    ]
    for name, videos in jobs.items():
        what = f"2 keywords x {videos} videos" if name == "keyword_warmup" else f"{videos} videos"
        first = len(took[name])
        middle = f"{statistics.median(took[name]):.1f}" if took[name] else "-"
        done = ends[name]["completed"]
        lines.append(f"| {name}, {what} | {ends[name].total()} | {done} | {first} | {middle} |")
    return lines


_DURATIONS: Final = """
    SELECT q.capability, (r.ended_at - r.started_at) / 1e6
    FROM runs r JOIN queue_items q USING (item_id) WHERE r.attempt = 1 AND r.outcome = 'done'
"""
_FAILURES: Final = """
    SELECT code, count(*) FROM phone_failures WHERE phone_id = ? GROUP BY code
"""
_ENDED: Final = """
    SELECT state, json_extract(failure, '$.code') FROM queue_items
    WHERE item_id IN (SELECT item_id FROM runs WHERE phone_id = ?) AND capability = ?
"""


async def _started(made: Programs, kinds: Sequence[str]) -> list[str]:
    """Start a farm whose phones are of these *kinds*, on several hosts; return their serials."""
    await made.simulator(len(kinds), *[word for kind in kinds for word in ("--personality", kind)])
    await made.controller()
    await made.gateway()
    serials = [f"SIM{number:04}" for number in range(1, len(kinds) + 1)]
    for number in range(AGENTS):
        await made.agent(f"agent-{number + 1}", serials[number::AGENTS])
    return serials


async def matrix(folder: Path, *, runs: int) -> list[str]:
    """Return the tables of personalities and of broken phones."""
    kinds = names()
    options = {
        "controller": ("--golden-every", "24h"),
        "agent": ("--allow-asset-cidr", "127.0.0.0/8"),
        "gateway": ("--allow-asset-cidr", "127.0.0.0/8"),
    }
    async with asset_server() as web, programs(folder, scale=1.0, options=options) as made:
        web.put("/v.mp4", mp4(60_000))
        video = web.url("/v.mp4")
        serials = await _started(made, [*kinds, *[DEFAULT] * len(BROKEN)])
        old = serials[kinds.index(TOO_OLD)]
        farm = await made.live(set(serials) - {old})
        phones = {phone.serialno: phone for phone in farm.phones}
        async with hand(farm) as it:
            await it.offered()
            offered = dict.fromkeys(phones, "yes")
            hands = fleet_pb2.ListNeedsHandsRequest()
            told = await it.controller.call(it.controller.fleet.ListNeedsHands, hands)
            offered[old] = _first_words(told)
            await _golden_jobs_done(it, len(phones))
            broken = serials[len(kinds) :]
            for serial, one in zip(broken, BROKEN, strict=True):
                for fault, settings in one.faults.items():
                    await it.phones.fault(serial, fault, **settings)

            async def all_of(serial: str, capability: str, unless: LivePhone | None = None) -> None:
                account = phones[serial].account_id
                for _ in range(runs):
                    process = await asked(it, capability, account, video=video, videos=3)
                    if await ended(it, process, unless=unless) == "withheld":
                        return

            await asyncio.gather(
                *(
                    all_of(serial, capability)
                    for serial in serials[: len(kinds)]
                    if serial != old
                    for capability in CAPABILITIES
                ),
                *(all_of(serial, "keyword_warmup", unless=phones[serial]) for serial in broken),
            )
            health = {phone.serialno: phone.health for phone in await it.controller.phones()}
    with closing(sqlite3.connect(folder / "controller" / "farm.db")) as database:
        story = _Story(database, {serial: one.phone_id for serial, one in phones.items()})
        return [
            *_personalities(kinds, serials, story, health, offered),
            "",
            *_broken(broken, story, health),
        ]


async def _golden_jobs_done(it: Hand, count: int) -> None:
    """Return once so many golden jobs have ended."""

    async def look() -> bool:
        _, page = await it.call("GET", "/processes?type=golden_job&limit=200")
        return sum(one["status"] in TERMINAL for one in page["processes"]) >= count

    await eventually(look, within=LONGEST_SECONDS, what="the golden jobs")


def _first_words(told: Any) -> str:
    """Return what a person must do at the only phone that needs one."""
    [one] = [line.strip() for line in str(told).splitlines() if "Android 7" in line]
    return one.partition('"')[2].rstrip('"')


@dataclass(frozen=True)
class _Story:
    """What the controller has written of each phone."""

    database: sqlite3.Connection
    ids: dict[str, str]  # by serial number

    def ends(self, serial: str, capability: str) -> Counter[str]:
        """Return how the items of a capability ended, by code."""
        rows = self.database.execute(_ENDED, (self.ids[serial], capability))
        return Counter("done" if state == "DONE" else code or state.lower() for state, code in rows)

    def charged(self, serial: str) -> Counter[str]:
        """Return what was counted against the phone."""
        return Counter(dict(self.database.execute(_FAILURES, (self.ids[serial],))))


def _told(ends: Counter[str]) -> str:
    total = ends.total()
    said = [f"{ends['done']} of {total}"] if ends["done"] else []
    return ", ".join([*said, *(f"`{code}` {n}" for code, n in ends.items() if code != "done")])


def _personalities(
    kinds: Sequence[str],
    serials: Sequence[str],
    story: _Story,
    health: dict[str, str],
    offered: dict[str, str],
) -> Iterator[str]:
    columns = ("personality", "offered", "golden_job", *CAPABILITIES, "counted against it")
    yield f"| {' | '.join(columns)} |"
    yield "|---" * len(columns) + "|"
    wrongly = 0
    for kind, serial in zip(kinds, serials, strict=False):
        if kind == TOO_OLD:
            yield f"| `{kind}` | no: {offered[serial]}" + " | " * (len(columns) - 2) + "|"
            continue
        done = [_told(story.ends(serial, name)) for name in ("golden_job", *CAPABILITIES)]
        wrongly += health[serial] == "quarantined"
        counted = _told(story.charged(serial)) or "nothing"
        yield f"| `{kind}` | {offered[serial]} | {' | '.join(done)} | {counted} |"
    yield ""
    yield f"Phones wrongly quarantined: {wrongly}."


def _broken(serials: Sequence[str], story: _Story, health: dict[str, str]) -> Iterator[str]:
    yield "| phone with | counted against it | keyword_warmup | quarantined | right |"
    yield "|---|---|---|---|---|"
    wrong = Counter[str]()
    for serial, one in zip(serials, BROKEN, strict=True):
        is_out = health[serial] == "quarantined"
        if is_out != one.quarantined:
            wrong["quarantined" if is_out else "kept"] += 1
        faults = ", ".join(f"`{fault}`" for fault in one.faults)
        counted = _told(story.charged(serial)) or "nothing"
        words = [_told(story.ends(serial, "keyword_warmup")), "yes" if is_out else "no"]
        right = "yes" if is_out == one.quarantined else "**no**"
        yield f"| {faults} | {counted} | {' | '.join(words)} | {right} |"
    yield ""
    yield f"Wrongly quarantined: {wrong['quarantined']}; wrongly kept: {wrong['kept']}."


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=["main", "looks", "matrix"])
    parser.add_argument("--phones", type=int, default=5, help="of the main jobs (%(default)s)")
    parser.add_argument("--main-runs", type=int, default=50, help="(%(default)s)")
    parser.add_argument("--looks", type=int, default=200, help="samples (%(default)s)")
    parser.add_argument("--runs", type=int, default=3, help="a cell of the matrix (%(default)s)")
    parser.add_argument("--folder", type=Path, help="keep everything here")
    given = parser.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp(prefix="phones-matrix-"))
    for name in ("main", "looks", "matrix"):
        if given.only not in {None, name}:
            continue
        begun = time.monotonic()
        (folder / name).mkdir(parents=True)
        match name:
            case "main":
                lines = asyncio.run(
                    main_jobs(folder / name, phones=given.phones, runs=given.main_runs)
                )
            case "looks":
                lines = asyncio.run(figures_of_looks(folder / name, samples=given.looks))
            case _:
                lines = asyncio.run(matrix(folder / name, runs=given.runs))
        print("\n".join(lines))
        print(f"\n({name}: {time.monotonic() - begun:.0f} s, everything in {folder / name})\n")


if __name__ == "__main__":
    main()
