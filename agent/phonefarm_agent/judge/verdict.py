"""The verdict of a judge on a video, and who decided it."""

from dataclasses import dataclass
from enum import StrEnum


class Decision(StrEnum):
    """What to do with the video; if the judge is unsure, the run watches it."""

    WATCH = "watch"
    PASS = "pass"  # noqa: S105 - a decision, not a secret
    UNSURE = "unsure"


class JudgedBy(StrEnum):
    """Who decided; `none` means that nobody could."""

    MODEL = "model"
    WORDS = "words"
    NONE = "none"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One decision; the score is from 0 (not wished) to 1, None when there is none."""

    decision: Decision
    by: JudgedBy
    score: float | None = None
    why: str = ""

    def as_json(self) -> dict[str, object]:
        """Return the verdict as control.sock and a video's output carry it (docs/seams.md)."""
        return {
            "verdict": self.decision.value,
            "by": self.by.value,
            "score": self.score,
            "why": self.why,
        }


def undecided(why: str) -> Verdict:
    """Return the verdict of nobody."""
    return Verdict(decision=Decision.UNSURE, by=JudgedBy.NONE, why=why)
