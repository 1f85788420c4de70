"""CancelContent: end an ingested item that does not run yet, and nothing else."""

from dataclasses import dataclass

from phonefarm_common.reasons import FarmError, FieldProblem, Reason

from phonefarm_controller.concurrency.uninterrupted import whole
from phonefarm_controller.concurrency.wakeups import Hints
from phonefarm_controller.model import failures
from phonefarm_controller.model.items import cancelled
from phonefarm_controller.model.states import ITEM_WAITING
from phonefarm_controller.model.transitions import by_caller
from phonefarm_controller.processes.status import sync
from phonefarm_controller.store import contents, items, processes
from phonefarm_controller.store.database import Database


@dataclass(frozen=True, kw_only=True)
class Withdrawn:
    """The item that was cancelled, and the state it was in."""

    item_id: str
    previous: str


class CancelContent:
    """Cancels contents."""

    def __init__(self, *, database: Database, hints: Hints) -> None:
        self._database = database
        self._hints = hints

    @whole
    async def __call__(
        self, account_id: str, content_id: str, *, reason: str, requested_by: str
    ) -> Withdrawn:
        """Cancel the waiting item; FarmError `unknown_content`, `state_conflict:<state>`."""
        async with self._database.writing(actor=by_caller(requested_by)) as tx:
            content = await contents.get(tx, account_id, content_id)
            if content is None:
                problem = FieldProblem(field="content_id", message="names no content of it")
                message = f"the account {account_id[:128]} has no content {content_id[:256]}"
                raise FarmError(Reason.UNKNOWN_CONTENT, message, problems=(problem,))
            locked = await processes.lock(tx, {content.process_id})
            before = await items.lock(tx, {content.item_id})
            item = before[content.item_id]
            if item.state not in ITEM_WAITING:
                raise FarmError(
                    Reason.STATE_CONFLICT,
                    f"the content is {item.state}; only what waits can be cancelled here, "
                    f"what runs by POST /processes/{content.process_id}/cancel",
                    detail=str(item.state),
                )
            failure = failures.cancelled(reason)
            over = cancelled(item, failure=failure, because=reason, now=tx.now)
            await items.save(tx, before, [over])
            await processes.note_cancel(tx, content.process_id, requested_by=requested_by)
            await sync(tx, locked, cancel_requested=set(locked))
        self._hints.deliveries()
        return Withdrawn(item_id=item.item_id, previous=str(item.state))
