"""Selects which of several controllers to call."""

import random
from collections.abc import Callable, Iterable
from typing import Final

from phonefarm_common.backoff import backoff
from phonefarm_common.config import ConfigError, address

REST_SECONDS: Final = 1.0
MOST_REST_SECONDS: Final = 15.0


def parse_controllers(texts: Iterable[str], *, name: str) -> tuple[str, ...]:
    """Parse addresses, HOST:PORT, several with commas or given again; drop duplicates.

    ConfigError naming the option for none, or for one that is not HOST:PORT.
    """
    found = [part.strip() for text in texts for part in text.split(",")]
    targets = tuple(dict.fromkeys(part for part in found if part))
    if not targets:
        raise ConfigError(f"{name} must be HOST:PORT, or several separated by commas, not {''!r}")
    for target in targets:
        address(target, name=name)
    return targets


class EndpointSelector:
    """Selects one controller and stays with it until it fails.

    It begins anywhere in the list, so that many callers spread over it. Who failed rests a while,
    longer each time, and is asked again only when no other is left or better.
    """

    def __init__(
        self,
        targets: tuple[str, ...],
        *,
        monotonic: Callable[[], float],
        chance: Callable[[], float] = random.random,
        scale: float = 1.0,
    ) -> None:
        begin = int(chance() * len(targets))
        self._ring = targets[begin:] + targets[:begin]
        self._monotonic = monotonic
        self._chance = chance
        self._scale = scale
        self._failures: dict[str, int] = {}
        self._rests_until: dict[str, float] = {}

    def __len__(self) -> int:
        """Return the number of controllers."""
        return len(self._ring)

    @property
    def current(self) -> str:
        """Return the controller to call; when all have failed, the one that rests no longer."""
        now = self._monotonic()
        rests = {target: self._rests_until.get(target, now) for target in self._ring}
        return min(self._ring, key=lambda target: max(rests[target], now))

    def failed(self, target: str) -> None:
        """Select the next controller; calls that fail together count as one failure."""
        now = self._monotonic()
        if self._rests_until.get(target, now) > now:
            return
        times = self._failures[target] = self._failures.get(target, 0) + 1
        rest = backoff(
            times,
            first=REST_SECONDS * self._scale,
            factor=2,
            most=MOST_REST_SECONDS * self._scale,
            jitter=0.5,
            chance=self._chance,
        )
        self._rests_until[target] = now + rest
        if target == self._ring[0]:
            self._ring = (*self._ring[1:], target)

    def answered(self, target: str) -> None:
        """Stay with this controller and forget its failures."""
        self._failures.pop(target, None)
        self._rests_until.pop(target, None)
        if target != self._ring[0]:
            at = self._ring.index(target)
            self._ring = self._ring[at:] + self._ring[:at]
