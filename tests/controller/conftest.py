"""One farm per test, on each engine we promise."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.controller import Farm, farm_on

_ONE_ENGINE_AT_FIRST = frozenset(
    f"test_{name}.py"
    for name in (
        *("accounts_and_groups", "api_keys", "content", "enqueue_rules", "evidence_upload"),
        *("explaining", "host_reports", "inspect_edge", "listing", "one_spoils_itself", "pauses"),
        *("reruns", "snapshots", "transitions_kept", "unreadable_profiles", "upkeep"),
        "verification",
    )
)
"""What these ask is decided before SQL: PostgreSQL takes its turn in `make test-all`."""
if gone := [name for name in _ONE_ENGINE_AT_FIRST if not Path(__file__).with_name(name).exists()]:
    raise RuntimeError(f"no such tests: {gone}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the second engine's turn as long where the first one's says nearly all."""
    for item in items:
        # Nor do the database and the place for evidence know each other.
        alike = item.path.name in _ONE_ENGINE_AT_FIRST or "bucket" in item.name
        if alike and item.get_closest_marker("postgres"):
            item.add_marker(pytest.mark.long)


_ENGINES = ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]


@pytest.fixture(params=_ENGINES)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of a database without rows on each engine."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'farm.db'}"
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture(params=_ENGINES)
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of a database without tables on each engine, for who makes them."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'farm.db'}"
    url: str = request.getfixturevalue("empty_postgres_url")
    return url


@pytest.fixture
async def farm(database_url: str, tmp_path: Path) -> AsyncIterator[Farm]:
    """Run a controller."""
    async with farm_on(database_url, tmp_path / "data") as farm:
        yield farm


@pytest.fixture
async def impatient_farm(database_url: str, tmp_path: Path) -> AsyncIterator[Farm]:
    """Run a controller that takes silence for an end as soon as its other timers would have it."""
    async with farm_on(database_url, tmp_path / "data", lapse=0.05) as farm:
        yield farm
