"""Derives a process's status from its items, and writes the deliveries for callers.

The caller holds the locks: processes first, then items, then phones, then accounts, each by id.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from phonefarm_common.ids import new_id

from phonefarm_controller.model.processes import Process, derive, milestone, rolled_up
from phonefarm_controller.model.receivers import receiver_of
from phonefarm_controller.model.records import ItemLine, record_of
from phonefarm_controller.model.replace import replaced
from phonefarm_controller.model.states import DeliveryState, ProcessState
from phonefarm_controller.store import deliveries, items, processes
from phonefarm_controller.store.database import Transaction

CANCEL_REQUESTED = "cancel_requested"


async def roll_up_status(
    tx: Transaction, locked: Mapping[str, Process], *, cancel_requested: Collection[str] = ()
) -> dict[str, Process]:
    """Derive each locked process from its items, save it, and write its deliveries.

    *cancel_requested* names processes that a caller has just asked to cancel. Returns all of
    them as they now are.
    """
    tallies = await items.tallies(tx, locked)
    waiting = [p for p in locked if derive(tallies[p]) is ProcessState.RETRYABLE]
    due = await items.next_attempts(tx, waiting) if waiting else {}
    after: dict[str, Process] = {}
    events: list[tuple[str, str]] = []
    for process_id, before in locked.items():
        wished = before
        if process_id in cancel_requested and before.cancel_requested_at is None:
            wished = replace(before, cancel_requested_at=tx.now)
            events.append((process_id, CANCEL_REQUESTED))
        after[process_id] = rolled_up(
            wished, tallies[process_id], next_attempt=due.get(process_id), now=tx.now
        )
        reached = milestone(before, after[process_id])
        if reached is not None:
            events.append((process_id, reached))
    numbered = await announce(tx, after, events)
    changed = [process for process in numbered.values() if process != locked[process.process_id]]
    await processes.save(tx, locked, changed)
    return numbered


async def announce(
    tx: Transaction, current: Mapping[str, Process], events: Sequence[tuple[str, str]]
) -> dict[str, Process]:
    """Write a delivery per (process, milestone); return the processes with their new sequences."""
    numbered = dict(current)
    heard = [event for event in events if current[event[0]].callback_url is not None]
    if not heard:
        return numbered
    lines = await items.lines(tx, {process_id for process_id, _ in heard})
    told = {p: current[p].sequence for p, _ in heard if current[p].sequence}
    standing = await deliveries.constraints_of(tx, told)
    new = []
    for process_id, reached in heard:
        process = numbered[process_id]
        numbered[process_id] = replaced(process, sequence=process.sequence + 1)
        made = delivery_of(numbered[process_id], reached, lines[process_id], now=tx.now)
        known = standing.get(process_id)
        if known is not None and known.closed:
            # Its receiver wants no more; the log keeps what there was to say.
            made = replace(made, state=DeliveryState.STOPPED, settled_at=tx.now)
        elif known is not None and known.waits_until is not None:
            made = replace(made, due_at=known.waits_until)
        new.append(made)
    await deliveries.insert(tx, new)
    return numbered


def delivery_of(
    process: Process, reached: str, lines: Sequence[ItemLine], *, now: datetime
) -> deliveries.Delivery:
    """Return the delivery of a milestone, under the process's present sequence."""
    return deliveries.Delivery(
        delivery_id=f"msg_{new_id()}",
        process_id=process.process_id,
        sequence=process.sequence,
        milestone=reached,
        emitted_at=now,
        url=process.callback_url or "",
        receiver=receiver_of(process.callback_url or ""),
        record=record_of(process, lines),
        due_at=now,
    )
