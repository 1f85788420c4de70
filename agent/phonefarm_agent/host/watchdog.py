"""Keeps systemd's watchdog alive from a thread, as long as the event loop answers.

Each time the loop is asked to prove that it goes round and that the journal takes its turn. No
proof within the limit: no food, and systemd ends the agent and starts it again. Its runs live on in
their containers meanwhile.
"""

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager

import structlog

log = structlog.get_logger()

FED_PER_PERIOD = 4
LIMIT_OF_PERIOD = 1 / 3
"""A check may take a third of the watchdog's period, so that another can follow a late one."""


class Watchdog:
    """A thread that keeps the watchdog alive; made by `watchdog`."""

    def __init__(
        self,
        *,
        loop: asyncio.AbstractEventLoop,
        proof: Callable[[], Coroutine[None, None, None]],
        keep_alive: Callable[[], None],
        period: float,
    ) -> None:
        self._loop = loop
        self._proof = proof
        self._keep_alive = keep_alive
        self._every = period / FED_PER_PERIOD
        self._limit = period * LIMIT_OF_PERIOD
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._keep_alive()
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread, without waiting: it may itself wait for the caller's event loop."""
        self._over.set()

    def _watch(self) -> None:
        while not self._over.wait(self._every):
            if self._proven():
                self._keep_alive()
            elif not self._over.is_set():
                log.error("watchdog.keep_alive_withheld", limit_seconds=self._limit)

    def _proven(self) -> bool:
        proof = self._proof()
        try:
            asked = asyncio.run_coroutine_threadsafe(proof, self._loop)
        except RuntimeError:  # the loop is closed
            proof.close()
            return False
        try:
            asked.result(timeout=self._limit)
        except concurrent.futures.CancelledError:
            return False  # the loop ends its tasks
        except TimeoutError:
            asked.cancel()
            return False
        return True


@contextmanager
def watchdog(
    *,
    proof: Callable[[], Coroutine[None, None, None]],
    keep_alive: Callable[[], None],
    period: float,
) -> Iterator[None]:
    """Call *keep_alive* several times a *period*, while the event loop completes *proof*.

    Must be entered in the loop. An error that *proof* raises ends the feeding for good.
    """
    thread = Watchdog(
        loop=asyncio.get_running_loop(), proof=proof, keep_alive=keep_alive, period=period
    )
    thread.start()
    try:
        yield
    finally:
        thread.stop()
