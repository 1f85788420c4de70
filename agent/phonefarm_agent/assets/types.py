"""The content types that may be fetched, recognised by their first bytes."""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from phonefarm_common.reasons import FailureClass, FailureCode

SNIFFED_BYTES: Final = 64


class AssetKind(StrEnum):
    """The kind of an asset."""

    VIDEO = "video"
    IMAGE = "image"
    APK = "apk"


@dataclass(frozen=True, kw_only=True)
class WantedAsset:
    """An asset as a plan names it."""

    url: str
    kind: AssetKind


@dataclass(frozen=True, kw_only=True)
class ContentType:
    """A content type that is accepted, and its file suffix."""

    name: str
    suffix: str
    kind: AssetKind


MP4: Final = ContentType(name="video/mp4", suffix=".mp4", kind=AssetKind.VIDEO)
MOV: Final = ContentType(name="video/quicktime", suffix=".mov", kind=AssetKind.VIDEO)
WEBM: Final = ContentType(name="video/webm", suffix=".webm", kind=AssetKind.VIDEO)
JPEG: Final = ContentType(name="image/jpeg", suffix=".jpg", kind=AssetKind.IMAGE)
PNG: Final = ContentType(name="image/png", suffix=".png", kind=AssetKind.IMAGE)
WEBP: Final = ContentType(name="image/webp", suffix=".webp", kind=AssetKind.IMAGE)
APK: Final = ContentType(
    name="application/vnd.android.package-archive", suffix=".apk", kind=AssetKind.APK
)
CONTENT_TYPES: Final = {kind.name: kind for kind in (MP4, MOV, WEBM, JPEG, PNG, WEBP, APK)}

_UNSAID: Final = frozenset({"", "application/octet-stream", "binary/octet-stream"})
_OTHER_NAMES: Final = {
    "video/x-m4v": AssetKind.VIDEO,
    "video/mov": AssetKind.VIDEO,
    "application/mp4": AssetKind.VIDEO,
    "image/jpg": AssetKind.IMAGE,
    "application/zip": AssetKind.APK,
    "application/java-archive": AssetKind.APK,
    "application/x-zip-compressed": AssetKind.APK,
}
# Brands of ISO files that are sound or pictures (www.ftyps.com; ISO/IEC 14496-12, 23008-12).
_NO_VIDEO: Final = re.compile(rb"M4[ABP] |hei[cxms]|hev[cx]|mif1|msf1|avi[fs]")


class AssetFailedError(Exception):
    """An asset cannot be fetched; `code` and `failure_class` become the action's failure."""

    def __init__(self, code: FailureCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    @property
    def failure_class(self) -> FailureClass:
        """Return the failure class: faults of host and network are not the work's."""
        infra = self.code in {FailureCode.ASSET_UNREACHABLE, FailureCode.HOST_STORAGE_FULL}
        return FailureClass.INFRA if infra else FailureClass.WORK

    @property
    def final(self) -> bool:
        """Tell whether the same plan must fail the same way."""
        return self.failure_class is FailureClass.WORK


def check_announced(content_type: str, kind: AssetKind) -> None:
    """Accept a Content-Type that may be of *kind*; raise asset_type_not_allowed."""
    name = content_type.partition(";")[0].strip().lower()
    known = CONTENT_TYPES.get(name)
    if name in _UNSAID or (known is not None and known.kind is kind):
        return
    if _OTHER_NAMES.get(name) is kind:
        return
    raise _not_allowed(f"the server reports the type {name[:100]}", kind)


def sniff(head: bytes, kind: AssetKind) -> ContentType:
    """Return the content type that the first bytes show; asset_type_not_allowed.

    Sources: ISO/IEC 14496-12 (ftyp) and the QuickTime file format for the atoms before it, RFC 9559
    and the WebM container guidelines (EBML DocType), PNG and JPEG file signatures, RFC 9649, and
    PKWARE's APPNOTE (an APK is a ZIP file; the phone tells what else it is not).
    """
    found = _content(head)
    if found is None or found.kind is not kind:
        what = found.name if found else f"of an unknown type; it begins with {head[:16].hex()}"
        raise _not_allowed(f"its content is {what}", kind)
    return found


def _content(head: bytes) -> ContentType | None:
    atom, brand = head[4:8], head[8:12]
    if atom == b"ftyp":
        if _NO_VIDEO.fullmatch(brand):
            return None
        return MOV if brand == b"qt  " else MP4
    if atom in {b"moov", b"mdat", b"wide"}:
        return MOV
    if head.startswith(b"\x1a\x45\xdf\xa3") and b"webm" in head:
        return WEBM
    if head.startswith(b"\xff\xd8\xff"):
        return JPEG
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return PNG
    if head.startswith(b"PK\x03\x04"):
        return APK
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return WEBP
    return None


def _not_allowed(what: str, kind: AssetKind) -> AssetFailedError:
    allowed = ", ".join(one.name for one in CONTENT_TYPES.values() if one.kind is kind)
    message = f"{what}; the {kind} must be one of {allowed}"
    return AssetFailedError(FailureCode.ASSET_TYPE_NOT_ALLOWED, message)
