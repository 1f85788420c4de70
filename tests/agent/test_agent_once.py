"""A post is never made twice: real controller, real agent, and a cut around the tap on Post."""

import asyncio
import json
import os
import random
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from phonefarm.v1 import content_pb2, content_pb2_grpc, fleet_pb2, process_pb2
from phonefarm_common.channel import bearer
from phonefarm_simulator.farm import Farm as Phones
from phonefarm_simulator.farm import simulated_phones
from phonefarm_simulator.ledger import Kind
from support.agent_processes import agent_process, driving
from support.asset_server import AssetServer, asset_server, mp4
from support.controller import AGENT_TOKEN, KEY, Farm, farm_on
from support.live_farm import eventually
from support.seeds import seeds

SCALE = 0.2
PHONE = "SIM0001"
CAPTION = "Only once"


@dataclass(kw_only=True)
class Bench:
    """A controller, a phone, a video; lives of the agent are the test's."""

    farm: Farm
    phones: Phones
    web: AssetServer
    folder: Path

    @asynccontextmanager
    async def agent(self, *program: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """Run one life of the agent, or of the *program* that stands for it."""
        address = f"127.0.0.1:{self.farm.controller.port}"
        options = (*driving(self.phones, "process"), "--allow-asset-cidr", "127.0.0.0/8")
        async with agent_process(
            address, AGENT_TOKEN, self.folder, *options, scale=SCALE, program=program
        ) as process:
            yield process

    async def ingest(self) -> str:
        """Hand in the content, once the phone is known; return its process."""

        async def known() -> bool:
            answer = await self.farm.fleet.ListPhones(
                fleet_pb2.ListPhonesRequest(), metadata=bearer(KEY)
            )
            return bool(answer.phones)

        await eventually(known, what="the phone")
        await self.farm.admit([PHONE])
        stub: Any = content_pb2_grpc.ContentServiceStub(self.farm.channel)
        answer: content_pb2.IngestResponse = await stub.Ingest(
            content_pb2.IngestRequest(
                content_id="content-1",
                account_id=f"acc-{PHONE}",
                video_url=self.web.url("/v.mp4"),
                caption=CAPTION,
            ),
            metadata=bearer(KEY),
        )
        return answer.process_id

    async def tapped(self) -> None:
        """Return once the post button was touched."""

        async def look() -> bool:
            return any(
                entry.kind == "tapped" and entry.detail["target"] == "post_button"
                for entry in self.phones[PHONE].ledger()
            )

        await eventually(look, within=180, what="the tap on Post")

    async def shared(self) -> None:
        """Return once the composer showed."""
        async with asyncio.timeout(180):
            await self.phones[PHONE].phone.ledger.wait_for(
                Kind.SCREEN_SHOWN, match=lambda entry: entry.detail["screen"] == "composer"
            )

    async def ended(self, process_id: str) -> process_pb2.Process:
        """Return the record once the process is terminal."""

        async def look() -> process_pb2.Process | None:
            record = await self.farm.get(process_id)
            return record if record.timestamps.HasField("finished_at") else None

        return await eventually(look, within=180, what="the end of the process")

    def posts(self) -> list[str]:
        """Return the captions of what was posted."""
        return [e.detail["caption"] for e in self.phones[PHONE].ledger() if e.kind == "posted"]

    def kill_executor(self) -> bool:
        """Kill the executor with SIGKILL; tell whether there was one."""
        for note in self.folder.glob("state/processes/*.json"):
            leader = json.loads(note.read_text())["token"].partition(":")[0]
            with suppress(OSError):
                children = Path(f"/proc/{leader}/task/{leader}/children").read_text().split()
                for child in children:
                    os.kill(int(child), signal.SIGKILL)
                return bool(children)
        return False


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    """Open everything but the agent."""
    database = f"sqlite:///{tmp_path}/farm.db"
    async with (
        farm_on(database, tmp_path / "controller", scale=SCALE) as farm,
        simulated_phones(1, tmp_path / "phones") as phones,
        asset_server() as web,
    ):
        web.put("/v.mp4", mp4(100_000))
        yield Bench(farm=farm, phones=phones, web=web, folder=tmp_path)


async def test_ingested_content_is_posted(bench: Bench) -> None:
    """From Ingest to the post on the phone, with its outputs in the record."""
    async with bench.agent():
        process_id = await bench.ingest()

        record = await bench.ended(process_id)

    assert record.status == "completed", record
    assert bench.posts() == [CAPTION]


async def test_an_executor_that_dies_after_the_tap_is_not_run_again(bench: Bench) -> None:
    """Nobody knows whether it was posted: outcome_unknown, and one post in the ledger."""
    await bench.phones[PHONE].fault("post_slow", seconds=30)
    async with bench.agent():
        process_id = await bench.ingest()
        await bench.tapped()
        assert bench.kill_executor()

        record = await bench.ended(process_id)

    assert record.status == "failed_terminal"
    assert record.error.code == "outcome_unknown:confirm_post"
    assert bench.posts() == [CAPTION]


async def test_an_agent_that_dies_after_the_tap_comes_back_to_the_proof(bench: Bench) -> None:
    """The executor waits for the next life's proxy and finds the post on the profile."""
    await bench.phones[PHONE].fault("post_slow", seconds=2)
    async with bench.agent() as first:
        process_id = await bench.ingest()
        await bench.tapped()
        first.kill()
        await first.wait()
    async with bench.agent():
        record = await bench.ended(process_id)

    assert record.status == "completed", record
    assert bench.posts() == [CAPTION]


@pytest.mark.parametrize("seed", seeds(4))
async def test_cuts_at_random_instants_never_post_twice(bench: Bench, seed: int) -> None:
    """Executor or agent killed somewhere in the run: done with one post, or told as unknown."""
    chance = random.Random(seed)
    async with bench.agent() as first:
        process_id = await bench.ingest()
        await bench.shared()
        await asyncio.sleep(chance.uniform(0, 1.2))  # The instant is the fault, not a wait.
        if seed % 2:
            first.kill()
            await first.wait()
        else:
            bench.kill_executor()
        async with bench.agent() if seed % 2 else _same():
            record = await bench.ended(process_id)

    if record.status == "completed":
        assert bench.posts() == [CAPTION]
    else:
        assert record.error.code == "outcome_unknown:confirm_post", record
        assert len(bench.posts()) <= 1


AROUND_THE_POST = [
    f"{moment} {step}"
    for step in ("ActionStarted 9", "ActionDone 10", "ActionDone 12", "RunEnded 15")
    for moment in ("before", "after")
]
"""Record 9 begins confirm_post, 10 ends it, 12 ends verify_posted."""


@pytest.mark.parametrize(
    "step",
    [
        pytest.param(step, marks=() if step == "before ActionDone 10" else pytest.mark.long)
        for step in (
            *AROUND_THE_POST,
            "after acknowledged 9",
            "after container made",
            "after going",
            "after phone cleaned",
        )
    ],
)
async def test_an_agent_killed_at_a_step_of_a_post_never_posts_twice(
    bench: Bench, step: str
) -> None:
    """The next life leads the run to its end: done with one post, or told as unknown."""
    dying = ("support.mortal_agent", str(bench.folder / "steps"), step, "1")
    async with bench.agent(*dying) as first:
        process_id = await bench.ingest()
        async with asyncio.timeout(180):
            assert await first.wait() == -signal.SIGKILL
    async with bench.agent():
        record = await bench.ended(process_id)

    if record.status == "completed":
        assert bench.posts() == [CAPTION]
    else:
        assert "9" in step, record  # nowhere else is the tap itself cut
        assert record.error.code == "outcome_unknown:confirm_post", record
        assert len(bench.posts()) <= 1


@asynccontextmanager
async def _same() -> AsyncIterator[None]:
    yield
