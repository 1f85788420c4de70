"""Runs in confined containers: no network, nothing writable but /tmp, no privilege."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from typing import TypeVar

import structlog

from phonefarm_agent.runtimes.calls import chunks, in_thread
from phonefarm_agent.runtimes.contract import Exit, Handle, RunSpec, RuntimeFailedError
from phonefarm_agent.runtimes.engine import (
    Confinement,
    ConflictError,
    ContainerSpec,
    Engine,
    EngineAwayError,
    NotKnownError,
)
from phonefarm_agent.runtimes.lines import LineSplitter

EXECUTOR_USER = "65532:65532"
"""Who runs in the container; it must be able to reach what lies in the run directory."""

RUN_DIRECTORY = "/run/phonefarm"

_KILLED_WITHIN_SECONDS = 20
_WAIT_SLICE_SECONDS = 10  # how long a wait nobody wants any more may linger
_RETRY_SECONDS = 0.5  # while the engine is away

_T = TypeVar("_T")
_log = structlog.get_logger()


class DockerRuntime:
    """One container per run, labelled with farm and agent; several agents may share an engine."""

    name = "docker"

    def __init__(
        self,
        *,
        farm: str,
        agent: str,
        image: str,
        environment: Mapping[str, str] | None = None,
        command: Sequence[str] | None = None,
        confinement: Confinement | None = None,
        engine: Engine | None = None,
    ) -> None:
        """Take all the environment the executor sees; *command* replaces the image's (tests)."""
        self._labels = {"phonefarm.farm": farm, "phonefarm.agent": agent}
        self._image = image
        self._environment = dict(environment or {})
        self._command = command
        self._confinement = confinement or Confinement()
        self._engine = engine or Engine()

    async def check(self) -> None:
        """Return when the engine answers, can keep the limits and has the image."""

        def ask() -> None:
            if missing := self._engine.cannot_limit():
                raise RuntimeFailedError(
                    f"the engine cannot limit {', '.join(missing)}: switch these cgroup "
                    "controllers on, else one run can take the host from the others"
                )
            self._engine.image_labels(self._image)

        try:
            await in_thread(ask)
        except NotKnownError as error:
            raise self._no_image() from error

    async def start(self, spec: RunSpec) -> Handle:
        """Create and start the run's container; a cancelled start leaves none behind."""
        wanted = self._container(spec)
        launching = asyncio.ensure_future(in_thread(lambda: self._launch(wanted)))
        try:
            container = await asyncio.shield(launching)
        except asyncio.CancelledError:
            await asyncio.wait([launching])
            if launching.exception() is None:
                await in_thread(lambda: self._engine.remove(launching.result()))
            raise
        return Handle(run_id=spec.run_id, name=wanted.name, token=container)

    async def held(self) -> list[Handle]:
        """Return the runs of this farm and this agent, whatever state they are in."""
        found = await in_thread(lambda: self._engine.containers(self._labels))
        return [
            Handle(run_id=one.labels["phonefarm.run"], name=one.name, token=one.id)
            for one in found
            if "phonefarm.run" in one.labels
        ]

    async def lines(self, handle: Handle) -> AsyncGenerator[bytes, None]:
        """Yield stdout from its first line, over any number of engine restarts."""
        splitter = LineSplitter()
        seen = 0
        complete = False
        while not complete:
            ended_before = not await self._running(handle)
            skip = seen
            try:
                stream = await in_thread(lambda: self._engine.follow_stdout(handle.token))
                async with aclosing(chunks(stream)) as source:
                    async for chunk in source:
                        fresh = chunk[skip:]
                        skip = max(0, skip - len(chunk))
                        seen += len(fresh)
                        for line in splitter.feed(fresh):
                            yield line
                # A log that ended because the engine went away is read again.
                await in_thread(self._engine.version)
            except NotKnownError:
                complete = True
            except EngineAwayError as error:
                _log.warning("log.interrupted", run_id=handle.run_id, error=str(error))
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                complete = ended_before
        for line in splitter.rest():
            yield line

    async def wait(self, handle: Handle) -> Exit:
        """Return when the container no longer runs, over any number of engine restarts."""
        while True:
            try:
                state = await self._answered(lambda: self._engine.state(handle.token))
                if state.running:
                    await self._answered(
                        lambda: self._engine.wait(handle.token, seconds=_WAIT_SLICE_SECONDS)
                    )
                    continue
            except NotKnownError:
                return Exit(code=None, detail="the container is gone")
            if state.status == "created":
                return Exit(code=None, detail="the container was never started")
            return Exit(code=state.code, detail="out of memory" if state.out_of_memory else "")

    async def stop(self, handle: Handle, *, grace: float) -> None:
        """Ask with SIGTERM, kill after *grace* seconds; raise when it still runs 20 s later."""

        def end() -> None:
            engine, container = self._engine, handle.token
            if grace > 0:
                engine.kill(container, signal="SIGTERM")
                if engine.wait(container, seconds=grace):
                    return
            engine.kill(container, signal="SIGKILL")
            if not engine.wait(container, seconds=_KILLED_WITHIN_SECONDS):
                raise RuntimeFailedError(f"{handle.name} still runs after SIGKILL")

        try:
            await in_thread(end)
        except NotKnownError:
            return

    async def remove(self, handle: Handle) -> None:
        """Remove the container, killing it when it runs; return when the engine forgot it."""
        await in_thread(lambda: self._engine.remove(handle.token))

    def _container(self, spec: RunSpec) -> ContainerSpec:
        labels = {
            **self._labels,
            "phonefarm.slot": str(spec.plan.get("serial", "")),
            "phonefarm.run": spec.run_id,
            "phonefarm.epoch": str(spec.epoch),
        }
        return ContainerSpec(
            name=f"pf-{spec.run_id}",
            image=self._image,
            user=EXECUTOR_USER,
            command=self._command,
            environment=self._environment,
            labels=labels,
            mount_from=spec.directory.resolve(),
            mount_to=RUN_DIRECTORY,
            confinement=self._confinement,
        )

    def _launch(self, wanted: ContainerSpec) -> str:
        try:
            container = self._engine.create(wanted)
            self._engine.start(container)
        except ConflictError:
            raise  # the name is another run's: leave that one alone
        except NotKnownError as error:
            raise self._no_image() from error
        except RuntimeFailedError:
            with suppress(RuntimeFailedError):  # else `held` shows it, once the engine is back
                self._engine.remove(wanted.name)
            raise
        return container

    def _no_image(self) -> RuntimeFailedError:
        return RuntimeFailedError(
            f"the engine has no image {self._image}: run `phonefarm-agent image build`"
        )

    async def _running(self, handle: Handle) -> bool:
        try:
            return (await self._answered(lambda: self._engine.state(handle.token))).running
        except NotKnownError:
            return False

    async def _answered(self, question: Callable[[], _T]) -> _T:
        """Return the answer, however long the engine is away."""
        while True:
            try:
                return await in_thread(question)
            except EngineAwayError:
                await asyncio.sleep(_RETRY_SECONDS)
