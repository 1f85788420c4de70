"""Fixtures: one PostgreSQL server for the session, one fresh database per test."""

import itertools
import os
from collections.abc import Iterator

import pytest
from phonefarm_controller.store import database, postgres_connection, stuck_transactions
from support.postgres_server import PostgresServer, postgres_server
from support.prepared import TEMPLATE, prepare_postgres

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """Run a server; the test that asks for it carries the marker `postgres`."""
    with postgres_server() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_template(postgres: PostgresServer) -> str:
    """Return the name of a database of the server that has our tables and no rows."""
    prepare_postgres(postgres)
    return TEMPLATE


@pytest.fixture
def patient_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the database ten times as long: a busy machine is not one that is frozen.

    Tests of a limit set that limit themselves.
    """
    for name in ("CONNECTION", "STATEMENT", "LOCK", "IDLE"):
        limit = f"{name}_SECONDS"
        monkeypatch.setattr(database, limit, getattr(database, limit) * 10)
    monkeypatch.setattr(stuck_transactions, "IDLE_SECONDS", database.IDLE_SECONDS)
    connecting = postgres_connection.CONNECT_SECONDS
    monkeypatch.setattr(postgres_connection, "CONNECT_SECONDS", connecting * 10)


@pytest.fixture
def postgres_url(
    postgres: PostgresServer, postgres_template: str, patient_limits: None
) -> Iterator[str]:
    """Return the SQLAlchemy URL (asyncpg) of a database of this test's own: tables, no rows."""
    with postgres.database(_name(), template=postgres_template) as url:
        yield url


@pytest.fixture
def empty_postgres_url(postgres: PostgresServer, patient_limits: None) -> Iterator[str]:
    """Return the URL of a database of this test's own in which there is no table yet."""
    with postgres.database(_name()) as url:
        yield url


def _name() -> str:
    return f"test_{os.getpid()}_{next(_numbers)}"
