"""Checks the `sync:` requests of a run one by one; file data passes unread.

Source: AOSP packages/modules/adb, SYNC.TXT and file_sync_protocol.h. A request is a four-letter id
and a little-endian length; for ids that name a path the length counts the path behind it.
"""

import stat
import struct

from phonefarm_agent.phones.proxy.allowlist import RequestRefusedError, Scope
from phonefarm_agent.phones.proxy.stream import CHUNK, GatedSocket

PATH_LIMIT = 1024
DATA_LIMIT = 64 * 1024
_HEADER = struct.Struct("<4sI")
_SEND_SETUP = struct.Struct("<4sII")
_RECV_SETUP = struct.Struct("<4sI")
_READS = frozenset({b"STAT", b"LST2", b"STA2", b"LIST", b"LIS2", b"RECV"})


async def relay_sync(client: GatedSocket, upstream: GatedSocket, scope: Scope) -> None:
    """Pass the client's sync requests on until it leaves or quits.

    Raises RequestRefusedError for a request this run may not make; nothing of it has passed then.
    """
    while True:
        try:
            header = await client.receive_exactly(_HEADER.size)
        except EOFError:
            return
        name, length = _HEADER.unpack(header)
        match name:
            case b"QUIT":
                await upstream.send(header)
                return
            case b"SEND":
                path = await _read_path(client, length)
                await upstream.send(header + _checked_send(path, scope))
                await _relay_data(client, upstream)
            case b"SND2":
                path = await _read_path(client, length)
                setup = await client.receive_exactly(_SEND_SETUP.size)
                again, mode, _flags = _SEND_SETUP.unpack(setup)
                _expect(again == name, "SND2 without its second half")
                _check_mode(mode)
                await upstream.send(header + _checked(path, scope) + setup)
                await _relay_data(client, upstream)
            case b"RCV2":
                path = await _read_path(client, length)
                setup = await client.receive_exactly(_RECV_SETUP.size)
                _expect(_RECV_SETUP.unpack(setup)[0] == name, "RCV2 without its second half")
                await upstream.send(header + _checked(path, scope) + setup)
            case _ if name in _READS:
                path = await _read_path(client, length)
                await upstream.send(header + _checked(path, scope))
            case _:
                raise RequestRefusedError(f"this sync request is not allowed: {name!r}")


def sync_fail(reason: str) -> bytes:
    """Return a refusal as `sync:` frames it."""
    text = reason.encode()[:1000]
    return _HEADER.pack(b"FAIL", len(text)) + text


async def _relay_data(client: GatedSocket, upstream: GatedSocket) -> None:
    while True:
        header = await client.receive_exactly(_HEADER.size)
        name, length = _HEADER.unpack(header)
        if name == b"DONE":  # the length is the modification time
            await upstream.send(header)
            return
        _expect(name == b"DATA", f"sync data was expected, not {name!r}")
        _expect(length <= DATA_LIMIT, f"a sync data block may have at most {DATA_LIMIT} bytes")
        await upstream.send(header)
        while length:
            chunk = await client.receive(min(CHUNK, length))
            if not chunk:
                raise EOFError("the stream ended inside a sync data block")
            await upstream.send(chunk)
            length -= len(chunk)


async def _read_path(client: GatedSocket, length: int) -> bytes:
    _expect(length <= PATH_LIMIT, f"a path may have at most {PATH_LIMIT} bytes")
    return await client.receive_exactly(length)


def _checked(path: bytes, scope: Scope) -> bytes:
    try:
        scope.check_path(path.decode())
    except UnicodeDecodeError as error:
        raise RequestRefusedError("the path is not UTF-8") from error
    return path


def _checked_send(path_and_mode: bytes, scope: Scope) -> bytes:
    path, comma, mode = path_and_mode.rpartition(b",")
    _expect(bool(comma) and mode.isdigit() and len(mode) <= 10, "SEND needs ,MODE after the path")
    _check_mode(int(mode))
    _checked(path, scope)
    return path_and_mode


def _check_mode(mode: int) -> None:
    # A link could lead out of the folder; the phone makes one when the mode says so.
    _expect(stat.S_IFMT(mode) in {0, stat.S_IFREG}, "only regular files may be sent")
    _expect(mode <= 0o177777, "the mode is out of range")


def _expect(holds: bool, rule: str) -> None:
    if not holds:
        raise RequestRefusedError(rule)
