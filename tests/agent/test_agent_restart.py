"""kill -9 the agent at some instant and start it again: nothing is lost, nothing is told twice."""

import asyncio
import os
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from phonefarm.v1 import agent_pb2 as pb
from phonefarm_common.timers import Timers
from phonefarm_simulator.farm import Farm, simulated_phones
from support.agent_processes import agents, driving
from support.agents import PHONE_SCALE, assignment, phone_work
from support.controller_script import ScriptedController


@pytest.fixture
def timers() -> Timers:
    """Return the table, five times as fast."""
    return Timers().scaled(PHONE_SCALE)


@pytest.fixture
async def farm(tmp_path: Path) -> AsyncIterator[Farm]:
    """Run two simulated phones."""
    async with simulated_phones(2, tmp_path / "phones") as phones:
        yield phones


async def test_a_run_outlives_a_killed_agent_and_is_taken_back(
    controller: ScriptedController, farm: Farm, tmp_path: Path
) -> None:
    """The executor goes on with its story; each line reaches the controller under one number."""
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
            epoch=5,
        )
        await controller.assign(work)
        await heard.until(lambda: len(heard.story(work.run.run_id)) >= 5)

        await made.kill()
        await made.start()
        ended = await heard.until(lambda: heard.ended(work.run.run_id), seconds=60)

        assert ended.outcome == pb.RUN_OUTCOME_DONE, ended
        assert heard.story(work.run.run_id) == [
            *["action_started", "action_done"] * 4,
            "run_ended",
            "phone_released",
        ]
        held = heard.hellos[1].held_runs
        assert [(run.run, run.going) for run in held] == [(work.run, True)]
        searched = [e for e in farm["SIM0001"].ledger() if e.kind == "searched"]
        assert [entry.epoch for entry in searched] == [5, 5]
        assert heard.released(work.run.run_id) == pb.PhoneReleased(clean=True)


async def test_a_proxy_stays_closed_until_the_controller_says_continue(
    controller: ScriptedController, farm: Farm, tmp_path: Path
) -> None:
    """A restarted agent without that verdict lets nothing through, whatever heartbeats say."""
    async with agents(controller, tmp_path, *driving(farm, "process")) as made:
        await made.start()
        heard = controller.heard
        await heard.until(lambda: "SIM0001" in heard.offered())
        work = phone_work(
            "SIM0001",
            ("launch_app", {}),
            *[("search", {"keyword": f"word {number}"}) for number in range(40)],
        )
        await controller.assign(work)
        await heard.until(lambda: len(heard.story(work.run.run_id)) >= 4)
        await made.kill()
        mark = len(farm["SIM0001"].ledger())
        controller.manners.verdicts = lambda _hello: []
        talked = len(heard.messages)

        await made.start()
        await heard.until(lambda: heard.beats(work.run, since=talked) >= 3)
        closed = {entry.kind for entry in farm["SIM0001"].ledger()[mark:]}
        await controller.stop(work.run, strategy=pb.STOP_STRATEGY_HARD)
        ended = await heard.until(lambda: heard.ended(work.run.run_id), seconds=60)

        assert ended.outcome == pb.RUN_OUTCOME_STOPPED
        assert not {"searched", "typed", "tapped", "keys_pressed", "app_started"} & closed


async def test_dummy_runs_of_a_killed_agent_are_told_as_crashed(
    controller: ScriptedController, tmp_path: Path
) -> None:
    """What cannot outlive the agent is reported by its next life, behind the lines already told."""
    options = ("--runtime", "dummy", "--dummy-phones", "2")
    async with agents(controller, tmp_path, *options) as made:
        await made.start()
        heard = controller.heard
        await heard.until(heard.offered)
        work = assignment(actions=3, seconds=30.0)
        await controller.assign(work)
        await heard.until(lambda: "action_started" in heard.story(work.run.run_id))

        await made.kill()
        await made.start()
        ended = await heard.until(lambda: heard.ended(work.run.run_id))

        assert ended.failure.code == "run_crashed"
        assert (ended.failed_action_index, ended.failed_action_kind) == (0, "launch_app")
        assert heard.story(work.run.run_id) == ["action_started", "run_ended", "phone_released"]
        assert [hello.incarnation for hello in heard.hellos] == [1, 2]


@pytest.mark.long
@pytest.mark.parametrize("seed", range(2))
async def test_kills_at_random_instants_lose_and_repeat_nothing(
    controller: ScriptedController, tmp_path: Path, seed: int
) -> None:
    """Under load, with acknowledgements now and then lost: every run ends once, without gaps."""
    chance = random.Random(seed)
    options = ("--runtime", "dummy", "--dummy-phones", "8")
    async with agents(controller, tmp_path, *options) as made:
        heard = controller.heard
        runs: list[pb.Assignment] = []
        for _ in range(4):
            await made.start()
            await heard.until(lambda: len(heard.offered()) == 8)
            fresh = [
                assignment(f"DUMMY{number:04d}", actions=3, seconds=chance.uniform(0, 0.1))
                for number in range(1, 9)
            ]
            controller.manners.acknowledge_records = chance.random() < 0.5
            await controller.assign(*fresh)
            runs += fresh
            await asyncio.sleep(chance.uniform(0, 0.4))  # The instant is the fault, not a wait.
            await made.kill()
            controller.manners.acknowledge_records = True
        await made.start()
        held = [held.run.run_id for held in heard.hellos[-1].held_runs]

        for run_id in held:
            await heard.until(lambda r=run_id: heard.released(r))  # type: ignore[misc]

        for work in runs:
            story = heard.story(work.run.run_id)
            # Not one line of a run that was never journalled; else exactly one ending.
            assert story.count("phone_released") == (1 if story else 0)
            assert story.count("run_ended") + story.count("run_refused") == (1 if story else 0)
            assert not story or story[-1] == "phone_released"


async def test_a_clean_stop_of_the_process_runtime_leaves_no_process(
    controller: ScriptedController, farm: Farm, tmp_path: Path
) -> None:
    """SIGTERM ends its runs, tells of them, says goodbye and exits 0."""
    async with agents(controller, tmp_path, *driving(farm, "process")) as made:
        await made.start()
        heard = controller.heard
        await heard.until(lambda: "SIM0001" in heard.offered())
        work = phone_work("SIM0001", ("launch_app", {}), ("watch", {"seconds": 60.0}))
        await controller.assign(work)
        await heard.until(lambda: len(heard.story(work.run.run_id)) >= 2)

        code = await made.stop()

        ended = heard.ended(work.run.run_id)
        assert code == 0
        assert ended is not None
        assert ended.failure.failure_class == pb.FAILURE_CLASS_INFRA
        assert heard.messages[-1].WhichOneof("body") == "goodbye"
        assert not await asyncio.to_thread(_mentioned, str(tmp_path))


def _mentioned(text: str) -> list[str]:
    """Return the command lines and environments of processes that mention *text*."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            told = (
                process.joinpath("cmdline").read_bytes() + process.joinpath("environ").read_bytes()
            )
        except OSError:
            continue
        if text.encode() in told and int(process.name) != os.getpid():
            found.append(process.name)
    return found
