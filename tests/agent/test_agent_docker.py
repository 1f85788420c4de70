"""The agent with runs in real containers: kept over its own death, swept when nobody knows them."""

import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import docker
import pytest
from phonefarm.v1 import agent_pb2 as pb
from phonefarm_common.timers import Timers
from phonefarm_simulator.farm import Farm, simulated_phones
from support.agent_processes import agents, driving
from support.agents import PHONE_SCALE, phone_work
from support.controller_script import Heard, ScriptedController

pytestmark = pytest.mark.docker

STEPS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("launch_app", {}),
    ("search", {"keyword": "night trains"}),
    ("watch", {"index": 0, "seconds": 3.0}),
    ("search", {"keyword": "ramen"}),
)


@pytest.fixture
def timers() -> Timers:
    """Return the table, five times as fast."""
    return Timers().scaled(PHONE_SCALE)


@pytest.fixture
async def farm(tmp_path: Path) -> AsyncIterator[Farm]:
    """Run one simulated phone."""
    async with simulated_phones(1, tmp_path / "phones") as phones:
        yield phones


@pytest.fixture
def farm_id(controller: ScriptedController) -> Iterator[str]:
    """Name a farm of this test alone; its containers are removed afterwards."""
    controller.farm = f"test-{uuid.uuid4()}"
    yield controller.farm
    client = docker.from_env()
    for container in containers(controller.farm):
        client.containers.get(container).remove(force=True)
    client.close()


def containers(farm: str) -> Mapping[str, Mapping[str, str]]:
    """Return the names of a farm's containers and their labels."""
    client = docker.from_env()
    filters: dict[str, str | list[str] | bool] = {"label": f"phonefarm.farm={farm}"}
    found = {str(one.name): one.labels for one in client.containers.list(all=True, filters=filters)}
    client.close()
    return found


@pytest.mark.parametrize(
    ("clean", "warm"), [(False, 0), (False, 1), (True, 1)], ids=["killed", "killed warm", "stopped"]
)
async def test_a_container_outlives_its_agent_and_is_taken_back(  # noqa: PLR0917 - fixtures
    controller: ScriptedController,
    farm: Farm,
    tmp_path: Path,
    executor_image: str,
    farm_id: str,
    clean: bool,
    warm: int,
) -> None:
    """The run goes on while no agent is there; the next life tells the rest, each line once.

    Whether its container was made for it or ahead; of those made ahead a stopped agent leaves none.
    """
    options = (*driving(farm, "docker"), "--image", executor_image, "--warm", str(warm))
    # A run waits 54 s for its agent: a busy machine needs 18 s to start one.
    async with agents(controller, tmp_path, *options, scale=0.6) as made:
        await made.start()
        heard = controller.heard
        await heard.until(lambda: "SIM0001" in heard.offered())
        if warm:
            await made.prepared()
        work = phone_work("SIM0001", *STEPS, epoch=5)
        await controller.assign(work)
        await heard.until(lambda: len(heard.story(work.run.run_id)) >= 5)

        if clean:
            assert await made.stop() == 0
        else:
            await made.kill()
        held = containers(farm_id)
        await made.start()
        ended = await heard.until(lambda: heard.ended(work.run.run_id))

        [run] = [name for name in held if name == f"pf-{work.run.run_id}"]
        assert ("phonefarm.warm" in held[run]) == bool(warm)
        assert len(held) <= (1 if clean else 1 + warm)
        assert ended.outcome == pb.RUN_OUTCOME_DONE, ended
        assert heard.story(work.run.run_id) == [
            *["action_started", "action_done"] * 4,
            "run_ended",
            "phone_released",
        ]
        searched = [entry for entry in farm["SIM0001"].ledger() if entry.kind == "searched"]
        assert [entry.epoch for entry in searched] == [5, 5]
        assert await made.stop() == 0
        assert containers(farm_id) == {}


async def test_a_container_the_journal_does_not_know_is_removed(
    controller: ScriptedController, farm: Farm, tmp_path: Path, executor_image: str, farm_id: str
) -> None:
    """An agent whose state is lost removes what an earlier one left, and only what is its own."""
    options = (*driving(farm, "docker"), "--image", executor_image, "--warm", "1")
    async with agents(controller, tmp_path, *options) as made:
        await made.start()
        heard = controller.heard
        await heard.until(lambda: "SIM0001" in heard.offered())
        await made.prepared()
        work = phone_work("SIM0001", ("launch_app", {}), ("watch", {"seconds": 60.0}))
        await controller.assign(work)
        await heard.until(lambda: len(heard.story(work.run.run_id)) >= 3)
        await made.kill()
        stranger = foreign_container(farm_id, executor_image)

        for leftover in (tmp_path / "state").glob("journal.sqlite*"):
            leftover.unlink()
        # An agent without its journal numbers its answer anew.
        heard = controller.heard = Heard()
        await made.start()
        await heard.until(lambda: heard.offered() == ["SIM0001"])
        await controller.stop(work.run, strategy=pb.STOP_STRATEGY_HARD)
        ended = await heard.until(lambda: heard.ended(work.run.run_id))

        assert ended.outcome == pb.RUN_OUTCOME_STOPPED
        released = heard.released(work.run.run_id)
        assert released == pb.PhoneReleased(clean=False, reason="journal_lost")
        assert await made.stop() == 0
        assert [*containers(farm_id)] == [stranger]


def foreign_container(farm: str, image: str) -> str:
    """Make a container of the same farm and another agent."""
    client = docker.from_env()
    labels = {"phonefarm.farm": farm, "phonefarm.agent": "agent-2", "phonefarm.run": "other"}
    made = client.containers.create(image, labels=labels, network_mode="none")
    client.close()
    return str(made.name)
