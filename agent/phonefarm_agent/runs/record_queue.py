"""The queue of records that the controller has not acknowledged yet."""

from collections import deque
from collections.abc import Iterable

from phonefarm_agent.model.records import Record


class RecordQueue:
    """The unacknowledged records of all runs, in the order of their numbers within a run."""

    def __init__(self) -> None:
        self._held: dict[str, dict[int, Record]] = {}
        self._unsent: deque[Record] = deque()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def put(self, records: Iterable[Record]) -> None:
        """Add journalled records."""
        for record in records:
            held = self._held.setdefault(record.ref.run_id, {})
            if record.sequence not in held:
                held[record.sequence] = record
                self._unsent.append(record)
                self._count += 1

    def take(self, limit: int) -> list[Record]:
        """Return the next records that were not sent yet; they stay until acknowledged."""
        taken: list[Record] = []
        while self._unsent and len(taken) < limit:
            record = self._unsent.popleft()
            if record.sequence in self._held.get(record.ref.run_id, {}):
                taken.append(record)
        return taken

    def rewind(self) -> None:
        """Mark every unacknowledged record to be sent again."""
        self._unsent = deque(record for held in self._held.values() for record in held.values())

    def acknowledge(self, run_id: str, epoch: int, sequence: int) -> None:
        """Drop the records of the run with that epoch up to and including *sequence*."""
        held = self._held.get(run_id, {})
        for number in [n for n in held if n <= sequence and held[n].ref.epoch == epoch]:
            del held[number]
            self._count -= 1
        if not held:
            self._held.pop(run_id, None)

    def acknowledged(self, run_id: str, last: int) -> int:
        """Return the last acknowledged number of a run whose last record is *last*."""
        return min(self._held.get(run_id, ()), default=last + 1) - 1

    def waiting(self, run_id: str) -> int:
        """Return how many records of the run wait for acknowledgement."""
        return len(self._held.get(run_id, {}))
