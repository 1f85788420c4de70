"""Chooses the agent's runtime and checks that runs can be started."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import structlog
from phonefarm_common.config import ConfigError

from phonefarm_agent.app.settings import Settings
from phonefarm_agent.model.host import IncidentKind, Incidents
from phonefarm_agent.runtimes.docker import DockerRuntime
from phonefarm_agent.runtimes.dummy import DummyRuntime
from phonefarm_agent.runtimes.interface import Runtime, RuntimeFailedError
from phonefarm_agent.runtimes.process import ProcessRuntime

log = structlog.get_logger()

OUTLIVES_AGENT = frozenset({"docker"})
"""The runtimes whose runs continue while the agent restarts."""


EMPTY_SECONDS = 10.0
"""An agent that stops has this long to remove its warm containers."""


def make_runtime(
    kind: str, *, farm: str, settings: Settings, runs_folder: Path | None = None
) -> Runtime:
    """Return this agent's runtime of that *kind*; *runs_folder* holds the run directories."""
    environment = {"PHONEFARM_TIME_SCALE": str(settings.time_scale)}
    match kind:
        case "docker":
            return DockerRuntime(
                farm=farm,
                agent=settings.agent_id,
                image=settings.image,
                environment=environment,
                warm=runs_folder,
            )
        case "process":
            return ProcessRuntime(
                farm=farm,
                agent=settings.agent_id,
                folder=settings.state / "processes",
                environment=environment | _python_path(),
            )
        case "dummy":
            return DummyRuntime()
        case _:
            raise ConfigError(f"--runtime: unknown runtime {kind!r}")


async def choose_runtime(settings: Settings) -> str:
    """Return docker, process or dummy; ConfigError when the chosen runtime cannot be used."""
    kind = settings.runtime
    if kind == "auto":
        kind = "dummy" if settings.dummy_phones else await _docker_or_process(settings)
    if settings.dummy_phones and kind != "dummy":
        raise ConfigError(
            "--dummy-phones needs --runtime dummy: other runtimes cannot drive dummy phones"
        )
    if kind in {"process", "dummy"} and settings.production:
        raise ConfigError(
            f"the {kind} runtime does not isolate runs, so production does not allow it: use "
            "--runtime docker, or unset PHONEFARM_PRODUCTION"
        )
    return kind


async def _docker_or_process(settings: Settings) -> str:
    try:
        await make_runtime("docker", farm="", settings=settings).check()
    except RuntimeFailedError as error:
        if settings.production:
            raise ConfigError(
                f"docker does not work, and production allows no other runtime: {error}"
            ) from error
        log.warning(
            "runtime.isolation_lost",
            runtime="process",
            why=str(error),
            lost=(
                "runs have this user's permissions: they can access the user's files, the network "
                "and other processes; the agent checks only the runs' access to the phone"
            ),
        )
        return "process"
    return "docker"


def _python_path() -> dict[str, str]:
    path = os.environ.get("PYTHONPATH")
    return {"PYTHONPATH": path} if path else {}


class RuntimeManager:
    """Creates the runtime once the farm is known, and checks it from then on."""

    def __init__(
        self,
        kind: str,
        *,
        settings: Settings,
        runs_folder: Path,
        incidents: Incidents,
        changed: Callable[[], None],
    ) -> None:
        self.kind = kind
        self.problem = "runtime_unchecked"
        self.farm_known = asyncio.Event()
        self._settings = settings
        self._runs_folder = runs_folder
        self._incidents = incidents
        self._changed = changed
        self._runtime: Runtime | None = None

    def runtime(self) -> Runtime:
        """Return the runtime; RuntimeFailedError before the farm is known."""
        if self._runtime is None:
            raise RuntimeFailedError("the agent does not know the name of its farm yet")
        return self._runtime

    def use_farm(self, farm: str) -> None:
        """Create the runtime for *farm*; later calls do nothing."""
        if self._runtime is None:
            self._runtime = make_runtime(
                self.kind, farm=farm, settings=self._settings, runs_folder=self._runs_folder
            )
            self.farm_known.set()

    async def keep_warm(self, phones: Callable[[], int]) -> None:
        """Keep a warm container ready for each of the *phones* that can work, up to the limit."""
        await self.farm_known.wait()
        if isinstance(self._runtime, DockerRuntime) and self._runtime.pool is not None:
            await self._runtime.pool.keep(lambda: min(self._settings.warm, phones()))

    async def empty_pool(self) -> None:
        """Remove the warm containers that no run has taken."""
        if isinstance(self._runtime, DockerRuntime) and self._runtime.pool is not None:
            await self._runtime.pool.close(within=EMPTY_SECONDS)

    async def run(self) -> None:
        """Check every 10 s whether runs can be started; `problem` says why not."""
        await self.farm_known.wait()
        while True:
            try:
                await self.runtime().check()
                problem = ""
            except RuntimeFailedError as error:
                problem = f"runtime_failed:{error}"
            if problem != self.problem:
                if problem:
                    log.error("host.runtime_lost", error=problem)
                elif self.problem != "runtime_unchecked":
                    log.info("host.runtime_recovered")
                self.problem = problem
                self._incidents.update(IncidentKind.RUNTIME_DOWN, problem)
                self._changed()
            await asyncio.sleep(10 * self._settings.time_scale)
