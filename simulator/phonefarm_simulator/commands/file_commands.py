"""Commands on files: cat, ls, rm, mkdir, mv, cp, touch, stat, test, df and the sums."""

import hashlib
import posixpath
import stat
import time
from collections.abc import Callable

from phonefarm_simulator.commands.call import Call, Table, split_flags
from phonefarm_simulator.files import Status, normal_path

BLOCK_BYTES = 4096
CHUNK_BYTES = 64 * 1024


async def cat(call: Call) -> int:
    """Print files, or the input when none is named."""
    _flags, paths = split_flags(call.arguments)
    status = 0
    for path in paths or ["-"]:
        if path == "-":
            while data := await call.stdin.read():
                await call.write_out(data)
            continue
        try:
            content = call.phone.files.read(path)
        except OSError as error:
            status = await call.complain_of(error, path)
            continue
        for start in range(0, len(content), CHUNK_BYTES):
            await call.write_out(content[start : start + CHUNK_BYTES])
    return status


async def ls(call: Call) -> int:
    """List directories, with -l in long form."""
    flags, paths = split_flags(call.arguments)
    files = call.phone.files
    status = 0
    for path in paths or ["/"]:
        try:
            what = files.status(path)
            if not what.is_directory or "d" in flags:
                await call.say(_line(path, what, flags))
                continue
            names = files.names(path)
        except OSError as error:
            status = await call.complain_of(error, path)
            continue
        if len(paths) > 1:
            await call.say(f"{path}:")
        if "l" in flags:
            await call.say(f"total {sum(_blocks(files.status(f'{path}/{n}')) for n in names)}")
        for name in names:
            if name.startswith(".") and not flags & {"a", "A"}:
                continue
            await call.say(_line(name, files.status(f"{path}/{name}"), flags))
    return status


async def rm(call: Call) -> int:
    """Remove files, with -r directories, with -f without complaint of what is not there."""
    flags, paths = split_flags(call.arguments)
    if not paths and "f" not in flags:
        return await call.complain('rm: Needs 1 argument (see "rm --help")')
    status = 0
    for path in paths:
        try:
            call.phone.remove_file(path, recursive=bool(flags & {"r", "R"}))
        except FileNotFoundError as error:
            if "f" not in flags:
                status = await call.complain_of(error, path)
        except OSError as error:
            status = await call.complain_of(error, path)
    return status


async def mkdir(call: Call) -> int:
    """Make directories, with -p all above them."""
    flags, paths = split_flags(call.arguments)
    status = 0
    for path in paths:
        try:
            call.phone.make_directory(path, parents="p" in flags)
        except OSError as error:
            status = await call.complain_of(error, path)
    return status


async def mv(call: Call) -> int:
    """Rename one file or directory."""
    _flags, paths = split_flags(call.arguments)
    if len(paths) != 2:
        return await call.complain('mv: Needs 2 arguments (see "mv --help")')
    try:
        call.phone.move_file(paths[0], paths[1])
    except OSError as error:
        return await call.complain_of(error, paths[0])
    return 0


async def cp(call: Call) -> int:
    """Copy one file."""
    _flags, paths = split_flags(call.arguments)
    if len(paths) != 2:
        return await call.complain('cp: Needs 2 arguments (see "cp --help")')
    source, target = paths
    files = call.phone.files
    try:
        data = files.read(source)
        if files.exists(target) and files.status(target).is_directory:
            target = f"{target}/{posixpath.basename(source)}"
        call.phone.write_file(target, data)
    except OSError as error:
        return await call.complain_of(error, error.filename or source)
    return 0


async def touch(call: Call) -> int:
    """Make empty files where there are none."""
    _flags, paths = split_flags(call.arguments)
    status = 0
    for path in paths:
        try:
            call.phone.write_file(path, b"", append=True)
        except OSError as error:
            status = await call.complain_of(error, path)
    return status


async def chmod(call: Call) -> int:
    """Accept an octal mode for files that are there; modes protect nothing here."""
    status = 0
    for path in call.arguments[1:]:
        try:
            call.phone.files.status(path)
        except OSError as error:
            status = await call.complain_of(error, path)
    return status


async def stat_command(call: Call) -> int:
    """Print a file's data, or with -c what the format asks for (%n %s %Y %a %F)."""
    words = list(call.arguments)
    form = "%n %s"
    if words[:1] == ["-c"] and len(words) > 1:
        form = words[1]
        words = words[2:]
    status = 0
    for path in words:
        try:
            what = call.phone.files.status(path)
        except OSError as error:
            status = await call.complain(f"stat: '{path}': {error.strerror}")
            continue
        kind = "directory" if what.is_directory else "regular file"
        line = form
        for mark, value in (
            ("%n", path),
            ("%s", str(what.size)),
            ("%Y", str(what.mtime)),
            ("%a", f"{stat.S_IMODE(what.mode):o}"),
            ("%F", kind),
        ):
            line = line.replace(mark, value)
        await call.say(line)
    return status


async def test(call: Call) -> int:
    """Answer `test`: -e -f -d -s -r -w -n -z, = and !=, and ! before one of them."""
    words = list(call.arguments)
    if call.name == "[":
        if words[-1:] != ["]"]:
            return await call.complain("[: missing ]", status=2)
        words.pop()
    wanted = True
    while words[:1] == ["!"]:
        wanted = not wanted
        words.pop(0)
    verdict = _verdict(call, words)
    if verdict is None:
        return await call.complain(f"{call.name}: bad expression", status=2)
    return 0 if verdict is wanted else 1


def _verdict(call: Call, words: list[str]) -> bool | None:
    files = call.phone.files
    match words:
        case []:
            return False
        case [word]:
            return bool(word)
        case ["-n", word]:
            return bool(word)
        case ["-z", word]:
            return not word
        case ["-f" | "-e" | "-d" | "-s" | "-r" | "-w" as question, path]:
            if not files.exists(path):
                return False
            what = files.status(path)
            match question:
                case "-f":
                    return not what.is_directory
                case "-d":
                    return what.is_directory
                case "-s":
                    return what.size > 0
                case _:
                    return True
        case [left, "=" | "==", right]:
            return left == right
        case [left, "!=", right]:
            return left != right
        case _:
            return None


async def df(call: Call) -> int:
    """Print the one file system's size and what is left of it."""
    flags, _paths = split_flags(call.arguments)
    files = call.phone.files
    unit = 1 if "k" in flags or "h" not in flags else 1024
    total, free = files.capacity // 1024, files.free // 1024
    used = total - free
    letter = "M" if unit > 1 else ""
    size = "Size" if unit > 1 else "1K-blocks"
    await call.say(f"Filesystem      {size} Used Available Use% Mounted on")
    percent = round(100 * used / total)
    sizes = f"{total // unit}{letter} {used // unit}{letter} {free // unit}{letter}"
    await call.say(f"/dev/fuse      {sizes} {percent}% /storage/emulated")
    await call.say(f"/dev/block/dm-5 {sizes} {percent}% /data")
    return 0


async def sha256sum(call: Call) -> int:
    """Print SHA-256 sums."""
    return await _sum(call, lambda data: hashlib.sha256(data).hexdigest())


async def md5sum(call: Call) -> int:
    """Print MD5 sums."""
    return await _sum(call, lambda data: hashlib.md5(data, usedforsecurity=False).hexdigest())


async def _sum(call: Call, digest: Callable[[bytes], str]) -> int:
    flags, paths = split_flags(call.arguments)
    if not paths:
        await call.say(f"{digest(await call.read_all())}  -")
        return 0
    status = 0
    for path in paths:
        try:
            value = digest(call.phone.files.read(path))
        except OSError as error:
            status = await call.complain_of(error, path)
            continue
        await call.say(value if "b" in flags else f"{value}  {path}")
    return status


def _blocks(what: Status) -> int:
    return -(-what.size // BLOCK_BYTES) * BLOCK_BYTES // 1024


def _line(name: str, what: Status, flags: set[str]) -> str:
    if "l" not in flags:
        return name
    when = time.strftime("%Y-%m-%d %H:%M", time.gmtime(what.mtime))
    owner = "root root" if normal_path(name).startswith("/proc") else "shell shell"
    return f"{stat.filemode(what.mode)} 1 {owner} {what.size:8} {when} {name}"


COMMANDS: Table = {
    "[": test,
    "cat": cat,
    "chmod": chmod,
    "cp": cp,
    "df": df,
    "ls": ls,
    "md5sum": md5sum,
    "mkdir": mkdir,
    "mv": mv,
    "rm": rm,
    "sha256sum": sha256sum,
    "stat": stat_command,
    "test": test,
    "touch": touch,
}
