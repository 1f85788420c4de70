"""A farm for the client: a real gateway and controller, whose agent the tests play."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from support.rest_farm import RestFarm, rest_farm

SECRET = "whsec_cGhvbmVmYXJtLWNsaWVudC10ZXN0cy1zZWNyZXQ="


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RestFarm]:
    """Yield a farm of three phones with one account each, which signs its callbacks."""
    data = tmp_path_factory.mktemp("client")
    async with rest_farm(data, settings={"webhook_secret": SECRET}) as farm:
        yield farm
