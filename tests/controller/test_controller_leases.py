"""Leases over the wire: the gate, silence, renewal, sessions that come and go."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from phonefarm.v1 import agent_pb2, agent_pb2_grpc, fleet_pb2, process_pb2
from phonefarm_common.channel import bearer
from phonefarm_common.ids import PROTOCOL_VERSION
from support.controller import (
    AGENT_TOKEN,
    KEY,
    PATIENCE,
    Farm,
    PlayedAgent,
    farm_on,
    played_agent,
    request,
)


async def phone_when(
    farm: Farm, phone_id: str, holds: Callable[[fleet_pb2.Phone], bool]
) -> fleet_pb2.Phone:
    """Return the phone once *holds* is true of it; TimeoutError after PATIENCE."""
    async with asyncio.timeout(PATIENCE):
        while True:
            answer = await farm.fleet.ListPhones(
                fleet_pb2.ListPhonesRequest(), metadata=bearer(KEY)
            )
            for phone in answer.phones:
                if phone.phone_id == phone_id and holds(phone):
                    found: fleet_pb2.Phone = phone
                    return found
            await asyncio.sleep(0.01)


async def keep_beating(agent: PlayedAgent, *runs: agent_pb2.RunRef) -> None:
    """Renew the runs' leases as a live agent does, until cancelled."""
    while True:
        await agent.beat(*runs)
        await asyncio.sleep(agent.farm.timers.heartbeat)


async def test_an_item_past_its_deadline_at_the_gate_performs_no_action(farm: Farm) -> None:
    """The deadline passes while the container starts: stop, and the process ends saying so."""
    async with played_agent(farm, "A1") as agent:
        await agent.offer()
        deadline = Timestamp()
        deadline.FromDatetime(datetime.now(UTC) + timedelta(hours=1))
        accepted = await farm.enqueue(request(deadline=deadline))
        (assignment,) = await agent.assigned()
        await farm.pass_deadline(accepted.process_id)

        (verdict,) = await agent.start(assignment.run)

        assert verdict.stop.reason == "deadline_passed"
        record = await farm.until(accepted.process_id, "failed_terminal")
        assert record.error.code == "deadline_passed"
        assert record.error.failure_class == "expired"
        assert not record.timestamps.HasField("executing_at")


async def test_asking_at_the_gate_twice_is_answered_twice(farm: Farm) -> None:
    """A lost verdict costs a repeat, not a run."""
    async with played_agent(farm, "A1") as agent:
        await agent.offer()
        await farm.enqueue(request())
        (assignment,) = await agent.assigned()

        verdicts = [(await agent.start(assignment.run))[0] for _ in range(2)]

        assert [verdict.WhichOneof("verdict") for verdict in verdicts] == ["go", "go"]


async def test_a_claim_that_never_starts_is_voided_and_not_charged(impatient_farm: Farm) -> None:
    """The item goes elsewhere; the phone comes back when its agent says that it is clean."""
    farm = impatient_farm
    async with played_agent(farm, "A1") as first, played_agent(farm, "B1", agent_id="b") as other:
        await first.offer()
        accepted = await farm.enqueue(request())
        (never,) = await first.assigned()

        stops = await first.hear("stops")
        await other.offer()
        (again,) = await other.assigned()
        (late,) = await first.start(never.run)

        assert stops.stops[0].run == never.run
        assert again.run.item_id == never.run.item_id
        assert late.stop.reason == "lease_lost"
        await phone_when(farm, "ph-a1", lambda phone: phone.lease == "releasing")
        released = agent_pb2.PhoneReleased(clean=True)
        await first.report(first.record(never.run, phone_released=released))
        await phone_when(farm, "ph-a1", lambda phone: phone.lease == "free")
        await other.act_out(again)
        await farm.until(accepted.process_id, "completed")


async def test_silence_costs_the_lease_and_the_phone_waits_for_its_agent(
    impatient_farm: Farm,
) -> None:
    """After the TTL the item runs elsewhere; the silent one's phone is dirty until it is clean."""
    farm = impatient_farm
    async with played_agent(farm, "A1") as silent, played_agent(farm, "B1", agent_id="b") as other:
        await silent.offer()
        accepted = await farm.enqueue(request())
        (lost,) = await silent.assigned()
        await silent.start(lost.run)

        phone = await phone_when(
            farm, "ph-a1", lambda phone: (phone.lease, phone.health) == ("dirty", "quarantined")
        )
        await other.offer()
        (again,) = await other.assigned()
        ack = await silent.beat(lost.run)
        await silent.report(*silent.whole_run(lost))  # late, from the old epoch
        await other.act_out(again)
        record = await farm.until(accepted.process_id, "completed")

        assert phone.health_reason
        assert again.run.attempt == 2
        assert [run.run_id for run in ack.lost] == [lost.run.run_id]
        assert record.target_phone_id == "ph-b1"
        freed = await phone_when(farm, "ph-a1", lambda phone: phone.lease == "free")
        assert freed.health == "good"


@pytest.mark.long
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)  # one engine: it takes long
async def test_heartbeats_keep_a_lease_for_longer_than_its_ttl(impatient_farm: Farm) -> None:
    """A run that is spoken for is left alone."""
    farm = impatient_farm
    async with played_agent(farm, "A1") as agent:
        await agent.offer()
        accepted = await farm.enqueue(request())
        (assignment,) = await agent.assigned()
        await agent.start(assignment.run)
        beating = asyncio.create_task(keep_beating(agent, assignment.run))

        await asyncio.sleep(farm.timers.lease_ttl * 1.3)  # real time is what is tested

        record = await farm.get(accepted.process_id)
        assert record.status == "executing"
        beating.cancel()
        await agent.report(*agent.whole_run(assignment))
        await farm.until(accepted.process_id, "completed")


async def test_a_refused_run_goes_back_uncharged(farm: Farm) -> None:
    """The agent looked once more and said no: the next offer gets it, as a new attempt."""
    async with played_agent(farm, "A1") as agent:
        await agent.offer()
        accepted = await farm.enqueue(request())
        (refused,) = await agent.assigned()
        await agent.report(
            agent.record(refused.run, run_refused=agent_pb2.RunRefused(reason="no shell")),
            agent.record(refused.run, phone_released=agent_pb2.PhoneReleased(clean=True)),
        )

        await agent.offer()
        (again,) = await agent.assigned()
        await agent.act_out(again)

        await farm.until(accepted.process_id, "completed")
        assert again.run.epoch > refused.run.epoch


async def test_a_lost_assignment_comes_again_with_the_desired_list(farm: Farm) -> None:
    """What the agent never read it reads five (scaled) seconds later."""
    async with played_agent(farm, "A1") as agent:
        await agent.offer()
        await farm.enqueue(request())
        (lost,) = await agent.assigned()

        async with asyncio.timeout(PATIENCE):
            while not (desired := await agent.hear("desired")).claimed:
                pass

        assert desired.claimed[0] == lost


async def test_the_newer_life_of_an_agent_wins_and_the_older_is_told(farm: Farm) -> None:
    """A higher incarnation takes over; the older stream hears why it ends."""
    async with (
        played_agent(farm, "A1") as older,
        played_agent(farm, "A1", incarnation=2) as newer,
    ):
        superseded = await older.hear("superseded")

        assert superseded.by_incarnation == 2
        assert newer.welcome.term == older.welcome.term + 1


async def test_a_copied_state_directory_is_refused(farm: Farm) -> None:
    """The same incarnation from another boot is somebody else."""
    async with played_agent(farm, "A1"):
        stub: Any = agent_pb2_grpc.AgentServiceStub(farm.channel)
        clone = stub.Session(metadata=bearer(AGENT_TOKEN))
        hello = agent_pb2.Hello(
            agent_id="agent-1",
            boot_id="another",
            incarnation=1,
            protocol_version=PROTOCOL_VERSION,
            time_scale=farm.scale,
        )
        await clone.write(agent_pb2.AgentMessage(hello=hello))

        code, details = await clone.code(), await clone.details()

    assert code is grpc.StatusCode.FAILED_PRECONDITION
    assert "was copied" in details


async def test_a_run_held_over_a_reconnect_goes_on(farm: Farm) -> None:
    """The same life comes back with its run: continue, and it ends as if nothing had been."""
    async with played_agent(farm, "A1") as before:
        await before.offer()
        accepted = await farm.enqueue(request())
        (assignment,) = await before.assigned()
        await before.start(assignment.run)
    held = agent_pb2.HeldRun(run=assignment.run, going=True)

    async with played_agent(farm, "A1", held=[held], admit=False) as after:
        (verdict,) = after.welcome.verdicts
        assert verdict.WhichOneof("verdict") == "continue"
        await after.report(*after.whole_run(assignment))

        await farm.until(accepted.process_id, "completed")


async def test_a_run_that_its_agent_forgot_is_tried_again(farm: Farm) -> None:
    """The agent comes back without the run: infra failure, clean the phone, next attempt."""
    async with played_agent(farm, "A1") as before:
        await before.offer()
        accepted = await farm.enqueue(request())
        (forgotten,) = await before.assigned()
        await before.start(forgotten.run)

    async with played_agent(farm, "A1", incarnation=2, admit=False) as after:
        stops = await after.hear("stops")
        assert stops.stops[0].run == forgotten.run
        await after.report(
            after.record(forgotten.run, phone_released=agent_pb2.PhoneReleased(clean=True))
        )
        await phone_when(farm, "ph-a1", lambda phone: phone.lease == "free")
        await after.offer()
        (again,) = await after.assigned()
        await after.act_out(again)

        record = await farm.until(accepted.process_id, "completed")
        assert again.run.attempt == 2
        assert record.timestamps.HasField("executing_at")


async def test_a_controller_that_restarts_loses_nothing(database_url: str, tmp_path: Path) -> None:
    """Its successor on the same database finds the run, the lease and the callbacks."""
    async with farm_on(database_url, tmp_path / "data") as first, played_agent(first, "A1") as one:
        await one.offer()
        accepted = await first.enqueue(request())
        (assignment,) = await one.assigned()
        await one.start(assignment.run)

    held = agent_pb2.HeldRun(run=assignment.run, going=True)
    async with (
        farm_on(database_url, tmp_path / "data") as second,
        played_agent(second, "A1", held=[held], admit=False) as two,
    ):
        await two.report(*two.whole_run(assignment))

        await second.until(accepted.process_id, "completed")
        milestones = await second.milestones(accepted.process_id)
        assert milestones == ["accepted", "executing", "completed"]


async def test_an_account_that_is_challenged_is_left_alone(farm: Farm) -> None:
    """Account failures are final, and the account gets no more work until somebody looked."""
    async with played_agent(farm, "A1") as agent:
        await agent.offer()
        accepted = await farm.enqueue(request())
        (assignment,) = await agent.assigned()
        await agent.start(assignment.run)
        failure = agent_pb2.Failure(
            code="account_challenged", failure_class=agent_pb2.FAILURE_CLASS_ACCOUNT
        )
        await agent.report(*agent.failed_run(assignment.run, failure))

        record = await farm.until(accepted.process_id, "failed_terminal")
        known = await farm.fleet.ListAccounts(fleet_pb2.ListAccountsRequest(), metadata=bearer(KEY))
        assert record.error.failure_class == "account"
        assert known.accounts[0].condition == "needs_attention"


async def test_a_group_with_one_failing_phone_is_partly_finished(farm: Farm) -> None:
    """Two of three end well: failed_terminal, and the record says which one did not."""
    async with played_agent(farm, "A1", "A2", "A3") as agent:
        await agent.offer()
        target = process_pb2.Target(
            routing=process_pb2.ROUTING_GROUP, phone_ids=["ph-a1", "ph-a2", "ph-a3"]
        )
        accepted = await farm.enqueue(request(target=target))
        assigned = await agent.assigned(3)
        await agent.start(*(assignment.run for assignment in assigned))
        failure = agent_pb2.Failure(
            code="selector_not_found", failure_class=agent_pb2.FAILURE_CLASS_WORK, final=True
        )
        bad = next(a for a in assigned if a.phone_id == "ph-a2")
        await agent.report(*agent.failed_run(bad.run, failure))
        for good in (a for a in assigned if a is not bad):
            await agent.report(*agent.whole_run(good))

        record = await farm.until(accepted.process_id, "failed_terminal")

        assert record.state == "PARTIAL"
        assert record.partial_progress.items_completed == 2
        assert record.partial_progress.items_failed == 1
        assert record.error.queue_item_id == bad.run.item_id
