"""The machine's components as tests see them."""

import os
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest
from support.postgres_server import PostgresServer

TESTS = Path(__file__).resolve().parent.parent

_NEEDS_DOCKER = '''
import pytest

pytestmark = pytest.mark.docker

def test_it():
    """Needs an engine."""
'''


@pytest.mark.postgres
async def test_each_test_gets_a_database_of_its_own(
    postgres: PostgresServer, postgres_url: str
) -> None:
    """A table made in one database is not there in the next."""
    connection = await asyncpg.connect(postgres_url.replace("+asyncpg", ""))
    await connection.execute("CREATE TABLE mark (id int)")
    await connection.close()

    with postgres.database("another") as url:
        other = await asyncpg.connect(url.replace("+asyncpg", ""))
        tables = await other.fetchval("SELECT count(*) FROM pg_tables WHERE tablename = 'mark'")
        await other.close()

    assert tables == 0
    assert "another" not in postgres.sql("SELECT datname FROM pg_database")


@pytest.mark.parametrize(
    ("required", "status", "told"),
    [("", 0, "SKIPPED"), ("postgres", 0, "SKIPPED"), ("docker,postgres", 1, "PHONEFARM_REQUIRE")],
)
def test_a_missing_component_skips_or_fails_with_its_reason(
    tmp_path: Path, required: str, status: int, told: str
) -> None:
    """Without an engine a docker test is skipped, or failed when PHONEFARM_REQUIRE says so."""
    (tmp_path / "test_needy.py").write_text(_NEEDS_DOCKER)
    (tmp_path / "conftest.py").write_text((TESTS / "conftest.py").read_text())
    (tmp_path / "pytest.ini").write_text(
        f"[pytest]\npythonpath = {TESTS}\nmarkers =\n    docker: needs an engine\n"
    )
    environment = {
        **os.environ,
        "PHONEFARM_REQUIRE": required,
        "DOCKER_HOST": f"unix://{tmp_path}/none.sock",
    }

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-ra", "-p", "no:cacheprovider", str(tmp_path)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )

    assert done.returncode == status, done.stdout
    assert told in done.stdout
    assert "no container engine answered" in done.stdout


def test_settings_of_a_farm_on_this_machine_are_not_seen() -> None:
    """No variable of ours is left, whatever the caller's shell has."""
    ours = [name for name in os.environ if name.startswith(("PHONEFARM_", "PHONE_FARM_"))]

    assert set(ours) <= {"PHONEFARM_REQUIRE"}
    assert "INGEST_SECRET" not in os.environ


@pytest.mark.skipif("PYTEST_XDIST_WORKER" not in os.environ, reason="groups are for workers")
def test_tests_of_one_file_stay_on_one_worker(request: pytest.FixtureRequest) -> None:
    """Those that use the engine, too; some releases of pytest drop the groups without a word."""
    assert request.node.nodeid.endswith(f"@{request.path}")
