"""Counts the spans of this controller's traces, for the metrics."""

import threading
from collections import Counter


class SpanTotals:
    """The spans by whether the collector has taken them; threads may add and read."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spans: Counter[str] = Counter()

    def add(self, outcome: str, spans: int) -> None:
        """Count spans that were `sent` or `dropped`."""
        with self._lock:
            self._spans[outcome] += spans

    def count(self, outcome: str) -> int:
        """Return how many there were."""
        return self._spans[outcome]
