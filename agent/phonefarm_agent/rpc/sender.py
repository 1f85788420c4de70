"""Decides what to send in a session, and when: heartbeats, starts, records, offers.

Nothing is queued: each round reads the present state of the host, so that a slow controller costs
no memory and always hears the newest.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from phonefarm.v1 import agent_pb2 as pb
from phonefarm_common.clock import Clock
from phonefarm_common.timers import Timers

from phonefarm_agent.model.host import HostReport
from phonefarm_agent.model.messages import Host
from phonefarm_agent.model.phone import PhoneReport
from phonefarm_agent.model.run import RunRef
from phonefarm_agent.rpc import convert

RECORDS_AT_ONCE = 200


@dataclass(frozen=True, kw_only=True)
class SentHeartbeat:
    """A heartbeat without an answer yet: when it was sent, and the runs it renews."""

    sent_at: float
    runs: tuple[RunRef, ...]


class Sender:
    """Builds the messages of one session when they are due."""

    def __init__(
        self,
        *,
        host: Host,
        timers: Timers,
        clock: Clock,
        scale: float,
        sent_phones: tuple[PhoneReport, ...],
    ) -> None:
        self._host = host
        self._timers = timers
        self._clock = clock
        self._repeat = 2 * scale
        self._offer_every = 10 * scale
        self._resend_after = 5 * scale
        self._new_run_heartbeat = 1 * scale
        self._heartbeats: dict[int, SentHeartbeat] = {}
        self._heartbeat_number = 0
        self._heartbeat_at = -float("inf")
        self._renewed_runs: frozenset[RunRef] = frozenset()
        self._offer_number = 0
        self._offer_at = -float("inf")
        self._offered: tuple[str, ...] | None = None
        self._phones = sent_phones  # Hello carried them.
        self._sent_host: HostReport | None = None  # It does not carry the host.
        self._sent_at = clock.monotonic()
        self._facts_every = 30 * scale
        self._started_at: dict[RunRef, float] = {}
        self._resend_at: float | None = None

    def due(self) -> Iterator[pb.AgentMessage]:
        """Yield the messages that are due, the most urgent first; the caller sends each at once."""
        yield from self._heartbeat()
        yield from self._starts()
        yield from self._records()
        yield from self._phones_and_offer()

    def pause(self) -> float:
        """Return the seconds until the next message is due, unless something changes."""
        now = self._clock.monotonic()
        times = [self._heartbeat_at + self._timers.heartbeat, self._offer_at + self._offer_every]
        times += [at + self._repeat for at in self._started_at.values()]
        if self._resend_at is not None:
            times.append(self._resend_at)
        if frozenset(self._host.live()) - self._renewed_runs:
            times.append(self._heartbeat_at + self._new_run_heartbeat)
        return max(0.0, min(times) - now)

    def acknowledged(self, number: int) -> SentHeartbeat | None:
        """Return the heartbeat of that *number* and drop all up to it; None when it is unknown."""
        heartbeat = self._heartbeats.get(number)
        for older in [n for n in self._heartbeats if n <= number]:
            del self._heartbeats[older]
        return heartbeat

    def records_acknowledged(self) -> None:
        """Postpone sending records again: the controller is working on them."""
        if self._resend_at is not None:
            self._resend_at = self._clock.monotonic() + self._resend_after

    def _heartbeat(self) -> Iterator[pb.AgentMessage]:
        now = self._clock.monotonic()
        runs = self._host.live()
        fresh = bool(frozenset(runs) - self._renewed_runs)
        # A lease begins with its claim; renewing it soon makes its deadline here exact.
        if now - self._heartbeat_at < (
            self._new_run_heartbeat if fresh else self._timers.heartbeat
        ):
            return
        self._heartbeat_number += 1
        self._heartbeat_at = now
        self._renewed_runs = frozenset(runs)
        self._heartbeats[self._heartbeat_number] = SentHeartbeat(sent_at=now, runs=runs)
        yield pb.AgentMessage(
            heartbeat=pb.Heartbeat(
                number=self._heartbeat_number, runs=[convert.ref_to_wire(run) for run in runs]
            )
        )

    def _starts(self) -> Iterator[pb.AgentMessage]:
        now = self._clock.monotonic()
        waiting = {run.ref: run for run in self._host.started()}
        for ref in [ref for ref in self._started_at if ref not in waiting]:
            del self._started_at[ref]
        due = [
            run
            for ref, run in waiting.items()
            if now - self._started_at.get(ref, -float("inf")) >= self._repeat
        ]
        if due:
            self._started_at.update({run.ref: now for run in due})
            yield convert.started_to_wire(due)

    def _records(self) -> Iterator[pb.AgentMessage]:
        now = self._clock.monotonic()
        if self._host.unacknowledged() == 0:
            self._resend_at = None
        elif self._resend_at is not None and now >= self._resend_at:
            self._host.rewind()
            self._resend_at = None
        while records := self._host.take_records(RECORDS_AT_ONCE):
            if self._resend_at is None:
                self._resend_at = now + self._resend_after
            yield convert.records_to_wire(records)
            # A long story must not keep a heartbeat waiting.
            yield from self._heartbeat()

    def _phones_and_offer(self) -> Iterator[pb.AgentMessage]:
        """Yield the inventory before the offer, both of the same moment."""
        now = self._clock.monotonic()
        phones, offered, host = self._host.phones(), self._host.offered(), self._host.condition()
        if host != self._sent_host or self._is_news(phones, now):
            self._phones, self._sent_host, self._sent_at = phones, host, now
            yield convert.inventory_to_wire(phones, host)
        if offered != self._offered or now - self._offer_at >= self._offer_every:
            self._offered = offered
            self._offer_at = now
            self._offer_number += 1
            yield pb.AgentMessage(offer=pb.Offer(number=self._offer_number, serialnos=offered))

    def _is_news(self, phones: tuple[PhoneReport, ...], now: float) -> bool:
        """Tell whether *phones* must be sent now; slow changes, such as a charge, can wait."""
        if phones is self._phones:
            return False
        if [phone.essence() for phone in phones] != [phone.essence() for phone in self._phones]:
            return True
        return now - self._sent_at >= self._facts_every and any(
            phone.facts != before.facts for phone, before in zip(phones, self._phones, strict=True)
        )
