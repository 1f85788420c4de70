"""The agent's end of control.sock where the executor is faster than the agent."""

import asyncio
import base64
import json
from contextlib import suppress
from pathlib import Path

from phonefarm_agent.work.control import Control, Frame
from support.asset_server import no_supply


def _evidence(name: str) -> bytes:
    data = base64.b64encode(b"x" * 100_000).decode()
    frame = {"type": "evidence", "name": name, "kind": "screenshot", "action": 1, "data": data}
    return json.dumps(frame).encode() + b"\n"


async def test_evidence_of_an_executor_that_has_ended_is_taken_in(tmp_path: Path) -> None:
    """What was sent before the end is not lost because the disk is slower than the end."""
    taken: list[str] = []
    disk = asyncio.Event()

    async def slow(frame: Frame) -> None:
        await disk.wait()
        taken.append(frame.name)

    path = tmp_path / "control.sock"
    control = Control(
        path=path,
        run_id="run",
        ready=lambda: None,
        heard=lambda: None,
        evidence=slow,
        supply=no_supply,
    )
    await control.open()
    _, writer = await asyncio.open_unix_connection(path)
    writer.write(json.dumps({"type": "hello", "run_id": "run"}).encode() + b"\n")
    for name in ("a.png", "b.png", "c.png"):
        writer.write(_evidence(name))
    await writer.drain()
    writer.close()
    asyncio.get_running_loop().call_later(0.1, disk.set)

    await control.hear_out(within=10)
    await control.close()

    assert taken == ["a.png", "b.png", "c.png"]


async def test_a_connection_that_never_ends_is_not_waited_for_long(tmp_path: Path) -> None:
    """Something that still holds the socket does not keep the run from its end."""

    async def never(frame: Frame) -> None:
        raise AssertionError(frame)

    heard = asyncio.Event()
    path = tmp_path / "control.sock"
    control = Control(
        path=path,
        run_id="run",
        ready=lambda: None,
        heard=heard.set,
        evidence=never,
        supply=no_supply,
    )
    await control.open()
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(json.dumps({"type": "hello", "run_id": "run"}).encode() + b"\n")

    async with asyncio.timeout(5):
        await heard.wait()
        await control.hear_out(within=0.1)
        await control.close()
        with suppress(ConnectionResetError):
            assert await reader.read() == b""
    writer.close()
