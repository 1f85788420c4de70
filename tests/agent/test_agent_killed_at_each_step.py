"""kill -9 the agent between each pair of a run's steps: one end, each line once, nothing left."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from phonefarm.v1 import agent_pb2 as pb
from phonefarm_agent.runtimes.docker_engine import Engine
from phonefarm_common.timers import Timers
from phonefarm_simulator.farm import simulated_phones
from support.agent_processes import Agents, agents, driving
from support.agents import PHONE_SCALE, assignment, phone_work
from support.controller_script import ScriptedController

REFUSED, CRASHED, DONE = "agent_restarted", "run_crashed", "done"

STEPS = {
    # What happens, in this order: how a run ends whose agent died right behind it. First the
    # dummy runtime, whose runs end with the agent, then one whose runs outlive it.
    "run": (REFUSED, REFUSED),
    "preparing": (REFUSED, REFUSED),
    "preparing located": (REFUSED, REFUSED),
    "lease left": (REFUSED, REFUSED),
    "directory made": (REFUSED, REFUSED),
    "container made": (REFUSED, DONE),
    "preparing located started": (REFUSED, DONE),
    "container begun": (REFUSED, DONE),
    "ready": (CRASHED, DONE),
    "going": (CRASHED, DONE),
    "ActionStarted 1": (CRASHED, DONE),
    "acknowledged": (CRASHED, DONE),
    "ActionDone 2": (CRASHED, DONE),
    "ActionStarted 3": (CRASHED, DONE),
    "ActionDone 4": (CRASHED, DONE),
    "RunEnded 5": (DONE, DONE),
    "container gone": (DONE, DONE),
    "phone cleaned": (DONE, DONE),
    "manifest": (DONE, DONE),
    "evidence": (DONE, DONE),
    "directory gone": (DONE, DONE),
    "PhoneReleased 6": (DONE, DONE),
    "forgotten": (DONE, DONE),
}
ANYWHERE = {"acknowledged", "manifest", "evidence"}
"""They come several times, and when is not the run's choice alone."""
OF_THE_RUNTIME = ("container made", "container begun", "container gone")
BEGINNING = tuple(STEPS)[: list(STEPS).index("going") + 1]
"""Until the run goes: from there on a container that was made ahead is as any other."""
OF_DUMMIES = 0
OF_PHONES = 1


@pytest.fixture
def timers() -> Timers:
    """Return the table, five times as fast."""
    return Timers().scaled(PHONE_SCALE)


@dataclass(kw_only=True)
class Sweep:
    """Lives of an agent, each of which begins a run and ends at a step of it."""

    controller: ScriptedController
    made: Agents
    folder: Path
    serialno: str
    epoch: int = 0
    runs: dict[str, str] = field(default_factory=dict)  # step: run
    last: pb.Assignment | None = None
    messages: dict[str, str] = field(default_factory=dict)  # step: why its run failed
    ahead: bool = False  # runs begin in containers made ahead

    async def live(self, step: str) -> None:
        """Start an agent that shall die at *step*, end the run before, and begin another."""
        heard = self.controller.heard
        mark = len(heard.messages)
        self.epoch += 1
        words = (str(self.folder / "steps"), step, str(self.epoch))
        await self.made.start("support.mortal_agent", *words)
        if self.last is not None:
            await self._desire(self.last)
        await heard.until(
            lambda: any(self.serialno in m.offer.serialnos for m in heard.messages[mark:]),
            seconds=60,
        )
        self.last = None
        if self.ahead:
            await self.made.prepared()
        work = self._work()
        self.runs[step] = work.run.run_id
        await self.controller.assign(work)
        if step:
            assert await self.made.died() == -9, step
            self.last = work

    async def _desire(self, work: pb.Assignment) -> None:
        """Repeat an assignment, as the desired list does, until the run's end is told."""
        heard, run_id = self.controller.heard, work.run.run_id
        async with asyncio.timeout(180):
            while not heard.released(run_id):
                await self.controller.assign(work)
                with suppress(TimeoutError):
                    await heard.until(lambda: heard.released(run_id), seconds=0.5)

    def _work(self) -> pb.Assignment:
        if self.serialno.startswith("DUMMY"):
            return assignment(self.serialno, epoch=self.epoch, seconds=0.05)
        steps: tuple[tuple[str, dict[str, str]], ...] = (
            ("launch_app", {}),
            ("search", {"keyword": f"word {self.epoch}"}),
        )
        return phone_work(self.serialno, *steps, epoch=self.epoch)

    async def through(self, *steps: str) -> None:
        """Die at each of the *steps*, then end what is left and live a run to its end."""
        for step in steps:
            await self.live(step)
        await self.live("")
        heard, last = self.controller.heard, self.runs[""]
        await heard.until(lambda: heard.released(last), seconds=60)
        assert await self.made.stop() == 0

    def end(self, step: str) -> str:
        """Return how the run of *step* ended, after looking at its story as a whole."""
        heard, run_id = self.controller.heard, self.runs[step]
        story = heard.story(run_id)  # asserts 1, 2, 3 ... and that no record was told differently
        records = heard.records[run_id]
        assert story.count("run_ended") + story.count("run_refused") == 1, (step, story)
        assert story[-1] == "phone_released", (step, story)
        assert heard.released(run_id) == pb.PhoneReleased(clean=True), step
        done = [one.action_done.index for one in records.values() if one.HasField("action_done")]
        assert done == list(range(len(done))), (step, story)
        if refused := heard.refused(run_id):
            return refused
        ended = heard.ended(run_id)
        assert ended is not None
        if ended.outcome == pb.RUN_OUTCOME_DONE:
            assert len(done) == 2, (step, story)
            return DONE
        self.messages[step] = ended.failure.message
        return ended.failure.code

    def leftovers(self) -> list[str]:
        """Return what runs left on the host."""
        places = ("runs/*", "processes/*")
        return [str(path) for place in places for path in (self.folder / "state").glob(place)]


@pytest.fixture
async def dummies(controller: ScriptedController, tmp_path: Path) -> AsyncIterator[Sweep]:
    """Make agents of one dummy phone."""
    options = ("--runtime", "dummy", "--dummy-phones", "1")
    async with agents(controller, tmp_path, *options) as made:
        yield Sweep(controller=controller, made=made, folder=tmp_path, serialno="DUMMY0001")


async def test_the_table_names_every_step(dummies: Sweep) -> None:
    """A new write of the journal fails this test until it stands in the table."""
    await dummies.through()

    lines = (dummies.folder / "steps").read_text().splitlines()
    passed = ["acknowledged" if "acknowledged" in line else line for line in lines]

    assert set(passed) == set(STEPS)
    in_order = [step for step in dict.fromkeys(passed) if step not in ANYWHERE]
    assert in_order == [step for step in STEPS if step not in ANYWHERE]


@pytest.mark.long
async def test_an_agent_killed_behind_each_step_ends_its_run_once(dummies: Sweep) -> None:
    """Each line of a run is told once, it ends once, and its phone is offered again."""
    steps = [f"after {step}" for step in STEPS]

    await dummies.through(*steps)

    ends = {step: dummies.end(f"after {step}") for step in STEPS}
    assert ends == {step: end[OF_DUMMIES] for step, end in STEPS.items()}, dummies.messages
    assert not dummies.leftovers()


@pytest.fixture
async def phones(controller: ScriptedController, tmp_path: Path) -> AsyncIterator[Sweep]:
    """Make agents of one simulated phone, whose runs outlive them."""
    async with (
        simulated_phones(1, tmp_path / "phones") as farm,
        agents(controller, tmp_path, *driving(farm, "process")) as made,
    ):
        sweep = Sweep(controller=controller, made=made, folder=tmp_path, serialno="SIM0001")
        yield sweep
        # A safe action that was cut may be done anew; under another run's lease nothing is.
        drove = [entry for entry in farm["SIM0001"].ledger() if entry.effect and entry.epoch]
        epochs = [entry.epoch for entry in drove if entry.epoch is not None]
        assert epochs == sorted(epochs)


@pytest.mark.long
async def test_a_run_is_led_on_from_where_its_agent_was_killed(phones: Sweep) -> None:
    """Begun, going, within its story, ended: each time the next life tells the rest."""
    steps = ("after container made", "after ActionDone 2", "before RunEnded 5", "after RunEnded 5")

    await phones.through(*steps)

    assert {step: phones.end(step) for step in steps} == dict.fromkeys(steps, DONE)
    assert not phones.leftovers()


@pytest.mark.long
@pytest.mark.timeout(900)
async def test_runs_that_outlive_their_agent_end_once_at_every_step(phones: Sweep) -> None:
    """The whole table, right before each step, and right behind what the runtime does.

    Right behind every step the agents of containers die, and those of dummies.
    """
    steps = [f"before {step}" for step in STEPS] + [f"after {step}" for step in OF_THE_RUNTIME]

    await phones.through(*steps)

    ends = {step: phones.end(f"after {step}") for step in OF_THE_RUNTIME}
    assert ends == {step: STEPS[step][OF_PHONES] for step in OF_THE_RUNTIME}, phones.messages
    # Before a step a run is where the step before it left it; a run never journalled begins anew.
    before = dict(zip(list(STEPS)[1:], [end[OF_PHONES] for end in STEPS.values()], strict=False))
    ends = {step: phones.end(f"before {step}") for step in STEPS}
    early = {"phone_unknown", "phone_not_fit:identify", "phone_not_fit:boot"}
    assert ends.pop("run") in {DONE, *early}
    assert ends == before
    assert not phones.leftovers()


@pytest.fixture(params=[False, True], ids=["cold", "warm"])
async def boxes(
    request: pytest.FixtureRequest,
    controller: ScriptedController,
    tmp_path: Path,
    executor_image: str,
) -> AsyncIterator[Sweep]:
    """Make agents of one simulated phone, whose runs live in containers; none may stay."""
    ahead = bool(request.param)
    controller.farm = f"test-{uuid.uuid4()}"
    engine, labels = Engine(), {"phonefarm.farm": controller.farm}
    try:
        async with simulated_phones(1, tmp_path / "phones") as farm:
            options = (*driving(farm, "docker"), "--image", executor_image, "--warm", str(+ahead))
            async with agents(controller, tmp_path, *options) as made:
                yield Sweep(
                    controller=controller,
                    made=made,
                    folder=tmp_path,
                    serialno="SIM0001",
                    ahead=ahead,
                )
        assert not await asyncio.to_thread(engine.containers, labels)
    finally:
        for left in await asyncio.to_thread(engine.containers, labels):
            await asyncio.to_thread(engine.remove, left.id)


@pytest.mark.docker
@pytest.mark.long
@pytest.mark.timeout(900)
async def test_runs_in_containers_end_once_at_every_step(boxes: Sweep) -> None:
    """The table with a real engine: every container is taken back or removed.

    A container made ahead is a run's from one moment to the next: no run has two, and none stays.
    """
    steps = BEGINNING if boxes.ahead else tuple(STEPS)

    await boxes.through(*(f"after {step}" for step in steps))

    ends = {step: boxes.end(f"after {step}") for step in steps}
    assert ends == {step: STEPS[step][OF_PHONES] for step in steps}, boxes.messages
    assert not boxes.leftovers()
