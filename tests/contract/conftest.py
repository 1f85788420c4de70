"""A farm for the rules of the public contract: real gateway, real controller, played agents."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from support.rest_farm import RestFarm, rest_farm


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def still(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RestFarm]:
    """Yield a farm for all rules of a module; its phones are never offered, so nothing runs.

    SIM1 and SIM2 have one account each, SIM3 has two, SIM4 none that is active; acc-off is not
    active, acc-nowhere is on no phone. The groups are `pair` (SIM1, SIM2), `mixed` (SIM1, SIM3),
    `nobody` (none), and `authors` (acc-SIM1, acc-SIM2).
    """
    data = tmp_path_factory.mktemp("still")
    async with rest_farm(data, phones=("SIM1", "SIM2", "SIM3", "SIM4")) as farm:
        await farm.put_account("acc-second", phone_id="ph-sim3")
        await farm.put_account("acc-SIM4", phone_id="ph-sim4", active=False)
        await farm.put_account("acc-off", phone_id="ph-sim2", active=False)
        await farm.put_account("acc-nowhere")
        await farm.put_group("phone", "pair", "ph-sim1", "ph-sim2")
        await farm.put_group("phone", "mixed", "ph-sim1", "ph-sim3")
        await farm.put_group("phone", "nobody")
        await farm.put_group("account", "authors", "acc-SIM1", "acc-SIM2")
        yield farm


@pytest.fixture
async def moving(tmp_path: Path) -> AsyncIterator[RestFarm]:
    """Yield a farm of a test's own, whose agent it plays."""
    async with rest_farm(tmp_path) as farm:
        yield farm
