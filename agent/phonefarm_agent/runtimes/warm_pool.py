"""The warm pool: containers created ahead of their runs, each for one (docs/adr/0018).

A member waits, its program loaded, at a FIFO in a directory of its own that is mounted in it. It
becomes a run's by being renamed at the engine, which happens or does not; then the run's directory
takes the place of its own, and a byte in the FIFO lets it read the plan.
"""

import asyncio
import errno
import os
import secrets
import select
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import structlog

from phonefarm_agent.runtimes.docker_engine import ContainerSpec, Engine, NotKnownError
from phonefarm_agent.runtimes.interface import RuntimeFailedError
from phonefarm_agent.runtimes.threads import in_thread

LABEL = "phonefarm.warm"
"""The label with a container's number; it stays when a run takes the container."""
FIFO_NAME = "start"
PREFIX = "pf-warm-"
"""The beginning of a container's name until a run takes the container."""

OLDEST_SECONDS = 3600.0
WAITS_SECONDS = OLDEST_SECONDS + 600.0
"""A warm container ends by itself after this time, in case its agent never returns."""

_ROUND_SECONDS = 1.0  # also the moment a run that took a member has the machine for itself
_CHECK_SECONDS = 30.0
_READY_SECONDS = 20.0
_RETRY_SECONDS = 30.0

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class WarmContainer:
    """A container that waits for its run."""

    number: str
    container: str
    image: str  # the image's id
    fifo: int  # the FIFO's writing end; while it is open the executor is known to wait
    made_at: float

    def waits(self) -> bool:
        """Tell whether its executor still waits, and is not too old."""
        if time.monotonic() >= self.made_at + OLDEST_SECONDS:
            return False
        looking = select.poll()
        looking.register(self.fifo, 0)
        return not looking.poll(0)  # POLLERR: nobody holds the reading end (pipe(7))


class WarmPool:
    """Keeps the wanted number of warm containers; to be used in the agent's event loop."""

    def __init__(
        self,
        *,
        engine: Engine,
        image: str,
        labels: Mapping[str, str],
        folder: Path,
        spec_of: Callable[[str, Path], ContainerSpec],
    ) -> None:
        """Keep the containers' directories in *folder*; *spec_of* returns how to create one."""
        self._engine = engine
        self._image = image
        self._labels = labels
        self._folder = folder
        self._spec_of = spec_of
        self._members: list[WarmContainer] = []
        self._taken: dict[str, WarmContainer] = {}
        self._unwanted: dict[str, Path] = {}
        self._next_check_at = -float("inf")
        self._closing = asyncio.Event()
        self._over = asyncio.Event()
        self._over.set()

    @property
    def ready(self) -> int:
        """Return how many containers wait."""
        return len(self._members)

    async def keep(self, wanted: Callable[[], int]) -> None:
        """Keep as many containers as are *wanted*, until `close`."""
        self._over.clear()
        try:
            while not self._closing.is_set():
                pause = _ROUND_SECONDS
                try:
                    await self.adjust(wanted())
                except RuntimeFailedError as error:
                    log.warning("warm_pool.not_filled", error=str(error))
                    # The engine may have restarted: start again with an empty pool.
                    self._drop(list(self._members))
                    pause, self._next_check_at = _RETRY_SECONDS, -float("inf")
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._closing.wait()
            self._next_check_at = -float("inf")
            await self.adjust(0)
        except RuntimeFailedError as error:
            log.warning("warm_pool.not_emptied", error=str(error))
        finally:
            self._over.set()

    async def close(self, *, within: float) -> None:
        """Remove all waiting containers, within at most *within* seconds."""
        self._closing.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                await self._over.wait()

    async def adjust(self, wanted: int) -> None:
        """Create or remove containers until there are *wanted*; RuntimeFailedError."""
        self._drop([member for member in self._members if not member.waits()])
        self._drop(self._members[wanted:])
        if time.monotonic() >= self._next_check_at:
            await self._drop_stale()
            self._next_check_at = time.monotonic() + _CHECK_SECONDS
        for container, folder in tuple(self._unwanted.items()):
            await in_thread(partial(self._remove, container, folder))
            del self._unwanted[container]
        while len(self._members) < wanted and not self._closing.is_set():
            self._members.append(await in_thread(self._create))

    def take(self) -> WarmContainer | None:
        """Take a container out of the pool; None when none waits."""
        while self._members:
            member = self._members.pop(0)
            if member.waits():
                self._taken[member.container] = member
                return member
            self._drop([member])
        return None

    def discard(self, member: WarmContainer) -> None:
        """Remove a container that was taken but did not become a run's."""
        self._taken.pop(member.container, None)
        self._drop([member])

    def settle(self, container: str) -> WarmContainer | None:
        """Return the taken member that *container* is, once; None for any other."""
        return self._taken.pop(container, None)

    def folder(self, number: str) -> Path:
        """Return the directory that a container was created with."""
        return self._folder / f"warm-{number}"

    def _drop(self, members: Iterable[WarmContainer]) -> None:
        for member in members:
            with suppress(ValueError):
                self._members.remove(member)
            os.close(member.fifo)
            self._unwanted[member.container] = self.folder(member.number)

    def _remove(self, container: str, folder: Path) -> None:
        self._engine.remove(container)
        shutil.rmtree(folder, ignore_errors=True)

    async def _drop_stale(self) -> None:
        """Drop containers of an old image, and remove those that nobody knows."""
        # Before the engine is asked: whom nobody knows now nobody can take later.
        known = {member.number for member in (*self._members, *self._taken.values())}
        image = await in_thread(lambda: self._engine.image_id(self._image))
        self._drop([member for member in self._members if member.image != image])
        await in_thread(lambda: self._sweep(known))

    def _sweep(self, known: set[str]) -> None:
        mine = [one for one in self._engine.containers(self._labels) if LABEL in one.labels]
        for one in mine:
            if one.name.startswith(PREFIX) and one.labels[LABEL] not in known:
                self._engine.remove(one.id)
                log.info("warm_pool.leftover_removed", container=one.name)
        bound = {one.labels[LABEL] for one in mine if not one.name.startswith(PREFIX)}
        for path in self._folder.glob("warm-*"):
            if path.name.removeprefix("warm-") not in known | bound:
                shutil.rmtree(path, ignore_errors=True)

    def _create(self) -> WarmContainer:
        number = secrets.token_hex(4)
        folder = self.folder(number)
        try:
            folder.mkdir(mode=0o755)
            folder.chmod(0o755)
            fifo = folder / FIFO_NAME
            os.mkfifo(fifo)
            fifo.chmod(0o644)
            image = self._engine.image_id(self._image)
            if image is None:
                raise NotKnownError(f"the engine does not have the image {self._image}")
            container = self._engine.create(self._spec_of(number, folder))
            self._engine.start(container)
            return WarmContainer(
                number=number,
                container=container,
                image=image,
                fifo=self._wait_for_executor(container, fifo),
                made_at=time.monotonic(),
            )
        except (RuntimeFailedError, OSError) as error:
            with suppress(RuntimeFailedError):  # else the next look finds it
                self._engine.remove(f"{PREFIX}{number}")
            shutil.rmtree(folder, ignore_errors=True)
            if isinstance(error, OSError):
                raise RuntimeFailedError(f"a warm container failed: {error}") from error
            raise

    def _wait_for_executor(self, container: str, fifo: Path) -> int:
        """Return the writing end of the *fifo* once the executor holds the other."""
        end = time.monotonic() + _READY_SECONDS
        while (descriptor := _open_fifo(fifo)) is None:
            state = self._engine.state(container)
            if time.monotonic() > end or not state.running:
                how = "still busy" if state.running else f"{state.status} with {state.code}"
                raise RuntimeFailedError(
                    f"an executor of {self._image} did not wait for a run ({how}); the "
                    "version of the image may be wrong: run `phonefarm-agent image build`"
                )
            time.sleep(0.02)
        return descriptor


def replace_directory(folder: Path, directory: Path) -> None:
    """Move the files of a run's *directory* into the container's *folder*, and rename that.

    *folder* is what the container was made with. May be called again after a death on the way.
    """
    if not folder.exists():
        return
    directory.mkdir(exist_ok=True)
    for entry in directory.iterdir():
        entry.replace(folder / entry.name)  # a socket too is reached by its new path
    folder.rename(directory)  # it is empty now: rename(2) replaces it at once


def let_executor_begin(directory: Path, fifo: int | None) -> None:
    """Let the executor that waits in *directory* begin, by a byte in its FIFO.

    One that has begun, or is gone, is left alone.
    """
    path = directory / FIFO_NAME
    descriptor = _open_fifo(path) if fifo is None else fifo
    if descriptor is not None:
        try:
            os.write(descriptor, b"\n")
        except BrokenPipeError:
            pass  # it died; `wait` reports that
        finally:
            os.close(descriptor)
    path.unlink(missing_ok=True)


def _open_fifo(fifo: Path) -> int | None:
    """Return the writing end of a FIFO that somebody reads from; None when nobody does."""
    try:
        return os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.ENXIO:
            return None
        raise
