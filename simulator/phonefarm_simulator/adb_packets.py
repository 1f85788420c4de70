"""Encodes and parses the packets of the adb device protocol.

Source: AOSP packages/modules/adb, protocol.txt and adb.h. A packet is six little-endian words of
32 bits (command, arg0, arg1, payload length, checksum, command xor 0xffffffff) and its payload.
From version 0x01000001 on nobody looks at the checksum.
"""

import enum
import struct
from collections.abc import Iterator
from dataclasses import dataclass

VERSION = 0x01000001
MAX_PAYLOAD = 1024 * 1024
HEADER = struct.Struct("<6I")


class Command(enum.IntEnum):
    """The commands that a phone understands; others are ignored."""

    CNXN = 0x4E584E43
    AUTH = 0x48545541
    OPEN = 0x4E45504F
    OKAY = 0x59414B4F
    WRTE = 0x45545257
    CLSE = 0x45534C43


class AuthKind(enum.IntEnum):
    """What an AUTH packet carries (its arg0)."""

    TOKEN = 1
    SIGNATURE = 2
    PUBLIC_KEY = 3


class AdbPacketError(Exception):
    """The bytes are no adb packet; the connection cannot be read any further."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Packet:
    """One packet; `command` is a number, since a peer may send an unknown one."""

    command: int
    arg0: int = 0
    arg1: int = 0
    payload: bytes = b""

    def encode(self) -> bytes:
        """Return the bytes for the wire; the checksum is left 0, as adbd does."""
        header = HEADER.pack(
            self.command,
            self.arg0,
            self.arg1,
            len(self.payload),
            0,
            self.command ^ 0xFFFFFFFF,
        )
        return header + self.payload


class PacketParser:
    """Splits a stream of bytes into packets."""

    def __init__(self, *, max_payload: int = MAX_PAYLOAD) -> None:
        self._max_payload = max_payload
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Packet]:
        """Yield every packet that is complete now; raise AdbPacketError at the first false header.

        At most one header and one payload are ever kept waiting.
        """
        self._buffer += data
        while len(self._buffer) >= HEADER.size:
            command, arg0, arg1, length, _checksum, magic = HEADER.unpack_from(self._buffer)
            if magic != command ^ 0xFFFFFFFF:
                raise AdbPacketError(
                    f"magic {magic:#010x} does not belong to command {command:#010x}"
                )
            if length > self._max_payload:
                raise AdbPacketError(
                    f"payload of {length} bytes is over the limit {self._max_payload}"
                )
            end = HEADER.size + length
            if len(self._buffer) < end:
                return
            payload = bytes(self._buffer[HEADER.size : end])
            del self._buffer[:end]
            yield Packet(command=command, arg0=arg0, arg1=arg1, payload=payload)
