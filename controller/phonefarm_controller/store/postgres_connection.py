"""Reads the URL of a PostgreSQL database, and connects; the engine and the notifier use it.

The parameters have libpq's names and meanings (PostgreSQL's documentation, 34.1.2 "Parameter Key
Words"); asyncpg implements those of TLS.
"""

import os
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

import asyncpg
from phonefarm_common.config import ConfigError

SCHEMES: Final = ("postgresql", "postgresql+asyncpg")
CONNECT_SECONDS: Final = 5.0
"""The time limit for connecting to one host, if the URL does not set one."""
_PLACES: Final = ("host", "port", "user", "password", "dbname")
_OURS: Final = ("connect_timeout", "application_name")
_TLS: Final = (
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "sslpassword",
    "sslcrl",
    "ssl_min_protocol_version",
    "ssl_max_protocol_version",
)
_DRIVERS: Final = (*_TLS, "passfile", "target_session_attrs", "options")
_SSL_MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_NEXT: Final = (OSError, asyncpg.CannotConnectNowError)
"""The errors after which the next host is tried: no answer, a standby, or a starting server."""
_POOLER: Final = (
    "the controller reaches the database through a connection pooler such as PgBouncer, which {}: "
    "give each controller the address of the PostgreSQL server itself"
)


@dataclass(frozen=True, kw_only=True)
class PostgresAddress:
    """The address of a database: the first of `places` that accepts writes."""

    places: tuple[tuple[str | None, int | None], ...]
    user: str | None
    password: str | None = field(repr=False)
    name: str | None
    dsn: str = field(repr=False)
    """The part of the URL that asyncpg reads itself."""
    timeout: float
    application: str

    @property
    def shown(self) -> str:
        """Return the URL without its password and its parameters."""
        user = f"{self.user or ''}{':***' if self.password else ''}"
        hosts = ",".join(_place(*place) for place in self.places)
        return f"postgresql://{user}{'@' if user else ''}{hosts}/{self.name or ''}"


def _place(host: str | None, port: int | None) -> str:
    shown = f"[{host}]" if host and ":" in host else host or ""
    return shown if port is None else f"{shown}:{port}"


def read_address(url: str) -> PostgresAddress:
    """Read postgresql://USER:PASSWORD@HOST,.../NAME?...; ConfigError names what is wrong."""
    _, _, rest = url.partition("://")
    parts = urlsplit(f"postgresql://{rest}")
    if parts.fragment:
        raise _wrong("in a user, a password or a name, write # as %23")
    given = _parameters(parts.query)
    auth, _, hosts = parts.netloc.rpartition("@")
    user, _, password = auth.partition(":")
    places = _places(hosts, given)
    _check_tls(given)
    drivers = {name: value for name, value in given.items() if name in _DRIVERS}
    if len(places) > 1:  # a standby among them is of no use
        drivers.setdefault("target_session_attrs", "read-write")
    return PostgresAddress(
        places=places,
        user=unquote(user) or given.get("user"),
        password=unquote(password) or given.get("password"),
        name=unquote(parts.path.removeprefix("/")) or given.get("dbname"),
        dsn=f"postgresql:///?{urlencode(drivers, quote_via=quote)}" if drivers else "postgresql://",
        timeout=_timeout(given),
        application=given.get("application_name", ""),
    )


def _wrong(what: str) -> ConfigError:
    return ConfigError(f"the URL of the database: {what}")


def _parameters(query: str) -> dict[str, str]:
    given: dict[str, str] = {}
    known = (*_PLACES, *_OURS, *_DRIVERS)
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name == "ssl":
            raise _wrong("ssl is not a parameter of PostgreSQL's URLs: use sslmode=require")
        if name not in known:
            raise _wrong(f"the parameter {name!r} is not one of {', '.join(sorted(known))}")
        if name in given:
            raise _wrong(f"the parameter {name} is given twice: separate several hosts by commas")
        given[name] = value
    return given


def _places(hosts: str, given: Mapping[str, str]) -> tuple[tuple[str | None, int | None], ...]:
    named = hosts or given.get("host", "")
    ports = [_port(text) for text in given.get("port", "").split(",")]
    places = [_host_and_port(text) for text in named.split(",")]
    if len(ports) not in {1, len(places)}:
        raise _wrong("port must be one port, or one for each host")
    if len(places) > 1 and not all(host for host, _ in places):
        raise _wrong("if there are several hosts, each must have a name")
    default = ports * len(places) if len(ports) == 1 else ports
    return tuple(
        (host, own if own is not None else port)
        for (host, own), port in zip(places, default, strict=True)
    )


def _host_and_port(text: str) -> tuple[str | None, int | None]:
    text = unquote(text)
    if text.startswith("/"):  # the folder of a socket
        return text, None
    if text.startswith("["):
        host, _, port = text[1:].partition("]")
        return host, _port(port.removeprefix(":"))
    host, _, port = text.partition(":")
    return host or None, _port(port)


def _port(text: str) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 65536):
        # The text may be a part of a password.
        raise _wrong(
            "a port must be a number from 1 to 65535; in a user or a password, write / as %2F, "
            "? as %3F, # as %23 and @ as %40"
        )
    return int(text)


def _timeout(given: Mapping[str, str]) -> float:
    text = given.get("connect_timeout", "")
    if not text:
        return CONNECT_SECONDS
    if not (text.isascii() and text.isdigit() and int(text)):
        raise _wrong(f"connect_timeout must be a number of seconds, at least 1, not {text!r}")
    return float(text)


def _check_tls(given: Mapping[str, str]) -> None:
    """Read the files of TLS once: asyncpg reads them at each connection, and calls that trouble."""
    mode = given.get("sslmode") or os.environ.get("PGSSLMODE", "prefer")
    if mode not in _SSL_MODES:
        raise _wrong(f"sslmode must be one of {', '.join(_SSL_MODES)}, not {mode!r}")
    if mode in {"disable", "allow", "prefer"} and "sslrootcert" in given:
        raise _wrong("sslrootcert requires sslmode=verify-full or sslmode=verify-ca: add one")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    root = given.get("sslrootcert") or os.environ.get("PGSSLROOTCERT")
    if mode.startswith("verify-") and not root:
        root = str(Path("~/.postgresql/root.crt").expanduser())
    if root:
        with _reading("sslrootcert", root):
            context.load_verify_locations(cafile=root)
    if "sslcert" in given:
        with _reading("sslcert and sslkey", given["sslcert"]):
            context.load_cert_chain(
                given["sslcert"], given.get("sslkey"), lambda: given.get("sslpassword", "")
            )


@contextmanager
def _reading(name: str, file: str) -> Iterator[None]:
    """Turn what is wrong with a file into a ConfigError."""
    try:
        yield
    except ssl.SSLError as error:
        raise _wrong(f"{name}: {file} does not contain valid PEM") from error
    except OSError as error:
        raise _wrong(f"{name}: cannot read {file}: {error.strerror or error}") from error


async def connect(
    address: PostgresAddress, *, application: str, settings: Mapping[str, str]
) -> "asyncpg.Connection[asyncpg.Record]":
    """Connect to the first host that can be written to; the last error when there is none.

    *settings* are for the session. ConfigError when the server does not take them, which a
    connection pooler does not.
    """
    shown = f"{application} {address.application}".strip()[:63]
    *others, last = address.places
    for place in others:
        try:
            return await _connect(address, place, {**settings, "application_name": shown})
        except _NEXT:
            continue
    return await _connect(address, last, {**settings, "application_name": shown})


async def _connect(
    address: PostgresAddress, place: tuple[str | None, int | None], settings: dict[str, str]
) -> "asyncpg.Connection[asyncpg.Record]":
    host, port = place
    try:
        connection = await asyncpg.connect(
            address.dsn,
            host=host,
            port=port,
            user=address.user,
            password=address.password,
            database=address.name,
            timeout=address.timeout,
            server_settings=settings,
        )
    except asyncpg.ProtocolViolationError as error:
        if "startup parameter" in str(error):
            raise ConfigError(_POOLER.format(f"says {str(error)!r}")) from error
        raise
    except asyncpg.TargetServerAttributeNotMatched as error:
        raise ConnectionError(
            f"{_place(host, port)} is a standby, or does not accept writes"
        ) from error
    try:
        await _refuse_a_pooler(connection, settings)
    except BaseException:
        connection.terminate()
        raise
    return connection


async def _refuse_a_pooler(
    connection: "asyncpg.Connection[asyncpg.Record]", settings: Mapping[str, str]
) -> None:
    """Raise ConfigError when the session has not the settings that were asked for."""
    asked = settings.get("statement_timeout")
    if asked is None:
        return
    is_set = "SELECT current_setting('statement_timeout')::interval = $1::text::interval"
    try:
        kept = await connection.fetchval(is_set, asked)
    except (asyncpg.DuplicatePreparedStatementError, asyncpg.InvalidSQLStatementNameError) as error:
        raise ConfigError(_POOLER.format("gives one session to several clients")) from error
    if not kept:
        raise ConfigError(_POOLER.format("drops settings such as statement_timeout"))
