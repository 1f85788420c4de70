"""How long a claim takes beside a backlog, and beside none: one controller's operations alone."""

import statistics
import time
from typing import Any

from phonefarm_common.wire_enums import RunOutcome
from phonefarm_controller.model.run_reports import Assignment, PhoneReleased, RunEnded
from phonefarm_controller.store.schema import metadata
from support.backlog import SERIALS, SHAPES, furnish, pile_up
from support.world import World, world_on


async def claims(url: str, *, backlog: int, samples: int) -> dict[str, Any]:
    """Return milliseconds of a claim for one phone, by what else waits, and ratios to nothing."""
    found: dict[str, Any] = {"items": backlog, "samples": samples}
    for shape in ("none", *SHAPES):
        async with world_on(url) as world:
            await furnish(world)
            if shape != "none":
                await pile_up(world, backlog, SHAPES[shape])
            taken = [await _claimed(world, SERIALS[n % len(SERIALS)]) for n in range(samples + 20)]
            found[shape] = _figures(taken[20:])
            await _clear(world)
    for shape in SHAPES:
        for part in ("p50", "p99"):
            ratio = found[shape][f"{part}_ms"] / found["none"][f"{part}_ms"]
            found[shape][f"{part}_ratio_to_none"] = round(ratio, 2)
    return found


def _figures(seconds: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(seconds, n=100)
    return {
        "p50_ms": round(statistics.median(seconds) * 1000, 2),
        "p99_ms": round(cuts[98] * 1000, 2),
    }


async def _claimed(world: World, serial: str) -> float:
    """Ask for work, and return how long it took to claim something for the phone."""
    await world.accept()
    offers = world.offers("north", serial)
    begun = time.perf_counter()
    (run,) = await world.claim(offers)
    taken = time.perf_counter() - begun
    await _finish(world, run)
    return taken


async def _finish(world: World, run: Assignment) -> None:
    await world.begin(run)
    done = RunEnded(outcome=RunOutcome.DONE, failure=None, exit_code=0)
    await world.tell(run, 1, done, PhoneReleased(clean=True, reason="", residue=()))


async def _clear(world: World) -> None:
    """Leave an empty database behind."""
    async with world.database.writing() as tx:
        for table in reversed(metadata.sorted_tables):
            await tx.connection.execute(table.delete())
