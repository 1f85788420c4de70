"""A farm where everything happens in any order: callers, agents stale and hostile, time.

Each step runs one real operation and then judges the whole database (support/snapshots.py). The
order is drawn from a seed, so that a failure can be seen again.
"""

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Final

from phonefarm_common.reasons import FailureClass, FarmError
from phonefarm_common.wire_enums import DeliveryOutcome, RunOutcome
from phonefarm_controller.agents.handshake import HeldRun
from phonefarm_controller.agents.sessions import SupersededError
from phonefarm_controller.callbacks.delivery import DeliveryReport
from phonefarm_controller.model.failures import Failure
from phonefarm_controller.model.items import CancelStrategy
from phonefarm_controller.model.requests import Routing, Target
from phonefarm_controller.model.run_reports import (
    ActionDone,
    ActionFailed,
    ActionStarted,
    Assignment,
    Body,
    PhoneReleased,
    Report,
    RunEnded,
    RunRefused,
)
from phonefarm_controller.model.states import ITEM_WAITING, Condition, LeaseState
from phonefarm_controller.processes.cancel import CancelRequest
from phonefarm_controller.runs.start_gate import StartRequest
from support.snapshots import Snapshot, check, check_step, micros, snapshot
from support.world import POST, World, moved_ref

AGENTS: Final = {"north": ("a", "b"), "south": ("c",)}
SERIALS: Final = tuple(serial for serials in AGENTS.values() for serial in serials)
OWNER: Final = {serial: agent for agent, serials in AGENTS.items() for serial in serials}
RELEASED: Final = PhoneReleased(clean=True, reason="", residue=())
DONE: Final = RunEnded(outcome=RunOutcome.DONE, failure=None, exit_code=0)
RECENT: Final = 5


class Chaos:
    """Draws one step after the other."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.dice = random.Random(seed)
        self.processes: list[str] = []
        self.runs: list[Assignment] = []
        self.told: dict[str, int] = {}  # the last sequence by run
        self.trace: list[str] = []
        self.now: Snapshot | None = None
        numbers = itertools.count(1)
        ids = lambda: f"{next(numbers):032d}"  # noqa: E731 - the operations take a callable
        world.enqueue._ids = world.claim._ids = ids
        self.steps: dict[Callable[[], Awaitable[None]], int] = {
            self.enqueue: 14,
            self.cancel: 3,
            self.claim: 18,
            self.start: 14,
            self.start_as_a_stranger: 2,
            self.go_on: 16,
            self.succeed: 12,
            self.release: 8,
            self.tidy: 8,
            self.report_anything: 5,
            self.repeat_a_record: 3,
            self.report_as_a_stranger: 5,
            self.renew: 5,
            self.come_back: 2,
            self.wait: 10,
            self.due_items: 6,
            self.expire_lease: 2,
            self.void: 1,
            self.take_from_its_run: 2,
            self.give_up_clean_up: 2,
            self.return_phone: 3,
            self.put_account: 4,
            self.deliver: 5,
            self.mend: 2,
        }

    async def begin(self) -> None:
        """Furnish the farm."""
        for agent, serials in AGENTS.items():
            await self.world.furnish(agent, *serials)
        await self.world.group_admin.put("phone", "pool", ["ph-b", "ph-c"], actor="test")
        self.now = await snapshot(self.world.database)

    async def run(self, steps: int) -> Snapshot:
        """Take so many steps; a broken promise raises with the story so far."""
        kinds, weights = list(self.steps), list(self.steps.values())
        for kind in self.dice.choices(kinds, weights, k=steps):
            self.trace.append(kind.__name__)
            before = self.seen
            try:
                await kind()
                self.now = await snapshot(self.world.database)
                check(self.now)
                check_step(before, self.now)
            except BaseException as error:
                error.add_note("after " + ", ".join(self.trace[-25:]))
                raise
        return self.seen

    @property
    def seen(self) -> Snapshot:
        """Return the database as of the last step."""
        assert self.now is not None
        return self.now

    def _say(self, *words: object) -> None:
        self.trace[-1] += f"({' '.join(str(word) for word in words)})"

    def _a_run(self) -> Assignment | None:
        """Draw a run: mostly one whose phone is still held, else any that ever was."""
        if not self.runs:
            return None
        held = [run for run in self.runs if self._state_of(run) != LeaseState.ENDED]
        run = self.dice.choice(held if held and self.dice.random() < 0.8 else self.runs)
        self._say(run.run.run_id.lstrip("0"), run.phone_id)
        return run

    def _micros(self) -> int:
        return micros(self.world.clock.now())

    def _state_of(self, run: Assignment) -> str:
        return str(self.seen.leases[run.run.lease_id]["state"])

    async def _unchanged(self, *, but_records: bool = False) -> None:
        after = await snapshot(self.world.database)
        if but_records:
            assert after.without_records() == self.seen.without_records()
        else:
            assert after == self.seen

    # What callers do

    async def enqueue(self) -> None:
        """Ask for something."""
        dice, now = self.dice, self.world.clock.now()
        wait = dice.choice([None, None, None, 20.0, 5000.0])
        limit = dice.choice([None, None, None, 40.0, 6000.0])
        not_before = None if wait is None else now + timedelta(seconds=wait)
        names = dice.sample(SERIALS, dice.randint(1, 3))
        target = dice.choice(
            [
                Target(routing=Routing.QUEUE),
                Target(routing=Routing.QUEUE, phone_group="pool"),
                Target(routing=Routing.DIRECT, phone_id=f"ph-{names[0]}"),
                Target(routing=Routing.GROUP, account_ids=tuple(f"acc-{n}" for n in names)),
                Target(routing=Routing.GROUP, phone_ids=("ph-a", "ph-b", "ph-c")),
            ]
        )
        try:
            process_id = await self.world.accept(
                target=target,
                request_id=str(len(self.trace)),
                capability=dice.choice(["keyword_warmup", "keyword_warmup", POST]),
                callback_url=dice.choice(["http://127.0.0.1:9/cb", None]),
                not_before=not_before,
                deadline=None if limit is None else (not_before or now) + timedelta(seconds=limit),
                priority=dice.randint(4, 6),
            )
        except FarmError:  # an account is inactive, or its phone has several
            await self._unchanged()
        else:
            self.processes.append(process_id)

    async def cancel(self) -> None:
        """Cancel some process, also an ended one."""
        if not self.processes:
            return
        ask = CancelRequest(
            process_id=self.dice.choice(self.processes[-8:]),
            reason="test",
            requested_by="tester",
            strategy=self.dice.choice(list(CancelStrategy)),
            force_after_seconds=1,
        )
        answer = await self.world.cancel(ask)
        if answer.ignored:
            await self._unchanged()
            return
        after = await snapshot(self.world.database)
        for item in after.items.values():
            if item["process_id"] == ask.process_id:
                assert item["state"] not in ITEM_WAITING
                assert (item["item_id"] in answer.active_items) == (
                    item["state"] in {"CLAIMED", "EXECUTING"}
                )

    # What agents do

    async def claim(self) -> None:
        """Offer some phones, perhaps to two claims at once."""
        serials = self.dice.sample(SERIALS, self.dice.randint(1, 3))
        offers = [offer for s in serials for offer in self.world.offers(OWNER[s], s)]
        if self.dice.random() < 0.1:
            offers = [  # from a session that is over
                type(o)(agent_id=o.agent_id, term=o.term - 1, phone_id=o.phone_id) for o in offers
            ]
            assert await self.world.claim(offers) == []
            return
        times = self.dice.choice([1, 1, 2])
        answers: Sequence[Sequence[Assignment]] = await asyncio.gather(
            *(self.world.claim(offers) for _ in range(times))
        )
        got = [assignment for answer in answers for assignment in answer]
        assert len({assignment.phone_id for assignment in got}) == len(got)
        for assignment in got:
            item = self.seen.items[assignment.run.item_id]
            assert item["state"] in {"QUEUED", "SCHEDULED"}
            assert item["ready_at"] <= self._micros()
            assert item["want_phone_id"] in {None, assignment.phone_id}
            phone = self.seen.phones[assignment.phone_id]
            assert phone["health"] in {"good", "suspect"}
            account = self.seen.accounts[assignment.account_id]
            assert account["active"]
            assert account["condition"] == Condition.OK
            assert account["phone_id"] == assignment.phone_id
        self.runs += got

    async def start(self) -> None:
        """Come to the start gate, twice."""
        run = self._a_run()
        if run is None:
            return
        item = self.seen.items[run.run.item_id]
        live = self._state_of(run) == LeaseState.LIVE
        answer = await self.world.begin(run)
        again = await self.world.begin(run)
        assert (answer.stop is None) == (again.stop is None)
        due = item["state"] == "EXECUTING" or item["deadline_at"] >= self._micros()
        # One that asks has not gone, whatever was answered before: a cancel still stops it.
        assert (answer.stop is None) == (live and due and item["cancel"] is None)
        if not live:
            await self._unchanged()

    async def start_as_a_stranger(self) -> None:
        """Show a reference with a wrong part at the gate, or that of another's run."""
        run = self._a_run()
        if run is None:
            return
        agent, ref = run.agent_id, run.run
        match self.dice.randrange(4):
            case 0:
                agent = "stranger"
            case 1:
                ref = moved_ref(ref, attempt=ref.attempt + 1)
            case 2:
                ref = moved_ref(ref, epoch=ref.epoch + 1)
            case _:
                ref = moved_ref(ref, run_id="nobody")
        term = self.world.terms.get(agent, 1)
        (answer,) = await self.world.start(
            [StartRequest(agent_id=agent, term=term, run=ref, container="box")]
        )
        assert isinstance(answer, SupersededError) or answer.stop is not None
        await self._unchanged()

    async def go_on(self) -> None:
        """Report one more record of a run, as an agent would whose run goes on."""
        run = self._a_run()
        if run is None:
            return
        index = self.dice.randrange(3)
        kind = "post" if index == 1 else "step"
        failure = self._a_failure()
        bodies: list[Body] = [
            ActionStarted(index=index, kind=kind),
            ActionDone(index=index, kind=kind, outputs="{}", seconds=1.0),
            ActionFailed(index=index, kind=kind, failure=failure, seconds=1.0),
            RunEnded(outcome=RunOutcome.FAILED, failure=failure, exit_code=1),
            RunEnded(outcome=RunOutcome.STOPPED, failure=None, exit_code=3),
        ]
        await self._tell(run, self.dice.choice(bodies))

    async def succeed(self) -> None:
        """Act out a run that does everything well."""
        run = self._a_run()
        if run is None:
            return
        if (await self.world.begin(run)).stop is None:
            self.now = await snapshot(self.world.database)
            await self._tell(run, DONE, RELEASED)
            after = await snapshot(self.world.database)
            assert after.items[run.run.item_id]["state"] == "DONE"
            assert after.leases[run.run.lease_id]["state"] == "ended"

    async def release(self) -> None:
        """Say of a phone that it is clean, or not."""
        run = self._a_run()
        if run is None:
            return
        clean = self.dice.random() < 0.8
        before = self._state_of(run)
        await self._tell(run, PhoneReleased(clean=clean, reason="left over", residue=()))
        after = (await snapshot(self.world.database)).leases[run.run.lease_id]["state"]
        if before in {LeaseState.RELEASING, LeaseState.DIRTY}:
            assert after == (LeaseState.ENDED if clean else LeaseState.DIRTY)
        else:
            assert after == before

    async def tidy(self) -> None:
        """Let agents confirm what is clean, and the operator return the rest."""
        for run in self.runs:
            if self._state_of(run) in {LeaseState.RELEASING, LeaseState.DIRTY}:
                await self._tell(run, RELEASED)
                self.now = await snapshot(self.world.database)
        for serial in SERIALS:
            await self.world.phone_admin.give_back(f"ph-{serial}", actor="test", reason="clean")
            if self.dice.random() < 0.5:
                await self.world.put_account(f"acc-{serial}", phone_id=f"ph-{serial}")

    async def report_anything(self) -> None:
        """Report what makes no sense."""
        run = self._a_run()
        if run is not None:
            await self._tell(run, *(self._a_body() for _ in range(self.dice.randint(1, 4))))

    async def repeat_a_record(self) -> None:
        """Send a record again that was acknowledged, or one behind a gap."""
        run = self._a_run()
        if run is None:
            return
        body = self._a_body()
        if isinstance(body, RunEnded | RunRefused | PhoneReleased):
            return
        last = self.told.get(run.run.run_id, 0)
        for sequence in (last, last + 2):
            acks = await self.world.tell(run, sequence, body)
            assert [ack.sequence for ack in acks] == [last]
        await self._unchanged()

    async def report_as_a_stranger(self) -> None:
        """Report with one wrong part, or as the wrong agent."""
        run, other = self._a_run(), self._a_run()
        if run is None or other is None:
            return
        body, ref, agent = self._a_body(), run.run, run.agent_id
        part = self.dice.choice(["agent", "epoch", "run_id", "item_id", "lease_id"])
        if part == "agent":
            agent = next(name for name in AGENTS if name != run.agent_id)
        elif part == "epoch":
            ref = moved_ref(ref, epoch=ref.epoch + self.dice.choice([-1, 1]))
        elif getattr(other.run, part) == getattr(ref, part):
            return
        else:
            ref = moved_ref(ref, **{part: getattr(other.run, part)})
        self._say(part, body)
        sequence = self.told.get(run.run.run_id, 0) + 1
        term = self.world.terms[agent]
        await self.world.take(
            [Report(agent_id=agent, term=term, run=ref, sequence=sequence, body=body)]
        )
        await self._unchanged()

    async def _tell(self, run: Assignment, *bodies: Body) -> None:
        """Report the run's next records; late ones must leave nothing but themselves."""
        self._say(*(type(body).__name__ for body in bodies))
        live = self._state_of(run) == LeaseState.LIVE
        revoked = self.seen.leases[run.run.lease_id]["revoked"]
        first = self.told.get(run.run.run_id, 0) + 1
        acks = await self.world.tell(run, first, *bodies)
        last = first + len(bodies) - 1
        self.told[run.run.run_id] = last
        over = any(isinstance(body, RunEnded | RunRefused | PhoneReleased) for body in bodies)
        posts = self.seen.items[run.run.item_id]["once_actions"] != "[]"
        begins = isinstance(bodies[-1], ActionStarted) and bodies[-1].index == 1 and posts
        # What was taken from its run must not begin what cannot be taken back.
        held_back = revoked and begins and not over
        assert max(ack.sequence for ack in acks) == last - held_back
        if not live:
            released = any(isinstance(body, PhoneReleased) for body in bodies)
            if not released and not (revoked and over):
                await self._unchanged(but_records=True)
            after = await snapshot(self.world.database)
            fresh = [after.results[key] for key in after.results.keys() - self.seen.results.keys()]
            assert len(fresh) == len(bodies)
            assert all(row["late"] or row["kind"] == "phone_released" for row in fresh)

    def _a_failure(self) -> Failure:
        classes = [FailureClass.WORK, FailureClass.INFRA, FailureClass.INFRA, FailureClass.ACCOUNT]
        return Failure(
            code="broken",
            message="",
            failure_class=self.dice.choice(classes),
            final=self.dice.random() < 0.1,
        )

    def _a_body(self) -> Body:
        index, failure = self.dice.randint(-1, 3), self._a_failure()
        bodies: list[Body] = [
            ActionStarted(index=index, kind="post"),
            ActionDone(index=index, kind="post", outputs="{}", seconds=1.0),
            ActionFailed(index=index, kind="post", failure=failure, seconds=1.0),
            RunEnded(
                outcome=self.dice.choice(list(RunOutcome)),
                failure=self.dice.choice([None, failure]),
                exit_code=None,
            ),
            RunRefused(reason="not fit"),
            PhoneReleased(clean=self.dice.random() < 0.5, reason="", residue=()),
        ]
        return self.dice.choice(bodies)

    async def renew(self) -> None:
        """Send a heartbeat, also for what is another's or over."""
        agent = self.dice.choice(sorted(AGENTS))
        named = [run for run in self.runs[-RECENT:] if self.dice.random() < 0.7]
        term = self.world.terms[agent]
        assert await self.world.renew(agent, term - 1, [run.run for run in named]) is None
        lost = await self.world.renew(agent, term, [run.run for run in named])
        assert lost is not None
        after = await snapshot(self.world.database)
        for run in named:
            lease = self.seen.leases[run.run.lease_id]
            live = lease["state"] == LeaseState.LIVE
            kept = live or (lease["state"] == LeaseState.RELEASING and not lease["revoked"])
            assert (run.run in lost) == (run.agent_id != agent or not kept)
            more = after.leases[run.run.lease_id]["renewals"] - lease["renewals"]
            assert more == (live and run.agent_id == agent)

    async def take_from_its_run(self) -> None:
        """Release a phone by an operator's word, also with an epoch that is not its lease's."""
        run = self._a_run()
        if run is None:
            return
        held = [
            lease
            for lease in self.seen.leases.values()
            if lease["phone_id"] == run.phone_id and lease["phone_held"]
        ]
        meant = held and (held[0]["epoch"], held[0]["state"]) == (run.run.epoch, LeaseState.LIVE)
        try:
            await self.world.release(
                run.phone_id, epoch=run.run.epoch, actor="test", reason="for a test"
            )
        except FarmError:
            assert not meant
            await self._unchanged()
            return
        assert meant
        after = await snapshot(self.world.database)
        lease = after.leases[run.run.lease_id]
        assert (lease["state"], lease["revoked"]) == (LeaseState.RELEASING, True)
        assert lease["account_held"]
        assert after.items[run.run.item_id]["state"] not in {"CLAIMED", "EXECUTING"}

    async def come_back(self) -> None:
        """Open a new session, with some of the runs still held."""
        agent = self.dice.choice(sorted(AGENTS))
        held = [r for r in self.runs if r.agent_id == agent and self.dice.random() < 0.5]
        greeted = await self.world.meet(
            agent, *AGENTS[agent], held=[HeldRun(run=run.run, ended=False) for run in held]
        )
        states = {run.run: self._state_of(run) for run in held}
        for ref, stop in greeted.verdicts:
            assert (stop is None) == (states[ref] == LeaseState.LIVE)
        await self.world.lease_expiry.forget(greeted.lost, agent_id=agent, term=greeted.term)
        after = await snapshot(self.world.database)
        for lease in after.leases.values():
            if lease["agent_id"] == agent and lease["state"] == LeaseState.LIVE:
                run = after.runs[lease["run_id"]]
                names = {h.run.run_id for h in held}
                assert run["state"] == "CLAIMED" or run["run_id"] in names

    # What time does

    async def wait(self) -> None:
        """Let time pass."""
        seconds = self.dice.choices([0.5, 6.0, 31.0, 91.0, 700.0, 90_000.0], [6, 10, 6, 4, 2, 0.5])[
            0
        ]
        self._say(seconds)
        self.world.clock.advance(seconds)

    async def due_items(self) -> None:
        """Let the ticker run."""
        await self.world.due_items.requeue()
        await self.world.due_items.expire()
        now = self._micros()
        for item in (await snapshot(self.world.database)).items.values():
            if item["state"] in ITEM_WAITING:
                assert item["deadline_at"] >= now
            if item["state"] == "RETRYABLE":
                assert item["ready_at"] > now

    async def expire_lease(self) -> None:
        """Let the reaper take a lease for silent, perhaps wrongly."""
        run = self._a_run()
        if run is None:
            return
        stale = self.dice.random() < 0.2
        lease = self.seen.leases[run.run.lease_id]
        did = await self.world.lease_expiry.expire(
            run.run.lease_id, renewals=lease["renewals"] - stale
        )
        assert did == (lease["state"] == LeaseState.LIVE and not stale)
        if not did:
            await self._unchanged()

    async def void(self) -> None:
        """Let the reaper take back a claim that did not start."""
        run = self._a_run()
        if run is not None:
            did = await self.world.lease_expiry.void(run.run.lease_id)
            assert did == (self.seen.runs[run.run.run_id]["state"] == "CLAIMED")

    async def give_up_clean_up(self) -> None:
        """Let the reaper call a phone dirty."""
        run = self._a_run()
        if run is not None:
            did = await self.world.lease_expiry.give_up_clean_up(run.run.lease_id)
            assert did == (self._state_of(run) == LeaseState.RELEASING)

    # What operators and gateways do

    async def return_phone(self) -> None:
        """Let an operator return a phone."""
        phone_id = f"ph-{self.dice.choice(SERIALS)}"
        await self.world.phone_admin.give_back(phone_id, actor="test", reason="looked at it")

    async def put_account(self) -> None:
        """Let an operator stop, mend or move an account."""
        name = self.dice.choice(SERIALS)
        on = name if self.dice.random() < 0.7 else self.dice.choice(SERIALS)
        active = self.dice.random() < 0.85
        await self.world.put_account(f"acc-{name}", phone_id=f"ph-{on}", active=active)

    async def deliver(self) -> None:
        """Let a gateway lease deliveries, and settle them or vanish."""
        lent = await self.world.deliver.lease(limit=3)
        for delivery in lent:
            for other in self.seen.deliveries.values():
                if other["process_id"] == delivery.process_id:
                    earlier = other["sequence"] < delivery.sequence
                    assert not earlier or other["state"] not in {"pending", "leased"}
        if self.dice.random() < 0.2:
            return
        reports = [
            DeliveryReport(
                delivery_id=delivery.delivery_id,
                lease_token=delivery.lease_token or "",
                outcome=self.dice.choice(list(DeliveryOutcome)),
                http_status=0,
                error="",
                retry_after_seconds=0,
            )
            for delivery in lent
        ]
        settled = await self.world.deliver.settle(reports)
        assert sorted(settled) == sorted(delivery.delivery_id for delivery in lent)
        assert await self.world.deliver.settle(reports) == []

    async def mend(self) -> None:
        """Derive a process anew: there must be nothing to mend."""
        if self.processes:
            await self.world.mend(self.dice.choice(self.processes))
            await self._unchanged()

    async def settle_down(self) -> Snapshot:
        """Let every agent fall silent and a month pass: then everything must have ended."""
        for _ in range(4):
            for lease_id, lease in (await snapshot(self.world.database)).leases.items():
                await self.world.lease_expiry.expire(lease_id, renewals=lease["renewals"])
            self.world.clock.advance(10 * 24 * 3600)
            while await self.world.due_items.requeue():
                pass
            while await self.world.due_items.expire():
                pass
        self.now = await snapshot(self.world.database)
        check(self.now)
        return self.now
