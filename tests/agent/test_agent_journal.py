"""The journal and the control socket: what the disk and a hostile executor may do to them."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from phonefarm_agent.model.evidence import EvidenceFile
from phonefarm_agent.model.run import Assignment, RunRef, RunState
from phonefarm_agent.runs.control_socket import ControlSocket, EvidenceFrame
from phonefarm_agent.runs.evidence_spool import EvidenceSpool
from phonefarm_agent.runs.journal import JournalFailedError, open_journal
from phonefarm_agent.runs.journal_schema import Statement, add_run, put_fact
from phonefarm_agent.runs.run_directory import SOCKET_PATH_BYTES, RunDirectory, make_runs_folder
from support.agents import no_judge, no_ui_server
from support.asset_server import no_supply

BROKEN = Statement(sql="INSERT INTO no_such_table VALUES (1)", values=())


def state_of(run_id: str) -> RunState:
    """Return a fresh run."""
    ref = RunRef(run_id=run_id, item_id="i", attempt=1, lease_id="l", epoch=1)
    return RunState(
        assignment=Assignment(
            ref=ref,
            process_id="p",
            phone_id="f",
            serialno="s",
            account_id="a",
            capability="c",
            plan_json="{}",
            cap_seconds=1.0,
        )
    )


async def test_writes_asked_for_together_are_all_there_afterwards(tmp_path: Path) -> None:
    """Group commit keeps every write and the order of runs."""
    path = tmp_path / "journal.sqlite"
    async with open_journal(path) as (journal, _):
        await asyncio.gather(*(journal.write(add_run(state_of(f"r{n}"))) for n in range(200)))
        journal.write_later(put_fact("farm_id", "f"))

    async with open_journal(path) as (_, kept):
        assert [run.ref.run_id for run in kept.runs] == [f"r{n}" for n in range(200)]
        assert kept.facts == {"farm_id": "f"}


async def test_a_disk_that_refuses_is_told_and_loses_nothing(tmp_path: Path) -> None:
    """What may fail fails by name; what must be kept is kept once the disk takes it again."""
    path = tmp_path / "journal.sqlite"
    async with open_journal(path) as (journal, _):
        locker = sqlite3.connect(path, isolation_level=None, timeout=0)
        journal._connection.execute("PRAGMA busy_timeout=0")
        locker.execute("BEGIN IMMEDIATE")  # As a full disk: no commit gets through.
        insisting = asyncio.create_task(journal.write(put_fact("kept", "yes")))
        with pytest.raises(JournalFailedError):
            await journal.try_write(put_fact("refused", "yes"))
        assert journal.failing
        locker.execute("ROLLBACK")
        locker.close()

        async with asyncio.timeout(180):
            await insisting

        assert not journal.failing
    async with open_journal(path) as (_, kept):
        assert kept.facts == {"kept": "yes"}


async def test_one_bad_write_does_not_take_its_neighbours_along(tmp_path: Path) -> None:
    """A write that may fail is refused; the one gathered with it arrives."""
    async with open_journal(tmp_path / "journal.sqlite") as (journal, _):
        journal.write_later(put_fact("neighbour", "yes"))

        with pytest.raises(JournalFailedError):
            await journal.try_write(BROKEN)

    async with open_journal(tmp_path / "journal.sqlite") as (_, kept):
        assert kept.facts == {"neighbour": "yes"}


@pytest.mark.parametrize("value", [2**70, "\udcff", object()])
async def test_a_write_no_disk_could_take_stops_nobody_else(tmp_path: Path, value: object) -> None:
    """It is refused by name, also one that insists; its neighbours are kept in their order."""
    impossible = Statement(sql="INSERT OR REPLACE INTO facts VALUES ('x', ?)", values=(value,))
    async with open_journal(tmp_path / "journal.sqlite") as (journal, _):
        journal.write_later(put_fact("order", "first"))
        refused = asyncio.create_task(journal.write(impossible))
        await asyncio.sleep(0)
        journal.write_later(impossible)
        journal.write_later(put_fact("order", "last"))

        async with asyncio.timeout(180):
            with pytest.raises(JournalFailedError):
                await refused
            await journal.write(put_fact("after", "yes"))

        assert not journal.failing
    async with open_journal(tmp_path / "journal.sqlite") as (_, kept):
        assert kept.facts == {"order": "last", "after": "yes"}


def test_evidence_nobody_knows_is_swept(tmp_path: Path) -> None:
    """Half files, and whole ones of a lost journal, go; what waits for upload stays."""
    place = tmp_path / "evidence"
    for name in ("r1/a.png", "r1/.b.png.part", "r2/old.png"):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(b"data")
    file = EvidenceFile(
        ref=state_of("r1").ref,
        name="a.png",
        kind="screenshot",
        path=place / "r1/a.png",
        size=4,
        sha256="0" * 64,
        action_index=0,
    )
    journal: Any = None  # nothing is written by a sweep
    spool = EvidenceSpool(folder=place, journal=journal, changed=asyncio.Event(), kept=(file,))

    spool.sweep()

    assert [str(path.relative_to(place)) for path in sorted(place.rglob("*"))] == ["r1", "r1/a.png"]
    assert spool.waiting() == (file,)


def test_run_directories_have_short_paths(tmp_path: Path) -> None:
    """A long state directory gets a short place elsewhere, the same at every start."""
    runtime = tmp_path / "x"
    runtime.mkdir()
    long_state = tmp_path / ("d" * 120)

    place = make_runs_folder(long_state, {"XDG_RUNTIME_DIR": "/tmp"})  # noqa: S108 - what is tested

    socket = RunDirectory(place, "12345678-1234-1234-1234-123456789012").control_socket
    assert len(str(socket)) <= SOCKET_PATH_BYTES
    assert place == make_runs_folder(long_state, {})
    assert place.stat().st_mode & 0o777 == 0o700
    place.rmdir()


class Talk:
    """A control socket with what it heard."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ready = asyncio.Event()
        self.frames: asyncio.Queue[EvidenceFrame] = asyncio.Queue()
        self.control = ControlSocket(
            path=path,
            run_id="r",
            on_ready=self.ready.set,
            on_line=lambda: None,
            on_evidence=self.frames.put,
            fetch_asset=no_supply,
            on_ui_server=no_ui_server,
            judge=no_judge,
        )


@pytest.fixture
async def talk(tmp_path: Path) -> AsyncIterator[Talk]:
    """Open a control socket."""
    made = Talk(tmp_path / "control.sock")
    await made.control.open()
    yield made
    await made.control.close()


def line(**document: object) -> bytes:
    """Return one line of the control protocol."""
    return json.dumps(document).encode() + b"\n"


@pytest.mark.parametrize(
    "hostile",
    [
        b"not json\n",
        b"[]\n",
        b"[" * 100_000 + b"\n",
        b"x" * (2 * 1024 * 1024),
        line(type="ready"),
        line(type="hello", run_id="another"),
        b"\xff\xfe\n",
    ],
)
async def test_a_hostile_peer_is_hung_up_on_and_the_next_is_served(
    talk: Talk, hostile: bytes
) -> None:
    """Nonsense ends its own connection only."""
    reader, writer = await asyncio.open_unix_connection(talk.path)
    writer.write(hostile)
    async with asyncio.timeout(180):
        with suppress(ConnectionResetError):
            assert await reader.read() == b""
    writer.close()

    talk.control.go()
    reader, writer = await asyncio.open_unix_connection(talk.path)
    writer.write(line(type="hello", run_id="r") + line(type="ready"))
    async with asyncio.timeout(180):
        await talk.ready.wait()
        first, told = [json.loads(await reader.readline()) for _ in range(2)]
    writer.close()

    assert (first["type"], told) == ("hello", {"type": "go"})


@pytest.mark.parametrize(
    "bad",
    [
        {"name": "../evil"},
        {"name": ".hidden"},
        {"name": 5},
        {"kind": "virus"},
        {"action": "one"},
        {"action": -2},
        {"data": "%%%"},
        {"data": None},
    ],
)
async def test_bad_evidence_is_dropped_and_the_talk_goes_on(
    talk: Talk, bad: dict[str, object]
) -> None:
    """A frame that cannot be stored costs itself only."""
    good: dict[str, object] = {
        "type": "evidence",
        "name": "a.png",
        "kind": "screenshot",
        "action": 1,
        "data": "aGVsbG8=",
    }
    _, writer = await asyncio.open_unix_connection(talk.path)

    writer.write(line(type="hello", run_id="r") + line(**{**good, **bad}) + line(**good))
    async with asyncio.timeout(180):
        frame = await talk.frames.get()
    writer.close()

    assert frame == EvidenceFrame(name="a.png", kind="screenshot", action=1, data=b"hello")
    assert talk.frames.empty()
