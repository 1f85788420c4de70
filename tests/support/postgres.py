"""Fixtures: one PostgreSQL server for the session, one fresh database per test."""

import itertools
import os
from collections.abc import Iterator

import pytest
from support.postgres_server import PostgresServer, postgres_server

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """Run a server; the test that asks for it carries the marker `postgres`."""
    with postgres_server() as server:
        yield server


@pytest.fixture
def postgres_url(postgres: PostgresServer) -> Iterator[str]:
    """Return the SQLAlchemy URL (asyncpg) of an empty database of this test's own."""
    with postgres.database(f"test_{os.getpid()}_{next(_numbers)}") as url:
        yield url
