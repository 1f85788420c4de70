"""The faults: each breaks one thing, for some seconds, and mends it."""

import asyncio
import random
import shutil
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from faults.clocks import DATABASE_CLOCK
from faults.ground import SCALE, Ground, kill
from faults.receiving import Mood, Receiver
from phonefarm_common.timers import Timers
from phonefarm_simulator.control import ControlError

TTL: Final = Timers().lease_ttl * SCALE


@dataclass(frozen=True, kw_only=True)
class Site:
    """Where faults happen: the farm and its callers' receivers."""

    ground: Ground
    receivers: tuple[Receiver, ...]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One fault as it was drawn, before anything is known of how it goes."""

    kind: str
    target: int  # which of those it may hit, modulo their number
    seconds: float
    gap: float  # after it
    waits: bool  # for the farm to recover
    variant: int


Break = Callable[[Site, Fault], AbstractAsyncContextManager[None]]


def _one(of: list[str], fault: Fault) -> str:
    return of[fault.target % len(of)]


@asynccontextmanager
async def _killed(site: Site, name: str) -> AsyncIterator[None]:
    await site.ground.made.kill(name)
    site.ground.down.add(name)
    try:
        yield
    finally:
        await site.ground.start(name)
        site.ground.down.discard(name)


@asynccontextmanager
async def _frozen(site: Site, name: str) -> AsyncIterator[None]:
    site.ground.made.freeze(name)
    try:
        yield
    finally:
        site.ground.made.thaw(name)


@asynccontextmanager
async def _cut(site: Site, name: str, *, only: int | None = None) -> AsyncIterator[None]:
    wires = site.ground.links[name]
    for place, wire in enumerate(wires):
        if only is None or place == only % len(wires):
            wire.cut()
    try:
        yield
    finally:
        for wire in wires:
            wire.heal()


@asynccontextmanager
async def _slow(site: Site, name: str, delay: float) -> AsyncIterator[None]:
    for wire in site.ground.links[name]:
        wire.delay = delay
    try:
        yield
    finally:
        for wire in site.ground.links[name]:
            wire.heal()


@asynccontextmanager
async def _broken_off(site: Site, name: str) -> AsyncIterator[None]:
    for wire in site.ground.links[name]:
        wire.break_off()
    yield


@asynccontextmanager
async def _adb_killed(site: Site, name: str) -> AsyncIterator[None]:
    for pid in site.ground.adb_servers(name):
        kill(pid)
    yield


@asynccontextmanager
async def _disk_full(site: Site, name: str) -> AsyncIterator[None]:
    place = site.ground.disks[name]
    try:
        await asyncio.to_thread(_fill, place)
        yield
    finally:
        (place / "filler").unlink(missing_ok=True)


def _fill(place: Path) -> None:
    """Write until nothing more fits."""
    free = shutil.disk_usage(place).free
    with suppress(OSError), (place / "filler").open("wb") as file:
        for block in (1 << 20, 1 << 12):
            while free >= 0:
                file.write(b"\0" * block)
                file.flush()


@asynccontextmanager
async def _database_restarted(site: Site, mode: str) -> AsyncIterator[None]:
    assert site.ground.server is not None
    await asyncio.to_thread(site.ground.server.restart, mode)
    yield


@asynccontextmanager
async def _database_cut(site: Site, name: str) -> AsyncIterator[None]:
    site.ground.database_links[name].cut()
    try:
        yield
    finally:
        site.ground.database_links[name].heal()


@asynccontextmanager
async def _engine_killed(site: Site) -> AsyncIterator[None]:
    assert site.ground.engine is not None
    await site.ground.engine.kill()
    try:
        yield
    finally:
        await site.ground.engine.start()


@asynccontextmanager
async def _clock_off(site: Site, name: str, seconds: float) -> AsyncIterator[None]:
    """Set a clock ahead or back, and right at the end, as NTP does."""
    site.ground.clocks.set_off(name, seconds)
    try:
        yield
    finally:
        site.ground.clocks.set_off(name, 0)


@asynccontextmanager
async def _clock_forward(site: Site, name: str, seconds: float) -> AsyncIterator[None]:
    """Set a clock that was slow right: it stays so, and callers have this time too."""
    site.ground.clocks.right[name] += seconds
    site.ground.clocks.set_off(name, 0)
    yield


def _length(of: tuple[float, ...], fault: Fault) -> float:
    return of[fault.variant % len(of)]


_AHEAD: Final = (2.0, 10.0, 30.0)
"""Seconds. What is put off meanwhile waits so much longer once the clock is right again."""
_BEHIND: Final = (-2.0, -40.0, -900.0, -7200.0)
_FORWARD: Final = (5.0, 120.0, 3600.0, 7200.0)

_PHONE_FAULTS: Final[tuple[tuple[str, dict[str, Any]], ...]] = (
    ("offline", {}),
    ("unauthorized", {}),
    ("unplug", {}),
    ("recovery", {}),
    ("slow", {"milliseconds": 150}),
    ("shell_hangs", {}),
    ("storage_full", {}),
    ("files_stay", {}),
    ("app_stays", {}),
    ("battery_low", {}),
    ("battery_hot", {}),
    ("reboot", {"seconds": 2}),
    ("drop_mid_command", {"match": "input"}),
    ("drop_mid_command", {"effect": "posted"}),
    ("logged_out", {}),
    ("consent_dialog", {}),
    ("post_slow", {"seconds": 3}),
    ("post_fails", {}),
    ("post_crashes", {"posted": True}),
    ("post_crashes", {"posted": False}),
    ("ui_server_dies", {}),
    ("ui_server_hangs", {}),
    ("ui_automation_taken", {}),
    ("am_start_denied", {}),
)


@asynccontextmanager
async def _phone(site: Site, fault: Fault) -> AsyncIterator[None]:
    serial = site.ground.farm.phones[fault.target % len(site.ground.farm.phones)].serialno
    name, settings = _PHONE_FAULTS[fault.variant % len(_PHONE_FAULTS)]
    await site.ground.phones.fault(serial, name, **settings)
    try:
        yield
    finally:
        with suppress(ControlError):
            await site.ground.phones.clear(serial)


@asynccontextmanager
async def _receiver(site: Site, fault: Fault, mood: Mood) -> AsyncIterator[None]:
    receiver = site.receivers[fault.target % len(site.receivers)]
    # Slower than an attempt may last, or only slow.
    receiver.slowness = (1.5, Timers().callback_attempt * SCALE + 1)[fault.variant % 2]
    receiver.mood = mood
    try:
        yield
    finally:
        receiver.mood = Mood.GOOD


HEAVY: Final[Mapping[str, Break]] = {
    "gateway killed": lambda s, f: _killed(s, _one(s.ground.gateways, f)),
    "gateway frozen": lambda s, f: _frozen(s, _one(s.ground.gateways, f)),
    "gateway cut off": lambda s, f: _cut(s, _one(s.ground.gateways, f)),
    "gateway slow": lambda s, f: _slow(s, _one(s.ground.gateways, f), 0.2),
    "controller killed": lambda s, f: _killed(s, _one(s.ground.controllers, f)),
    "controller frozen": lambda s, f: _frozen(s, _one(s.ground.controllers, f)),
    "agent killed": lambda s, f: _killed(s, _one(s.ground.agents, f)),
    "agent frozen": lambda s, f: _frozen(s, _one(s.ground.agents, f)),
    "agent cut off": lambda s, f: _cut(s, _one(s.ground.agents, f)),
    "agent cut from one controller": lambda s, f: _cut(s, _one(s.ground.agents, f), only=f.variant),
    "agent slow": lambda s, f: _slow(s, _one(s.ground.agents, f), 0.3),
    "agent broken off": lambda s, f: _broken_off(s, _one(s.ground.agents, f)),
    "adb server killed": lambda s, f: _adb_killed(s, _one(s.ground.agents, f)),
    "program's clock set": lambda s, f: _clock_off(
        s, _one(s.ground.clocks.programs, f), _length(_BEHIND + _FORWARD, f)
    ),
}
"""What breaks a program, a wire, a disk or the database; one at a time."""
DATABASE: Final[Mapping[str, Break]] = {
    "database restarted": lambda s, _: _database_restarted(s, "fast"),
    "database crashed": lambda s, _: _database_restarted(s, "immediate"),
    "controller cut from database": lambda s, f: _database_cut(s, _one(s.ground.controllers, f)),
}
CLOCK: Final[Mapping[str, Break]] = {
    "database's clock ahead": lambda s, f: _clock_off(s, DATABASE_CLOCK, _length(_AHEAD, f)),
    "database's clock behind": lambda s, f: _clock_off(s, DATABASE_CLOCK, _length(_BEHIND, f)),
    "database's clock set forward": lambda s, f: _clock_forward(
        s, DATABASE_CLOCK, _length(_FORWARD, f)
    ),
}
DISKS: Final[Mapping[str, Break]] = {
    "agent disk full": lambda s, f: _disk_full(s, _one(s.ground.agents, f)),
    "controller disk full": lambda s, _: _disk_full(s, "controller"),
}
ENGINE: Final[Mapping[str, Break]] = {
    "docker engine killed": lambda s, _: _engine_killed(s),
}
LIGHT: Final[Mapping[str, Break]] = {
    "phone": _phone,
    "receiver slow": lambda s, f: _receiver(s, f, Mood.SLOW),
    "receiver failing": lambda s, f: _receiver(s, f, Mood.FAILING),
    "receiver closed": lambda s, f: _receiver(s, f, Mood.CLOSED),
}
"""What breaks one phone or one receiver, beside all others."""
_OFTEN: Final = {"phone": 5}
_FOR_LONG: Final = frozenset({"agent killed", "agent frozen", "agent cut off"})


def drawn(seed: int, stream: str, kinds: list[str], count: int) -> list[Fault]:
    """Return a schedule: the same for the same seed, whatever happens meanwhile.

    Every kind comes once before any comes again; phones, with many faults, come more often.
    """
    dice = random.Random(f"{stream} {seed}")
    faults: list[Fault] = []
    while len(faults) < count:
        bag = [kind for kind in kinds for _ in range(_OFTEN.get(kind, 1))]
        for kind in dice.sample(bag, len(bag)):
            seconds = dice.uniform(0.5, 6.0)
            if kind in _FOR_LONG and dice.random() < 0.35:
                seconds = TTL + dice.uniform(-4.0, 6.0)  # around the end of the lease
            faults.append(
                Fault(
                    kind=kind,
                    target=dice.randrange(1000),
                    seconds=seconds,
                    gap=dice.uniform(0.3, 2.0),
                    waits=len(faults) % 3 == 2,
                    variant=dice.randrange(1000),
                )
            )
    return faults[:count]


def name_of(fault: Fault) -> str:
    """Return the kind as the report counts it: each fault of phones by its own name."""
    if fault.kind != "phone":
        return fault.kind
    return f"phone: {_PHONE_FAULTS[fault.variant % len(_PHONE_FAULTS)][0].replace('_', ' ')}"
