"""An engine that refuses a question for a moment costs no run its ending."""

from collections.abc import Iterator
from typing import Any

import pytest
from phonefarm_agent.runtimes.docker import DockerRuntime
from phonefarm_agent.runtimes.docker_engine import ContainerState, Engine
from phonefarm_agent.runtimes.interface import Handle, RuntimeFailedError

HANDLE = Handle(run_id="run-1", name="pf-run-1", token="c1")


class Refusing(Engine):
    """Has one container that exited with 0; refuses each question of *refused* once."""

    def __init__(self, *refused: str) -> None:
        super().__init__()
        self._refused = list(refused)

    def _refuse(self, question: str) -> None:
        if question in self._refused:
            self._refused.remove(question)
            raise RuntimeFailedError(f"the container engine could not {question}: 500")

    def version(self) -> str:
        """Return any."""
        return "1"

    def state(self, container: str) -> ContainerState:
        """Return an end, or refuse."""
        self._refuse("inspect")
        return ContainerState(status="exited", code=0, out_of_memory=False)

    def follow_stdout(self, container: str) -> Any:
        """Return the log, or refuse."""
        self._refuse("open the log")
        return Log(self)


class Log:
    """Two lines, between which the engine may refuse."""

    def __init__(self, engine: Refusing) -> None:
        self._engine = engine

    def __iter__(self) -> Iterator[bytes]:
        yield b"one\n"
        self._engine._refuse("read the log")
        yield b"two\n"

    def close(self) -> None:
        """Nothing is open."""


@pytest.mark.parametrize("refused", [["inspect"], ["open the log"], ["read the log"]])
async def test_lines_are_asked_for_again(refused: list[str]) -> None:
    """docker/for-linux#140: 500 and 409 for the log of a run that goes on."""
    engine = Refusing(*refused, *refused)
    runtime = DockerRuntime(farm="f", agent="a", image="none:0", engine=engine)

    lines = [line async for line in runtime.lines(HANDLE)]

    assert lines == [b"one", b"two"]
    assert engine._refused == []
