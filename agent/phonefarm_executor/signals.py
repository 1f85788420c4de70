"""What the agent has sent so far; the control thread writes it, and the run waits for it."""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any


class Signals:
    """Go, stop, acknowledgements, and whether the agent is connected."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._acknowledged = 0
        self._assets: dict[str, Mapping[str, Any]] = {}
        self._ui_server: tuple[int, str] = (0, "")
        self._verdict: tuple[int, Mapping[str, Any]] = (0, {})
        self.going = False
        self.stop_reason: str | None = None
        self.silent_since: float | None = time.monotonic()

    def go(self) -> None:
        """Open the start gate."""
        with self._changed:
            self.going = True
            self._changed.notify_all()

    def stop(self, reason: str) -> None:
        """Ask the run to stop; the first reason stays."""
        with self._changed:
            self.stop_reason = self.stop_reason or reason
            self._changed.notify_all()

    def acknowledge(self, sequence: int) -> None:
        """Note that the controller has every line up to *sequence*."""
        with self._changed:
            self._acknowledged = max(self._acknowledged, sequence)
            self._changed.notify_all()

    def heard(self, *, connected: bool) -> None:
        """Note whether the control socket is connected."""
        with self._changed:
            if connected:
                self.silent_since = None
            elif self.silent_since is None:
                self.silent_since = time.monotonic()
            self._changed.notify_all()

    def hear_asset(self, name: str, answer: Mapping[Any, Any]) -> None:
        """Note what the agent said of an asset."""
        with self._changed:
            self._assets[name] = answer
            self._changed.notify_all()

    def asset(self, name: str) -> Mapping[str, Any] | None:
        """Return what the agent said of an asset, None while it has not."""
        return self._assets.get(name)

    def hear_ui_server(self, number: int, refused: str) -> None:
        """Note the answer to question *number*: "" when it was done, else why not."""
        with self._changed:
            self._ui_server = (number, refused)
            self._changed.notify_all()

    def ui_server(self, number: int) -> str | None:
        """Return the answer to question *number*, None while there is none."""
        answered, refused = self._ui_server
        return refused if answered == number else None

    def hear_verdict(self, number: int, verdict: Mapping[Any, Any]) -> None:
        """Note the judge's verdict on question *number*."""
        with self._changed:
            self._verdict = (number, verdict)
            self._changed.notify_all()

    def verdict(self, number: int) -> Mapping[str, Any] | None:
        """Return the verdict on question *number*, None while there is none."""
        answered, verdict = self._verdict
        return verdict if answered == number else None

    def has_acknowledged(self, sequence: int) -> bool:
        """Tell whether the controller has every line up to *sequence*."""
        return self._acknowledged >= sequence

    def wait(self, until: Callable[[], bool], seconds: float) -> bool:
        """Return as soon as *until* holds, at the latest after *seconds*; tell whether it holds."""
        with self._changed:
            return self._changed.wait_for(until, timeout=max(0.0, seconds))
