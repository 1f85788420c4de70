"""Backups: whole, of one moment, from a farm at work; and a farm goes on from one."""

import asyncio
import hashlib
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from phonefarm.v1 import agent_pb2, operator_pb2, operator_pb2_grpc
from phonefarm_cli.errors import CommandError
from phonefarm_common.channel import bearer
from phonefarm_common.disk_space import GIB, DiskFigures
from phonefarm_common.reasons import FarmError
from phonefarm_controller.housekeeping.backup import CHUNK_BYTES, NAME, Backup
from phonefarm_controller.store.sqlite_backup import copy_paused
from phonefarm_simulator.farm import simulated_phones
from support.agents import PHONE_SCALE, agent_of, running_agent
from support.commanding import Operator
from support.controller import KEY, PATIENCE, Farm, farm_on, played_agent, request
from support.world import world_on


async def parts(farm: Farm) -> list[operator_pb2.BackupPart]:
    """Return a backup as it travels."""
    hands: Any = operator_pb2_grpc.OperatorServiceStub(farm.channel)
    asked = operator_pb2.BackupRequest(reason="for a test")
    return [part async for part in hands.Backup(asked, metadata=bearer(KEY))]


async def until_epoch(farm: Farm, least: int) -> None:
    """Wait until the one phone is known, and to have seen this epoch."""
    async with asyncio.timeout(PATIENCE):
        while not any(phone.epoch >= least for phone in await farm.known_phones()):  # noqa: ASYNC110 - only a call tells
            await asyncio.sleep(0.02)


async def work(farm: Farm) -> str:
    """Have one run acted out on the phone; return its process."""
    accepted = await farm.enqueue(request())
    await farm.until(accepted.process_id, "completed")
    return accepted.process_id


async def test_a_farm_is_restored_and_goes_on_above_the_epochs_its_phones_have_seen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Real agent, real adb: all is paused until somebody has looked; later work is unknown."""
    live, copy = tmp_path / "farm.db", tmp_path / "copy.db"
    async with simulated_phones(1, tmp_path / "phones") as phones:
        async with (
            farm_on(f"sqlite:///{live}", tmp_path / "data", scale=PHONE_SCALE) as farm,
            running_agent(agent_of(farm, tmp_path / "agent", phones)),
        ):
            await until_epoch(farm, 0)
            await farm.admit(["SIM0001"])
            before = await work(farm)
            told = await Operator.of(farm, capsys).command("backup", str(copy))
            later = [await work(farm) for _ in range(2)]
        async with (
            farm_on(f"sqlite:///{copy}", tmp_path / "again", scale=PHONE_SCALE) as farm,
            running_agent(agent_of(farm, tmp_path / "agent", phones)),
        ):
            operator = Operator.of(farm, capsys)
            kept = await farm.get(before)
            accepted = await farm.enqueue(request())
            await until_epoch(farm, 3)
            paused = await operator.command("pause")
            explained = await operator.command("processes", "explain", accepted.process_id)
            with pytest.raises(CommandError, match="unknown_process"):
                await operator.command("processes", "show", later[0])
            await operator.command("resume", "--all")
            await farm.until(accepted.process_id, "completed")
            (phone,) = await farm.known_phones()

    assert f"{copy}: the database as of" in told.out
    assert copy.stat().st_mode & 0o777 == 0o600
    assert kept.status == "completed"
    assert "restored from the backup of" in paused.out
    assert "paused" in explained.out
    assert phone.epoch == 4


async def test_a_phone_that_refuses_an_old_epoch_gets_a_higher_one(tmp_path: Path) -> None:
    """Restored, the farm counts from too low until the agent says what its phone has seen."""
    async with (
        farm_on(f"sqlite:///{tmp_path / 'farm.db'}", tmp_path / "data") as farm,
        played_agent(farm, "A1") as agent,
    ):
        await agent.offer()
        accepted = await farm.enqueue(request())
        (low,) = await agent.assigned()
        refused = agent_pb2.RunRefused(reason="epoch_too_old:7")
        clean = agent_pb2.PhoneReleased(clean=True)
        report = agent_pb2.PhoneReport(
            serialno="A1",
            adb_serial="127.0.0.1:A1",
            transport=agent_pb2.TRANSPORT_ONLINE,
            readiness=agent_pb2.READINESS_READY,
            epoch=7,
        )

        await agent.report(
            agent.record(low.run, run_refused=refused),
            agent.record(low.run, phone_released=clean),
        )
        await agent.say(inventory=agent_pb2.Inventory(phones=[report]))
        await agent.hear("phone_names")
        await agent.offer()
        (high,) = await agent.assigned()
        await agent.act_out(high)
        await farm.until(accepted.process_id, "completed")

    assert (low.run.epoch, high.run.epoch) == (1, 8)


async def test_a_copy_is_of_one_moment_and_keeps_nobody_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Work is accepted in the midst of it; in the copy each process has its item."""
    copying, go_on = threading.Event(), threading.Event()

    def slowly(*words: Any) -> None:
        copying.set()
        assert go_on.wait(PATIENCE)
        copy_paused(*words)

    monkeypatch.setattr("phonefarm_controller.housekeeping.backup.copy_paused", slowly)
    async with farm_on(f"sqlite:///{tmp_path / 'farm.db'}", tmp_path / "data") as farm:
        for _ in range(20):
            await farm.enqueue(request())
        sending = asyncio.create_task(parts(farm))
        assert await asyncio.to_thread(copying.wait, PATIENCE)
        for _ in range(20):
            await farm.enqueue(request())
        more = [asyncio.create_task(farm.enqueue(request())) for _ in range(50)]
        go_on.set()
        sent = await sending
        await asyncio.gather(*more)
        left = (tmp_path / "data" / NAME).exists()

    data = b"".join(part.data for part in sent)
    copy = tmp_path / "copy.db"
    copy.write_bytes(data)
    with closing(sqlite3.connect(copy)) as database:
        (sound,) = database.execute("PRAGMA integrity_check").fetchone()
        (made,) = database.execute("SELECT count(*) FROM capability_requests").fetchone()
        query = "SELECT count(DISTINCT process_id) FROM queue_items"
        (planned,) = database.execute(query).fetchone()
        audited = database.execute("SELECT reason FROM audit WHERE verb = 'backup'").fetchall()
    assert sent[0].head.bytes == len(data)
    assert sent[0].head.sha256 == hashlib.sha256(data).hexdigest()
    assert max(len(part.data) for part in sent) <= CHUNK_BYTES
    assert sound == "ok"
    assert made == planned >= 40
    assert audited == [("for a test",)]
    assert not left


async def test_one_backup_at_a_time_and_what_a_killed_one_left_is_replaced(tmp_path: Path) -> None:
    """The second is refused, and the first is not disturbed."""
    (tmp_path / NAME).write_text("left by a controller that was killed")
    async with world_on(f"sqlite:///{tmp_path / 'farm.db'}") as world:
        backup = Backup(database=world.database, data=tmp_path)
        async with backup.taken(actor="ada", reason="r") as copy:
            with pytest.raises(FarmError) as refused:
                async with backup.taken(actor="bob", reason="r"):
                    pass
            begin = await copy.chunk()
        async with backup.taken(actor="bob", reason="r") as second:
            again = await second.chunk()

    assert refused.value.text == "state_conflict:backup_running"
    assert begin.startswith(b"SQLite format 3\0")
    assert again.startswith(b"SQLite format 3\0")


@pytest.mark.postgres
async def test_a_database_on_postgresql_is_left_to_its_own_program(
    postgres_url: str, tmp_path: Path
) -> None:
    """The refusal names it."""
    async with world_on(postgres_url) as world:
        backup = Backup(database=world.database, data=tmp_path)
        with pytest.raises(FarmError, match="pg_dump") as refused:
            async with backup.taken(actor="ada", reason="r"):
                pass

    assert refused.value.text == "state_conflict:postgresql"


async def test_a_full_disk_refuses_a_backup_and_harms_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What runs needs the room more."""
    full = DiskFigures(total=10 * GIB, free=0)
    monkeypatch.setattr("phonefarm_controller.housekeeping.backup.disk_figures", lambda _: full)
    async with world_on(f"sqlite:///{tmp_path / 'farm.db'}") as world:
        backup = Backup(database=world.database, data=tmp_path)
        with pytest.raises(FarmError, match="free some space") as refused:
            async with backup.taken(actor="ada", reason="r"):
                pass

    assert refused.value.text == "storage_full"
    assert not (tmp_path / NAME).exists()


async def test_a_file_that_is_there_is_not_replaced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor is anything left of one that cannot be written."""
    place = tmp_path / "farm.copy"
    place.write_text("the last one")
    async with farm_on(f"sqlite:///{tmp_path / 'farm.db'}", tmp_path / "data") as farm:
        operator = Operator.of(farm, capsys)
        with pytest.raises(CommandError, match="give another name"):
            await operator.command("backup", str(place))
        with pytest.raises(CommandError, match="cannot be written"):
            await operator.command("backup", str(tmp_path / "nowhere" / "x"))

    assert place.read_text() == "the last one"
    assert not (tmp_path / "nowhere").exists()
