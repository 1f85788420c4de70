"""What a test may need of its machine, and whether it is there."""

import functools
import os
import shutil
from collections.abc import Callable, Mapping

import pytest
from phonefarm_agent.runtimes.docker_engine import Engine
from phonefarm_agent.runtimes.interface import RuntimeFailedError
from support import netns, systemd_host
from support.postgres_server import faketime, programs, server_user

REQUIRE = "PHONEFARM_REQUIRE"


def _docker() -> str | None:
    try:
        Engine().version()
    except RuntimeFailedError as error:
        return str(error)
    return None


def _postgres() -> str | None:
    if programs() is None:
        return "no initdb found: `apt-get install postgresql` (scripts/provision.sh postgres)"
    if os.geteuid() == 0 and server_user() is None:
        return "root cannot run PostgreSQL and there is neither a user postgres nor nobody"
    return None


def _faketime() -> str | None:
    """Return why no clock of PostgreSQL can be set."""
    if faketime() is None:
        return "no libfaketime: `apt-get install libfaketime` (scripts/provision.sh postgres)"
    return _postgres()


def _browser() -> str | None:
    if shutil.which("chromium") is None:
        return "no chromium found: `apt-get install chromium` (scripts/provision.sh browser)"
    return None


def _promtool() -> str | None:
    if shutil.which("promtool") is None:
        return "no promtool found: `apt-get install prometheus` (scripts/provision.sh prometheus)"
    return None


COMPONENTS: Mapping[str, Callable[[], str | None]] = {
    "browser": _browser,
    "docker": functools.cache(_docker),
    "promtool": _promtool,
    "postgres": functools.cache(_postgres),
    "faketime": functools.cache(_faketime),
    "netns": functools.cache(netns.missing),
    "systemd": systemd_host.missing,
}
"""Marker -> what is missing of it, None when nothing is; looked at once, when first needed."""


def insist_or_skip(marker: str, missing: str, *, required: str) -> None:
    """Skip the test for what is missing; fail it when *required* (a,b,c) names the marker."""
    if marker in required.split(","):
        pytest.fail(f"{REQUIRE} names {marker}, but: {missing}", pytrace=False)
    pytest.skip(f"{marker}: {missing}")
