"""Serves a phone on a TCP port, as its faults allow."""

import asyncio
import contextlib

import structlog

from phonefarm_simulator.adb_connection import Connection
from phonefarm_simulator.faults import Fault, FaultSettings
from phonefarm_simulator.ledger import Entry
from phonefarm_simulator.phone import Phone

LOOPBACK = "127.0.0.1"
MAX_CONNECTIONS = 64
_DISCONNECTING = frozenset(
    {Fault.OFFLINE, Fault.UNAUTHORIZED, Fault.UNPLUG, Fault.RECOVERY, Fault.NO_SHELL_V2}
)

log = structlog.get_logger()


class Listener:
    """Serves one phone on 127.0.0.1; the port, once given, stays the same."""

    def __init__(self, *, phone: Phone, port: int = 0) -> None:
        self.phone = phone
        self.port = port
        self._server: asyncio.Server | None = None
        self._connections: dict[int, Connection] = {}
        self._last_number = 0
        self._rebooting = False
        self._group: asyncio.TaskGroup | None = None
        phone.ledger.listen(self._cut_after_effect)
        phone.ask_reboot = self._begin_reboot

    @property
    def address(self) -> str:
        """What `adb connect` takes."""
        return f"{LOOPBACK}:{self.port}"

    @property
    def connections(self) -> int:
        """How many hosts are connected now."""
        return len(self._connections)

    async def serve(self, *, listening: asyncio.Event) -> None:
        """Listen until cancelled; OSError when the port is taken."""
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                await self._listen()
                listening.set()
                await asyncio.get_running_loop().create_future()
        finally:
            self._group = None
            self._close()

    async def set_fault(self, fault: Fault, settings: FaultSettings) -> None:
        """Set a fault; a reboot has begun when this returns, not ended."""
        self.phone.set_fault(fault, settings)
        if fault in _DISCONNECTING:
            self._cut_all()
        if fault is Fault.UNPLUG:
            self._close()
        if fault is Fault.REBOOT:
            self._begin_reboot(settings)

    async def clear_fault(self, fault: Fault) -> None:
        """Clear a fault; hosts that it kept off can connect again at once."""
        was_active = fault in self.phone.faults
        self.phone.clear_fault(fault)
        if was_active and fault in _DISCONNECTING:
            self._cut_all()
        if not self._rebooting and Fault.UNPLUG not in self.phone.faults:
            await self._listen()

    def _begin_reboot(self, settings: FaultSettings | None = None) -> None:
        if self._rebooting or self._group is None:
            return
        self._rebooting = True
        self._group.create_task(self._reboot(settings or FaultSettings()))

    async def _reboot(self, settings: FaultSettings) -> None:
        self._close()
        self._cut_all()
        self.phone.shut_down()
        await asyncio.sleep(settings.seconds)
        self.phone.boot(completes_in=settings.boot_seconds)
        self._rebooting = False
        if Fault.UNPLUG not in self.phone.faults:
            await self._listen()

    async def _listen(self) -> None:
        if self._server is not None:
            return
        self._server = await asyncio.start_server(self._accept, LOOPBACK, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def _close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    def _cut_all(self) -> None:
        for connection in list(self._connections.values()):
            connection.cut("cut by a fault")

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._group is None or self._server is None or len(self._connections) >= MAX_CONNECTIONS:
            writer.transport.abort()
            return
        self._last_number += 1
        connection = Connection(
            phone=self.phone, number=self._last_number, reader=reader, writer=writer
        )
        self._connections[connection.number] = connection
        self._group.create_task(self._run(connection))

    async def _run(self, connection: Connection) -> None:
        try:
            with contextlib.suppress(ConnectionError):
                await connection.run()
        except Exception:  # one host's connection never takes the phone from the others
            log.exception("connection.failed", serial=self.phone.serial)
        finally:
            del self._connections[connection.number]

    def _cut_after_effect(self, entry: Entry) -> None:
        """Cut the connection that caused the effect which the drop fault waits for."""
        settings = self.phone.faults.get(Fault.DROP_MID_COMMAND)
        if settings is None or not settings.effect or settings.effect != entry.kind:
            return
        connection = self._connections.get(entry.connection)
        if connection is not None and self.phone.count_down(Fault.DROP_MID_COMMAND):
            connection.cut("cut by a fault")
