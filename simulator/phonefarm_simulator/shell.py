"""The shell: runs a command line on a phone."""

import posixpath
import re
from dataclasses import dataclass, field, replace

from phonefarm_simulator.commands import (
    app_commands,
    app_process_command,
    dumpsys_command,
    file_commands,
    ime_commands,
    media_commands,
    network_commands,
    recording_command,
    screen_commands,
    system_commands,
    text_commands,
    ui_commands,
)
from phonefarm_simulator.commands.call import Call, Command, Input, Write
from phonefarm_simulator.phone import Phone
from phonefarm_simulator.shell_jobs import Jobs
from phonefarm_simulator.shell_parser import (
    Join,
    Pipeline,
    Redirect,
    ShellSyntaxError,
    Simple,
    Word,
    parse,
)

COMMANDS: dict[str, Command] = {
    **app_commands.COMMANDS,
    **app_process_command.COMMANDS,
    **dumpsys_command.COMMANDS,
    **file_commands.COMMANDS,
    **ime_commands.COMMANDS,
    **media_commands.COMMANDS,
    **network_commands.COMMANDS,
    **recording_command.COMMANDS,
    **screen_commands.COMMANDS,
    **system_commands.COMMANDS,
    **text_commands.COMMANDS,
    **ui_commands.COMMANDS,
}
LARGEST_PIPE_BYTES = 64 * 1024 * 1024
_FRONTS = {"package": "pm", "activity": "am", "settings": "settings", "window": "wm"}
_WILD = frozenset("*?[")
_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)


class Exit(Exception):  # noqa: N818 -- it is how `exit` leaves, nothing failed
    """The line said `exit`."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


@dataclass(frozen=True, kw_only=True)
class _Streams:
    stdin: Input
    out: Write
    error: Write


@dataclass(kw_only=True)
class Bytes:
    """Bytes kept in memory, to be written to and then read from."""

    data: bytearray = field(default_factory=bytearray)

    async def write(self, data: bytes) -> None:
        """Append; what passes 64 MiB is lost."""
        self.data += data[: LARGEST_PIPE_BYTES - len(self.data)]

    async def read(self) -> bytes:
        """Return what is left and leave nothing."""
        data = bytes(self.data)
        self.data.clear()
        return data


def _with_output(streams: _Streams, fd: int, write: Write) -> _Streams:
    return replace(streams, error=write) if fd == 2 else replace(streams, out=write)


async def _discard(data: bytes) -> None:
    """Take the bytes and forget them."""


class Shell:
    """A shell; it keeps the last status between lines."""

    def __init__(self, *, phone: Phone, stdin: Input, out: Write, error: Write) -> None:
        self._phone = phone
        self._streams = _Streams(stdin=stdin, out=out, error=error)
        self._variables = dict(_VARIABLES)
        self.jobs = Jobs(phone.processes)
        self.status = 0

    async def run(self, line: str) -> int:
        """Run a line to its end and return its status; `exit` raises Exit."""
        try:
            pipelines = parse(line)
        except ShellSyntaxError as error:
            await self._streams.error(f"/system/bin/sh: syntax error: {error}\n".encode())
            self.status = 1
            return self.status
        for pipeline in pipelines:
            if pipeline.join is Join.ON_SUCCESS and self.status != 0:
                continue
            if pipeline.join is Join.ON_FAILURE and self.status == 0:
                continue
            if pipeline.in_background:
                name = "".join(piece.text for piece in pipeline.commands[0].words[0])
                self._variables["!"] = str(self.jobs.start(name, self._run_pipeline(pipeline)))
                self.status = 0
                continue
            self.status = await self._run_pipeline(pipeline)
        return self.status

    async def _run_pipeline(self, pipeline: Pipeline) -> int:
        streams = self._streams
        status = 0
        for index, command in enumerate(pipeline.commands):
            last = index == len(pipeline.commands) - 1
            pipe = Bytes()
            out = self._streams.out if last else pipe.write
            status = await self._run_simple(command, replace(streams, out=out))
            streams = replace(streams, stdin=pipe)
        return status

    async def _run_simple(self, command: Simple, streams: _Streams) -> int:
        words = [text for word in command.words for text in self._expand(word)]
        files: list[tuple[str, bool, Bytes]] = []
        try:
            for redirect in command.redirects:
                streams = self._redirected(redirect, streams, files)
        except OSError as error:
            text = f"/system/bin/sh: can't open {error.filename}: {error.strerror}\n"
            await streams.error(text.encode())
            return 1
        status = await self._run_words(words, streams) if words else 0
        for path, append, kept in files:
            try:
                self._phone.write_file(path, bytes(kept.data), append=append)
            except OSError as error:
                text = f"/system/bin/sh: can't create {path}: {error.strerror}\n"
                await streams.error(text.encode())
                status = 1
        return status

    def _redirected(
        self, redirect: Redirect, streams: _Streams, files: list[tuple[str, bool, Bytes]]
    ) -> _Streams:
        if redirect.copy_of is not None:
            source = streams.error if redirect.copy_of == 2 else streams.out
            return _with_output(streams, redirect.fd, source)
        path = "".join(self._expand(redirect.target))
        if redirect.fd == 0:
            data = b"" if path == "/dev/null" else self._phone.files.read(path)
            return replace(streams, stdin=Bytes(data=bytearray(data)))
        write: Write
        if path == "/dev/null":
            write = _discard
        elif path == "/dev/tty":
            write = self._streams.out
        else:
            kept = Bytes()
            files.append((path, redirect.append, kept))
            write = kept.write
        return _with_output(streams, redirect.fd, write)

    async def _run_words(self, words: list[str], streams: _Streams) -> int:
        environment: dict[str, str] = {}
        while words and (assigned := _ASSIGNMENT.fullmatch(words[0])):
            environment[assigned[1]] = assigned[2]
            words = words[1:]
        if not words:
            self._variables |= environment
            return 0
        name, *arguments = words
        if name == "exit":
            code = arguments[0] if arguments else str(self.status)
            raise Exit(int(code[:9]) & 0xFF if code.isdecimal() else 255)
        if name == "export":
            return 0
        if name in {"exec", "toybox"} and arguments:
            name, *arguments = arguments
        if name == "cmd" and arguments and arguments[0] in _FRONTS:
            name, arguments = _FRONTS[arguments[0]], arguments[1:]
        name = name.removeprefix("/system/bin/")
        if name in {"command", "which"} and arguments:
            return await self._locate(arguments[-1], streams)
        if name == "wait":
            await self.jobs.ended()
            return 0
        if name == "read":
            return await self._read(arguments, streams.stdin)
        if name == "sh" and arguments:
            return await self._run_inner(arguments, streams)
        command = COMMANDS.get(name)
        if command is None:
            await streams.error(f"/system/bin/sh: {name}: inaccessible or not found\n".encode())
            return 127
        call = Call(
            phone=self._phone,
            name=name,
            arguments=tuple(arguments),
            stdin=streams.stdin,
            write_out=streams.out,
            write_error=streams.error,
            environment=environment,
        )
        return await command(call)

    async def _read(self, names: list[str], stdin: Input) -> int:
        """Read a line into a variable; what comes in the same packet after it is lost."""
        line = b""
        while b"\n" not in line and (more := await stdin.read()):
            line += more
        if names:
            self._variables[names[-1]] = line.partition(b"\n")[0].decode(errors="replace")
        return 0 if b"\n" in line else 1

    async def _run_inner(self, arguments: list[str], streams: _Streams) -> int:
        """Run the line after -c, or a script with its arguments, in a shell of its own."""
        if arguments[0] == "-c":
            line, given = (arguments[1] if len(arguments) > 1 else ""), arguments[2:]
        else:
            try:
                line = self._phone.files.read(arguments[0]).decode(errors="replace")
            except OSError as error:
                text = f"/system/bin/sh: can't open '{arguments[0]}': {error.strerror}\n"
                await streams.error(text.encode())
                return 127
            given = arguments
        inner = Shell(phone=self._phone, stdin=streams.stdin, out=streams.out, error=streams.error)
        inner.jobs = self.jobs
        inner._variables |= {str(place): text for place, text in enumerate(given)}
        try:
            return await inner.run(line)
        except Exit as leaving:
            return leaving.status

    async def _locate(self, name: str, streams: _Streams) -> int:
        if name not in COMMANDS:
            return 1
        await streams.out(f"/system/bin/{name}\n".encode())
        return 0

    def _expand(self, word: Word) -> list[str]:
        """Return what a word stands for: none if empty and unquoted, several for a pattern."""
        text = ""
        wild = False
        for piece in word:
            if not piece.variable:
                text += piece.text
                wild = wild or (not piece.quoted and piece.text in _WILD)
            elif piece.text == "?":
                text += str(self.status)
            else:
                text += self._variables.get(piece.text, "")
        if not text and not any(piece.quoted for piece in word):
            return []
        if wild:
            return self._phone.files.matching(posixpath.join("/", text)) or [text]
        return [text]


_VARIABLES = {
    "$": "9000",
    "HOME": "/",
    "PATH": "/system/bin",
    "SHELL": "/system/bin/sh",
    "TMPDIR": "/data/local/tmp",
    "USER": "shell",
}
