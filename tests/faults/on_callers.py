"""What callers are promised: an answer, the same process for a repeat, every event in order."""

from collections import defaultdict
from collections.abc import Iterator

from faults.history import Arrival, Ask, AskKind, History, Violation

_EXPECTED = {
    AskKind.WORK: {200, 202, 503},
    AskKind.CONTENT: {200, 202, 503},
    AskKind.CANCEL: {200, 503},
    AskKind.TAKE_BACK: {200, 409, 503},
}
"""Every request of a run is right: only the farm's own trouble may be answered, as 503."""


def answered(history: History) -> Iterator[Violation]:
    """Find answers that are neither in the contract nor 503 with Retry-After."""
    for ask in history.asks:
        if ask.status == 0:  # the gateway itself was killed, frozen or cut off
            continue
        if ask.status not in _EXPECTED[ask.kind] and not _too_late(history, ask):
            shows = f"{ask.kind} was answered {ask.status}: {ask.answer}"
            yield Violation(promise="answered", subject=ask.key, shows=shows)
        elif ask.status == 503 and not ask.retry_after:
            shows = f"503 without Retry-After: {ask.answer}"
            yield Violation(promise="answered", subject=ask.key, shows=shows)


def _too_late(history: History, ask: Ask) -> bool:
    """Tell whether a request was rightly refused: first heard of behind its own deadline."""
    refused = ask.status == 422 and "deadline" in str(ask.answer)
    if not refused or ask.deadline is None:
        return False
    if history.database_clock.latest(ask.began * 1e6, ask.ended * 1e6) < ask.deadline:
        return False
    earlier = (one for one in history.asks if one.key == ask.key and one.ended < ask.began)
    return not any(one.accepted for one in earlier)


def kept(history: History) -> Iterator[Violation]:
    """Find what was accepted and is not there."""
    for ask in history.asks:
        if ask.accepted and _process_of(history, ask) is None:
            shows = f"accepted with {ask.status} and not in the database: {ask.answer}"
            yield Violation(promise="kept", subject=ask.key, shows=shows)


def repeated(history: History) -> Iterator[Violation]:
    """Find repeats that did not name the first process, or did not say that they are one."""
    named: dict[str, set[str]] = defaultdict(set)
    fresh: dict[str, int] = defaultdict(int)
    for ask in history.asks:
        process_id = _process_of(history, ask) if ask.accepted else None
        if process_id is not None:
            named[ask.key].add(process_id)
            fresh[ask.key] += ask.status == 202
    owners: dict[str, str] = {}
    for key, processes in named.items():
        if len(processes) > 1:
            shows = f"one request made {sorted(processes)}"
            yield Violation(promise="repeated", subject=key, shows=shows)
        if fresh[key] > 1:
            shows = f"{fresh[key]} answers said that it was new"
            yield Violation(promise="repeated", subject=key, shows=shows)
        for process_id in processes:
            if owners.setdefault(process_id, key) != key:
                shows = f"{owners[process_id]} was given the same process {process_id}"
                yield Violation(promise="repeated", subject=key, shows=shows)


def told(history: History) -> Iterator[Violation]:
    """Find events that did not arrive, signed and in order, each before the next was tried."""
    arrivals: dict[str, list[Arrival]] = defaultdict(list)
    for arrival in sorted(history.arrivals, key=lambda one: one.at):
        arrivals[arrival.process_id].append(arrival)
    events: dict[str, dict[int, str]] = defaultdict(dict)
    for delivery in history.rows.deliveries.values():
        events[delivery["process_id"]][delivery["sequence"]] = delivery["milestone"]
    for process_id, process in history.rows.processes.items():
        if process["callback_url"] is not None:
            for shows in _untold(arrivals[process_id], events[process_id]):
                yield Violation(promise="told", subject=process_id, shows=shows)
    for process_id in arrivals.keys() - history.rows.processes.keys():
        yield Violation(promise="told", subject=process_id, shows="told of what there is not")


def _untold(arrivals: list[Arrival], events: dict[int, str]) -> Iterator[str]:
    first: dict[int, str] = {}
    taken: list[int] = []
    for arrival in arrivals:
        if not arrival.signed:
            yield f"event {arrival.sequence} came with a wrong signature"
        if first.setdefault(arrival.sequence, arrival.milestone) != arrival.milestone:
            yield f"event {arrival.sequence} was {first[arrival.sequence]}, now {arrival.milestone}"
        # An attempt may have been answered and its report lost: then it comes again, later ones
        # never before it was taken once.
        if 200 <= arrival.answered < 300 and arrival.sequence not in taken:
            taken.append(arrival.sequence)
    if list(first) != sorted(first):
        yield f"the events came first in the order {list(first)}"
    if taken != sorted(taken):
        yield f"the events were taken in the order {taken}"
    if set(taken) != set(events):
        yield f"the events {sorted(events)} were made, {sorted(taken)} arrived"
    elif first != events:
        yield f"the events were {events}, told was {first}"


def _process_of(history: History, ask: Ask) -> str | None:
    if ask.kind is AskKind.CONTENT:
        item = history.rows.items.get(ask.answer.get("queue_item_id"))
        return None if item is None else str(item["process_id"])
    process_id = ask.answer.get("process_id")
    return process_id if process_id in history.rows.processes else None
