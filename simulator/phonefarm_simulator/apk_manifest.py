"""Reads what an APK says of itself: its AndroidManifest.xml, compiled as in real APKs or plain.

Source of the compiled form: AOSP frameworks/base, libs/androidfw/include/androidfw/ResourceTypes.h.
"""

import io
import re
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

LARGEST_BYTES = 1024 * 1024
_XML, _STRINGS, _ELEMENT = 0x0003, 0x0001, 0x0102
_UTF8 = 1 << 8
_TEXT = 0x03
_NOTHING = 0xFFFFFFFF


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Package and version of an APK, and a name for who signed it."""

    package: str
    version: str
    code: int
    signer: str


def read_manifest(apk: bytes) -> Manifest | None:
    """Return the manifest; None when the bytes are no APK, or it names no package."""
    try:
        with zipfile.ZipFile(io.BytesIO(apk)) as archive:
            if archive.getinfo("AndroidManifest.xml").file_size > LARGEST_BYTES:
                return None
            data = archive.read("AndroidManifest.xml")
            certificates = [
                archive.read(name)[:LARGEST_BYTES]
                for name in archive.namelist()
                if re.fullmatch(r"META-INF/[^/]+\.(RSA|EC|DSA)", name)
            ]
        compiled = data[:2] == struct.pack("<H", _XML)
        given = _compiled(data) if compiled else _plain(data.decode(errors="replace"))
    except (zipfile.BadZipFile, LookupError, OSError, ValueError, RuntimeError):
        return None
    except (struct.error, zlib.error):
        return None
    package, code = given.get("package", ""), given.get("versionCode", "1")
    if not re.fullmatch(r"[\w.]{1,200}", package) or not re.fullmatch(r"\d{1,10}", code):
        return None
    version = given.get("versionName") or "1.0"
    signer = f"{zlib.crc32(b''.join(certificates)):08x}"
    return Manifest(package=package, version=version[:50], code=int(code), signer=signer)


def _plain(text: str) -> Mapping[str, str]:
    return dict(re.findall(r'(package|versionName|versionCode)="([^"]{1,200})"', text))


def _compiled(data: bytes) -> Mapping[str, str]:
    """Return the attributes of the first element, `manifest`."""
    strings: list[str] = []
    at = 8
    while at + 8 <= len(data):
        kind, _head, size = struct.unpack_from("<HHI", data, at)
        if size < 8:
            raise ValueError("a chunk has no header")
        if kind == _STRINGS:
            strings = _strings(data[at : at + size])
        elif kind == _ELEMENT:
            return _attributes(data[at : at + size], strings)
        at += size
    return {}


def _attributes(chunk: bytes, strings: list[str]) -> Mapping[str, str]:
    start, size, count = struct.unpack_from("<HHH", chunk, 24)
    found = {}
    for place in range(count):
        _, name, raw, _, _, kind, value = struct.unpack_from(
            "<IIIHBBI", chunk, 16 + start + place * size
        )
        text = raw if raw != _NOTHING else value if kind == _TEXT else None
        found[strings[name]] = str(value) if text is None else strings[text]
    return found


def _strings(chunk: bytes) -> list[str]:
    count, _styles, flags, start = struct.unpack_from("<4I", chunk, 8)
    offsets = struct.unpack_from(f"<{count}I", chunk, 28)
    read = _utf8 if flags & _UTF8 else _utf16
    return [read(chunk, start + offset) for offset in offsets]


def _utf8(chunk: bytes, at: int) -> str:
    at += 2 if chunk[at] & 0x80 else 1  # the length in characters
    length = chunk[at]
    at += 1
    if length & 0x80:
        length = (length & 0x7F) << 8 | chunk[at]
        at += 1
    return chunk[at : at + length].decode(errors="replace")


def _utf16(chunk: bytes, at: int) -> str:
    (length,) = struct.unpack_from("<H", chunk, at)
    at += 2
    if length & 0x8000:
        length = (length & 0x7FFF) << 16 | struct.unpack_from("<H", chunk, at)[0]
        at += 2
    return chunk[at : at + 2 * length].decode("utf-16-le", errors="replace")
