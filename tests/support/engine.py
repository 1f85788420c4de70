"""Fixtures: the container engine, the run container's image, and a farm of this test's own."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from phonefarm_common.ids import new_id

if TYPE_CHECKING:
    from phonefarm_agent.runtimes.docker_engine import Engine


@pytest.fixture(scope="session")
def engine() -> "Engine":
    """Return the engine; the test that asks for it carries the marker `docker`."""
    from phonefarm_agent.runtimes.docker_engine import Engine  # noqa: PLC0415 - no other test loads it

    return Engine()


@pytest.fixture(scope="session")
def executor_image(engine: "Engine") -> str:
    """Return the name of the image made from the executor as it is now."""
    from phonefarm_agent.runtimes import image  # noqa: PLC0415 - no other test loads it

    image.build()
    return image.default_name()


@pytest.fixture
def farm_name(engine: "Engine") -> Iterator[str]:
    """Return a farm's name nobody else uses; its containers are removed after the test."""
    name = f"test-{new_id()}"
    yield name
    for container in engine.containers({"phonefarm.farm": name}):
        engine.remove(container.id)
