"""Whole farms for the tests of this folder."""

from collections.abc import AsyncIterator, Iterator

import pytest
from gateway.support.receiver import Receiver
from support.brokenapp import put_broken_app
from support.live_farm import Hand, LiveFarm, hand
from support.up_process import started_up


@pytest.fixture(
    scope="module",
    params=["process", pytest.param("docker", marks=[pytest.mark.docker, pytest.mark.long])],
)
def live_farm(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LiveFarm]:
    """Run one farm of four phones for all tests of a module; one profile of it is broken."""
    data = tmp_path_factory.mktemp(f"farm-{request.param}") / "farm"
    put_broken_app(data)
    with started_up(data, simulate=4, runtime=request.param) as up:
        yield up.ready()
        assert up.stop() == 0, up.said


@pytest.fixture
async def at_work(live_farm: LiveFarm) -> AsyncIterator[Hand]:
    """Yield a hand on the farm, made whole before each test."""
    async with hand(live_farm) as it:
        await it.made_whole()
        yield it


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """Yield a receiver of callbacks."""
    async with Receiver.serving() as it:
        yield it
