"""Gateway calls: which gateways call this controller, and which ones it refuses."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

CALLING_SECONDS: Final = 120.0
"""A gateway counts as gone after this time; a running gateway calls at least every 30 s."""
REFUSED_SECONDS: Final = 600.0
MOST: Final = 100
"""The controller remembers at most this many gateways, and this many refused calls."""


@dataclass(frozen=True, kw_only=True)
class CallingGateway:
    """A gateway that called; `signs` is None for one that does not say whether it signs."""

    name: str
    signs: bool | None
    at: float = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class RefusedGateway:
    """A call as a gateway that was refused, and why; `member_id` is empty without certificate."""

    name: str
    member_id: str
    why: str
    at: float = field(repr=False)


class GatewayCalls:
    """Remembers the calls of gateways to this controller, in memory and for a short time."""

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._calling: dict[str, CallingGateway] = {}
        self._refused: dict[str, RefusedGateway] = {}

    def accept(self, gateway_id: str, *, name: str, signs: bool | None) -> None:
        """Remember that the gateway asked for deliveries."""
        now = self._monotonic()
        self._refused.pop(name, None)
        self._calling.pop(gateway_id, None)
        self._calling[gateway_id] = CallingGateway(name=name, signs=signs, at=now)
        _trim(self._calling)

    def refuse(self, name: str, *, member_id: str, why: str) -> None:
        """Remember that a call was refused."""
        now = self._monotonic()
        self._refused.pop(name, None)
        self._refused[name] = RefusedGateway(name=name, member_id=member_id, why=why, at=now)
        _trim(self._refused)

    def calling(self) -> list[CallingGateway]:
        """Return the gateways that called lately, by name."""
        since = self._monotonic() - CALLING_SECONDS
        here = (gateway for gateway in self._calling.values() if gateway.at >= since)
        return sorted(here, key=lambda gateway: gateway.name)

    def refused(self) -> list[RefusedGateway]:
        """Return the gateways whose last call was refused lately, by name."""
        since = self._monotonic() - REFUSED_SECONDS
        away = (gateway for gateway in self._refused.values() if gateway.at >= since)
        return sorted(away, key=lambda gateway: gateway.name)


def _trim(kept: dict[str, CallingGateway] | dict[str, RefusedGateway]) -> None:
    while len(kept) > MOST:
        del kept[next(iter(kept))]
