"""MediaStore: the phone's index of media files, through which apps are given a shared one.

Like the real one it knows a file in shared storage once it was scanned, gives it an id and a
`content://` name, and from Android 11 on forgets it with the file (the storage is its own there).
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from phonefarm_simulator.files import FileSystem, normal_path

KNOWS_FILES_SDK: Final = 30
"""Android 11: `scan_file` takes a path, and rows go with their files."""

_FOLDERS = {".mp4": "video", ".mov": "video", ".webm": "video"} | dict.fromkeys(
    (".jpg", ".jpeg", ".png", ".webp"), "images"
)
_ROW = re.compile(r"content://media/external(?:_primary)?/(video|images|file)(?:/media)?/(\d{1,9})")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One indexed file; `path` as files.normal_path gives it."""

    number: int
    path: str
    folder: str

    @property
    def uri(self) -> str:
        """What other apps call it."""
        return f"content://media/external_primary/{self.folder}/media/{self.number}"

    @property
    def data(self) -> str:
        """What its column _data holds: the path by its real name."""
        return "/storage/emulated/0" + self.path.removeprefix("/sdcard")


class MediaStore:
    """The rows of one phone."""

    def __init__(self, files: FileSystem, sdk: Callable[[], int]) -> None:
        self._files = files
        self._sdk = sdk
        self._rows: dict[int, Row] = {}
        self._last = 30

    def rows(self) -> list[Row]:
        """Return what is indexed now."""
        if self._sdk() >= KNOWS_FILES_SDK:
            self._rows = {n: row for n, row in self._rows.items() if self._files.exists(row.path)}
        return list(self._rows.values())

    def scan(self, path: str) -> Row | None:
        """Index one file of the shared storage; None for anything that is no media file there."""
        plain = normal_path(path)
        ending = plain[plain.rfind(".") :].lower() if "." in plain else ""
        there = self._files.exists(plain) and not self._files.is_directory(plain)
        if not there or not plain.startswith("/sdcard/") or ending not in _FOLDERS:
            return None
        known = next((row for row in self.rows() if row.path == plain), None)
        if known is None:
            self._last += 1
            known = Row(number=self._last, path=plain, folder=_FOLDERS[ending])
            self._rows[known.number] = known
        return known

    def find(self, uri: str) -> Row | None:
        """Return the row a `content://` name stands for."""
        match = _ROW.fullmatch(uri)
        if match is None:
            return None
        row = next((row for row in self.rows() if row.number == int(match[2])), None)
        return row if row is not None and match[1] in {row.folder, "file"} else None

    def remove(self, row: Row) -> None:
        """Forget a row; its file stays."""
        self._rows.pop(row.number, None)
