"""What has had its time goes, in small steps; what is needed stays, and no line lies."""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import grpc
import pytest
from phonefarm.v1 import agent_pb2, inspect_pb2
from phonefarm_common.channel import bearer
from phonefarm_common.wire_enums import RunOutcome
from phonefarm_controller.evidence.backends.backend import EvidenceBackend
from phonefarm_controller.evidence.backends.filesystem import FilesystemBackend
from phonefarm_controller.housekeeping.retention import ROWS, Retention
from phonefarm_controller.model.retention import (
    EvidenceClass,
    RetentionPolicy,
    class_of,
    read_retention,
)
from phonefarm_controller.model.run_reports import (
    ActionDone,
    ActionStarted,
    PhoneReleased,
    RunEnded,
)
from phonefarm_controller.store.database import Database, Transaction
from phonefarm_controller.store.schema import metadata
from phonefarm_controller.store.schema.cluster import audit
from phonefarm_controller.store.schema.work import transitions
from sqlalchemy import func, select, text
from support.controller import KEY, Farm, farm_on, played_agent, request, told
from support.evidence import upload
from support.kept import Kept
from support.once import ONE_PLACE
from support.world import World, world_on

KEEP = read_retention("success=7d,failed=30d,cancelled=7d,manifest=60d", "90d")


async def ran(farm: Farm, serial: str, outcome: str = "done") -> tuple[str, agent_pb2.RunRef]:
    """Return a process that is over, with a log and a manifest, and its run."""
    async with played_agent(farm, serial) as agent:
        await agent.offer()
        accepted = await farm.enqueue(request())
        (assignment,) = await agent.assigned()
        await agent.act_out(assignment)
        await farm.until(accepted.process_id, "completed")
    for kind, name in (("log", "run.log"), ("manifest", "manifest.json")):
        await upload(farm, assignment.run, kind=kind, name=name)
    await sql(farm, "UPDATE runs SET outcome = :o WHERE run_id = :r", o=outcome, r=assignment.run)
    return accepted.process_id, assignment.run


async def sql(farm: Farm, statement: str, **values: Any) -> None:
    """Change what cannot be made to happen: time."""
    values = {k: v.run_id if isinstance(v, agent_pb2.RunRef) else v for k, v in values.items()}
    async with farm.controller.database.writing() as tx:
        await tx.connection.execute(text(statement), values)


async def aged(farm: Farm, *, days: int) -> None:
    """Let everything that has ended have done so some days earlier."""
    back = {"t": round(timedelta(days=days).total_seconds() * 1_000_000)}
    for table, column in (
        ("evidence", "received_at"),
        ("runs", "ended_at"),
        ("capability_requests", "finished_at"),
    ):
        await sql(farm, f"UPDATE {table} SET {column} = {column} - :t", **back)  # noqa: S608


async def lines(farm: Farm, process_id: str) -> Mapping[str, inspect_pb2.EvidenceLine]:
    """Return the process's evidence by name."""
    answer = await farm.inspect.ListEvidence(
        inspect_pb2.ListEvidenceRequest(process_id=process_id), metadata=bearer(KEY)
    )
    return {line.name: line for line in answer.evidence}


async def read(farm: Farm, line: inspect_pb2.EvidenceLine) -> str:
    """Return `there`, or the reason why the file cannot be read."""
    ask = inspect_pb2.ReadEvidenceRequest(process_id=line.process_id, evidence_id=line.evidence_id)
    try:
        async for _ in farm.inspect.ReadEvidence(ask, metadata=bearer(KEY)):
            pass
    except grpc.aio.AioRpcError as error:
        return told(pytest.ExceptionInfo.from_exception(error))[0]
    return "there"


@pytest.fixture
async def farm(database_url: str, tmp_path: Path, kept: Kept) -> AsyncIterator[Farm]:
    """Run a controller on each engine, with each place for evidence."""
    async with farm_on(database_url, tmp_path / "data", evidence=kept.where) as farm:
        yield farm


async def files_in(kept: Kept) -> set[str]:
    """Return the names of the files of runs, with their run."""
    return set(await asyncio.to_thread(kept.files))


def retire_of(farm: Farm, place: EvidenceBackend) -> Retention:
    """Return the operation."""
    return Retention(database=farm.controller.database, backend=place, keep=KEEP, rest=0)


async def test_evidence_goes_by_its_class_and_says_so(farm: Farm, kept: Kept) -> None:
    """After ten days: the logs of what went well and was cancelled; lines and manifests stay."""
    done, done_run = await ran(farm, "P1")
    failed, failed_run = await ran(farm, "P2", "failed")
    stopped, stopped_run = await ran(farm, "P3", "stopped")
    await aged(farm, days=10)

    retire = retire_of(farm, kept.place())
    await retire.files()

    expected = {f"{run.run_id}/manifest.json" for run in (done_run, failed_run, stopped_run)}
    assert await files_in(kept) == expected | {f"{failed_run.run_id}/run.log"}
    seen = {process: await lines(farm, process) for process in (done, failed, stopped)}
    assert {len(each) for each in seen.values()} == {2}
    gone = seen[done]["run.log"]
    assert gone.HasField("removed_at")
    assert gone.removed_why == "retention: success is kept for 7 days"
    assert await read(farm, gone) == "evidence_removed"
    assert await read(farm, seen[failed]["run.log"]) == "there"
    assert await read(farm, seen[stopped]["manifest.json"]) == "there"
    assert retire.removed.files == {EvidenceClass.SUCCESS: 1, EvidenceClass.CANCELLED: 1}
    async with farm.controller.database.reading() as tx:
        rows = await tx.connection.execute(select(audit).where(audit.c.actor == "retention"))
        assert {(row.verb, row.subject, row.reason) for row in rows} == {
            ("remove evidence", name, "1 files, 4 bytes by retention")
            for name in ("success", "cancelled")
        }


async def test_a_crash_between_line_and_file_is_mended(
    farm: Farm, kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line says removed although the file is there; the next round finds and removes it."""
    process_id, run = await ran(farm, "P1")
    await aged(farm, days=10)

    def die(paths: Collection[str]) -> None:
        raise OSError(5, "the controller dies here")

    dying = kept.place()
    monkeypatch.setattr(dying, "remove", die)
    with pytest.raises(OSError, match="dies here"):
        await retire_of(farm, dying).files()
    between = await read(farm, (await lines(farm, process_id))["run.log"]), await files_in(kept)
    await retire_of(farm, kept.place()).files()

    assert between == (
        "evidence_removed",
        {f"{run.run_id}/run.log", f"{run.run_id}/manifest.json"},
    )
    assert await files_in(kept) == {f"{run.run_id}/manifest.json"}


async def test_the_controller_does_it_by_itself(
    database_url: str, tmp_path: Path, kept: Kept
) -> None:
    """Also what was old when it began; a file that was removed is not uploaded anew."""
    data, where = tmp_path / "data", kept.where
    async with farm_on(database_url, data, evidence=where) as farm:
        process_id, run = await ran(farm, "P1")
        await aged(farm, days=10)
    async with (
        farm_on(database_url, data, evidence=kept.where, keep=KEEP) as farm,
        asyncio.timeout(180),
    ):
        while await files_in(kept) != {f"{run.run_id}/manifest.json"}:  # noqa: ASYNC110 - a place
            await asyncio.sleep(0.01)
        await upload(farm, run, kind="log", name="run.log")

        assert (await lines(farm, process_id))["run.log"].HasField("removed_at")
    assert await files_in(kept) == {f"{run.run_id}/manifest.json"}


async def test_an_old_process_goes_whole(farm: Farm, kept: Kept) -> None:
    """With all that names it in any table; its evidence first, and files that no line names."""
    process_id, run = await ran(farm, "P1")
    await farm.milestones(process_id)
    await asyncio.to_thread(kept.put, f"{process_id}/{run.run_id}/stray", b"x")
    names = [process_id, run.run_id, run.item_id]
    await aged(farm, days=100)
    before = await mentions(farm, names)

    retire = retire_of(farm, kept.place())
    await retire.processes()
    with_evidence = await mentions(farm, names)
    await retire.files()
    await retire.processes()

    assert {"capability_requests", "queue_items", "runs", "leases", "transitions"} <= before
    assert {"action_results", "deliveries", "evidence"} <= before
    assert with_evidence == before
    assert await mentions(farm, names) == set()
    assert await files_in(kept) == set()
    assert retire.removed.processes == 1


async def mentions(farm: Farm, names: list[str]) -> set[str]:
    """Return the tables of which a row has one of these names in a column."""
    found = set()
    async with farm.controller.database.reading() as tx:
        for table in metadata.sorted_tables:
            for row in await tx.connection.execute(select(table)):
                if any(value in names for value in row):
                    found.add(table.name)
    return found


@ONE_PLACE
@pytest.mark.parametrize("why", ["young", "unfinished", "untold", "ingested"])
async def test_a_process_that_is_needed_stays(farm: Farm, kept: Kept, why: str) -> None:
    """Young, unfinished, its caller not told yet, or the proof that a content was posted."""
    process_id, run = await ran(farm, "P1")
    await sql(farm, "UPDATE evidence SET path = '', removed_at = 1")
    if why == "unfinished":
        process_id = (await farm.enqueue(request())).process_id
    if why not in {"untold", "unfinished"}:
        await farm.milestones(process_id)
    if why == "ingested":
        await sql(
            farm, "INSERT INTO contents VALUES ('a', 'c', :p, :i)", p=process_id, i=run.item_id
        )
    await aged(farm, days=1 if why == "young" else 100)

    await retire_of(farm, kept.place()).processes()

    assert (await farm.get(process_id)).process_id == process_id


async def test_others_write_while_much_is_removed(database_url: str, tmp_path: Path) -> None:
    """No transaction takes more than a hundred rows: new work is accepted in between."""
    async with world_on(database_url) as world:
        process_id = await finished(world)
        made = 20 * ROWS
        async with world.database.writing() as tx:
            row = {"process_id": process_id, "at": tx.now, "to_state": "DONE"}
            row |= {"actor": "x", "reason": "", "attempt": 0}
            await tx.connection.execute(transitions.insert(), [row] * made)
            await tx.connection.execute(text("UPDATE deliveries SET state = 'delivered'"))
            await tx.connection.execute(text("UPDATE capability_requests SET finished_at = 1"))
        counting = Counting(world.database, process_id)
        retire = Retention(
            database=cast("Database", counting),
            backend=FilesystemBackend(tmp_path),
            keep=RetentionPolicy(processes=timedelta(days=1)),
            rest=0,
        )
        retiring = asyncio.create_task(retire.processes())
        accepted = 0
        while not retiring.done():
            await world.accept()
            accepted += 1
        await retiring

        steps = [one - other for one, other in pairwise([made, *counting.left])]
        assert accepted > 5, "everybody else waited"
        assert max(steps) == ROWS
        assert counting.left[-1] == 0
        assert retire.removed.processes == 1


class Counting:
    """A database that notes behind each writing transaction what it leaves of a process's moves."""

    def __init__(self, database: Database, process_id: str) -> None:
        self.left: list[int] = []
        self._database = database
        self._query = select(func.count()).where(transitions.c.process_id == process_id)

    def __getattr__(self, name: str) -> Any:
        """Pass on everything else."""
        return getattr(self._database, name)

    @asynccontextmanager
    async def writing(self, **options: Any) -> AsyncIterator[Transaction]:
        """Write, and count before the commit."""
        async with self._database.writing(**options) as tx:
            yield tx
            self.left.append((await tx.connection.execute(self._query)).scalar_one())


async def finished(world: World) -> str:
    """Return a process that has been done."""
    await world.furnish("a", "p1")
    process_id = await world.accept()
    (assignment,) = await world.claim(world.offers("a", "p1"))
    await world.begin(assignment)
    await world.tell(
        assignment,
        1,
        ActionStarted(index=0, kind="launch_app"),
        ActionDone(index=0, kind="launch_app", outputs="{}", seconds=1),
        RunEnded(outcome=RunOutcome.DONE, failure=None, exit_code=0),
        PhoneReleased(clean=True, reason="", residue=()),
    )
    return process_id


@pytest.mark.parametrize(
    ("kind", "verification", "outcome", "expected"),
    [
        ("manifest", True, "done", EvidenceClass.MANIFEST),
        ("log", True, "failed", EvidenceClass.VERIFICATION),
        ("log", False, "done", EvidenceClass.SUCCESS),
        ("log", False, "stopped", EvidenceClass.CANCELLED),
        ("log", False, "failed", EvidenceClass.FAILED),
        ("log", False, "unconfirmed", EvidenceClass.FAILED),
        ("log", False, None, EvidenceClass.FAILED),
    ],
)
def test_every_file_has_a_class(
    kind: str, verification: bool, outcome: str | None, expected: EvidenceClass
) -> None:
    """By its kind, then whether it was a proof, then how the run ended."""
    assert class_of(kind=kind, verification=verification, outcome=outcome) is expected


def test_settings_are_read() -> None:
    """What is not named keeps its default."""
    keep = read_retention("failed=12h, verification=30d,manifest=forever", "400d")

    assert keep.evidence[EvidenceClass.FAILED] == timedelta(hours=12)
    assert keep.evidence[EvidenceClass.VERIFICATION] == timedelta(days=30)
    assert keep.evidence[EvidenceClass.MANIFEST] is None
    assert keep.evidence[EvidenceClass.SUCCESS] == timedelta(days=30)
    assert keep.processes == timedelta(days=400)


@pytest.mark.parametrize(
    ("evidence", "processes", "told_of"),
    [
        ("nonsense=3d", "forever", "there is no class 'nonsense': use manifest, verification"),
        ("failed=3", "forever", "--keep-evidence failed: '3' must be a time such as 30d"),
        ("failed=0d", "forever", "'0d' must be a time such as"),
        ("failed", "forever", "'' must be a time such as"),
        ("manifest=7d", "forever", "manifests must be kept at least as long as success"),
        ("failed=forever", "forever", "manifests must be kept at least as long as failed"),
        ("", "30d", "--keep-processes must be at least as long as the longest"),
        ("", "soon", "--keep-processes: 'soon' must be a time such as"),
    ],
)
def test_wrong_settings_are_told(evidence: str, processes: str, told_of: str) -> None:
    """Each names the option and what it should be."""
    with pytest.raises(ValueError, match=told_of):
        read_retention(evidence, processes)
