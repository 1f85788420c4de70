"""The runtimes that keep a run outside the agent, each with the same acting executor."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from phonefarm_agent.runtimes.docker import DockerRuntime
from phonefarm_agent.runtimes.interface import Runtime
from phonefarm_agent.runtimes.process import ProcessRuntime
from phonefarm_common.ids import new_id
from support.runtime_bench import PreparedRuntime, RuntimeBench, acting_command


def _docker_bench(request: pytest.FixtureRequest, folder: Path, *, warm: bool) -> RuntimeBench:
    image = request.getfixturevalue("executor_image")
    farm_name = request.getfixturevalue("farm_name")

    def life(*, farm: str = farm_name, agent: str = "agent-1") -> Runtime:
        given = {"farm": farm, "agent": agent, "image": image, "command": acting_command("docker")}
        return PreparedRuntime(**given, warm=folder) if warm else DockerRuntime(**given)

    return RuntimeBench(kind="docker", life=life, folder=folder)


def _process_bench(folder: Path) -> RuntimeBench:
    state, farm_name = folder / "state", f"test-{new_id()}"

    def life(*, farm: str = farm_name, agent: str = "agent-1") -> Runtime:
        command = acting_command("process")
        return ProcessRuntime(farm=farm, agent=agent, folder=state, command=command)

    return RuntimeBench(kind="process", life=life, folder=folder)


@pytest.fixture(
    params=[
        pytest.param("docker", marks=pytest.mark.docker),
        pytest.param("docker made ahead", marks=pytest.mark.docker),
        "process",
    ]
)
async def bench(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[RuntimeBench]:
    """Offer one kind of runtime; whatever it still holds is removed."""
    warm = request.param == "docker made ahead"
    process = request.param == "process"
    made = _process_bench(tmp_path) if process else _docker_bench(request, tmp_path, warm=warm)
    await made.life().check()
    yield made
    for handle in await made.life().held():
        await made.life().remove(handle)
