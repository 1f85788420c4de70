"""Print this machine's figures as one JSON table. They are reported, never gated.

Latency: seconds from calling Enqueue to the assignment at the agent, one request at a time.
Lifecycles: processes per second from Enqueue to the acknowledged end, with runs that end at once
(scripts/bench_load.py); one controller process, the load in another. Beside them the floor, the
least program that serves the same load (scripts/bench_floor.py), and public job queues
(scripts/bench_peers.py). docs/performance.md explains the ratios.
Crossings: from a call at one of two controllers to what an agent or a watcher of the other is told
(scripts/bench_several.py).
Backlog: a claim for one phone beside 100,000 items that wait in several ways, and beside none
(scripts/bench_backlog.py).
Containers: a run container's whole life beside a bare `docker run` of the image, and the seconds
from the runtime's start until the executor says hello, made for its run and made ahead of it.
Use: the processor time of each program's `--help` beside `python -c pass`, the seconds until
`phonefarm up` is ready, and what a farm of fifty idle phones costs (scripts/bench_use.py).
"""

import argparse
import asyncio
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import structlog

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests")]

import bench_load as load  # noqa: E402 - after the path is set
from bench_backlog import claims  # noqa: E402 - after the path is set
from bench_peers import measure_peers  # noqa: E402 - after the path is set
from bench_several import crossings  # noqa: E402 - after the path is set
from bench_use import measure_use  # noqa: E402 - after the path is set
from phonefarm_agent.runtimes import image  # noqa: E402 - after the path is set
from phonefarm_agent.runtimes.docker import DockerRuntime  # noqa: E402
from phonefarm_agent.runtimes.docker_engine import Engine  # noqa: E402
from phonefarm_agent.runtimes.interface import RunSpec, RuntimeFailedError  # noqa: E402
from support.postgres_server import postgres_server  # noqa: E402
from support.run_bench import plan_of, step  # noqa: E402

READY_SECONDS = 60


@contextmanager
def controller(database_url: str | None, folder: Path) -> Iterator[tuple[str, int]]:
    """Run a controller process; yield its HOST:PORT and its process id."""
    command = ["-m", "phonefarm_controller", "--listen", "127.0.0.1:0", "--log-level", "warning"]
    if database_url is not None:
        command += ["--database", database_url]
    with served(command, folder) as at:
        yield at


@contextmanager
def served(command: list[str], folder: Path) -> Iterator[tuple[str, int]]:
    """Run a Python program that serves gRPC; yield its HOST:PORT and its process id."""
    ready = folder / "ready.json"
    command = [sys.executable, *command, "--data", str(folder), "--ready-file", str(ready)]
    environment = os.environ | {
        "INGEST_SECRET": load.KEY,
        "PHONEFARM_AGENT_TOKEN": load.AGENT_TOKEN,
        "PHONEFARM_GATEWAY_TOKEN": load.GATEWAY_TOKEN,
    }
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            yield _ready(ready, process), process.pid
        finally:
            process.terminate()
            process.wait(READY_SECONDS)


def _ready(ready: Path, process: "subprocess.Popen[bytes]") -> str:
    deadline = time.monotonic() + READY_SECONDS
    while not ready.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the server did not become ready: {process.returncode}")
        time.sleep(0.02)
    return str(json.loads(ready.read_text())["grpc"])


def measure(database_url: str | None, options: argparse.Namespace) -> dict[str, Any]:
    """Return the figures of one database."""
    with (
        tempfile.TemporaryDirectory() as scratch,
        controller(database_url, Path(scratch)) as (at, pid),
    ):
        seen = asyncio.run(load.latencies(at, samples=options.samples))
        flow = _lifecycles(at, pid, options)
    cuts = statistics.quantiles(seen, n=100)
    return {
        "submit_to_agent_ms": {
            "p50": round(statistics.median(seen) * 1000, 2),
            "p99": round(cuts[98] * 1000, 2),
            "samples": len(seen),
        },
        **flow,
    }


def measure_floor(options: argparse.Namespace) -> dict[str, float]:
    """Return the figures of the floor."""
    command = [str(ROOT / "scripts" / "bench_floor.py")]
    with (
        tempfile.TemporaryDirectory() as scratch,
        served(command, Path(scratch)) as (at, pid),
    ):
        return _lifecycles(at, pid, options)


def _lifecycles(at: str, pid: int, options: argparse.Namespace) -> dict[str, float]:
    return asyncio.run(
        load.lifecycles(
            at, count=options.count, agents=4, phones=options.phones, callers=256, pid=pid
        )
    )


def beside_floor(ours: dict[str, Any], floor: dict[str, float]) -> dict[str, float]:
    """Return how the controller compares with the floor of the same run."""
    pairs = {
        "lifecycles_per_second": "lifecycles_per_second",
        "server_cpu": "server_cpu_ms_per_lifecycle",
    }
    return {f"{name}_to_floor": round(ours[key] / floor[key], 3) for name, key in pairs.items()}


def beside_peers(ours: dict[str, Any], peers: dict[str, Any]) -> dict[str, float]:
    """Return the controller's lifecycles a second divided by each queue's jobs of the same run."""
    return {
        f"lifecycles_per_second_to_{name}": round(
            ours["lifecycles_per_second"] / figures["jobs_per_second"], 3
        )
        for name, figures in peers.items()
        if "jobs_per_second" in figures
    }


def measure_crossings(database_url: str, *, samples: int) -> dict[str, Any]:
    """Return how soon one of two controllers knows what the other did."""
    with (
        tempfile.TemporaryDirectory() as scratch,
        tempfile.TemporaryDirectory() as other,
        controller(database_url, Path(scratch)) as (here, _),
        controller(database_url, Path(other)) as (there, _),
    ):
        return asyncio.run(crossings(here, there, samples=samples))


def measure_backlog(options: argparse.Namespace) -> dict[str, Any]:
    """Return what a claim takes beside a backlog, on each database."""
    sizes = {"backlog": options.backlog, "samples": options.samples}
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    with tempfile.TemporaryDirectory() as scratch:
        sqlite = asyncio.run(claims(f"sqlite:///{scratch}/farm.db", **sizes))
    with postgres_server() as server, server.database("bench") as url:
        return {"sqlite": sqlite, "postgres": asyncio.run(claims(url, **sizes))}


async def containers(image: str, *, samples: int) -> dict[str, Any]:
    """Return the milliseconds of a confined run and of a bare `docker run`, of the same command."""
    command = ["python3", "-c", "pass"]
    bare_command = ["docker", "run", "--rm", "--network", "none", "--entrypoint", command[0], image]
    runtime = DockerRuntime(farm="bench", agent="bench", image=image, command=command)
    await runtime.check()
    started, whole, bare = [], [], []
    with tempfile.TemporaryDirectory() as scratch:
        for _ in range(samples):
            begun = time.perf_counter()
            process = await asyncio.create_subprocess_exec(*bare_command, *command[1:])
            await process.wait()
            bare.append(time.perf_counter() - begun)
            run_id = str(uuid.uuid4())
            spec = RunSpec(run_id=run_id, epoch=1, directory=Path(scratch), cap_seconds=60)
            begun = time.perf_counter()
            handle = await runtime.start(spec)
            started.append(time.perf_counter() - begun)
            await runtime.wait(handle)
            await runtime.remove(handle)
            whole.append(time.perf_counter() - begun)
    medians = {
        "bare_docker_run_ms": statistics.median(bare) * 1000,
        "run_container_ms": statistics.median(whole) * 1000,
        "run_container_start_ms": statistics.median(started) * 1000,
        "ratio_to_bare": statistics.median(w / b for w, b in zip(whole, bare, strict=True)),
    }
    return {name: round(value, 2) for name, value in medians.items()} | {"samples": samples}


async def starts(image: str, *, samples: int) -> dict[str, Any]:
    """Return the milliseconds from `start` to the executor's hello: cold, and of a warm pool."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        runtime = DockerRuntime(farm="bench", agent="bench", image=image, warm=folder)
        if (pool := runtime.pool) is None:
            raise RuntimeError("there is a pool wherever a folder is given")
        found: dict[str, list[float]] = {"cold_start_to_hello_ms": [], "warm_start_to_hello_ms": []}
        memory = 0.0
        for _ in range(samples):
            for wanted, name in enumerate(found):
                await pool.adjust(wanted)
                if wanted:
                    memory = await _waiting_mib()
                found[name].append(await _hello(runtime, folder) * 1000)
        await pool.adjust(0)
    medians = {name: round(statistics.median(values), 2) for name, values in found.items()}
    return medians | {"warm_container_mib": memory}


async def _hello(runtime: DockerRuntime, folder: Path) -> float:
    """Return the seconds until the executor of a run has read its plan and says hello."""
    run_id = str(uuid.uuid4())
    directory = folder / run_id[:8]
    directory.mkdir()
    plan = plan_of([step("launch_app")], serial="SIM0001")
    (directory / "plan.json").write_text(json.dumps(plan))
    heard = asyncio.Event()

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        heard.set()
        writer.close()

    path = directory / "control.sock"
    async with await asyncio.start_unix_server(hear, str(path)):
        path.chmod(0o666)
        spec = RunSpec(run_id=run_id, epoch=1, directory=directory, cap_seconds=60, plan=plan)
        begun = time.perf_counter()
        handle = await runtime.start(spec)
        await runtime.begin(handle, directory)
        async with asyncio.timeout(READY_SECONDS):
            await heard.wait()
        took = time.perf_counter() - begun
        await runtime.remove(handle)
    return took


async def _waiting_mib() -> float:
    """Return what the engine says a container that waits for its run takes."""
    [one] = [
        found.id
        for found in Engine().containers({"phonefarm.farm": "bench"})
        if found.name.startswith("pf-warm-")
    ]
    words = ["docker", "stats", "--no-stream", "--format", "{{.MemUsage}}", one]
    asked = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE)
    told, _ = await asked.communicate()
    return float(told.decode().split("MiB")[0])


def measure_containers() -> dict[str, Any]:
    """Return the containers' figures, or why there are none."""
    try:
        image.build(image.default_name(), None, lambda line: print(line, file=sys.stderr))
        name = image.default_name()
        found = asyncio.run(containers(name, samples=12)) | asyncio.run(starts(name, samples=8))
        bare = found["bare_docker_run_ms"]
        for kind in ("cold", "warm"):
            found[f"{kind}_ratio_to_bare"] = round(found[f"{kind}_start_to_hello_ms"] / bare, 3)
    except RuntimeFailedError as error:
        return {"not_measured": str(error)}
    else:
        return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=5000, help="lifecycles (%(default)s)")
    parser.add_argument("--samples", type=int, default=300, help="latency samples (%(default)s)")
    parser.add_argument("--phones", type=int, default=100, help="phones per agent (%(default)s)")
    parts = ["floor", "sqlite", "postgres", "several", "backlog", "container", "use", "peers"]
    parser.add_argument("--only", choices=parts)
    parser.add_argument("--backlog", type=int, default=100_000, help="items (%(default)s)")
    options = parser.parse_args()
    table: dict[str, Any] = {"cores": os.cpu_count(), "python": sys.version.split()[0]}
    floor: dict[str, float] = {}
    if options.only in {None, "floor", "sqlite", "postgres"}:
        floor = table["floor"] = measure_floor(options)
    if options.only in {None, "sqlite"}:
        table["sqlite"] = measure(None, options)
        table["sqlite"] |= beside_floor(table["sqlite"], floor)
    if options.only in {None, "postgres"}:
        with postgres_server() as server, server.database("bench") as url:
            table["postgres"] = measure(url, options)
            table["postgres"] |= beside_floor(table["postgres"], floor)
    if options.only in {None, "postgres", "peers"}:
        with postgres_server() as server, server.database("bench") as url:
            table["peers"] = measure_peers(url, count=options.count)
        if "postgres" in table:
            table["postgres"] |= beside_peers(table["postgres"], table["peers"])
    if options.only in {None, "several"}:
        with postgres_server() as server, server.database("bench") as url:
            table["two_controllers"] = measure_crossings(url, samples=options.samples)
    if options.only in {None, "backlog"}:
        table["backlog"] = measure_backlog(options)
    if options.only in {None, "container"}:
        table["container"] = measure_containers()
    if options.only in {None, "use"}:
        table["use"] = measure_use()
    print(json.dumps(table, indent=2))


if __name__ == "__main__":
    main()
