"""The stages of one phone's readiness, in order, each with a time limit.

What could not be told changes no state: the last answer stays and grows old. What was never told is
not ready, and a stage that takes longer than its limit is unfit under its own name.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from phonefarm_common.wire_enums import Readiness, StageState

from phonefarm_agent.model.phone import Stage
from phonefarm_agent.phones.limits import PhoneLimits
from phonefarm_agent.phones.probe import BOOT, CONDITIONS, Answered, Unanswered

IDENTIFY: Final = "identify"
TRANSPORT: Final = "transport"
ORDER: Final = (IDENTIFY, BOOT, *CONDITIONS)
"""All stages except the transport, which adb reports without a shell."""


@dataclass(frozen=True, kw_only=True)
class _StageState:
    """The state of one stage; times are of the monotonic clock."""

    entered_at: float | None = None
    passed_at: float | None = None  # for the first time since it was entered
    answer: Answered | None = None
    told_at: float = 0.0
    unanswered: bool = False  # the last look could not tell
    error: str = ""


class ReadinessStages:
    """The stages of one phone, from when adb lists it as online."""

    def __init__(self, limits: PhoneLimits) -> None:
        self._limit_of: Mapping[str, float] = {
            IDENTIFY: limits.identify,
            BOOT: limits.boot,
            **dict.fromkeys(CONDITIONS, limits.conditions),
        }
        self._lasts = limits.answer_lasts
        self._known: dict[str, _StageState] = {name: _StageState() for name in ORDER}
        self._before: dict[str, Answered] = {}

    def begin(self, now: float) -> None:
        """Start again: the phone is online, and may be another one."""
        self.end()
        self._known[IDENTIFY] = replace(self._known[IDENTIFY], entered_at=now)

    def end(self) -> None:
        """Forget every answer, but keep the errors and the failed conditions."""
        self._before |= self.answers()
        self._known = {name: _StageState(error=known.error) for name, known in self._known.items()}

    def forget_previous_phone(self) -> None:
        """Forget the answers of the phone that was here before."""
        self._before = {}

    def answers(self) -> Mapping[str, Answered]:
        """Return the last answer of each stage, also from before `begin`."""
        now = {
            name: known.answer for name, known in self._known.items() if known.answer is not None
        }
        return self._before | now

    def take_answer(self, name: str, answer: Answered | Unanswered, now: float) -> None:
        """Record the latest answer for a stage."""
        known = self._known[name]
        match answer:
            case Unanswered(error=error):
                known = replace(known, unanswered=True, error=error)
            case Answered():
                passed = answer.readiness is Readiness.READY
                known = replace(known, answer=answer, told_at=now, unanswered=False)
                if passed and known.passed_at is None:
                    known = replace(known, passed_at=now)
                elif not passed:
                    # What passed once and runs again has its whole time again.
                    entered = known.entered_at if known.passed_at is None else now
                    known = replace(known, entered_at=entered, passed_at=None, error=answer.reason)
        self._known[name] = known
        self._enter(now)

    def _enter(self, now: float) -> None:
        """Start the time of each stage whose predecessor has passed."""
        if self._passed(IDENTIFY):
            self._clock(BOOT, now)
        if self._passed(BOOT):
            for name in CONDITIONS:
                self._clock(name, now)

    def _clock(self, name: str, now: float) -> None:
        if self._known[name].entered_at is None:
            self._known[name] = replace(self._known[name], entered_at=now)

    def _passed(self, name: str) -> bool:
        answer = self._known[name].answer
        return answer is not None and answer.readiness is Readiness.READY

    def verdict(self, now: float) -> tuple[Readiness, str]:
        """Return the readiness by the first stage that has not passed; READY when all have."""
        for name in ORDER:
            verdict = self._verdict(name, now)
            if verdict is not None:
                return verdict
        return Readiness.READY, ""

    def _verdict(self, name: str, now: float) -> tuple[Readiness, str] | None:
        known = self._known[name]
        answer = known.answer
        if answer is not None and answer.readiness is not Readiness.PREPARING:
            if name != IDENTIFY and now - known.told_at > self._lasts:
                return Readiness.UNFIT, f"{name}_untold:{known.error}"
            return (
                None if answer.readiness is Readiness.READY else (answer.readiness, answer.reason)
            )
        if not self.over_limit(name, now):
            return Readiness.PREPARING, name
        word = "untold" if answer is None and name in CONDITIONS else "over_limit"
        return Readiness.UNFIT, f"{name}_{word}:{known.error}"

    def failed(self, name: str) -> bool:
        """Tell whether the last answer of a condition, over this connection, is no."""
        answer = self._known[name].answer
        return answer is not None and answer.readiness is not Readiness.READY

    def over_limit(self, name: str, now: float) -> bool:
        """Tell whether a stage has exceeded its time limit without a yes or a final no."""
        known = self._known[name]
        if known.answer is not None and known.answer.readiness is not Readiness.PREPARING:
            return False
        return known.entered_at is not None and now - known.entered_at > self._limit_of[name]

    def report(self, now: float) -> tuple[Stage, ...]:
        """Return every stage but the transport."""
        return tuple(self._stage(name, now) for name in ORDER)

    def _stage(self, name: str, now: float) -> Stage:
        known = self._known[name]
        seconds = 0.0
        if known.entered_at is not None:
            seconds = (now if known.passed_at is None else known.passed_at) - known.entered_at
        return Stage(
            name=name,
            state=self._state(name, now),
            limit_seconds=self._limit_of[name],
            seconds=round(max(0.0, seconds), 3),
            error=known.error,
        )

    def _state(self, name: str, now: float) -> StageState:
        known = self._known[name]
        if known.entered_at is None:
            return StageState.WAITING
        if known.answer is None or known.answer.readiness is Readiness.PREPARING:
            if not self.over_limit(name, now):
                return StageState.RUNNING
            return StageState.UNTOLD if known.answer is None else StageState.FAILED
        if known.unanswered:
            return StageState.UNTOLD
        return StageState.PASSED if self._passed(name) else StageState.FAILED
