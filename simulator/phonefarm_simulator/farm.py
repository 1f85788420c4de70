"""Runs a farm of simulated phones in this process."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from phonefarm_simulator.battery import Battery
from phonefarm_simulator.faults import Fault, FaultSettings
from phonefarm_simulator.ledger import Entry, Kind
from phonefarm_simulator.listener import Listener
from phonefarm_simulator.personality import DEFAULT, personality
from phonefarm_simulator.phone import Phone

START_SECONDS = 10.0


class UnknownPhoneError(LookupError):
    """No phone of this farm has that serial."""


@dataclass(frozen=True, kw_only=True)
class SimulatedPhone:
    """One simulated phone and its listener, for tests and the control API."""

    phone: Phone
    listener: Listener

    @property
    def serial(self) -> str:
        """The phone's own serial, whatever ro.serialno answers just now."""
        return self.phone.serial

    @property
    def address(self) -> str:
        """What `adb connect` takes."""
        return self.listener.address

    def state(self) -> dict[str, Any]:
        """Return screen, account, faults, battery, lease and the rest as plain values."""
        return {
            "address": self.address,
            "connections": self.listener.connections,
            **self.phone.describe(),
        }

    def ledger(self, since: int = 0) -> list[Entry]:
        """Return the ledger's entries after `since`."""
        return self.phone.ledger.since(since)

    async def wait_for(self, kind: Kind, *, since: int = 0, timeout: float = 10.0) -> Entry:
        """Return the first entry of `kind` after `since`; TimeoutError after `timeout` seconds."""
        async with asyncio.timeout(timeout):
            return await self.phone.ledger.wait_for(kind, since=since)

    async def fault(self, fault: Fault | str, **settings: Any) -> None:
        """Give the phone a fault; `settings` are fields of FaultSettings."""
        await self.listener.set_fault(Fault(fault), FaultSettings(**settings))

    async def clear(self, fault: Fault | str | None = None) -> None:
        """End one fault, or all of them but those of the phone's personality."""
        own = self.phone.own_faults()
        for one in own if fault is None else [Fault(fault)]:
            await self.listener.clear_fault(one)
        if fault is None:
            self.phone.restore_faults()

    def set_battery(self, **values: Any) -> None:
        """Change the battery; `values` are fields of Battery."""
        self.phone.battery = Battery(**{**asdict(self.phone.battery), **values})

    def set_account(self, **values: str) -> None:
        """Change display_name, username or bio without a hand on the screen."""
        for name, value in values.items():
            if name not in {"display_name", "username", "bio"}:
                raise ValueError(f"an account has no field {name}")
            value.encode()
            setattr(self.phone.app.account, name, value)


class Farm:
    """The simulated phones, in order and by serial."""

    def __init__(self, phones: list[SimulatedPhone]) -> None:
        self.phones = phones

    def __getitem__(self, serial: str) -> SimulatedPhone:
        for phone in self.phones:
            if phone.serial == serial:
                return phone
        raise UnknownPhoneError(serial)

    def __iter__(self) -> Iterator[SimulatedPhone]:
        return iter(self.phones)

    def __len__(self) -> int:
        return len(self.phones)


def serials(count: int, *, first: int = 1) -> list[str]:
    """Return the serials of a farm of so many: SIM0001, SIM0002 and on."""
    return [f"SIM{number:04}" for number in range(first, first + count)]


@asynccontextmanager
async def simulated_phones(
    count: int,
    directory: Path,
    *,
    first: int = 1,
    listen_base: int = 0,
    personalities: Sequence[str] = (DEFAULT,),
) -> AsyncIterator[Farm]:
    """Run `count` phones on 127.0.0.1, with their ledgers in `directory`.

    *first* is the number in the first serial. The phones take the *personalities* in turn, and with
    `listen_base` that port and those above it, else free ones. OSError when a port is taken. One
    task owns everything, so this may be entered and left in different tasks.
    """
    kinds = [personality(name) for name in personalities]
    phones = [
        Phone(serial=serial, directory=directory, personality=kinds[place % len(kinds)])
        for place, serial in enumerate(serials(count, first=first))
    ]
    farm = Farm(
        [
            SimulatedPhone(
                phone=phone,
                listener=Listener(phone=phone, port=listen_base + index if listen_base else 0),
            )
            for index, phone in enumerate(phones)
        ]
    )
    ready = asyncio.Event()
    running = asyncio.create_task(_serve(farm, ready))
    waiting = asyncio.create_task(ready.wait())
    try:
        async with asyncio.timeout(START_SECONDS):
            await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            await running
        yield farm
    finally:
        waiting.cancel()
        running.cancel()
        await asyncio.gather(running, waiting, return_exceptions=True)
        for phone in phones:
            phone.close()


async def _serve(farm: Farm, ready: asyncio.Event) -> None:
    try:
        async with asyncio.TaskGroup() as group:
            bound = []
            for phone in farm:
                listening = asyncio.Event()
                bound.append(listening)
                group.create_task(phone.listener.serve(listening=listening))
            for listening in bound:
                await listening.wait()
            ready.set()
    except* OSError as errors:
        raise _first(errors) from None


def _first(error: BaseException) -> BaseException:
    """Return the one error inside groups of errors."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
