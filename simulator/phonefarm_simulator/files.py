"""The phone's file system, in memory and of limited size."""

import errno
import fnmatch
import os
import posixpath
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

DEFAULT_CAPACITY_BYTES = 512 * 1024 * 1024
MAX_NAME_BYTES = 255
MAX_PATH_BYTES = 1024

_ALIASES = ("/storage/emulated/0", "/storage/self/primary", "/mnt/sdcard", "/data/media/0")
_WRITABLE = ("/data/local/tmp", "/sdcard")
_DIRECTORIES = (
    "/data/local/tmp",
    "/sdcard/DCIM/Camera",
    "/sdcard/Download",
    "/sdcard/Movies",
    "/sdcard/Pictures",
    "/system/bin",
    "/proc/sys/kernel/random",
)


@dataclass(kw_only=True)
class File:
    """A regular file; `mtime` in whole seconds since 1970."""

    data: bytes
    mode: int
    mtime: int


@dataclass(kw_only=True)
class Directory:
    """A directory and what lies in it by name."""

    children: dict[str, "File | Directory"] = field(default_factory=dict)
    mode: int = 0o771
    mtime: int = 0


@dataclass(frozen=True, kw_only=True)
class Status:
    """What stat(2) would tell: `mode` with its type bits, `size` in bytes."""

    mode: int
    size: int
    mtime: int

    @property
    def is_directory(self) -> bool:
        """Whether this is a directory."""
        return stat.S_ISDIR(self.mode)


def normal_path(path: str) -> str:
    """Return `path` absolute, without dots, and by its one name if it is under /sdcard."""
    plain = posixpath.normpath("/" + path).replace("//", "/")
    for alias in _ALIASES:
        if plain == alias or plain.startswith(alias + "/"):
            return "/sdcard" + plain.removeprefix(alias)
    return plain


class FileSystem:
    """A file system in memory; every error is the OSError of a real phone."""

    def __init__(
        self,
        *,
        wall: Callable[[], float],
        computed: Mapping[str, Callable[[], bytes]],
        capacity: int = DEFAULT_CAPACITY_BYTES,
    ) -> None:
        self._wall = wall
        self._computed = dict(computed)
        self._root = Directory(mode=0o755)
        self.capacity = capacity
        self.full = False
        for path in _DIRECTORIES:
            self._make(path)

    @property
    def used(self) -> int:
        """Bytes held by all files together."""

        def weigh(node: File | Directory) -> int:
            if isinstance(node, File):
                return len(node.data)
            return sum(weigh(child) for child in node.children.values())

        return weigh(self._root)

    @property
    def free(self) -> int:
        """Bytes that can still be written."""
        return 0 if self.full else max(0, self.capacity - self.used)

    def status(self, path: str) -> Status:
        """Tell type, mode, size and time of `path`; ENOENT when there is nothing."""
        plain = normal_path(path)
        if plain in self._computed:
            return Status(mode=stat.S_IFREG | 0o444, size=0, mtime=int(self._wall()))
        node = self._node(plain)
        if isinstance(node, File):
            return Status(mode=stat.S_IFREG | node.mode, size=len(node.data), mtime=node.mtime)
        return Status(mode=stat.S_IFDIR | node.mode, size=4096, mtime=node.mtime)

    def exists(self, path: str) -> bool:
        """Whether there is anything at `path`."""
        try:
            self.status(path)
        except OSError:
            return False
        return True

    def is_directory(self, path: str) -> bool:
        """Whether there is a directory at `path`."""
        return self.exists(path) and self.status(path).is_directory

    def read(self, path: str) -> bytes:
        """Return a file's bytes."""
        plain = normal_path(path)
        if plain in self._computed:
            return self._computed[plain]()
        node = self._node(plain)
        if isinstance(node, Directory):
            raise _error(errno.EISDIR, path)
        return node.data

    def write(
        self,
        path: str,
        data: bytes,
        *,
        mode: int = 0o644,
        mtime: int | None = None,
        append: bool = False,
        parents: bool = False,
    ) -> None:
        """Put `data` at `path` as one step: a reader sees the old file or the new one."""
        plain = self._writable(path)
        parent_path, name = posixpath.split(plain)
        if parents:
            self._make(parent_path)
        parent = self._node(parent_path)
        if not isinstance(parent, Directory):
            raise _error(errno.ENOTDIR, path)
        old = parent.children.get(name)
        if isinstance(old, Directory):
            raise _error(errno.EISDIR, path)
        whole = old.data + data if append and old is not None else data
        growth = len(whole) - (len(old.data) if old is not None else 0)
        if data and (self.full or growth > self.free):
            raise _error(errno.ENOSPC, path)
        when = int(self._wall()) if mtime is None else mtime
        parent.children[name] = File(data=whole, mode=mode & 0o777, mtime=when)

    def make_directory(self, path: str, *, parents: bool = False) -> None:
        """Create a directory; with `parents` all above it too, and an existing one is no error."""
        plain = self._writable(path)
        if parents:
            self._make(plain)
            return
        parent_path, name = posixpath.split(plain)
        parent = self._node(parent_path)
        if not isinstance(parent, Directory):
            raise _error(errno.ENOTDIR, path)
        if name in parent.children:
            raise _error(errno.EEXIST, path)
        parent.children[name] = Directory(mtime=int(self._wall()))

    def remove(self, path: str, *, recursive: bool = False) -> None:
        """Remove a file, or with `recursive` a directory and all in it."""
        plain = self._writable(path)
        node = self._node(plain)
        if isinstance(node, Directory) and not recursive:
            raise _error(errno.EISDIR, path)
        if plain in _WRITABLE:
            raise _error(errno.EBUSY, path)
        parent_path, name = posixpath.split(plain)
        parent = self._node(parent_path)
        if isinstance(parent, Directory):
            del parent.children[name]

    def move(self, source: str, target: str) -> str:
        """Rename `source` to `target` (or into it, when a directory); return where it is now."""
        start = self._writable(source)
        node = self._node(start)
        end = self._writable(target)
        if self.exists(end) and isinstance(self._node(end), Directory):
            end = f"{end}/{posixpath.basename(start)}"
        if end == start or end.startswith(start + "/"):
            raise _error(errno.EINVAL, target)
        parent = self._node(posixpath.dirname(end))
        if not isinstance(parent, Directory):
            raise _error(errno.ENOTDIR, target)
        parent.children[posixpath.basename(end)] = node
        old_parent = self._node(posixpath.dirname(start))
        if isinstance(old_parent, Directory):
            del old_parent.children[posixpath.basename(start)]
        return end

    def names(self, path: str) -> list[str]:
        """Return the sorted names in a directory."""
        plain = normal_path(path)
        node = self._node(plain)
        if isinstance(node, File):
            raise _error(errno.ENOTDIR, path)
        computed = {
            posixpath.basename(name) for name in self._computed if posixpath.dirname(name) == plain
        }
        return sorted(computed | node.children.keys())

    def matching(self, pattern: str) -> list[str]:
        """Return the sorted paths an absolute shell pattern names; a wildcard finds none hidden."""
        found = ["/"]
        for part in [part for part in pattern.split("/") if part]:
            deeper = []
            for path in found:
                try:
                    names = self.names(path)
                except OSError:
                    continue
                deeper += [
                    f"{path.rstrip('/')}/{name}"
                    for name in names
                    if fnmatch.fnmatchcase(name, part)
                    and (part.startswith(".") or not name.startswith("."))
                ]
            found = deeper
        return sorted(found)

    def _make(self, plain: str) -> None:
        node = self._root
        for part in [part for part in plain.split("/") if part]:
            child = node.children.setdefault(part, Directory(mtime=int(self._wall())))
            if isinstance(child, File):
                raise _error(errno.ENOTDIR, plain)
            node = child

    def _node(self, path: str) -> File | Directory:
        node: File | Directory = self._root
        for part in [part for part in path.split("/") if part]:
            if isinstance(node, File):
                raise _error(errno.ENOTDIR, path)
            if part not in node.children:
                raise _error(errno.ENOENT, path)
            node = node.children[part]
        return node

    def _writable(self, path: str) -> str:
        plain = normal_path(path)
        if len(plain.encode()) > MAX_PATH_BYTES or any(
            len(part.encode()) > MAX_NAME_BYTES for part in plain.split("/")
        ):
            raise _error(errno.ENAMETOOLONG, path)
        if plain.startswith(("/system", "/vendor")) or plain == "/":
            raise _error(errno.EROFS, path)
        if not any(plain == top or plain.startswith(top + "/") for top in _WRITABLE):
            raise _error(errno.EACCES, path)
        return plain


def _error(code: int, path: str) -> OSError:
    return OSError(code, os.strerror(code), path)
