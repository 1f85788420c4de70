"""post_video through a real agent: asset server, adb server, run directory, phone."""

import asyncio
import hashlib
import json
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from phonefarm.v1 import agent_pb2 as pb
from phonefarm_common.timers import Timers
from phonefarm_simulator.farm import Farm, simulated_phones
from support.agent_processes import agents, driving
from support.agents import PHONE_SCALE, posting_work
from support.asset_server import AssetServer, asset_server, mp4
from support.controller_script import ScriptedController

VIDEO = mp4(300_000)
CAPTION = "A film from elsewhere #test"
ALLOWED = ("--allow-asset-cidr", "127.0.0.0/8")


@pytest.fixture
def timers() -> Timers:
    """Return the table, five times as fast."""
    return Timers().scaled(PHONE_SCALE)


@pytest.fixture
async def farm(tmp_path: Path) -> AsyncIterator[Farm]:
    """Run two simulated phones."""
    async with simulated_phones(2, tmp_path / "phones") as phones:
        yield phones


@pytest.fixture
async def web() -> AsyncIterator[AssetServer]:
    """Serve the video."""
    async with asset_server() as server:
        server.put("/v.mp4", VIDEO)
        yield server


def outputs(controller: ScriptedController, work: pb.Assignment) -> list[dict[str, Any]]:
    """Return what the run's actions brought."""
    records = controller.heard.records[work.run.run_id]
    return [
        json.loads(record.action_done.outputs_json)
        for _, record in sorted(records.items())
        if record.WhichOneof("body") == "action_done"
    ]


def posts(farm: Farm, serialno: str) -> list[tuple[str, str]]:
    """Return caption and sha256 of what was posted from a phone."""
    return [
        (entry.detail["caption"], entry.detail["sha256"])
        for entry in farm[serialno].ledger()
        if entry.kind == "posted"
    ]


def left(farm: Farm, serialno: str) -> list[str]:
    """Return what of runs is left in the phone's shared storage and MediaStore."""
    phone = farm[serialno].phone
    return [*phone.files.names("/sdcard/Movies"), *(row.path for row in phone.media.rows())]


async def test_two_phones_post_one_video_fetched_once(
    controller: ScriptedController, farm: Farm, tmp_path: Path, web: AssetServer
) -> None:
    """Each phone posts the very bytes once; nothing of it is left on phone or run directory."""
    web.pages["/v.mp4"].hold = held = asyncio.Event()
    farm["SIM0002"].phone.sdk = 29
    async with agents(controller, tmp_path, *driving(farm, "process"), *ALLOWED) as made:
        await made.start()
        heard = controller.heard
        await heard.until(lambda: set(heard.offered()) == {"SIM0001", "SIM0002"})
        works = [
            posting_work(serialno, web.url("/v.mp4"), CAPTION)
            for serialno in ("SIM0001", "SIM0002")
        ]
        await controller.assign(*works)
        for work in works:
            await heard.until(lambda w=work: len(heard.story(w.run.run_id)) >= 1)  # type: ignore[misc]
        held.set()

        ended = [
            await heard.until(lambda w=work: heard.ended(w.run.run_id), seconds=60)  # type: ignore[misc]
            for work in works
        ]

        assert [one.outcome for one in ended] == [pb.RUN_OUTCOME_DONE] * 2, ended
        assert outputs(controller, works[0])[0] == {
            "bytes": len(VIDEO),
            "sha256": hashlib.sha256(VIDEO).hexdigest(),
            "content_type": "video/mp4",
        }
        assert len(web.asked) == 1
        for serialno, work in zip(("SIM0001", "SIM0002"), works, strict=True):
            assert posts(farm, serialno) == [(CAPTION, hashlib.sha256(VIDEO).hexdigest())]
            assert left(farm, serialno) == []
            assert heard.released(work.run.run_id) == pb.PhoneReleased(clean=True)
        assert heard.hellos[0].runtime == "process"
        assert not await asyncio.to_thread(list, (tmp_path / "state" / "runs").glob("*"))


async def test_a_killed_agent_goes_on_fetching(
    controller: ScriptedController, farm: Farm, tmp_path: Path, web: AssetServer
) -> None:
    """The next life gives the waiting run its video, without the bytes that were there."""
    page = web.pages["/v.mp4"]
    page.block, page.hold = 100_000, asyncio.Event()
    async with agents(controller, tmp_path, *driving(farm, "process"), *ALLOWED) as made:
        await made.start()
        heard = controller.heard
        await heard.until(lambda: "SIM0001" in heard.offered())
        work = posting_work("SIM0001", web.url("/v.mp4"), CAPTION)
        await controller.assign(work)
        await web.until_asked(1)
        await _until_part(tmp_path / "state")

        await made.kill()
        page.hold = None
        await made.start()
        ended = await heard.until(lambda: heard.ended(work.run.run_id), seconds=60)

        assert ended.outcome == pb.RUN_OUTCOME_DONE, ended
        assert [asked.headers.get("range") for asked in web.asked] == [None, "bytes=100000-"]
        assert posts(farm, "SIM0001") == [(CAPTION, hashlib.sha256(VIDEO).hexdigest())]


async def test_a_stop_ends_the_download(
    controller: ScriptedController, farm: Farm, tmp_path: Path, web: AssetServer
) -> None:
    """A soft stop while the video comes ends the run before its window is over."""
    web.pages["/v.mp4"].hold = asyncio.Event()
    async with agents(controller, tmp_path, *driving(farm, "process"), *ALLOWED) as made:
        await made.start()
        heard = controller.heard
        await heard.until(lambda: "SIM0001" in heard.offered())
        work = posting_work("SIM0001", web.url("/v.mp4"), CAPTION)
        await controller.assign(work)
        await web.until_asked(1)

        await controller.stop(work.run, strategy=pb.STOP_STRATEGY_SOFT)
        ended = await heard.until(lambda: heard.ended(work.run.run_id))

        assert ended.outcome == pb.RUN_OUTCOME_STOPPED
        assert posts(farm, "SIM0001") == []


async def test_an_address_that_is_not_allowed_fails_for_good(
    controller: ScriptedController, farm: Farm, tmp_path: Path, web: AssetServer
) -> None:
    """Without --allow-asset-cidr this machine is not dialled for a run."""
    async with agents(controller, tmp_path, *driving(farm, "process")) as made:
        await made.start()
        heard = controller.heard
        await heard.until(lambda: "SIM0001" in heard.offered())
        work = posting_work("SIM0001", web.url("/v.mp4"), CAPTION)
        await controller.assign(work)

        ended = await heard.until(lambda: heard.ended(work.run.run_id), seconds=40)

        assert ended.failure.code == "asset_url_not_allowed"
        assert ended.failure.failure_class == pb.FAILURE_CLASS_WORK
        assert ended.failure.final
        assert web.asked == []


async def test_a_killed_run_leaves_nothing_in_the_shared_storage(
    controller: ScriptedController, farm: Farm, tmp_path: Path, web: AssetServer
) -> None:
    """The agent's release removes the video and its row after a hard stop in the composer."""
    farm["SIM0001"].phone.sdk = 29  # its rows outlive their files
    async with agents(controller, tmp_path, *driving(farm, "process"), *ALLOWED) as made:
        await made.start()
        heard = controller.heard
        await heard.until(lambda: "SIM0001" in heard.offered())
        work = posting_work("SIM0001", web.url("/v.mp4"), "word " * 100)
        await controller.assign(work)
        await heard.until(lambda: len(heard.story(work.run.run_id)) >= 7, seconds=40)
        assert len(left(farm, "SIM0001")) == 2

        await controller.stop(work.run, strategy=pb.STOP_STRATEGY_HARD)
        ended = await heard.until(lambda: heard.ended(work.run.run_id), seconds=40)

        assert ended.outcome == pb.RUN_OUTCOME_STOPPED
        assert heard.released(work.run.run_id) == pb.PhoneReleased(clean=True)
        assert left(farm, "SIM0001") == []


@pytest.fixture
def farm_id(controller: ScriptedController) -> Iterator[str]:
    """Name a farm of this test alone; its containers are removed afterwards."""
    controller.farm = f"test-{uuid.uuid4()}"
    yield controller.farm
    client = docker.from_env()
    filters: dict[str, str | list[str] | bool] = {"label": f"phonefarm.farm={controller.farm}"}
    for container in client.containers.list(all=True, filters=filters):
        container.remove(force=True)
    client.close()


@pytest.mark.docker
@pytest.mark.usefixtures("farm_id")
async def test_a_container_posts_a_video(
    controller: ScriptedController,
    farm: Farm,
    tmp_path: Path,
    web: AssetServer,
    executor_image: str,
) -> None:
    """Without a network of its own the container gets the file in its run directory."""
    options = (*driving(farm, "docker"), "--image", executor_image, *ALLOWED)
    async with agents(controller, tmp_path, *options) as made:
        await made.start()
        heard = controller.heard
        await heard.until(lambda: "SIM0001" in heard.offered())
        work = posting_work("SIM0001", web.url("/v.mp4"), CAPTION)
        await controller.assign(work)

        ended = await heard.until(lambda: heard.ended(work.run.run_id), seconds=60)

        assert ended.outcome == pb.RUN_OUTCOME_DONE, ended
        assert posts(farm, "SIM0001") == [(CAPTION, hashlib.sha256(VIDEO).hexdigest())]
        assert heard.hellos[0].runtime == "docker"


async def _until_part(state: Path) -> None:
    def there() -> int:
        return sum(path.stat().st_size for path in state.glob("assets/*.part"))

    async with asyncio.timeout(180):
        while await asyncio.to_thread(there) < 100_000:  # noqa: ASYNC110 - another process's file
            await asyncio.sleep(0.02)
