"""The real operations on SQLite in any order, in virtual time; judged after every step."""

import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from phonefarm_controller.model.states import PROCESS_TERMINAL
from support.chaos import Chaos
from support.seeds import seeds
from support.world import posting_allowed, world_on

STEPS = 350
SEEDS = seeds(6, quick=2)


@pytest.fixture
def memory_path() -> Iterator[Path]:
    """Return a folder in memory, where there is one: thousands of commits."""
    memory = Path("/dev/shm")  # noqa: S108 - a folder of our own in it
    folder = Path(tempfile.mkdtemp(prefix="pf-chaos-", dir=memory if memory.is_dir() else None))
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize("seed", SEEDS)
async def test_no_order_of_operations_breaks_a_promise(seed: int, memory_path: Path) -> None:
    """Claims, gates, reports, cancels, silence, returns and stale words; then all ends."""
    with posting_allowed():
        async with world_on(f"sqlite:///{memory_path / 'farm.db'}") as world:
            chaos = Chaos(world, seed)
            await chaos.begin()

            await chaos.run(STEPS)
            end = await chaos.settle_down()

    assert all(p["state"] in PROCESS_TERMINAL for p in end.processes.values())
    # What an operator took from a silent run waits for its agent, account and all.
    assert all(lease["account_held"] == lease["revoked"] for lease in end.leases.values())
    states = Counter(item["state"] for item in end.items.values())
    codes = Counter(json.loads(i["failure"])["code"] for i in end.items.values() if i["failure"])
    assert states["DONE"] >= 3, (states, codes)  # or the dice were loaded and nothing was tried
    assert states["DEAD_LETTER"] >= 3
    assert states["CANCELLED"] >= 1
