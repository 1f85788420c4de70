"""The input of one viewer: allowed messages only, during a hold only, and not too many a second."""

from collections import Counter
from collections.abc import Callable
from datetime import datetime
from typing import Final, Protocol

import structlog
from phonefarm_common.clock import Clock

from phonefarm_agent.model.screen import InputRefused
from phonefarm_agent.phones.proxy.gate import Gate
from phonefarm_agent.phones.screen.control_messages import ControlNotAllowedError, check_control

MOST_A_SECOND: Final = 500
REPEAT_SECONDS: Final = 1.0

log = structlog.get_logger()


class HoldGates(Protocol):
    """The current holds of the phones of this host."""

    def gate(self, *, run_id: str, epoch: int, serialno: str) -> Gate | None:
        """Return the gate of this hold of the phone; None when there is no such hold here."""
        ...


class ViewerInput:
    """Checks each control message right before it passes, and counts those that passed.

    *refused* gets each reason at most once a second.
    """

    def __init__(
        self,
        *,
        serialno: str,
        holds: HoldGates,
        clock: Clock,
        refused: Callable[[InputRefused], None],
    ) -> None:
        self._serialno = serialno
        self._holds = holds
        self._clock = clock
        self._refused = refused
        self._said: dict[str, float] = {}
        self._tokens = float(MOST_A_SECOND)
        self._filled_at = clock.monotonic()
        self._gate: Gate | None = None
        self._run_id = ""
        self.counts: Counter[str] = Counter()
        self._first: datetime | None = None
        self._last: datetime | None = None

    @property
    def is_open(self) -> bool:
        """Tell whether the hold that this viewer last used lives at this moment."""
        return self._gate is not None and _is_open(self._gate)

    def check_hold(self) -> None:
        """Say it when the hold that this viewer used has ended."""
        if self._gate is not None and not _is_open(self._gate):
            why = self._gate.closed_reason
            self._gate = None
            self.refuse(
                "hold_ended", f"the hold has ended ({why}): to continue, hold the phone again"
            )

    def pass_on(
        self, *, run_id: str, epoch: int, data: bytes, write: Callable[[bytes], str]
    ) -> None:
        """Give *data* to *write* in this very turn of the loop if it may pass, else say why not.

        *write* returns a word and a sentence when the phone takes no input, else "".
        """
        try:
            name = check_control(data)
        except ControlNotAllowedError as error:
            self.refuse("control_not_allowed", str(error))
            return
        if not self._take_token():
            self.refuse(
                "too_many_messages",
                f"the viewer sent more than {MOST_A_SECOND} messages in a second",
            )
            return
        gate = self._holds.gate(run_id=run_id, epoch=epoch, serialno=self._serialno)
        if gate is None or not _is_open(gate):
            if run_id == self._run_id:
                self.check_hold()
            why = "this agent does not know the hold" if gate is None else gate.closed_reason
            if why is None:
                self.refuse("hold_required", "the hold has not begun yet")
            else:
                self.refuse("hold_ended", f"the hold is not active ({why}): hold the phone again")
            return
        self._gate, self._run_id = gate, run_id
        problem = write(data)
        if problem:
            reason, _, message = problem.partition(": ")
            self.refuse(reason, message)
            return
        self.counts[name] += 1
        self._last = self._clock.now()
        self._first = self._first or self._last

    def refuse(self, reason: str, message: str) -> None:
        """Say why input does not pass, unless the same was said within a second."""
        now = self._clock.monotonic()
        if now - self._said.get(reason, -REPEAT_SECONDS) < REPEAT_SECONDS:
            return
        self._said[reason] = now
        self._refused(InputRefused(reason=reason, message=message))

    def log_counts(self) -> None:
        """Log how many messages of each kind passed, and when; never what they said."""
        if self._first is None or self._last is None:
            return
        log.info(
            "screen.input_ended",
            serialno=self._serialno,
            run_id=self._run_id,
            counts=dict(self.counts),
            first=self._first.isoformat(),
            last=self._last.isoformat(),
        )

    def _take_token(self) -> bool:
        now = self._clock.monotonic()
        filled = self._tokens + (now - self._filled_at) * MOST_A_SECOND
        self._tokens, self._filled_at = min(float(MOST_A_SECOND), filled), now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


def _is_open(gate: Gate) -> bool:
    return gate.going and gate.closed_reason is None
