"""Read processes, as of now: a record, a page of records, an item, a timeline."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from phonefarm_common.reasons import FarmError, FieldProblem, Reason

from phonefarm_controller.concurrency.uninterrupted import uninterrupted
from phonefarm_controller.model.errors import unknown_process
from phonefarm_controller.model.processes import Process
from phonefarm_controller.model.records import record_of
from phonefarm_controller.model.states import RunState
from phonefarm_controller.model.transitions import Transition
from phonefarm_controller.processes.item_details import AttemptDetails, ItemDetails, action_details
from phonefarm_controller.store import items, process_search, processes, runs, transitions
from phonefarm_controller.store.database import Database
from phonefarm_controller.store.process_search import PageEnd, ProcessFilter

MOST_TRANSITIONS: Final = 10_000
MOST_BYTES: Final = 6 * 1024 * 1024
"""The most bytes of transitions with their reasons in one message of 8 MiB."""
_REST_BYTES: Final = 400
"""The size of a transition's fields without its reason, in bytes."""
MOST_TOGETHER: Final = 5 * 1024 * 1024
"""A page has about this many bytes, because it must fit into a message of 8 MiB."""
MOST_PER_CHARACTER: Final = 4
"""The most bytes of a character in UTF-8."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """Records, newest first; the next page begins at *end*, None on the last page."""

    records: list[dict[str, Any]]
    end: PageEnd | None


class ProcessQuery:
    """Reads processes."""

    def __init__(self, *, database: Database) -> None:
        self._database = database

    @uninterrupted
    async def process(self, process_id: str) -> dict[str, Any]:
        """Return the record; FarmError `unknown_process`."""
        async with self._database.reading() as tx:
            process = await processes.get(tx, process_id)
            if process is None:
                raise unknown_process(process_id)
            lines = await items.lines(tx, {process_id})
        return record_of(process, lines[process_id])

    @uninterrupted
    async def item(self, item_id: str) -> ItemDetails:
        """Return the item with its plan and its attempts; FarmError `unknown_queue_item`."""
        async with self._database.reading() as tx:
            item = (await items.get(tx, {item_id})).get(item_id)
            process = None if item is None else await processes.get(tx, item.process_id)
            if item is None or process is None:
                raise _unknown_item(item_id)
            plan = (await items.plans(tx, [item_id]))[item_id].plan
            attempts = await runs.of_item(tx, item_id)
            last = attempts[-1] if attempts else None
            told = await runs.results_of(tx, {last.run_id}) if last else {}
        results = told.get(last.run_id, []) if last else []
        under_way = last is not None and last.state is RunState.EXECUTING
        return ItemDetails(
            item=item,
            process_type=process.process_type,
            actions=action_details(item, plan, results, under_way=under_way),
            attempts=tuple(_attempt(run) for run in attempts),
        )

    @uninterrupted
    async def page(self, wanted: ProcessFilter, *, after: PageEnd | None, limit: int) -> Page:
        """Return the newest processes that match, after *after*: *limit*, or fewer large ones."""
        async with self._database.reading() as tx:
            found = await process_search.page(tx, wanted, after=after, limit=limit + 1)
            weights = await process_search.weights(tx, [process.process_id for process in found])
            fit = _first_fitting(found[:limit], weights)
            lines = await items.lines(tx, {process.process_id for process in fit})
        records = [record_of(process, lines[process.process_id]) for process in fit]
        if len(fit) == len(found):
            return Page(records=records, end=None)
        last = fit[-1]
        return Page(
            records=records, end=PageEnd(created_at=last.created_at, process_id=last.process_id)
        )

    @uninterrupted
    async def timeline(self, process_id: str) -> tuple[list[Transition], bool]:
        """Return the newest transitions, oldest first, and whether older ones are left out.

        FarmError `unknown_process`.
        """
        async with self._database.reading() as tx:
            if process_id not in await transitions.heads(tx, [process_id]):
                raise unknown_process(process_id)
            found = await transitions.newest(tx, process_id, limit=MOST_TRANSITIONS + 1)
        told = _newest_fitting(found)
        return told, len(told) < len(found)


def _first_fitting(found: Sequence[Process], weights: Mapping[str, int]) -> list[Process]:
    """Return the first of *found* that fit in one message; one at least."""
    fit: list[Process] = []
    together = 0
    for process in found:
        told = len(process.callback_metadata) + len(process.requested_by_metadata)
        together += weights.get(process.process_id, 0) + told * MOST_PER_CHARACTER
        if fit and together > MOST_TOGETHER:
            break
        fit.append(process)
    return fit


def _attempt(run: runs.Run) -> AttemptDetails:
    return AttemptDetails(
        attempt=run.attempt,
        run_id=run.run_id,
        phone_id=run.phone_id,
        account_id=run.account_id,
        agent_id=run.agent_id,
        state=run.state,
        outcome=run.outcome,
        container=run.container,
        claimed_at=run.created_at,
        started_at=run.started_at,
        ended_at=run.ended_at,
    )


def _unknown_item(item_id: str) -> FarmError:
    problem = FieldProblem(field="queue_item_id", message="is not the id of a queue item")
    message = f"there is no queue item {item_id[:128]}"
    return FarmError(Reason.UNKNOWN_QUEUE_ITEM, message, problems=(problem,))


def _newest_fitting(found: Sequence[Transition]) -> list[Transition]:
    """Return the newest that fit in one message."""
    told: list[Transition] = []
    size = 0
    for transition in found[-MOST_TRANSITIONS:][::-1]:
        size += len(transition.reason.encode()) + _REST_BYTES
        if size > MOST_BYTES:
            break
        told.append(transition)
    return told[::-1]
