"""Serves `sync:`: stat, list, push and pull.

Source: AOSP packages/modules/adb, SYNC.TXT and file_sync_protocol.h: four letters, four bytes of
length, little-endian. Of the second versions only stat and list are spoken, as the banner says.
"""

import contextlib
import errno
import os
import stat
import struct
from dataclasses import dataclass

from phonefarm_simulator.adb_stream import BufferedReader, Stream
from phonefarm_simulator.files import MAX_PATH_BYTES, Status
from phonefarm_simulator.phone import Phone

DATA_BYTES = 64 * 1024
LARGEST_FILE_BYTES = 1024 * 1024 * 1024
_REQUEST = struct.Struct("<4sI")
_STAT = struct.Struct("<4sIII")
_DENT = struct.Struct("<4sIIII")
_STAT2 = struct.Struct("<4sIQQIIIIQqqq")
_SHELL_ID = 2000


class SyncProtocolError(Exception):
    """The peer sent an unknown request; the stream ends after the answer."""


@dataclass(frozen=True, kw_only=True)
class _Found:
    status: Status | None
    error: int


async def serve_sync(phone: Phone, stream: Stream) -> None:
    """Answer requests until QUIT; StreamClosedError when the peer leaves in between."""
    reader = BufferedReader(stream)
    while True:
        identity, length = _REQUEST.unpack(await reader.exactly(_REQUEST.size))
        if identity == b"QUIT":
            return
        if length > MAX_PATH_BYTES:
            await _fail(stream, "path too long")
            return
        path = (await reader.exactly(length)).decode(errors="replace")
        try:
            match identity:
                case b"STAT":
                    await stream.write(_stat_answer(_find(phone, path)))
                case b"STA2" | b"LST2":
                    await stream.write(_stat2_answer(identity, _find(phone, path)))
                case b"LIST":
                    await _list(phone, stream, path)
                case b"LIS2":
                    await _list2(phone, stream, path)
                case b"RECV":
                    await _send_file(phone, stream, path)
                case b"SEND":
                    await _receive_file(phone, stream, reader, path)
                case _:
                    raise SyncProtocolError(f"unknown command {identity.hex()}")  # noqa: TRY301 -- one answer for all refusals
        except SyncProtocolError as error:
            await _fail(stream, str(error))
            return


def _find(phone: Phone, path: str) -> _Found:
    try:
        return _Found(status=phone.files.status(path), error=0)
    except OSError as error:
        return _Found(status=None, error=error.errno or errno.EIO)


def _stat_answer(found: _Found) -> bytes:
    what = found.status
    if what is None:
        return _STAT.pack(b"STAT", 0, 0, 0)
    return _STAT.pack(b"STAT", what.mode, _short(what.size), _short(what.mtime))


def _stat2_answer(identity: bytes, found: _Found) -> bytes:
    what = found.status
    if what is None:
        return _STAT2.pack(identity, found.error, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    return _STAT2.pack(identity, 0, *_stat2_numbers(what))


def _stat2_numbers(what: Status) -> tuple[int, ...]:
    links = 2 if stat.S_ISDIR(what.mode) else 1
    times = (what.mtime, what.mtime, what.mtime)
    return (1, 1, what.mode, links, _SHELL_ID, _SHELL_ID, what.size, *times)


def _entries(phone: Phone, path: str) -> list[tuple[bytes, Status]]:
    with contextlib.suppress(OSError):
        return [
            (name.encode(), phone.files.status(f"{path}/{name}"))
            for name in phone.files.names(path)
        ]
    return []


async def _list(phone: Phone, stream: Stream, path: str) -> None:
    answer = bytearray()
    for name, what in _entries(phone, path):
        answer += _DENT.pack(b"DENT", what.mode, _short(what.size), _short(what.mtime), len(name))
        answer += name
    await stream.write(bytes(answer) + _DENT.pack(b"DONE", 0, 0, 0, 0))


async def _list2(phone: Phone, stream: Stream, path: str) -> None:
    answer = bytearray()
    for name, what in _entries(phone, path):
        answer += _STAT2.pack(b"DNT2", 0, *_stat2_numbers(what))
        answer += struct.pack("<I", len(name)) + name
    end = _STAT2.pack(b"DONE", 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0) + struct.pack("<I", 0)
    await stream.write(bytes(answer) + end)


async def _send_file(phone: Phone, stream: Stream, path: str) -> None:
    try:
        data = phone.files.read(path)
    except OSError as error:
        await _fail(stream, f"open failed: {error.strerror}")
        return
    for start in range(0, len(data), DATA_BYTES):
        part = data[start : start + DATA_BYTES]
        await stream.write(_REQUEST.pack(b"DATA", len(part)) + part)
    await stream.write(_REQUEST.pack(b"DONE", 0))


async def _receive_file(
    phone: Phone, stream: Stream, reader: BufferedReader, path_and_mode: str
) -> None:
    """Receive a file completely before it is visible: an interrupted push leaves nothing."""
    path, comma, mode_text = path_and_mode.rpartition(",")
    if not comma or not mode_text.isdecimal():
        raise SyncProtocolError("missing , in ID_SEND_V1")
    mode = int(mode_text)
    data = bytearray()
    failure = "" if stat.S_IFMT(mode) in {0, stat.S_IFREG} else "symlinks are not supported"
    while True:
        identity, value = _REQUEST.unpack(await reader.exactly(_REQUEST.size))
        if identity == b"DONE":
            break
        if identity != b"DATA":
            raise SyncProtocolError("invalid data message")
        if value > DATA_BYTES:
            raise SyncProtocolError("oversize data message")
        part = await reader.exactly(value)
        if not failure and len(data) + len(part) > min(phone.files.free, LARGEST_FILE_BYTES):
            failure = f"couldn't write: {os.strerror(errno.ENOSPC)}"
            data.clear()
        if not failure:
            data += part
    if not failure:
        try:
            phone.write_file(path, bytes(data), mode=stat.S_IMODE(mode), mtime=value, parents=True)
        except OSError as error:
            failure = f"couldn't create file: {error.strerror}"
    if failure:
        await _fail(stream, failure)
    else:
        await stream.write(_REQUEST.pack(b"OKAY", 0))


async def _fail(stream: Stream, reason: str) -> None:
    message = reason.encode()
    await stream.write(_REQUEST.pack(b"FAIL", len(message)) + message)


def _short(value: int) -> int:
    return min(max(value, 0), 0xFFFFFFFF)
