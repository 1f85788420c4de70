"""A private PostgreSQL server: its own directory and port, not root, gone with the tests."""

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from support.ports import free_port
from support.stepped_program import set_off

_START_SECONDS = 60
_STOP_SECONDS = 30
_COMMAND_SECONDS = 60
_LOOK_SECONDS = 0.05
_PORT_TRIES = 3
_DONE = "-- done --"
_MEMORY_BYTES = 2 * 1024**3
_OPTIONS = (
    "fsync=off",  # a machine that loses power loses its tests as well
    "full_page_writes=off",
    "max_connections=200",
    "shared_buffers=64MB",
    "autovacuum=off",
)


class ServerFailedError(Exception):
    """The server could not be made or started; the text holds its own words."""


def programs() -> Path | None:
    """Return the folder of the newest initdb, where Debian puts it or on PATH."""
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4])
    )
    if found:
        return found[-1].parent
    on_path = shutil.which("initdb")
    return Path(on_path).resolve().parent if on_path else None


def faketime() -> Path | None:
    """Return Debian's libfaketime, by which a server's clock can be set."""
    return next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)


def server_user() -> pwd.struct_passwd | None:
    """Return who runs the server when we are root, who may not."""
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    return None


class _Session:
    """A psql that stays connected: to start one for each statement costs more than most of them."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = [*command, "-v", "ON_ERROR_STOP=1"]
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None

    def perform(self, statement: str) -> None:
        """Run one statement; ServerFailedError with what psql said when it fails.

        It is said again on a new connection when the old one failed: a crash may have cut it.
        """
        with self._lock:
            was_open = self._process is not None
            said = self._said(statement)
            if said is not None and was_open:
                said = self._said(statement)
        if said is not None:
            raise ServerFailedError(f"psql: {said}")

    def _said(self, statement: str) -> str | None:
        """Run it; None when it went well, else what psql said before it ended."""
        process = self._process = self._process or self._opened()
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # then it has said why
            process.stdin.write(f"{statement};\n\\echo {_DONE}\n")
            process.stdin.flush()
        said = []
        for line in process.stdout:
            if line.strip() == _DONE:
                return None
            said.append(line)
        self._ended()
        return "".join(said)

    def close(self) -> None:
        """End it; the next statement opens another one."""
        with self._lock:
            self._ended()

    def _opened(self) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd="/",
        )

    def _ended(self) -> None:
        if self._process is not None:
            self._process.communicate(timeout=_COMMAND_SECONDS)
            self._process = None


@dataclass(frozen=True, kw_only=True)
class PostgresServer:
    """A running server; anybody on this machine may connect as `postgres` without a password."""

    port: int
    directory: Path
    session: _Session = field(repr=False)
    clock: Path | None = None  # where its clock is set (`set_off`); without one it is the machine's

    def url(self, database: str) -> str:
        """Return what SQLAlchemy connects with."""
        return f"postgresql+asyncpg://postgres@127.0.0.1:{self.port}/{database}"

    @contextlib.contextmanager
    def database(self, name: str, *, template: str = "template1") -> Iterator[str]:
        """Copy a database from *template*, yield its URL, drop it whoever is still connected."""
        create = f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY file_copy'
        self.session.perform(create)
        try:
            yield self.url(name)
        finally:
            self.session.perform(f'DROP DATABASE "{name}" WITH (FORCE)')

    def sql(self, statement: str) -> str:
        """Run one statement as superuser; return what psql prints, without a header."""
        return self.query("postgres", statement)

    def query(self, database: str, statement: str) -> str:
        """Do the same in a database."""
        return _run([*_psql(self.directory, self.port), "-d", database, "-c", statement])

    def restart(self, mode: str = "fast") -> None:
        """Restart the server: every connection is cut, some moments of none.

        *mode* is pg_ctl's: `fast` as an operator does, `immediate` as after a crash.
        """
        log = str(self.directory / "restarted.log")  # the first one is ours, not the server's
        self.session.close()
        restart = ["pg_ctl", "-D", str(self.directory / "data"), "-l", log, "-m", mode, "-w"]
        _run([*restart, "restart"], clock=self.clock)

    def shut_out(self, name: str) -> None:
        """End all connections to the database and take no new ones, as when it goes down."""
        self.sql(f'ALTER DATABASE "{name}" WITH ALLOW_CONNECTIONS false')
        self.sql(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"  # noqa: S608 - a name that the tests made
        )

    def let_in(self, name: str) -> None:
        """Take connections again."""
        self.sql(f'ALTER DATABASE "{name}" WITH ALLOW_CONNECTIONS true')


@contextlib.contextmanager
def postgres_server(*, settable: bool = False) -> Iterator[PostgresServer]:
    """Run a fresh server until the block ends; it also ends when this process is killed.

    The clock of a *settable* one can be set; it needs libfaketime.
    """
    directory = Path(tempfile.mkdtemp(prefix="pf-pg-", dir=_folder()))
    try:
        if os.geteuid() == 0 and (user := server_user()):
            os.chown(directory, user.pw_uid, user.pw_gid)
        data = directory / "data"
        clock = directory / "clock" if settable else None
        if clock is not None:
            set_off(clock, 0)
        initdb = ["initdb", "--auth=trust", "--username=postgres", "--encoding=UTF8"]
        _run([*initdb, "--locale=C.UTF-8", "--no-sync", "-D", str(data)])
        process, port = _started(directory, data, clock)
        session = _Session(_command([*_psql(directory, port), "-d", "postgres"]))
        try:
            yield PostgresServer(port=port, directory=directory, session=session, clock=clock)
        finally:
            session.close()
            process.send_signal(signal.SIGINT)  # fast shutdown: connections are ended
            process.wait(_STOP_SECONDS)
            if (data / "postmaster.pid").exists():  # a test restarted it: it is nobody's child
                _run(["pg_ctl", "-D", str(data), "-m", "fast", "-w", "stop"])
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _psql(directory: Path, port: int) -> list[str]:
    return ["psql", "-h", str(directory), "-p", str(port), "-U", "postgres", "-XqAt"]


def _folder() -> Path:
    """Return where servers live: in memory where there is room, which halves a test's set-up."""
    memory = Path("/dev/shm")  # noqa: S108 - the server gets a folder of its own in it
    if memory.is_dir() and shutil.disk_usage(memory).free >= _MEMORY_BYTES:
        return memory
    return Path("/tmp")  # noqa: S108 - the same


def _started(
    directory: Path, data: Path, clock: Path | None
) -> tuple["subprocess.Popen[bytes]", int]:
    log = directory / "log"
    for _ in range(_PORT_TRIES):  # another program may take the port before the server does
        port = free_port()
        settings = [f"port={port}", "listen_addresses=127.0.0.1"]
        settings += [f"unix_socket_directories={directory}", *_OPTIONS]
        arguments = [word for setting in settings for word in ("-c", setting)]
        with log.open("ab") as output:
            process = subprocess.Popen(
                _command(["postgres", "-D", str(data), *arguments], die_with_us=True, clock=clock),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
            )
        if _answers(process, directory, port):
            return process, port
        process.kill()
        process.wait()
    raise ServerFailedError(f"PostgreSQL did not start:\n{log.read_text(errors='replace')}")


def _answers(process: "subprocess.Popen[bytes]", directory: Path, port: int) -> bool:
    ready = ["pg_isready", "-q", "-h", str(directory), "-p", str(port)]
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        if subprocess.run(_command(ready), cwd="/", check=False).returncode == 0:
            return True
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_LOOK_SECONDS)
    return False


def _command(
    words: Sequence[str], *, die_with_us: bool = False, clock: Path | None = None
) -> list[str]:
    folder = programs()
    if folder is None:
        raise ServerFailedError("no initdb on this machine")
    prefix = []
    if os.geteuid() == 0 and (user := server_user()):
        prefix = [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    if die_with_us:
        prefix.append("--pdeathsig=INT")
    tool = str(folder / words[0])
    before = ["setpriv", *prefix, "--"] if prefix else []
    if clock is not None:  # behind setpriv: the library shares memory that only its maker opens
        before += ["env", *_by_the_clock(clock)]
    return [*before, tool, *words[1:]]


def _by_the_clock(clock: Path) -> list[str]:
    """Return the variables that have a program ask *clock* each time (README of libfaketime)."""
    library = faketime()
    if library is None:
        raise ServerFailedError("no libfaketime on this machine")
    return [
        f"LD_PRELOAD={library}",
        f"FAKETIME_TIMESTAMP_FILE={clock}",
        "FAKETIME_NO_CACHE=1",
        "FAKETIME_DONT_FAKE_MONOTONIC=1",
        "NO_FAKE_STAT=1",
    ]


def _run(words: Sequence[str], *, clock: Path | None = None) -> str:
    done = subprocess.run(
        _command(words, clock=clock),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_COMMAND_SECONDS,
        cwd="/",
        check=False,
    )
    if done.returncode != 0:
        raise ServerFailedError(f"{words[0]} ended with {done.returncode}: {done.stdout}")
    return done.stdout.strip()
