"""The docker runtime: confined containers without network or privilege."""

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from pathlib import Path
from typing import TypeVar

import structlog

from phonefarm_agent.runtimes.docker_engine import (
    Confinement,
    ConflictError,
    ContainerSpec,
    Engine,
    EngineAwayError,
    FoundContainer,
    NotKnownError,
)
from phonefarm_agent.runtimes.interface import Exit, Handle, RunSpec, RuntimeFailedError
from phonefarm_agent.runtimes.line_splitter import LineSplitter
from phonefarm_agent.runtimes.threads import chunks, in_thread
from phonefarm_agent.runtimes.warm_pool import (
    LABEL,
    PREFIX,
    WAITS_SECONDS,
    WarmContainer,
    WarmPool,
    let_executor_begin,
    replace_directory,
)

EXECUTOR_USER = "65532:65532"
"""The user in the container; this user must be able to read the run directory."""

RUN_DIRECTORY = "/run/phonefarm"

_KILLED_WITHIN_SECONDS = 20
_WAIT_SLICE_SECONDS = 10  # how long a wait nobody wants any more may linger
_RETRY_SECONDS = 0.5  # while the engine is away or refuses to answer

_RUN_PREFIX = "pf-"
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
        warm: Path | None = None,
    ) -> None:
        """Use *environment* as the executor's whole one; *command* is for tests.

        With the folder *warm* there is a pool of containers made ahead, once somebody keeps it; it
        must be where the run directories are.
        """
        self._labels = {"phonefarm.farm": farm, "phonefarm.agent": agent}
        self._image = image
        self._environment = dict(environment or {})
        self._command = command
        self._confinement = confinement or Confinement()
        self._engine = engine or Engine()
        self._warm_numbers: dict[str, str] = {}  # container: its number in the pool
        self.pool: WarmPool | None = None
        if warm is not None:
            self.pool = WarmPool(
                engine=self._engine,
                image=image,
                labels=self._labels,
                folder=warm,
                spec_of=self._warm_spec,
            )

    async def check(self) -> None:
        """Return when the engine answers, can keep the limits and has the image."""

        def ask() -> None:
            if missing := self._engine.cannot_limit():
                raise RuntimeFailedError(
                    f"the engine cannot limit {', '.join(missing)}: enable these "
                    "cgroup controllers; without them, one run can use up the resources of "
                    "the whole host"
                )
            self._engine.image_labels(self._image)

        try:
            await in_thread(ask)
        except NotKnownError as error:
            raise self._no_image() from error

    async def start(self, spec: RunSpec) -> Handle:
        """Take a container of the pool, or create and start one; a cancelled start leaves none."""
        member = self.pool.take() if self.pool else None
        launching = asyncio.ensure_future(in_thread(lambda: self._launch(spec, member)))
        container = ""
        try:
            container = await asyncio.shield(launching)
        except asyncio.CancelledError:
            await asyncio.wait([launching])
            if launching.exception() is None:
                await in_thread(lambda: self._engine.remove(launching.result()))
            raise
        finally:
            if self.pool and member:
                if container == member.container:
                    self._warm_numbers[container] = member.number
                else:
                    self.pool.discard(member)
        return Handle(run_id=spec.run_id, name=f"{_RUN_PREFIX}{spec.run_id}", token=container)

    async def begin(self, handle: Handle, directory: Path) -> None:
        """Give a warm container the *directory* of its run; other containers have it already."""
        number = self._warm_numbers.get(handle.token)
        if number is None or self.pool is None:
            return
        member, folder = self.pool.settle(handle.token), self.pool.folder(number)

        def give() -> None:
            try:
                replace_directory(folder, directory)
                let_executor_begin(directory, member.fifo if member else None)
            except OSError as error:
                raise RuntimeFailedError(
                    f"the agent cannot prepare the run's directory: {error}"
                ) from error

        await in_thread(give)

    async def held(self) -> list[Handle]:
        """Return the runs of this farm and this agent, whatever state they are in."""
        found = await in_thread(lambda: self._engine.containers(self._labels))
        self._warm_numbers |= {one.id: one.labels[LABEL] for one in found if LABEL in one.labels}
        return [
            Handle(run_id=run_id, name=one.name, token=one.id)
            for one in found
            if (run_id := _run_of(one))
        ]

    async def lines(self, handle: Handle) -> AsyncGenerator[bytes, None]:
        """Yield stdout from its first line, over engine restarts and refusals of the engine."""
        splitter = LineSplitter()
        seen = 0
        complete = False
        while not complete:
            skip = seen
            try:
                ended_before = not await self._running(handle)
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
            except RuntimeFailedError as error:  # also a refusal: the lines are there still
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
                return Exit(code=None, detail="the container has disappeared")
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
                raise RuntimeFailedError(f"{handle.name} is still running after SIGKILL")

        try:
            await in_thread(end)
        except NotKnownError:
            return

    async def remove(self, handle: Handle) -> None:
        """Remove the container, killing it when it runs; return when the engine forgot it."""
        if self.pool and (member := self.pool.settle(handle.token)):
            os.close(member.fifo)
        self._warm_numbers.pop(handle.token, None)
        await in_thread(lambda: self._engine.remove(handle.token))

    def _launch(self, spec: RunSpec, member: WarmContainer | None) -> str:
        name = f"{_RUN_PREFIX}{spec.run_id}"
        if member is not None and self._rename(member, name):
            return member.container
        labels = {
            "phonefarm.slot": str(spec.plan.get("serial", "")),
            "phonefarm.run": spec.run_id,
            "phonefarm.epoch": str(spec.epoch),
        }
        wanted = self._container(name, spec.directory, labels, self._environment)
        try:
            container = self._engine.create(wanted)
            self._engine.start(container)
        except ConflictError:
            raise  # the name is another run's: leave that one alone
        except NotKnownError as error:
            raise self._no_image() from error
        except RuntimeFailedError:
            with suppress(RuntimeFailedError):  # else `held` shows it, once the engine is back
                self._engine.remove(name)
            raise
        return container

    def _rename(self, member: WarmContainer, name: str) -> bool:
        """Give a warm container the run's name; False when it is gone or of an old image."""
        if self._engine.image_id(self._image) != member.image:
            return False
        try:
            self._engine.rename(member.container, name)
        except NotKnownError:
            return False
        return True

    def _warm_spec(self, number: str, folder: Path) -> ContainerSpec:
        """Return what to create a warm container from: the same as a run's."""
        waits = {"PHONEFARM_WARM_SECONDS": f"{WAITS_SECONDS:.0f}"}
        labels = {LABEL: number}
        return self._container(f"{PREFIX}{number}", folder, labels, self._environment | waits)

    def _container(
        self, name: str, directory: Path, labels: Mapping[str, str], environment: Mapping[str, str]
    ) -> ContainerSpec:
        return ContainerSpec(
            name=name,
            image=self._image,
            user=EXECUTOR_USER,
            command=self._command,
            environment=environment,
            labels={**self._labels, **labels},
            mount_from=directory.resolve(),
            mount_to=RUN_DIRECTORY,
            confinement=self._confinement,
        )

    def _no_image(self) -> RuntimeFailedError:
        return RuntimeFailedError(
            f"the engine does not have the image {self._image}: run `phonefarm-agent image build`"
        )

    async def _running(self, handle: Handle) -> bool:
        try:
            return (await self._answered(lambda: self._engine.state(handle.token))).running
        except NotKnownError:
            return False

    async def _answered(self, question: Callable[[], _T]) -> _T:
        """Return the engine's answer; retry while the engine is unavailable."""
        while True:
            try:
                return await in_thread(question)
            except EngineAwayError:
                await asyncio.sleep(_RETRY_SECONDS)


def _run_of(container: FoundContainer) -> str:
    """Return the run a container is, which its name tells where it was made ahead; "" for none."""
    if LABEL not in container.labels:
        return container.labels.get("phonefarm.run", "")
    return "" if container.name.startswith(PREFIX) else container.name.removeprefix(_RUN_PREFIX)
