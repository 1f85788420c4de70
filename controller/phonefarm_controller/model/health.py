"""The health of a phone, and how many failures lead to a quarantine."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, Self

from phonefarm_controller.model.states import Health

DIRTY: Final = "dirty: "
"""The reason of a phone that nobody confirmed to be clean begins with this."""
PROVING: Final = "proving: "
"""The reason of a phone that must pass a golden job after its quarantine begins with this."""


class Owed(StrEnum):
    """What must happen before a quarantine ends; dirt can come on top of it."""

    NOTHING = ""
    TIME = "time"  # a round is to be served
    PROOF = "proof"  # it was served, and a golden job is to be passed
    TIME_AGAIN = "time_again"  # a round is to be served that began as proof was owed


class Blame(StrEnum):
    """What went wrong with a phone."""

    INFRA = "infra"  # a run ended for the phone's sake
    SET_UP = "set_up"  # a run was not begun, or not in time
    CLEAN_UP = "clean_up"  # the phone was not given back clean


@dataclass(frozen=True, kw_only=True)
class HealthPolicy:
    """How many failures lead to what; times in seconds, scaled like the timers."""

    failures: int = 3  # of one phone within the window quarantine it
    window: float = 600
    cool_down: float = 30  # no work after a failure: a bad phone must not drain the queue
    quarantine_first: float = 1200  # doubled with every round
    quarantine_most: float = 7200
    rounds: int = 4  # quarantines that end by themselves; the next one needs a person
    forget_rounds: float = 24 * 3600
    host_phones: int = 3  # of one host failing within host_window: it is the host
    host_window: float = 60
    host_quiet: float = 120  # without a failure, and it is over
    host_most: float = 600  # or after this; for as long again failures count, whatever they are
    agent_silent: float = 45  # an agent that was not heard for this long is lost

    def scaled(self, factor: float) -> Self:
        """Return the same policy with its times multiplied by *factor*."""
        return replace(
            self,
            window=self.window * factor,
            cool_down=self.cool_down * factor,
            quarantine_first=self.quarantine_first * factor,
            quarantine_most=self.quarantine_most * factor,
            forget_rounds=self.forget_rounds * factor,
            host_window=self.host_window * factor,
            host_quiet=self.host_quiet * factor,
            host_most=self.host_most * factor,
            agent_silent=self.agent_silent * factor,
        )

    def quarantine(self, round_number: int) -> timedelta | None:
        """Return how long the quarantine of this round lasts; None until a person ends it."""
        if round_number > self.rounds:
            return None
        seconds = min(self.quarantine_first * 2 ** (round_number - 1), self.quarantine_most)
        return timedelta(seconds=seconds)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The health of a phone. `rounds` counts its quarantines because of failures so far."""

    health: Health = Health.GOOD
    reason: str = ""  # `<code>: <sentence>`
    until: datetime | None = None  # when it changes by itself; None: it does not
    cooling_until: datetime | None = None  # no work before this
    rounds: int = 0
    round_at: datetime | None = None  # when the last of them began
    owed: Owed = Owed.NOTHING

    @property
    def dirty(self) -> bool:
        """Tell whether it is withheld because nobody confirmed it clean."""
        return self.health is Health.QUARANTINED and self.reason.startswith(DIRTY)

    @property
    def proving(self) -> bool:
        """Tell whether the phone is withheld until it has passed a golden job."""
        quarantined = self.health is Health.QUARANTINED
        return quarantined and self.owed is Owed.PROOF and not self.dirty

    @property
    def needs_person(self) -> bool:
        """Tell whether it stays withheld until somebody comes."""
        return self.health is Health.QUARANTINED and self.until is None
