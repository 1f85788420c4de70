"""Serves `reverse:`: ports of the phone that lead to the host of one adb connection.

Source: AOSP packages/modules/adb, adb.cpp handle_forward_request and services.cpp reverse_service.
"""

from collections.abc import Awaitable, Callable

from phonefarm_simulator.adb_stream import Stream
from phonefarm_simulator.phone import Phone

FREE_PORTS = range(32768, 61000)


class ReverseForwards:
    """What one connection's host has asked for; it ends with the connection."""

    def __init__(self, phone: Phone, number: int, dial: Callable[[str], Awaitable[Stream]]) -> None:
        """Take the connection's number, and what opens a stream to an address of its host."""
        self._phone = phone
        self._name = f"host-{number}"
        self._dial = dial
        self._targets: dict[str, str] = {}

    async def serve(self, command: str, stream: Stream) -> None:
        """Answer one command: OKAY, FAIL with a reason, or the list."""
        verb, _, rest = command.partition(":")
        match verb:
            case "list-forward":
                lines = "".join(f"{self._name} {a} {b}\n" for a, b in self._targets.items())
                await stream.write(_block(lines))
            case "killforward-all":
                self.end()
                await stream.write(b"OKAY")
            case "killforward" if rest in self._targets:
                self._drop(rest)
                await stream.write(b"OKAY")
            case "killforward":
                await stream.write(b"FAIL" + _block(f"listener '{rest}' not found"))
            case "forward":
                await stream.write(self._forward(rest))
            case _:
                await stream.write(b"FAIL" + _block(f"not a reverse forwarding command: {command}"))

    def _forward(self, words: str) -> bytes:
        fixed = words.startswith("norebind:")
        local, _, target = words.removeprefix("norebind:").partition(";")
        told = b""
        if local == "tcp:0":
            taken = self._phone.reversed.keys()
            port = next(n for n in FREE_PORTS if f"tcp:{n}" not in taken)
            local, told = f"tcp:{port}", _block(str(port))
        if not target:
            return b"FAIL" + _block(f"bad forward: {words}")
        if local in self._targets and fixed:
            return b"FAIL" + _block("cannot rebind existing socket")
        if local in self._phone.reversed and local not in self._targets:
            return b"FAIL" + _block("cannot bind listener: Address already in use")
        self._targets[local] = target
        self._phone.reversed[local] = lambda: self._dial(target)
        return b"OKAY" + told

    def _drop(self, local: str) -> None:
        del self._targets[local]
        del self._phone.reversed[local]

    def end(self) -> None:
        """Close all of this connection's ports."""
        for local in list(self._targets):
            self._drop(local)


def _block(text: str) -> bytes:
    data = text.encode()
    return f"{len(data):04x}".encode() + data
