"""A history in which every promise was kept: the rows are what the real operations wrote."""

import itertools
import json
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from faults.history import Arrival, Ask, AskKind, History, JournalRun
from phonefarm_common.reasons import FailureClass
from phonefarm_common.wire_enums import DeliveryOutcome, RunOutcome
from phonefarm_controller.callbacks.delivery import DeliveryReport
from phonefarm_controller.model.failures import Failure
from phonefarm_controller.model.items import CancelStrategy
from phonefarm_controller.model.run_reports import (
    ActionDone,
    ActionStarted,
    Assignment,
    PhoneReleased,
    RunEnded,
)
from phonefarm_controller.processes.cancel import CancelRequest
from support.snapshots import micros, snapshot
from support.world import POST, World, posting_allowed, world_on

_RELEASED: Final = PhoneReleased(clean=True, reason="", residue=())
_DONE: Final = RunEnded(outcome=RunOutcome.DONE, failure=None, exit_code=0)
_BROKEN: Final = RunEnded(
    outcome=RunOutcome.FAILED,
    failure=Failure(code="adb_lost", message="", failure_class=FailureClass.INFRA),
    exit_code=1,
)
_STOPPED: Final = RunEnded(outcome=RunOutcome.STOPPED, failure=None, exit_code=3)
_PHONES: Final = ("a", "b")


class Story:
    """Plays a few requests to their ends, and writes down what the others would have seen."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._asks: list[Ask] = []
        self._ledgers: dict[str, list[dict[str, Any]]] = {serial: [] for serial in _PHONES}
        self._streams = itertools.count(1)
        self._journal: list[JournalRun] = []
        self._arrivals: list[Arrival] = []
        self._numbers = itertools.count(1)
        self._tokens: dict[str, str] = {}

    async def tell(self) -> History:
        """Return the history."""
        world = self._world
        await world.furnish("north", *_PHONES)
        await self.ask("watch", capability="keyword_warmup")
        await self.work()
        await self.ask("post", capability=POST)
        await self.work()
        await self.ask("again", capability="keyword_warmup")
        await self.work(_BROKEN)
        world.clock.advance(60)
        await world.due_items.requeue()
        await self.work()
        later = world.clock.now() + timedelta(seconds=30)
        await self.ask("later", capability="keyword_warmup", not_before=later)
        world.clock.advance(40)
        await self.work()
        await self.ask("late", deadline=world.clock.now() + timedelta(seconds=5))
        world.clock.advance(10)
        await world.due_items.expire()
        await self.cancel(await self.ask("unwanted"))
        await self.work(_STOPPED, cancel=await self.ask("stopped"))
        await self.deliver()
        return History(
            asks=tuple(self._asks),
            rows=await snapshot(world.database),
            ledgers={serial: tuple(entries) for serial, entries in self._ledgers.items()},
            arrivals=tuple(self._arrivals),
            journal=tuple(self._journal),
        )

    async def ask(self, key: str, **changes: Any) -> str:
        """Ask for work, twice; return its process."""
        token = f"zq{next(self._numbers):06d}"
        inputs = {"keywords": [token], "videos_per_keyword": 1}
        known = {"inputs": inputs, "inputs_json": json.dumps(inputs), "request_id": key}
        process_id = await self._world.accept(**known, **changes)
        self._tokens[process_id] = token
        for status in (202, 200):
            self._note(
                kind=AskKind.WORK,
                key=key,
                status=status,
                answer={"process_id": process_id},
                **{
                    name: micros(changes[name])
                    for name in ("not_before", "deadline")
                    if name in changes
                },
            )
        return process_id

    async def cancel(self, process_id: str) -> None:
        """Cancel what waits."""
        answer = await self._world.cancel(
            CancelRequest(
                process_id=process_id,
                reason="test",
                requested_by="tester",
                strategy=CancelStrategy.SOFT,
                force_after_seconds=1,
            )
        )
        items = list(answer.cancelled_items)
        self._note(
            kind=AskKind.CANCEL,
            key=f"cancel {process_id}",
            status=200,
            answer={"cancelled_queue_item_ids": items, "process_id": process_id},
        )

    def _note(self, **fields: Any) -> None:
        now = self._world.clock.now().timestamp()
        self._asks.append(Ask(began=now, ended=now, **fields))

    async def work(self, end: RunEnded = _DONE, *, cancel: str = "") -> None:
        """Let a phone take what waits, and play the run to this *end*, a *cancel* in between."""
        world = self._world
        (run,) = (await world.claim(world.offers("north", *_PHONES)))[:1]
        await world.begin(run)
        world.clock.advance(1)
        count = len(json.loads(run.plan)["actions"]) if end is _DONE else 1
        bodies = [
            body
            for index in range(count)
            for body in (
                ActionStarted(index=index, kind="step"),
                ActionDone(index=index, kind="step", outputs="{}", seconds=1.0),
            )
        ]
        self._show(run)
        if cancel:
            await self.cancel(cancel)
        world.clock.advance(1)
        await world.tell(run, 1, *bodies, end, _RELEASED)
        self._journal.append(
            JournalRun(
                agent_id="north",
                run_id=run.run.run_id,
                phase="forgotten",
                last_sequence=len(bodies) + 2,
                unacknowledged=(),
            )
        )

    def _show(self, run: Assignment) -> None:
        """Let the phone note what the run does."""
        token = self._tokens[run.process_id]
        lease = next(self._streams)
        self._enter(run, lease, "service_opened", lease=False)
        self._enter(run, lease, "lease_written")
        hand = next(self._streams)
        self._enter(run, hand, "service_opened")
        self._enter(run, hand, "searched", query=token)
        self._enter(run, hand, "tapped", target="post_button")
        if run.capability == POST:
            self._enter(run, hand, "posted", caption=f"see {token}")

    def _enter(
        self, run: Assignment, stream: int, kind: str, *, lease: bool = True, **detail: Any
    ) -> None:
        ledger = self._ledgers[run.serialno]
        before = ledger[-1] if ledger else {"epoch": None, "run": None, "agent": None}
        held = {"epoch": run.run.epoch, "run": run.run.run_id, "agent": run.agent_id}
        ledger.append(
            {
                **(held if lease else {name: before[name] for name in held}),
                "sequence": len(ledger) + 1,
                "kind": kind,
                "wall": self._world.clock.now().timestamp(),
                "connection": 1,
                "stream": stream,
                "detail": detail,
            }
        )

    async def deliver(self) -> None:
        """Let a gateway send every event, the first one of all twice."""
        while lent := await self._world.deliver.lease(limit=10):
            for one in lent:
                for _ in range(2 - bool(self._arrivals)):
                    self._world.clock.advance(0.001)
                    self._arrivals.append(
                        Arrival(
                            at=self._world.clock.now().timestamp(),
                            process_id=one.process_id,
                            sequence=one.sequence,
                            milestone=one.milestone,
                            signed=True,
                            answered=204,
                        )
                    )
            await self._world.deliver.settle(
                [
                    DeliveryReport(
                        delivery_id=one.delivery_id,
                        lease_token=one.lease_token or "",
                        outcome=DeliveryOutcome.DELIVERED,
                        http_status=204,
                        error="",
                        retry_after_seconds=0,
                    )
                    for one in lent
                ]
            )


async def good_history(folder: Path) -> History:
    """Play the story on a database in *folder*."""
    with posting_allowed():
        async with world_on(f"sqlite:///{folder / 'farm.db'}") as world:
            return await Story(world).tell()
