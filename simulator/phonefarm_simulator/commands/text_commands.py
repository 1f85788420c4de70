"""Commands on text: echo, printf, grep, head, tail, wc; and true, false, sleep."""

import asyncio
import re

from phonefarm_simulator.commands.call import Call, Table, split_flags

LONGEST_SLEEP_SECONDS = 3600.0


async def echo(call: Call) -> int:
    """Print the arguments, with -n without a line's end."""
    words = list(call.arguments)
    end = "\n"
    if words[:1] == ["-n"]:
        words.pop(0)
        end = ""
    await call.write_out((" ".join(words) + end).encode())
    return 0


async def printf(call: Call) -> int:
    r"""Print a format with %s, \n and \t filled in."""
    if not call.arguments:
        return await call.complain("printf: Needs 1 argument")
    text = call.arguments[0].replace("\\n", "\n").replace("\\t", "\t")
    for value in call.arguments[1:]:
        before, mark, after = text.partition("%s")
        text = before + value + after if mark else text
    await call.write_out(text.replace("%%", "%").encode())
    return 0


async def grep(call: Call) -> int:
    """Print the input's lines that match: -i -v -c -q -E -F, files or input."""
    flags, rest = split_flags(call.arguments)
    if not rest:
        return await call.complain("grep: no REGEX", status=2)
    pattern = re.escape(rest[0]) if "F" in flags else rest[0]
    try:
        wanted = re.compile(pattern, re.IGNORECASE if "i" in flags else 0)
    except re.error:
        return await call.complain(f"grep: bad REGEX '{rest[0]}'", status=2)
    text = (await _input(call, rest[1:])).decode(errors="surrogateescape")
    found = [line for line in text.splitlines() if (wanted.search(line) is None) == ("v" in flags)]
    if "c" in flags:
        await call.say(str(len(found)))
    elif "q" not in flags:
        for line in found:
            await call.write_out(line.encode(errors="surrogateescape") + b"\n")
    return 0 if found else 1


async def head(call: Call) -> int:
    """Print the first lines: -n N or -N."""
    count, paths = _line_count(call.arguments)
    lines = (await _input(call, paths)).splitlines(keepends=True)
    await call.write_out(b"".join(lines[:count]))
    return 0


async def tail(call: Call) -> int:
    """Print the last lines: -n N or -N."""
    count, paths = _line_count(call.arguments)
    lines = (await _input(call, paths)).splitlines(keepends=True)
    await call.write_out(b"".join(lines[-count:] if count else []))
    return 0


async def wc(call: Call) -> int:
    """Count lines, words and bytes: -l -w -c."""
    flags, paths = split_flags(call.arguments)
    data = await _input(call, paths)
    counts = {"l": data.count(b"\n"), "w": len(data.split()), "c": len(data)}
    shown = [str(value) for flag, value in counts.items() if not flags or flag in flags]
    await call.say(" ".join(shown + paths))
    return 0


async def true(call: Call) -> int:
    """Succeed."""
    return 0


async def false(call: Call) -> int:
    """Fail."""
    return 1


async def sleep(call: Call) -> int:
    """Wait so many seconds."""
    try:
        seconds = float(call.arguments[0])
    except (IndexError, ValueError):
        return await call.complain('sleep: Needs 1 argument (see "sleep --help")')
    if not 0 <= seconds <= LONGEST_SLEEP_SECONDS:
        return await call.complain(f"sleep: not a time here '{call.arguments[0]}'")
    await asyncio.sleep(seconds)
    return 0


async def _input(call: Call, paths: list[str]) -> bytes:
    if not paths:
        return await call.read_all()
    found = bytearray()
    for path in paths:
        try:
            found += call.phone.files.read(path)
        except OSError as error:
            await call.complain_of(error, path)
    return bytes(found)


def _line_count(arguments: tuple[str, ...]) -> tuple[int, list[str]]:
    words = list(arguments)
    count = 10
    if words[:1] == ["-n"] and len(words) > 1 and words[1].isdecimal():
        count = int(words[1][:9])
        words = words[2:]
    elif words and re.fullmatch(r"-n?\d{1,9}", words[0]):
        count = int(words[0].lstrip("-n"))
        words = words[1:]
    return count, words


COMMANDS: Table = {
    ":": true,
    "echo": echo,
    "false": false,
    "grep": grep,
    "head": head,
    "printf": printf,
    "sleep": sleep,
    "tail": tail,
    "true": true,
    "wc": wc,
}
