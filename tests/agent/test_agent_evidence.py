"""What runs leave: a manifest of every ending, the phone's log with its marks, nothing unsaid."""

import asyncio
import hashlib
import json
import re
from collections.abc import AsyncIterator
from itertools import groupby
from pathlib import Path
from typing import Any, cast

import pytest
from phonefarm.v1 import agent_pb2 as pb
from phonefarm_agent.model.evidence import EvidenceFile
from phonefarm_agent.model.run import RunRef
from phonefarm_agent.rpc.evidence_uploader import UPLOADS, EvidenceUploader
from phonefarm_agent.runs.bounded_log import BoundedLog
from phonefarm_agent.runs.control_socket import EvidenceFrame
from phonefarm_agent.runs.evidence_spool import EvidenceSpool
from phonefarm_agent.runs.journal import open_journal
from phonefarm_common.timers import Timers
from phonefarm_simulator.farm import Farm, simulated_phones
from support.agent_processes import agents, driving
from support.agents import PHONE_SCALE, AgentMaker, assignment, phone_work
from support.controller_script import Evidence, Heard, ScriptedController
from support.stub_calls import stub_method

REF = RunRef(run_id="r1", item_id="i", attempt=1, lease_id="l", epoch=1)


@pytest.fixture
async def farm(tmp_path: Path) -> AsyncIterator[Farm]:
    """Run one simulated phone."""
    async with simulated_phones(1, tmp_path / "phones") as phones:
        yield phones


async def manifest_of(heard: Heard, run: pb.RunRef) -> dict[str, Any]:
    """Return the run's manifest; it comes last and tells the truth about every file."""

    def found() -> Evidence | None:
        theirs = [file for file in heard.evidence if file.head.run == run]
        return theirs[-1] if theirs and theirs[-1].head.kind == "manifest" else None

    last: Evidence = await heard.until(found)
    manifest: dict[str, Any] = json.loads(last.data)
    sent = {file.head.name: file.data for file in heard.evidence if file.head.run == run}
    del sent["manifest.json"]
    told = {entry["name"]: entry for entry in manifest["files"] if "missing" not in entry}
    assert told.keys() == sent.keys()
    for name, data in sent.items():
        assert told[name]["bytes"] == len(data)
        assert told[name]["sha256"] == hashlib.sha256(data).hexdigest()
    return manifest


@pytest.mark.parametrize("ending", ["done", "failed", "crashed", "cancelled", "before the gate"])
async def test_every_ending_has_its_manifest(
    controller: ScriptedController, agent: AgentMaker, ending: str
) -> None:
    """However a run ends, what is there and what is missing is told, and nothing comes later."""
    steerings: dict[str, dict[str, Any]] = {
        "failed": {"fail": {"index": 1, "code": "selector_not_found", "final": True}},
        "crashed": {"crash": {"index": 1}},
        "cancelled": {"seconds": 30.0},
    }
    async with agent():
        heard = controller.heard
        await heard.until(heard.offered)
        controller.manners.answer_starts = ending != "before the gate"
        work = assignment(**steerings.get(ending, {}))
        await controller.assign(work)
        if ending == "cancelled":
            await heard.until(lambda: "action_started" in heard.story(work.run.run_id))
            await controller.stop(work.run, strategy=pb.STOP_STRATEGY_HARD)
        if ending == "before the gate":
            await heard.until(lambda: heard.starts(work.run.run_id))
            await controller.stop(work.run, strategy=pb.STOP_STRATEGY_HARD)

        manifest = await manifest_of(heard, work.run)

        missing = {e["name"]: e["missing"] for e in manifest["files"] if "missing" in e}
        assert missing["logcat.txt"] == "a dummy phone has no log"
        (log,) = (file.data for file in heard.evidence if file.head.name == "run.log")
        assert b"run ended, " in log
        assert (b"action 0 launch_app started" in log) == (ending != "before the gate")


@pytest.mark.long
async def test_a_killed_agent_goes_on_with_the_log_of_the_phone(
    controller: ScriptedController, timers: Timers, farm: Farm, tmp_path: Path
) -> None:
    """The log has each line once, from before the kill and after it, each action at its place."""
    del timers
    async with agents(controller, tmp_path, *driving(farm, "process")) as made:
        await made.start()
        heard = controller.heard
        await heard.until(lambda: "SIM0001" in heard.offered())
        work = phone_work(
            "SIM0001",
            ("launch_app", {}),
            ("search", {"keyword": "night trains"}),
            ("watch", {"index": 0, "seconds": 3.0}),
            ("search", {"keyword": "ramen"}),
        )
        await controller.assign(work)
        await heard.until(lambda: len(heard.story(work.run.run_id)) >= 5)

        await made.kill()
        farm["SIM0001"].phone.log.write("meanwhile", "while nobody read")
        await made.start()
        manifest = await manifest_of(heard, work.run)

    assert not [entry for entry in manifest["files"] if "missing" in entry]
    (log,) = (file.data for file in heard.evidence if file.head.name == "logcat.txt")
    lines = log.decode().splitlines()
    phones = [line for line in lines if not line.startswith("---------")]
    marks = re.findall(r"action (\d) \w+ (started|done)", log.decode())
    assert len(set(phones)) == len(phones)
    assert sum("while nobody read" in line for line in phones) == 1
    # One that was written as the kill came may stand there twice.
    assert [mark for mark, _ in groupby(marks)] == [
        (str(n), word) for n in range(4) for word in ("started", "done")
    ]
    searched = next(n for n, line in enumerate(lines) if "searched" in line)
    watched = next(n for n, line in enumerate(lines) if "action 2 watch done" in line)
    assert searched < watched


@pytest.fixture
def timers() -> Timers:
    """Return the table, five times as fast: there are real phones."""
    return Timers().scaled(PHONE_SCALE)


def _frame(name: str, data: bytes = b"12345678") -> EvidenceFrame:
    return EvidenceFrame(name=name, kind="screenshot", action=1, data=data)


def _names(spool: EvidenceSpool) -> list[str]:
    return [file.name for file in spool.waiting()]


def _told(file: EvidenceFile) -> dict[str, dict[str, Any]]:
    return {entry["name"]: entry for entry in json.loads(file.path.read_bytes())["files"]}


async def test_the_manifest_waits_for_the_last_file_and_tells_what_was_lost(
    tmp_path: Path,
) -> None:
    """Refused files, given up ones and those that never came stand in it with the reason."""
    async with open_journal(tmp_path / "journal.sqlite") as (journal, _):
        spool = EvidenceSpool(
            folder=tmp_path / "evidence", journal=journal, changed=asyncio.Event(), most=20
        )
        for name in ("old.png", "taken.png", "refused.png"):
            await spool.put(REF, _frame(name))
        spool.expect(REF, ("taken.png", "never.xml"), 1)
        await spool.close(REF, {})

        before = _names(spool)
        taken, refused = spool.waiting()
        spool.remove(taken)
        spool.remove(refused, missing="the controller refused the file: no")
        (manifest,) = spool.waiting()

        assert before == ["taken.png", "refused.png"]
        assert manifest.name == "manifest.json"
        told = _told(manifest)
        assert told["taken.png"]["sha256"] == hashlib.sha256(b"12345678").hexdigest()
        assert told["old.png"]["missing"].startswith("the agent removed the file")
        assert told["refused.png"]["missing"] == "the controller refused the file: no"
        assert told["never.xml"]["missing"].endswith("the agent did not receive it")


@pytest.mark.parametrize(
    "killed", ["before its ending", "before it is issued", "before it is taken"]
)
async def test_a_manifest_outlives_the_agent(tmp_path: Path, killed: str) -> None:
    """Another life issues it with the same bytes, however often the run is closed, and once."""
    place, path = tmp_path / "evidence", tmp_path / "journal.sqlite"
    async with open_journal(path) as (journal, _):
        spool = EvidenceSpool(folder=place, journal=journal, changed=asyncio.Event())
        await spool.put(REF, _frame("a.png"))
        if killed != "before its ending":
            await spool.close(REF, {"cause": "first"})
        if killed == "before it is taken":
            spool.remove(spool.waiting()[0])

    async with open_journal(path) as (journal, kept):
        spool = EvidenceSpool(
            folder=place,
            journal=journal,
            changed=asyncio.Event(),
            kept=kept.evidence,
            manifests=kept.manifests,
        )
        spool.sweep()
        await spool.close(REF, {"cause": "first" if killed == "before its ending" else "second"})
        while (file := spool.waiting()[0]).name != "manifest.json":
            spool.remove(file)
        document = json.loads(file.path.read_bytes())
        spool.remove(file)

        assert document["cause"] == "first"
        assert [entry["name"] for entry in document["files"]] == ["a.png"]
    async with open_journal(path) as (journal, kept):
        spool = EvidenceSpool(
            folder=place, journal=journal, changed=asyncio.Event(), manifests=kept.manifests
        )
        await spool.close(REF, {"cause": "third"})
        assert not kept.evidence
        assert not spool.waiting()


def test_a_bounded_log_keeps_its_beginning_and_its_end(tmp_path: Path) -> None:
    """Within its bounds, with a line where something is gone, also when it is opened anew."""
    bounded_log = BoundedLog(tmp_path, "log", head=100, part=200)
    for number in range(1000):
        bounded_log = BoundedLog(tmp_path, "log", head=100, part=200)
        bounded_log.write(b"line %04d\n" % number)

    content = bounded_log.read()

    lines = content.data.splitlines()
    assert lines[0] == b"line 0000"
    assert lines[-1] == b"line 0999"
    assert content.left_out > 0
    assert len(content.data) < 100 + 2 * 200 + 100
    assert any(b"bytes omitted" in line for line in lines)
    short = BoundedLog(tmp_path, "short", head=100, part=200)
    short.write(b"all of it\n")
    assert short.read().data == b"all of it\n"
    assert short.read().left_out == 0


class _Crowded:
    """A controller that answers an upload only when as many as may be are under way."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.most = 0
        self._under_way = 0
        self._is_full = asyncio.Event()

    @stub_method
    async def UploadEvidence(  # noqa: N802 - gRPC's name
        self, chunks: AsyncIterator[pb.EvidenceChunk], **_options: Any
    ) -> pb.EvidenceReceipt:
        """Return the receipt."""
        heads = [chunk.head.name async for chunk in chunks if chunk.HasField("head")]
        self.names += heads
        self._under_way += 1
        self.most = max(self.most, self._under_way)
        if self._under_way == UPLOADS:
            self._is_full.set()
        await self._is_full.wait()
        self._under_way -= 1
        return pb.EvidenceReceipt(evidence_id="e")


class _Waiting:
    """Files that wait, oldest first."""

    def __init__(self, files: list[EvidenceFile]) -> None:
        self.files = files
        self.is_empty = asyncio.Event()

    def evidence(self) -> tuple[EvidenceFile, ...]:
        """Return what waits."""
        return tuple(self.files)

    def evidence_received(self, file: EvidenceFile, *, missing: str = "") -> None:
        """Forget the file, which was there."""
        assert not missing
        self.files.remove(file)
        if not self.files:
            self.is_empty.set()


async def test_several_files_are_uploaded_at_once(tmp_path: Path) -> None:
    """The oldest first, each once: one at a time could not keep up with many short runs."""
    names = [f"{number}.log" for number in range(3 * UPLOADS)]
    files = []
    for name in names:
        path = tmp_path / name
        path.write_bytes(b"x")
        files.append(EvidenceFile(ref=REF, name=name, kind="log", path=path, size=1, sha256=name))
    controller, kept = _Crowded(), _Waiting(files)
    uploader = EvidenceUploader(
        stub=cast("Any", controller),
        metadata=(),
        host=cast("Any", kept),
        changed=asyncio.Event(),
        scale=1,
    )

    running = asyncio.create_task(uploader.run())
    async with asyncio.timeout(180):
        await kept.is_empty.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)

    assert controller.most == UPLOADS
    assert sorted(controller.names) == sorted(names)
    assert set(controller.names[:UPLOADS]) == set(names[:UPLOADS])
