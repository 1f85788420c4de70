"""What scrcpy-server prints: lines in order, from the level that the client asked for."""

import asyncio

from phonefarm_simulator.commands.call import Call

_LEVELS = ("verbose", "debug", "info", "warn", "error")


class ServerOutput:
    """Prints as scrcpy's Ln does: warnings and errors go to stderr."""

    def __init__(self, call: Call, level: str) -> None:
        self._call = call
        self._lowest = _LEVELS.index(level) if level in _LEVELS else 0
        self._turn = asyncio.Lock()

    async def info(self, text: str) -> None:
        """Print what happens."""
        await self._print("info", text)

    async def warn(self, text: str) -> None:
        """Print what a person should know."""
        await self._print("warn", text)

    async def error(self, text: str, *, trace: str = "") -> None:
        """Print what went wrong, and the stack trace of its exception."""
        await self._print("error", f"{text}\n{trace}" if trace else text)

    async def _print(self, level: str, text: str) -> None:
        place = _LEVELS.index(level)
        if place < self._lowest:
            return
        line = f"[server] {level.upper()}: {text}\n".encode()
        async with self._turn:
            write = (
                self._call.write_error if place > _LEVELS.index("info") else self._call.write_out
            )
            await write(line)
