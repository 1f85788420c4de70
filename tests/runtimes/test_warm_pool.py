"""Containers made ahead: for one run each, never reused, and none is left behind."""

import asyncio
import io
import os
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from phonefarm_agent.runtimes import warm_pool
from phonefarm_agent.runtimes.docker import DockerRuntime
from phonefarm_agent.runtimes.docker_engine import Engine, FoundContainer
from phonefarm_agent.runtimes.interface import Exit, RuntimeFailedError
from phonefarm_agent.runtimes.warm_pool import WarmPool
from support.components import REQUIRE, insist_or_skip
from support.private_engine import PrivateEngine, private_engine
from support.runtime_bench import RuntimeBench, acting_command, all_lines, begun

pytestmark = pytest.mark.docker


@dataclass(kw_only=True)
class Host:
    """One agent's pool and the engine it is on."""

    runtime: DockerRuntime
    bench: RuntimeBench
    engine: Engine
    farm: str

    @property
    def pool(self) -> WarmPool:
        """Return the pool."""
        assert self.runtime.pool is not None
        return self.runtime.pool

    def containers(self) -> list[FoundContainer]:
        """Return what the engine has of this farm."""
        return self.engine.containers({"phonefarm.farm": self.farm})

    def waiting(self) -> list[str]:
        """Return the ids of the containers that are no run's."""
        return sorted(one.id for one in self.containers() if one.name.startswith("pf-warm-"))

    def folders(self) -> list[str]:
        """Return the directories made for containers that are no run's."""
        return [path.name for path in self.bench.folder.glob("warm-*")]

    def later_life(self) -> "Host":
        """Return the same with a fresh runtime, as after a restart of the agent."""
        return host(self.farm, self.bench.folder, self.engine)


IMAGE = "phonefarm-executor-of-a-test:pool"


def host(
    farm: str,
    folder: Path,
    engine: Engine,
    *,
    image: str = IMAGE,
    command: Sequence[str] = acting_command("docker"),
) -> Host:
    """Return a host whose containers perform acts; nothing is made yet."""
    runtime = DockerRuntime(
        farm=farm, agent="a", image=image, command=command, engine=engine, warm=folder
    )
    bench = RuntimeBench(kind="docker", life=DockerRuntime, folder=folder)
    return Host(runtime=runtime, bench=bench, engine=engine, farm=farm)


@pytest.fixture
def made(executor_image: str, engine: Engine, farm_name: str, tmp_path: Path) -> Host:
    """Return a host with an image that is this test's to change."""
    tag(engine, executor_image)
    return host(farm_name, tmp_path, engine)


def tag(engine: Engine, image: str, **labels: str) -> None:
    """Let IMAGE be *image* with *labels*: another one for each set of them."""
    text = f"FROM {image}\n".encode()
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as archive:
        entry = tarfile.TarInfo("Dockerfile")
        entry.size = len(text)
        archive.addfile(entry, io.BytesIO(text))
    context.seek(0)
    list(engine.build(context, IMAGE, arguments={}, labels={"of": "test", **labels}))


async def test_a_container_made_ahead_is_one_runs_and_no_others(made: Host) -> None:
    """The run has the one that waited, by its own name; the next run has another."""
    await made.pool.adjust(1)
    [waiting] = made.waiting()

    first = await begun(made.runtime, made.bench.spec(["say", "one"], ["exit", 0]))
    second = await begun(made.runtime, made.bench.spec(["say", "two"], ["exit", 0]))

    assert (first.token, first.name) == (waiting, f"pf-{first.run_id}")
    assert second.token != waiting
    assert await all_lines(made.runtime, first) == ["one"]
    assert await all_lines(made.runtime, second) == ["two"]
    assert sorted(one.name for one in made.containers()) == sorted([first.name, second.name])
    assert made.folders() == []


async def test_a_container_made_ahead_performs_nothing_before_it_is_told(made: Host) -> None:
    """Bound to its run it still waits: the journal comes first."""
    await made.pool.adjust(1)
    spec = made.bench.spec(["say", "early"], ["exit", 0])

    handle = await made.runtime.start(spec)
    state = made.engine.state(handle.token)
    unread = (spec.directory / "plan.json").exists()
    await made.runtime.begin(handle, spec.directory)

    assert state.running
    assert unread
    assert await made.runtime.wait(handle) == Exit(code=0)


async def test_the_pool_is_as_large_as_is_wanted_and_leaves_nothing(made: Host) -> None:
    """Two, then one, then none: neither a container nor a directory stays."""
    await made.pool.adjust(2)
    two = made.waiting()
    await made.pool.adjust(1)
    one = made.waiting()
    await made.pool.adjust(0)

    assert len(two) == 2
    assert one == [each for each in two if each in one]
    assert len(one) == 1
    assert (made.containers(), made.folders()) == ([], [])


async def test_closing_ends_the_keeper_and_all_it_made(made: Host) -> None:
    """An agent that stops leaves no container that is no run's."""
    keeping = asyncio.create_task(made.pool.keep(lambda: 2))
    async with asyncio.timeout(180):
        while len(made.waiting()) < 2:  # noqa: ASYNC110 - the engine raises no event
            await asyncio.sleep(0.1)

    await made.pool.close(within=20)

    assert keeping.done()
    assert (made.containers(), made.folders()) == ([], [])


async def test_a_new_image_replaces_the_containers_of_the_old(
    made: Host, executor_image: str
) -> None:
    """A run never begins in the executor of yesterday, not in the moment of the change either."""
    await made.pool.adjust(1)
    [old] = made.waiting()
    tag(made.engine, executor_image, turn="two")

    handle = await begun(made.runtime, made.bench.spec(["exit", 0]))
    await made.pool.adjust(1)
    [young] = made.waiting()
    tag(made.engine, executor_image, turn="three")
    await made.later_life().pool.adjust(0)  # a look: this life's own comes after 30 s

    assert handle.token not in {old, young}
    assert old not in {one.id for one in made.containers()}
    assert made.waiting() == []


async def test_a_container_that_died_waiting_is_not_taken(made: Host) -> None:
    """The run gets a fresh one, and the pool too."""
    await made.pool.adjust(1)
    [dead] = made.waiting()
    made.engine.kill(dead, signal="SIGKILL")
    assert made.engine.wait(dead, seconds=10)

    handle = await begun(made.runtime, made.bench.spec(["exit", 0]))
    await made.pool.adjust(1)

    assert handle.token != dead
    assert await made.runtime.wait(handle) == Exit(code=0)
    assert dead not in made.waiting()
    assert len(made.waiting()) == 1


async def test_a_container_that_waited_too_long_is_replaced(
    made: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing old is given to a run."""
    await made.pool.adjust(1)
    [old] = made.waiting()
    monkeypatch.setattr(warm_pool, "OLDEST_SECONDS", 0.0)

    handle = await begun(made.runtime, made.bench.spec(["exit", 0]))
    monkeypatch.undo()
    await made.pool.adjust(1)

    assert handle.token != old
    assert old not in made.waiting()


async def test_what_a_killed_agent_had_made_is_removed_by_the_next(made: Host) -> None:
    """Containers that are no run's are no use to a life that did not make them."""
    await made.pool.adjust(1)
    left = made.waiting()
    later = made.later_life()

    await later.pool.adjust(1)

    assert len(later.waiting()) == 1
    assert later.waiting() != left
    assert len(later.folders()) == 1


@pytest.mark.parametrize("moved", [0, 1, 2], ids=["before", "within", "behind"])
async def test_a_run_bound_by_a_killed_agent_is_begun_by_the_next(made: Host, moved: int) -> None:
    """Wherever in handing the directory over the agent died; what it made for others is swept."""
    await made.pool.adjust(1)
    spec = made.bench.spec(["say", "here"], ["exit", 0])
    (spec.directory / "other").touch()
    handle = await made.runtime.start(spec)
    [folder] = made.bench.folder.glob("warm-*")
    if moved == 1:
        (spec.directory / "plan.json").rename(folder / "plan.json")
    elif moved == 2:
        warm_pool.replace_directory(folder, spec.directory)
    later = made.later_life()

    await later.pool.adjust(0)
    held = await later.runtime.held()
    member = made.pool.settle(handle.token)
    assert member is not None
    os.close(member.fifo)  # as the kernel does for a process that is killed
    await later.runtime.begin(held[0], spec.directory)
    await later.runtime.begin(held[0], spec.directory)

    assert held == [handle]
    async with asyncio.timeout(180):
        assert await all_lines(later.runtime, handle) == ["here"]
    assert await later.runtime.wait(handle) == Exit(code=0)
    assert sorted(path.name for path in spec.directory.iterdir()) == ["other", "plan.json"]
    assert made.folders() == []


async def test_a_run_that_never_began_leaves_nothing(made: Host) -> None:
    """Removed before it was told, container and directory go."""
    await made.pool.adjust(1)
    handle = await made.runtime.start(made.bench.spec(["exit", 0]))

    await made.runtime.remove(handle)
    await made.later_life().pool.adjust(0)

    assert (made.containers(), made.folders()) == ([], [])


async def test_a_start_that_is_cancelled_leaves_no_container(made: Host) -> None:
    """Neither the run's nor the one it was to become."""
    await made.pool.adjust(1)
    starting = asyncio.create_task(made.runtime.start(made.bench.spec(["exit", 0])))
    await asyncio.sleep(0)

    starting.cancel()
    await asyncio.wait([starting])
    await made.pool.adjust(0)

    assert starting.cancelled()
    assert made.containers() == []


async def test_an_image_that_does_not_wait_is_named_with_the_remedy(
    executor_image: str, engine: Engine, farm_name: str, tmp_path: Path
) -> None:
    """An executor of another version ends at once: the pool says so and leaves nothing."""
    made = host(farm_name, tmp_path, engine, image=executor_image, command=["true"])

    with pytest.raises(RuntimeFailedError, match=r"did not wait for a run.*image build"):
        await made.pool.adjust(1)

    assert (made.containers(), made.folders()) == ([], [])


@pytest.mark.long
async def test_the_pool_begins_anew_with_its_engine(
    executor_image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed -9 and started again, the engine has the old ones still; runs are given new ones."""
    if missing := PrivateEngine.missing():
        insist_or_skip("docker", missing, required=os.environ.get(REQUIRE, ""))
    monkeypatch.setattr(warm_pool, "_RETRY_SECONDS", 0.5)
    monkeypatch.setattr(warm_pool, "_CHECK_SECONDS", 0.5)
    async with private_engine() as engine:
        await engine.copy_image(executor_image)
        tag(Engine(), executor_image)
        made = host("f", tmp_path, Engine())
        keeping = asyncio.create_task(made.pool.keep(lambda: 1))
        first = await one_waits(made, other_than="")

        await engine.kill()
        await asyncio.sleep(2 * warm_pool._ROUND_SECONDS)
        await engine.start()
        second = await one_waits(made, other_than=first)
        handle = await begun(made.runtime, made.bench.spec(["exit", 0]))
        await made.pool.close(within=20)
        await keeping

        assert handle.token == second
        assert [one.id for one in made.containers()] == [second]


async def one_waits(made: Host, *, other_than: str) -> str:
    """Return the one container that waits, once there is one and it is not that."""
    async with asyncio.timeout(180):
        while made.pool.ready != 1 or made.waiting() == [other_than]:  # noqa: ASYNC110 - no event
            await asyncio.sleep(0.1)
    [found] = made.waiting()
    return found
