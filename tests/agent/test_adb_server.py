"""The agent's adb server finds a port."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from phonefarm_agent.phones.adb import server
from phonefarm_common.clock import SystemClock


@pytest.fixture
def taken() -> Iterator[int]:
    """Return a port at which another program listens."""
    listener = socket.create_server(("127.0.0.1", 0))
    port: int = listener.getsockname()[1]
    yield port
    listener.close()


async def test_a_free_port_that_another_program_took_first_is_given_up(
    tmp_path: Path, taken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With no port named, the agent takes the next one."""
    find = server._free_port
    found = iter([taken, find()])
    monkeypatch.setattr(server, "_free_port", lambda: next(found))
    async with server.adb_server(home=tmp_path, port=0, clock=SystemClock()) as started:
        assert started.adb.port != taken
        assert await started.adb.version()


async def test_a_port_that_was_named_and_is_taken_is_an_error(tmp_path: Path, taken: int) -> None:
    """The agent says which error adb gave."""
    with pytest.raises(server.AdbStartError, match="Address already in use"):
        async with server.adb_server(home=tmp_path, port=taken, clock=SystemClock()):
            pass
