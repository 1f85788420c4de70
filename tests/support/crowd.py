"""Two controllers on one PostgreSQL, many hands at once: every operation, in no order."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

from phonefarm_common.reasons import FailureClass, FarmError
from phonefarm_common.wire_enums import DeliveryOutcome, RunOutcome
from phonefarm_controller.callbacks.delivery import DeliveryReport
from phonefarm_controller.model.errors import DatabaseBusyError
from phonefarm_controller.model.failures import Failure
from phonefarm_controller.model.items import CancelStrategy
from phonefarm_controller.model.requests import Routing, Target
from phonefarm_controller.model.run_reports import (
    ActionDone,
    ActionStarted,
    Assignment,
    Body,
    PhoneReleased,
    RunEnded,
    RunRefused,
)
from phonefarm_controller.processes.cancel import CancelRequest
from support.world import POST, World, submission

SERIALS: Final = ("a", "b", "c", "d")
DONE: Final = RunEnded(outcome=RunOutcome.DONE, failure=None, exit_code=0)
RELEASED: Final = PhoneReleased(clean=True, reason="", residue=())


class Crowd:
    """Hands that know the same runs and processes, on either controller."""

    def __init__(self, worlds: tuple[World, World], seed: int) -> None:
        self.worlds = worlds
        self.dice = random.Random(seed)
        self.runs: list[Assignment] = []
        self.processes: list[str] = []
        self.told: Counter[str] = Counter()
        self.done: Counter[str] = Counter()
        self.busy: list[str] = []
        self.deeds: dict[Callable[[World], Awaitable[None]], int] = {
            self.enqueue: 10,
            self.cancel: 3,
            self.claim: 14,
            self.start: 16,
            self.succeed: 16,
            self.report: 14,
            self.renew: 6,
            self.reap: 3,
            self.come_back: 2,
            self.due_items: 5,
            self.return_phone: 8,
            self.put_account: 2,
            self.deliver: 8,
            self.mend: 2,
        }

    async def work(self, hands: int, deeds: int) -> None:
        """Let so many hands do so many deeds each, at once."""
        async with asyncio.TaskGroup() as tasks:
            for hand in range(hands):
                tasks.create_task(self._work(self.worlds[hand % 2], deeds))

    async def _work(self, world: World, deeds: int) -> None:
        kinds, weights = list(self.deeds), list(self.deeds.values())
        for deed in self.dice.choices(kinds, weights, k=deeds):
            try:
                await deed(world)
                self.done[deed.__name__] += 1
            except DatabaseBusyError as error:  # told apart: a deadlock is a broken lock order
                self.busy.append(f"{deed.__name__}: {error}")

    def _a_run(self) -> Assignment | None:
        recent = self.runs[-6:] if self.dice.random() < 0.8 else self.runs
        return self.dice.choice(recent) if recent else None

    async def enqueue(self, world: World) -> None:
        """Submit a batch whose keys others submit as well, in another order."""
        names = self.dice.sample(SERIALS, 2)
        targets = [
            Target(routing=Routing.QUEUE),
            Target(routing=Routing.DIRECT, phone_id=f"ph-{names[0]}"),
            Target(routing=Routing.GROUP, account_ids=tuple(f"acc-{name}" for name in names)),
        ]
        base = self.done["enqueue"] // 2
        batch = [
            submission(
                request_id=f"r{base + offset}",
                target=self.dice.choice(targets),
                capability=self.dice.choice(["keyword_warmup", POST]),
            )
            for offset in self.dice.sample(range(4), 3)
        ]
        for answer in await world.enqueue(batch):
            if isinstance(answer, Exception):
                assert isinstance(answer, FarmError), answer
            elif not answer.duplicate:
                self.processes.append(answer.process_id)

    async def cancel(self, world: World) -> None:
        """Cancel what somebody may be finishing."""
        if self.processes:
            await world.cancel(
                CancelRequest(
                    process_id=self.dice.choice(self.processes[-5:]),
                    reason="test",
                    requested_by="tester",
                    strategy=self.dice.choice(list(CancelStrategy)),
                    force_after_seconds=1,
                )
            )

    async def claim(self, world: World) -> None:
        """Offer some phones to this controller."""
        serials = self.dice.sample(SERIALS, self.dice.randint(1, 4))
        self.runs += await world.claim(world.offers("agent", *serials))

    async def start(self, world: World) -> None:
        """Come to the gate."""
        if (run := self._a_run()) is not None:
            await world.begin(run)

    async def succeed(self, world: World) -> None:
        """Act out a run as well as others let it."""
        if self.runs:
            run = self.runs[-self.dice.randint(1, min(4, len(self.runs)))]
            await world.begin(run)
            first = self.told[run.run.run_id] + 1
            acks = await world.tell(run, first, DONE, RELEASED)
            self.told[run.run.run_id] = max((ack.sequence for ack in acks), default=first - 1)

    async def report(self, world: World) -> None:
        """Report of one run or two, together."""
        for _ in range(self.dice.randint(1, 2)):
            if (run := self._a_run()) is None:
                return
            failure = Failure(
                code="broken", message="", failure_class=self.dice.choice(list(FailureClass)[:2])
            )
            bodies: list[Body] = [
                ActionStarted(index=1, kind="post"),
                ActionDone(index=1, kind="post", outputs="{}", seconds=1),
                DONE,
                DONE,
                RunEnded(outcome=RunOutcome.FAILED, failure=failure, exit_code=1),
                RunRefused(reason="not fit"),
                RELEASED,
                RELEASED,
            ]
            first = self.told[run.run.run_id] + 1
            chosen = self.dice.sample(bodies, self.dice.randint(1, 3))
            acks = await world.tell(run, first, *chosen)
            last = max((ack.sequence for ack in acks), default=0)  # none of a session that is over
            self.told[run.run.run_id] = max(self.told[run.run.run_id], last)

    async def renew(self, world: World) -> None:
        """Send a heartbeat for the latest runs."""
        await world.renew("agent", world.terms["agent"], [run.run for run in self.runs[-4:]])

    async def reap(self, world: World) -> None:
        """Give up on somebody, whatever he does at this moment."""
        if (run := self._a_run()) is not None:
            lease_id = run.run.lease_id
            match self.dice.randrange(4):
                case 0:
                    renewals = self.dice.randrange(3)
                    await world.lease_expiry.expire(lease_id, renewals=renewals)
                case 1:
                    await world.lease_expiry.void(lease_id)
                case 2:
                    await world.lease_expiry.give_up_clean_up(lease_id)
                case _:
                    await world.lease_expiry.forget(
                        [lease_id], agent_id="agent", term=world.terms["agent"]
                    )

    async def come_back(self, world: World) -> None:
        """Open a new session at one of the controllers."""
        number = max(other.incarnations["agent"] for other in self.worlds)
        for other in self.worlds:
            other.incarnations["agent"] = number
        try:
            greeted = await world.meet("agent", *SERIALS)
        except FarmError:  # somebody was quicker, with a higher incarnation
            return
        for other in self.worlds:
            other.terms["agent"] = max(other.terms["agent"], greeted.term)
            other.incarnations["agent"] = world.incarnations["agent"]

    async def due_items(self, world: World) -> None:
        """Let the ticker run."""
        await world.due_items.requeue()
        await world.due_items.expire()

    async def return_phone(self, world: World) -> None:
        """Return a phone, whatever its agent says at this moment."""
        phone_id = f"ph-{self.dice.choice(SERIALS)}"
        await world.phone_admin.give_back(phone_id, actor="test", reason="looked at it")

    async def put_account(self, world: World) -> None:
        """Stop an account, or mend it."""
        serial = self.dice.choice(SERIALS)
        active = self.dice.random() < 0.8
        await world.put_account(f"acc-{serial}", phone_id=f"ph-{serial}", active=active)

    async def deliver(self, world: World) -> None:
        """Lease and settle."""
        lent = await world.deliver.lease(limit=self.dice.randint(1, 5))
        outcome = self.dice.choice(list(DeliveryOutcome))
        reports = [
            DeliveryReport(
                delivery_id=delivery.delivery_id,
                lease_token=delivery.lease_token or "",
                outcome=outcome,
                http_status=0,
                error="",
                retry_after_seconds=0,
            )
            for delivery in lent
        ]
        settled = await world.deliver.settle(reports)
        assert sorted(settled) == sorted(delivery.delivery_id for delivery in lent)

    async def mend(self, world: World) -> None:
        """Derive a process anew."""
        if self.processes:
            await world.mend(self.dice.choice(self.processes[-5:]))
