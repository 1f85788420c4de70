"""What a run container cannot do; each is tried from the inside."""

import asyncio
import json
import os
import socket
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from phonefarm_agent.runtimes.docker import EXECUTOR_USER, RUN_DIRECTORY, DockerRuntime
from phonefarm_agent.runtimes.docker_engine import Engine
from phonefarm_agent.runtimes.interface import Exit
from support import prober
from support.runtime_bench import (
    WAITING,
    PreparedRuntime,
    RuntimeBench,
    acting_command,
    all_lines,
    begun,
    following,
)

pytestmark = pytest.mark.docker

PROBE_SECONDS = 60


@pytest.fixture(scope="module", params=[DockerRuntime, PreparedRuntime])
def found(
    request: pytest.FixtureRequest,
    executor_image: str,
    engine: Engine,
    tmp_path_factory: pytest.TempPathFactory,
) -> Mapping[str, Any]:
    """Run every probe once, in one run container of the real image; return what each found.

    Made for its run or made ahead of it: a container can do the same.
    """
    bench = RuntimeBench(kind="docker", life=DockerRuntime, folder=tmp_path_factory.mktemp("run"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        runtime = request.param(
            farm="test-isolation",
            agent=f"agent-{os.getpid()}",
            image=executor_image,
            environment={"HOST_PORT": str(listener.getsockname()[1])},
            command=["python3", "-c", WAITING + Path(prober.__file__).read_text()],
            engine=engine,
            warm=bench.folder,
        )

        async def probe() -> list[str]:
            handle = await begun(runtime, bench.spec())
            try:
                async with asyncio.timeout(PROBE_SECONDS):
                    return await all_lines(runtime, handle)
            finally:
                await runtime.remove(handle)

        lines = asyncio.run(probe())
    findings = {told["probe"]: told["found"] for told in map(json.loads, lines)}
    assert findings.keys() == prober.PROBES.keys()
    return findings


def test_there_is_no_network_but_loopback(found: Mapping[str, Any]) -> None:
    """One interface, no route, nobody outside can be reached, and no packets can be looked at."""
    assert found["interfaces"] == ["lo"]
    assert found["routes"] == []
    assert "Network is unreachable" in found["outside"]
    assert "PermissionError" in found["raw_socket"]


def test_what_listens_on_the_host_cannot_be_reached(found: Mapping[str, Any]) -> None:
    """The container's loopback is its own: not the agent's, not the adb server's."""
    assert "Connection refused" in found["host_loopback"]


def test_only_tmp_can_be_written(found: Mapping[str, Any]) -> None:
    """Making a file was tried in every folder there is."""
    assert found["writable"] == ["/tmp"]  # noqa: S108 - inside the container


def test_tmp_is_small_and_runs_nothing(found: Mapping[str, Any]) -> None:
    """A program brought along is not executed; the host's memory cannot be filled."""
    assert "PermissionError" in found["execute_from_tmp"]
    assert 0 < found["fill_tmp"] <= 64


def test_nobody_is_root_and_nobody_becomes_root(found: Mapping[str, Any]) -> None:
    """All ids are the executor's, no file lends another's, and setuid(2) is refused."""
    user = int(EXECUTOR_USER.partition(":")[0])

    assert set(found["ids"]) == {user}
    assert found["privileged_files"] == []
    assert "PermissionError" in found["become_root"]


def test_there_is_no_capability(found: Mapping[str, Any]) -> None:
    """No set holds any, none can be won by exec, system calls are filtered, mounting is refused."""
    assert set(found["capabilities"].values()) == {0}
    assert found["no_new_privileges"] == "1"
    assert found["seccomp"] == "2"
    assert "refused" in found["mount"]


def test_neither_the_engine_nor_adb_is_there(found: Mapping[str, Any]) -> None:
    """No socket at all in this run's file system, so not the engine's; no adb program to start."""
    assert found["sockets"] == []
    assert found["adb_programs"] == []


def test_other_processes_are_not_seen_and_their_number_is_limited(found: Mapping[str, Any]) -> None:
    """Only its own processes are listed, and forking ends at the limit."""
    assert found["processes"] <= 2
    assert 32 < found["fork_until_refused"] < 64


def test_the_environment_tells_nothing_of_the_host(found: Mapping[str, Any]) -> None:
    """Only what the image and the agent put there on purpose."""
    allowed = {"HOME", "HOSTNAME", "HOST_PORT", "LANG", "PATH"}
    allowed |= {
        "PHONEFARM_WARM_SECONDS",
        "PYTHONDONTWRITEBYTECODE",
        "PYTHONPATH",
        "PYTHONUNBUFFERED",
    }
    allowed |= {"GPG_KEY", "PYTHON_SHA256", "PYTHON_VERSION"}  # of the public Python image

    assert set(found["environment"]) <= allowed


async def test_a_run_that_eats_memory_is_ended_and_the_detail_says_why(
    executor_image: str, farm_name: str, tmp_path: Path
) -> None:
    """300 MiB do not fit; the exit is a kill and says `out of memory`."""
    bench = RuntimeBench(kind="docker", life=DockerRuntime, folder=tmp_path)
    command = acting_command("docker")
    runtime = DockerRuntime(farm=farm_name, agent="a", image=executor_image, command=command)

    handle = await begun(runtime, bench.spec(["eat_memory", 300]))

    assert await runtime.wait(handle) == Exit(code=137, detail="out of memory")
    assert await all_lines(runtime, handle) == []


@pytest.mark.parametrize("kind", [DockerRuntime, PreparedRuntime])
async def test_a_socket_in_the_run_directory_is_reached_again_after_its_listener_was_made_anew(
    kind: type[DockerRuntime], executor_image: str, farm_name: str, tmp_path: Path
) -> None:
    """The one way out works from the read-only mount, also once the agent came back."""
    bench = RuntimeBench(kind="docker", life=DockerRuntime, folder=tmp_path)
    caller = WAITING + (
        "import socket\n"
        "for turn in range(2):\n"
        "    one = socket.socket(socket.AF_UNIX)\n"
        f"    one.connect('{RUN_DIRECTORY}/control.sock')\n"
        "    print(one.recv(100).decode(), flush=True)\n"
        "    one.recv(100)\n"
    )
    command = ["python3", "-c", caller]
    runtime = kind(farm=farm_name, agent="a", image=executor_image, command=command, warm=tmp_path)
    spec = bench.spec()
    path = spec.directory / "control.sock"

    first = _listener(path)
    handle = await begun(runtime, spec)
    async with following(runtime, handle) as lines:
        one = await _greet(first, b"first")
        heard = [await anext(lines)]
        path.unlink()
        second = _listener(path)
        first.close()
        one.close()
        two = await _greet(second, b"second")
        heard.append(await anext(lines))
        two.close()
        second.close()

    assert heard == [b"first", b"second"]
    assert await runtime.wait(handle) == Exit(code=0)


def _listener(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    path.chmod(
        stat.S_IRUSR | stat.S_IWUSR | stat.S_IRGRP | stat.S_IWGRP | stat.S_IROTH | stat.S_IWOTH
    )
    listener.listen()
    listener.setblocking(False)
    return listener


async def _greet(listener: socket.socket, text: bytes) -> socket.socket:
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(180):
        connection, _ = await loop.sock_accept(listener)
        await loop.sock_sendall(connection, text)
    return connection
