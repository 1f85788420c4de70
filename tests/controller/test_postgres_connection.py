"""How controllers connect to PostgreSQL: TLS, several hosts, and poolers, which are refused."""

import asyncio
import os
import shutil
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from phonefarm_common.clock import SystemClock
from phonefarm_common.config import ConfigError
from phonefarm_controller.store import notify
from phonefarm_controller.store.database import open_database, shown
from phonefarm_controller.store.migrate import DatabaseUnusableError, open_migrated
from phonefarm_controller.store.postgres_connection import read_address
from sqlalchemy import text
from support.certificates import make_authority, make_signed
from support.postgres_server import PostgresServer

PATIENCE_SECONDS = 180.0
_SSL_REQUEST = 80877103
"""Of the message flow of PostgreSQL (its documentation, "Message Formats")."""


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the authority of a server's certificate, the pair, and another one."""
    folder = tmp_path_factory.mktemp("tls")
    authority = make_authority(folder)
    make_signed(folder, "server", authority, valid_for="IP:127.0.0.1")
    (folder / "other").mkdir()
    make_authority(folder / "other")
    return folder


@pytest.fixture(scope="module")
def secured(postgres: PostgresServer, pairs: Path) -> Iterator[PostgresServer]:
    """Let the server speak TLS, too, until the module ends."""
    owner = (postgres.directory / "data").stat()
    for name in ("server.pem", "server.key"):
        file = postgres.directory / "data" / name
        shutil.copy(pairs / name, file)
        os.chown(file, owner.st_uid, owner.st_gid)
        file.chmod(0o600)
    settings = {"ssl": "on", "ssl_cert_file": "server.pem", "ssl_key_file": "server.key"}
    for name, value in settings.items():
        postgres.sql(f"ALTER SYSTEM SET {name} = '{value}'")
    postgres.sql("SELECT pg_reload_conf()")
    yield postgres
    for name in settings:
        postgres.sql(f"ALTER SYSTEM RESET {name}")
    postgres.sql("SELECT pg_reload_conf()")


async def _asked(url: str, question: str) -> Any:
    async with open_database(url, SystemClock()) as database, database.reading() as tx:
        return (await tx.connection.execute(text(question))).scalar_one()


_IS_TLS = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"


@pytest.mark.postgres
@pytest.mark.parametrize(
    "parameters",
    [
        "sslmode=require",
        "sslmode=verify-ca&sslrootcert={ca}",
        "sslmode=verify-full&sslrootcert={ca}",
    ],
)
async def test_tls_that_is_demanded_is_used(
    secured: PostgresServer, postgres_url: str, pairs: Path, parameters: str
) -> None:
    """By the engine's connections and by the notifier's, which hears its own notification."""
    url = f"{postgres_url}?{parameters.format(ca=pairs / 'ca.pem')}"
    heard: asyncio.Queue[str] = asyncio.Queue()

    encrypted = await _asked(url, _IS_TLS)
    async with (
        asyncio.timeout(PATIENCE_SECONDS),
        notify.listening(url, heard.put_nowait, broken=lambda: None) as line,
    ):
        await line.tell("here")
        came = await heard.get()
        kinds = secured.sql(
            "SELECT DISTINCT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) "  # noqa: S608 - a constant
            f"WHERE application_name = '{notify.APPLICATION}'"
        )

    assert encrypted is True
    assert came == "here"
    assert kinds == "t"


@pytest.mark.postgres
@pytest.mark.usefixtures("secured")
@pytest.mark.parametrize(
    ("host", "parameters", "why"),
    [
        ("127.0.0.1", "sslmode=verify-full&sslrootcert={other}", "certificate verify failed"),
        ("127.0.0.1", "sslmode=verify-ca&sslrootcert={other}", "certificate verify failed"),
        ("localhost", "sslmode=verify-full&sslrootcert={ca}", "certificate is not valid for"),
    ],
)
async def test_another_server_is_refused(
    postgres_url: str, pairs: Path, host: str, parameters: str, why: str
) -> None:
    """Whose certificate another authority signed, or that has another name."""
    files = {"ca": pairs / "ca.pem", "other": pairs / "other" / "ca.pem"}
    url = f"{postgres_url}?{parameters.format(**files)}".replace("127.0.0.1", host)

    with pytest.raises(DatabaseUnusableError, match=why):
        async with open_migrated(url, SystemClock()):
            pytest.fail("it connected")


@pytest.mark.postgres
async def test_of_several_hosts_one_that_can_be_written_to_is_used(
    postgres: PostgresServer, postgres_url: str
) -> None:
    """The notifier, too; when none of them can be written to, the error says so."""
    url = postgres_url.replace("127.0.0.1", "127.0.0.1:1,127.0.0.1") + "?application_name=Berlin"
    name = url.partition("?")[0].rpartition("/")[2]

    application = await _asked(url, "SELECT current_setting('application_name')")
    async with notify.listening(url, print, broken=lambda: None) as line:
        await line.tell("here")
    postgres.sql(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    with pytest.raises(DatabaseUnusableError, match="does not accept writes"):
        async with open_migrated(url, SystemClock()):
            pytest.fail("it connected")

    assert application == "phonefarm-controller Berlin"


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        ("u:geheim@h/f?ssl=require", "use sslmode=require"),
        ("u:geheim@h/f?sslmode=always", "sslmode must be one of disable, allow"),
        ("u:geheim@h/f?sslmode=verify-full&sslrootcert=/no/ca", "sslrootcert: cannot read /no/ca"),
        ("u:geheim@h/f?sslmode=verify-full&sslrootcert=/etc/passwd", "does not contain valid PEM"),
        ("u:geheim@h/f?sslrootcert=/etc/passwd", "requires sslmode=verify-full"),
        ("u:geheim@h/f?sslmode=require&sslcert=/no/c", "sslcert and sslkey: cannot read /no/c"),
        ("u:geheim@h/f?pool_size=3", "the parameter 'pool_size' is not one of"),
        ("u:geheim@h/f?host=a&host=b", "host is given twice: separate several hosts by commas"),
        ("u:geheim@h/f?connect_timeout=soon", "connect_timeout must be a number of seconds"),
        ("u:geheim@h:port/f", "a port must be a number from 1 to 65535"),
        ("u:ge/heim@h/f", "write / as %2F"),
        ("u:ge#heim@h/f", "write # as %23"),
        ("u:geheim@a,/f", "if there are several hosts, each must have a name"),
        ("u:geheim@a,b/f?port=1,2,3", "one port, or one for each host"),
    ],
)
def test_a_url_that_is_not_understood_is_refused(rest: str, said: str) -> None:
    """The error names the parameter and the remedy, and never a part of the password."""
    with pytest.raises(ConfigError) as refused:
        read_address(f"postgresql://{rest}")

    assert said in str(refused.value)
    assert "heim" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://u:p@h/f", "postgresql://u:***@h/f"),
        (
            "postgresql+asyncpg://u%40x:p%40@h:1,[::1]:2/f?password=p",
            "postgresql://u@x:***@h:1,[::1]:2/f",
        ),
        ("postgresql:///f?host=/run/postgresql&user=u", "postgresql://u@/run/postgresql/f"),
        ("sqlite:////a/farm.db", "sqlite:////a/farm.db"),
    ],
)
def test_a_url_is_shown_without_its_password(url: str, said: str) -> None:
    """With hosts and ports as they were read."""
    assert shown(url) == said


@asynccontextmanager
async def _pooler(url: str, *, drops: bool) -> AsyncIterator[str]:
    """Yield the URL of what treats settings as PgBouncer does: *drops* or refuses them.

    Its ignore_startup_parameters makes the difference.
    """
    port = int(url.rpartition(":")[2].partition("/")[0])
    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            start = await _message(reader)
            if struct.unpack("!i", start[:4])[0] == _SSL_REQUEST:
                writer.write(b"N")
                start = await _message(reader)
            if drops:
                await _relayed(port, _without_timeouts(start), reader, writer)
            else:
                fields = b"SERROR\0C08P01\0Munsupported startup parameter: statement_timeout\0\0"
                writer.write(b"E" + struct.pack("!i", len(fields) + 4) + fields)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield url.replace(f":{port}/", f":{server.sockets[0].getsockname()[1]}/")
    finally:
        server.close()
        await asyncio.gather(*serving)


def _without_timeouts(start: bytes) -> bytes:
    words = start[4:].rstrip(b"\0").split(b"\0")
    pairs = zip(words[::2], words[1::2], strict=True)
    kept = [name + b"\0" + value + b"\0" for name, value in pairs if b"_timeout" not in name]
    body = start[:4] + b"".join(kept) + b"\0"
    return struct.pack("!i", len(body) + 4) + body


async def _relayed(
    port: int, start: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Relay until both sides have ended."""
    there, back = await asyncio.open_connection("127.0.0.1", port)
    back.write(start)
    await asyncio.gather(_copied(reader, back), _copied(there, writer))
    await back.wait_closed()


async def _message(reader: asyncio.StreamReader) -> bytes:
    (length,) = struct.unpack("!i", await reader.readexactly(4))
    return await reader.readexactly(length - 4)


async def _copied(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()
    sink.close()


@pytest.mark.postgres
@pytest.mark.parametrize(
    ("drops", "said"),
    [(True, "drops settings such as statement_timeout"), (False, "unsupported startup parameter")],
)
async def test_a_pooler_is_refused(postgres_url: str, drops: bool, said: str) -> None:
    """It would run one controller's statements for another: the remedy is in the error."""
    async with _pooler(postgres_url, drops=drops) as url, asyncio.timeout(PATIENCE_SECONDS):
        with pytest.raises(ConfigError) as refused:
            async with open_migrated(url, SystemClock()):
                pytest.fail("it connected")

    assert said in str(refused.value)
    assert "the address of the PostgreSQL server itself" in str(refused.value)


@pytest.mark.postgres
async def test_a_server_without_tls_is_refused_where_tls_is_demanded(postgres_url: str) -> None:
    """Nothing goes in plain text."""
    async with _pooler(postgres_url, drops=True) as url, asyncio.timeout(PATIENCE_SECONDS):
        with pytest.raises(DatabaseUnusableError, match="rejected SSL upgrade"):
            async with open_migrated(f"{url}?sslmode=require", SystemClock()):
                pytest.fail("it connected")
