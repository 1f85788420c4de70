"""Asks the host's judge about the videos in view; the run never waits for it."""

from collections.abc import Mapping, Sequence
from typing import Any

from phonefarm_executor.control_client import Control
from phonefarm_executor.signals import Signals

MOST_TEXTS = 10
MOST_LETTERS = 500


class Judging:
    """The questions of one run to the judge, one at a time."""

    def __init__(self, control: Control, signals: Signals) -> None:
        self._control = control
        self._signals = signals
        self._number = 0

    def begin(self, action: int, texts: Sequence[str]) -> None:
        """Ask about the video that these texts stand beside."""
        self._number += 1
        asked = [text[:MOST_LETTERS] for text in texts[:MOST_TEXTS]]
        self._control.ask_judge(self._number, action, asked)

    @property
    def passes(self) -> bool:
        """Tell whether the judge has said by now that the video is not wished for."""
        return (self._signals.verdict(self._number) or {}).get("verdict") == "pass"

    def verdict(self) -> Mapping[str, Any]:
        """Return what the judge has said by now; without an answer nobody has judged."""
        said = self._signals.verdict(self._number)
        if said is None:
            why = "the judge did not answer while the run watched the video"
            return {"verdict": "unsure", "by": "none", "score": None, "why": why}
        return {key: said.get(key) for key in ("verdict", "by", "score", "why")}
