"""Limits of the callbacks: how many at once, how long each step may take."""

from dataclasses import dataclass
from typing import Self

from phonefarm_common.timers import Timers


@dataclass(frozen=True, kw_only=True)
class CallbackLimits:
    """Seconds and counts.

    `patience` + `lookup` + `attempt` stay below `lease`, or receivers see repeats.
    """

    held: int = 256  # deliveries leased at once, waiting or being sent
    batch: int = 25  # deliveries leased by one call; the record of a large group is about 200 KB
    per_receiver: int = 8  # attempts at one host and port at once
    patience: float = (
        5  # how long a delivery waits for a slot at its receiver before its lease may expire
    )
    lookup: float = 20  # how long the lookup of a receiver's name may take
    attempt: float = 30  # how long an attempt may take once the name is known
    lease: float = 60  # how long the controller leases a delivery
    poll: float = 20  # how long one call waits for a due delivery
    stop: float = 10  # how long a stop waits for attempts under way

    @classmethod
    def of(cls, timers: Timers) -> Self:
        """Return the limits that match the controller's timers."""
        attempt = timers.callback_attempt
        return cls(
            attempt=attempt,
            lease=timers.callback_lease,
            patience=attempt / 6,
            lookup=attempt * 2 / 3,
        )

    def __post_init__(self) -> None:
        if self.patience + self.lookup + self.attempt >= self.lease:
            raise ValueError("`patience` + `lookup` + `attempt` must stay below `lease`")
