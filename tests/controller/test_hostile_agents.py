"""Agents and phones that say what nobody should: they harm nobody but themselves."""

import asyncio
import contextlib
import itertools
from typing import Any

import grpc
from phonefarm.v1 import agent_pb2, agent_pb2_grpc, fleet_pb2
from phonefarm_common.channel import bearer
from phonefarm_common.ids import new_id
from support.controller import AGENT_TOKEN, KEY, PATIENCE, Farm, PlayedAgent, played_agent, request
from support.hostile import AS_AGENT, broken_copies, hello, with_text

MOST_INT64 = 2**63 - 1
ODD_OUTPUTS = (
    '{"videos": 5, "ok": true}',
    '{"seconds": NaN}',
    '{"a": ' + "[" * 200 + "]" * 200 + "}",
    "[1]",
    '"text"',
    "{",
    '{"a": "' + "x" * 300_000 + '"}',
    '{"\\ud800": "\\udfff"}',
    '{"nul": "\\u0000"}',
)
ODD = ("\0", "a\0b", "\U0001f4f1" * 300, "x" * 100_000)


async def ended(farm: Farm, *messages: bytes | agent_pb2.AgentMessage) -> grpc.StatusCode:
    """Send the messages on a session of their own, then hang up; return how it ended."""
    raw: Any = farm.channel.stream_stream("/phonefarm.v1.AgentService/Session", None, None)
    call = raw(metadata=AS_AGENT)
    async with asyncio.timeout(PATIENCE):
        for message in messages:
            data = message if isinstance(message, bytes) else message.SerializeToString()
            try:
                await call.write(data)
            except (asyncio.InvalidStateError, grpc.aio.AioRpcError):
                break  # it has ended already
        with contextlib.suppress(grpc.aio.AioRpcError):
            await call.done_writing()
            while await call.read():
                pass
        code: grpc.StatusCode = await call.code()
    return code


async def completes(farm: Farm, agent: PlayedAgent) -> None:
    """Fail unless a request is done by the agent as if nothing had been."""
    accepted = await farm.enqueue(request())
    await agent.offer()
    (assignment,) = await agent.assigned()
    await agent.act_out(assignment)
    await farm.until(accepted.process_id, "completed")


async def test_noise_on_the_agents_stream_ends_that_stream_alone(farm: Farm) -> None:
    """First words and later ones; another agent works on meanwhile."""
    good = hello(agent_id="noisy")
    async with played_agent(farm, "A1") as other:
        for data in broken_copies(good.SerializeToString(), count=40, seed=3):
            await ended(farm, data)
            await ended(farm, hello(agent_id="noisy2", phones=[]), data)

        await completes(farm, other)


async def test_odd_text_in_a_hello_keeps_nobody_out(farm: Farm) -> None:
    """A phone may be refused, an agent may be refused by name; nothing is a surprise."""
    lives = itertools.count(1)
    for text in ODD:
        for path, message in with_text(hello(), text):
            assert isinstance(message, agent_pb2.AgentMessage)

            message.hello.incarnation = next(lives)

            code = await ended(farm, message)

            named = path == "hello.agent_id"
            wanted = grpc.StatusCode.INVALID_ARGUMENT if named else grpc.StatusCode.OK
            assert code is wanted, (path, text[:9])


async def test_odd_text_in_a_runs_records_is_taken_or_dropped(farm: Farm) -> None:
    """Kinds, codes, messages, outputs, reasons and residue: the run ends as its agent says."""
    async with played_agent(farm, "A1") as agent:
        for text in ODD:
            accepted = await farm.enqueue(request())
            await agent.offer()
            (assignment,) = await agent.assigned()
            run = assignment.run
            await agent.say(
                runs_started=agent_pb2.RunsStarted(
                    runs=[agent_pb2.RunStarted(run=run, container=text)]
                )
            )
            await agent.hear("start_verdicts")
            failure = agent_pb2.Failure(code=text, message=text, final=True)
            released = agent_pb2.PhoneReleased(clean=False, reason=text, residue=[text] * 60)
            await agent.report(
                agent.record(run, action_started=agent_pb2.ActionStarted(index=-5, kind=text)),
                agent.record(
                    run,
                    action_done=agent_pb2.ActionDone(
                        index=2**31 - 1, kind=text, outputs_json=text, seconds=float("nan")
                    ),
                ),
                agent.record(run, run_ended=agent_pb2.RunEnded(failure=failure)),
                agent.record(run, phone_released=released),
            )

            record = await farm.until(accepted.process_id, "failed_terminal")
            assert record.error.code
            await farm.fleet.ReturnPhone(
                fleet_pb2.ReturnPhoneRequest(phone_id="ph-a1", reason=f"looked {text}"),
                metadata=bearer(KEY),
            )
        await completes(farm, agent)


async def test_outputs_that_make_no_sense_do_not_keep_a_run_from_ending(farm: Farm) -> None:
    """Whatever the executor printed, the process ends completed and can be read."""
    requests = (
        request(),
        request(capability="fyp_warmup", inputs_json='{"judge_prompt": "x", "app": "shortvideo"}'),
    )
    kinds = ("search", "watch", "scroll_feed", "edit_profile_field")
    async with played_agent(farm, "A1") as agent:
        for wanted, outputs in itertools.product(requests, ODD_OUTPUTS):
            wanted.request_id = new_id()
            accepted = await farm.enqueue(wanted)
            await agent.offer()
            (assignment,) = await agent.assigned()
            run = assignment.run
            await agent.start(run)
            done = [
                agent_pb2.ActionDone(index=index, kind=kind, outputs_json=outputs)
                for index, kind in enumerate(kinds)
            ]
            ended = agent_pb2.RunEnded(outcome=agent_pb2.RUN_OUTCOME_DONE)
            released = agent_pb2.PhoneReleased(clean=True)
            await agent.report(
                *(agent.record(run, action_done=action) for action in done),
                agent.record(run, run_ended=ended),
                agent.record(run, phone_released=released),
            )

            await farm.until(accepted.process_id, "completed")


async def test_an_epoch_beyond_belief_is_refused_with_the_phone(farm: Farm) -> None:
    """A broken lease file on a phone must not run the epochs, or the controller, off their end."""
    phone: dict[str, Any] = {"adb_serial": "1", "transport": agent_pb2.TRANSPORT_ONLINE}
    broken = agent_pb2.PhoneReport(serialno="B1", epoch=MOST_INT64, **phone)
    high = agent_pb2.PhoneReport(serialno="C1", epoch=5_000_000_000, **phone)
    async with played_agent(farm, "A1") as agent:
        await agent.say(inventory=agent_pb2.Inventory(phones=[broken, high]))
        names = {name.serialno: name for name in (await agent.hear("phone_names")).phones}

        assert "epoch" in names["B1"].refused
        assert names["C1"].phone_id == "ph-c1"
        await farm.admit(["C1"])
        await farm.enqueue(request())
        await agent.offer("B1", "C1")
        (assignment,) = await agent.assigned()
        assert assignment.run.epoch == 5_000_000_001


async def test_two_serial_numbers_that_differ_in_case_are_told_apart(farm: Farm) -> None:
    """They would be one phone id: the second is refused by name, and its agent works on."""
    phones = [
        agent_pb2.PhoneReport(serialno=s, adb_serial=s, transport=agent_pb2.TRANSPORT_ONLINE)
        for s in ("abc", "ABC")
    ]
    async with played_agent(farm, "A1") as first, played_agent(farm, agent_id="b") as second:
        await second.say(inventory=agent_pb2.Inventory(phones=phones))
        one, other = (await second.hear("phone_names")).phones
        await second.say(inventory=agent_pb2.Inventory(phones=[*phones, *phones[:1]]))
        again = (await second.hear("phone_names")).phones
        await first.say(
            inventory=agent_pb2.Inventory(
                phones=[agent_pb2.PhoneReport(serialno="a1"), agent_pb2.PhoneReport(serialno="A1")]
            )
        )
        crossed = (await first.hear("phone_names")).phones

    assert (one.phone_id, one.refused) == ("ph-abc", "")
    assert other.refused
    assert [name.phone_id for name in again] == ["ph-abc", ""]
    assert [bool(name.refused) for name in crossed] == [True, False]


async def test_a_second_hello_is_the_agents_mistake(farm: Farm) -> None:
    """It is told so, in words."""
    async with played_agent(farm, "A1") as agent:
        await agent.call.write(hello())

        assert await agent.ended() is grpc.StatusCode.INVALID_ARGUMENT
        assert "hello" in (await agent.call.details())


async def test_an_agent_of_other_habits_is_refused(farm: Farm) -> None:
    """Timers of another scale and versions of another age do not talk with us."""
    odd: list[tuple[dict[str, Any], str]] = [
        ({"time_scale": 1.0}, "time_scale_differs"),
        ({"time_scale": float("nan")}, "time_scale_differs"),
        ({"time_scale": float("inf")}, "time_scale_differs"),
        ({"protocol_version": 0}, "agent_too_old"),
        ({"protocol_version": -(2**31)}, "agent_too_old"),
    ]
    for changes, reason in odd:
        stub: Any = agent_pb2_grpc.AgentServiceStub(farm.channel)
        call = stub.Session(metadata=bearer(AGENT_TOKEN))
        await call.write(hello(agent_id="odd", **changes))

        assert await call.code() is grpc.StatusCode.FAILED_PRECONDITION
        details = dict(await call.trailing_metadata())["grpc-status-details-bin"]
        assert reason.encode() in details


async def test_a_heartbeat_for_runs_that_never_were_loses_them(farm: Farm) -> None:
    """However many it names."""
    runs = [
        agent_pb2.RunRef(run_id="r", item_id="i", attempt=1, lease_id=new_id(), epoch=n)
        for n in range(40_000)
    ]
    async with played_agent(farm, "A1") as agent:
        ack = await agent.beat(*runs)

        assert len(ack.lost) == len(runs)
        await completes(farm, agent)


async def test_words_about_runs_of_others_are_acknowledged_and_forgotten(farm: Farm) -> None:
    """A stranger's records are of no use; its question at the gate is answered with stop."""
    async with played_agent(farm, "A1") as owner, played_agent(farm, "B1", agent_id="b") as thief:
        accepted = await farm.enqueue(request())
        await owner.offer()
        (assignment,) = await owner.assigned()
        await owner.start(assignment.run)

        (stolen,) = await thief.start(assignment.run)
        acks = await thief.report(*thief.whole_run(assignment))
        beat = await thief.beat(assignment.run)

        assert stolen.stop.reason == "not_your_run"
        assert [ack.sequence for ack in acks] == [10]
        assert [run.run_id for run in beat.lost] == [assignment.run.run_id]
        assert (await farm.get(accepted.process_id)).status == "executing"
        await owner.report(*owner.whole_run(assignment))
        await farm.until(accepted.process_id, "completed")
