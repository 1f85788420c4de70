"""One farm per test, on each engine we promise."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import structlog
from support.controller import Farm, farm_on


@pytest.fixture(autouse=True, scope="session")
def _plain_logs() -> None:
    """Print errors without the values of every variable, which takes longer than the tests."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            structlog.processors.KeyValueRenderer(key_order=["event"]),
        ]
    )


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of an empty database on each engine."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'farm.db'}"
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture
async def farm(database_url: str, tmp_path: Path) -> AsyncIterator[Farm]:
    """Run a controller."""
    async with farm_on(database_url, tmp_path / "data") as farm:
        yield farm
