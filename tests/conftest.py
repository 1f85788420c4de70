"""What every test gets: components or a reason, and an environment that says nothing of farms."""

import gc
import os
import sys
from collections.abc import Generator

import pytest
import structlog
from support import preloaded
from support.components import COMPONENTS, REQUIRE, insist_or_skip

pytest_plugins = [
    "support.disk",
    "support.engine",
    "support.postgres",
    "support.s3",
    "support.kept",  # imports the one before
]

_IMAGE_SECONDS = 900
_LONGEST_ID = 80
_SHARED_FARMS = {"live_farm", "live", "console"}
_OURS = ("PHONEFARM_", "PHONE_FARM_", "OTEL_")


def pytest_configure() -> None:
    """Forget the settings of a farm that runs on this machine, and send logs past `capsys`.

    A test that reads what a command printed must not read what the controller beside it logged:
    a slow machine makes it log more. Errors come without the values of every variable, which takes
    longer than the tests.
    """
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            structlog.processors.KeyValueRenderer(key_order=["event"]),
        ],
        logger_factory=structlog.PrintLoggerFactory(file=sys.__stderr__),
    )
    for name in list(os.environ):
        if name != REQUIRE and (name.startswith(_OURS) or name == "INGEST_SECRET"):
            del os.environ[name]
    preloaded.preload()


def pytest_make_parametrize_id(val: object) -> str | None:
    """Name a long parameter by its beginning and its length: ids travel to every worker."""
    if isinstance(val, str | bytes) and len(val) > _LONGEST_ID:
        return f"{val[:_LONGEST_ID]!r} and more, {len(val)} in all"
    return None


@pytest.hookimpl(tryfirst=True)  # xdist reads the groups in its own hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give the first test that uses containers the time to build the run image.

    Side by side run files, whose tests share what a module sets up, and long tests each by itself,
    except those that share a farm or a host of systemd. What takes longest goes first.
    """
    items.sort(key=lambda item: (not item.get_closest_marker("long"), not _uses_engine(item)))
    for item in items:
        if not item.get_closest_marker("long") or item.get_closest_marker("systemd"):
            item.add_marker(pytest.mark.xdist_group(str(item.path)))
        elif _SHARED_FARMS & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.xdist_group(f"{item.path} long"))
    for item in items:
        if item.get_closest_marker("docker"):
            item.add_marker(pytest.mark.timeout(_IMAGE_SECONDS))
            return


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Have the garbage collector pass over what is imported: it stays to the end anyway."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def _uses_engine(item: pytest.Item) -> bool:
    return any(item.get_closest_marker(name) for name in ("docker", "systemd"))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose component is missing, or fail it where PHONEFARM_REQUIRE names it."""
    preloaded.allow(not item.get_closest_marker("fresh_start"))
    for marker, look in COMPONENTS.items():
        if item.get_closest_marker(marker) and (missing := look()):
            insist_or_skip(marker, missing, required=os.environ.get(REQUIRE, ""))
