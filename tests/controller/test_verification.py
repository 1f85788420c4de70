"""Proving: a real run with evidence lets a capability run unattended; a profile can be tried."""

import hashlib
import json
from pathlib import Path
from typing import Any

import grpc
import phonefarm_controller
import pytest
from phonefarm.v1 import agent_pb2, agent_pb2_grpc, fleet_pb2, process_pb2, verification_pb2
from phonefarm_common.channel import bearer
from phonefarm_controller.app.controller import store_app_profiles
from phonefarm_controller.capabilities.listing import CapabilityList
from phonefarm_controller.model.app_profiles import read_profile
from support.controller import KEY, Farm, PlayedAgent, farm_on, played_agent, request, told
from support.hostile import AS_AGENT, NO_ID
from support.once import ONE_ENGINE

UNATTENDED = process_pb2.MODE_UNATTENDED
VERIFIED = (("screenshot", "verified.png"), ("ui_dump", "verified.xml"))
TRIED = """
format = 1
package = "com.example.other"
activity = ".Main"
[screens.feed]
shows = { id = "title" }
"""


async def verify(farm: Farm, **changes: Any) -> str:
    """Ask to verify keyword_warmup on phone A1; return the process."""
    values = {"capability": "keyword_warmup", "phone_id": "ph-a1", "requested_by": "ada"}
    answer = await farm.proving.VerifyCapability(
        verification_pb2.VerifyCapabilityRequest(**(values | changes)), metadata=bearer(KEY)
    )
    return str(answer.process_id)


async def check_profile(farm: Farm, **changes: Any) -> str:
    """Ask to try a profile on phone A1; return the process."""
    values = {
        "name": "other",
        "profile_toml": TRIED,
        "phone_id": "ph-a1",
        "requested_by": "ada",
    }
    answer = await farm.proving.CheckProfile(
        verification_pb2.CheckProfileRequest(**(values | changes)), metadata=bearer(KEY)
    )
    return str(answer.process_id)


async def record(farm: Farm, process_id: str) -> verification_pb2.Verification:
    """Make the verification count."""
    answer: verification_pb2.Verification = await farm.proving.RecordVerification(
        verification_pb2.RecordVerificationRequest(process_id=process_id), metadata=bearer(KEY)
    )
    return answer


async def take(agent: PlayedAgent) -> agent_pb2.Assignment:
    """Return the next assignment, past the start gate."""
    await agent.offer()
    (assignment,) = await agent.assigned()
    await agent.start(assignment.run)
    return assignment


async def leave_evidence(farm: Farm, run: agent_pb2.RunRef, kind: str, name: str) -> None:
    """Upload a file of the run."""
    data = b"seen"
    head = agent_pb2.EvidenceHead(
        run=run,
        name=name,
        kind=kind,
        bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
    )
    stub: Any = agent_pb2_grpc.AgentServiceStub(farm.channel)
    chunks = [agent_pb2.EvidenceChunk(head=head), agent_pb2.EvidenceChunk(data=data)]
    await stub.UploadEvidence(iter(chunks), metadata=AS_AGENT)


async def proved(farm: Farm, agent: PlayedAgent) -> str:
    """Run a verification to its end, with its evidence; return the process."""
    process_id = await verify(farm)
    assignment = await take(agent)
    for kind, name in VERIFIED:
        await leave_evidence(farm, assignment.run, kind, name)
    await agent.report(*agent.whole_run(assignment))
    await farm.until(process_id, "completed")
    return process_id


async def unattended(farm: Farm) -> str:
    """Enqueue without a person; return the reason it is refused for, empty when it is not."""
    try:
        await farm.enqueue(request(mode=UNATTENDED))
    except grpc.aio.AioRpcError as error:
        return error.details() or ""
    return ""


async def test_a_verified_capability_runs_unattended_until_the_profile_changes(
    database_url: str, tmp_path: Path
) -> None:
    """Refused, proven, accepted; refused again when the profile in use is another."""
    data = tmp_path / "data"
    async with farm_on(database_url, data) as farm, played_agent(farm, "A1") as agent:
        before = await unattended(farm)
        process_id = await proved(farm, agent)
        still = await unattended(farm)

        recorded = await record(farm, process_id)

        assert "live verified" in before
        assert still == before
        assert (recorded.capability, recorded.app) == ("keyword_warmup", "shortvideo")
        assert (recorded.process_id, recorded.phone_id) == (process_id, "ph-a1")
        assert recorded.verified_by == "ada"
        assert await unattended(farm) == ""
        assert await record(farm, process_id) == recorded
        registry = CapabilityList(
            database=farm.controller.database,
            profiles=await store_app_profiles(farm.controller.database, data / "profiles"),
            dummy_allowed=False,
        )
        known = {view.name: view for view in await registry.capabilities()}
        (app,) = known["keyword_warmup"].apps
        assert (app.live_verified, app.verified_by, app.run_id, app.process_id) == (
            True,
            "ada",
            recorded.run_id,
            process_id,
        )
        assert app.profile_version == recorded.profile_version
        assert not known["maintenance"].apps[0].live_verified
        assert known["fyp_warmup"].modes == ("manual",)
        assert (known["post_video"].endpoint, known["post_video"].routings) == (
            "/ingest",
            ("direct",),
        )

    packaged = Path(phonefarm_controller.__file__).with_name("profiles")
    (data / "profiles").mkdir()
    changed = (packaged / "shortvideo.toml").read_text() + "\n# changed\n"
    (data / "profiles" / "shortvideo.toml").write_text(changed)
    async with farm_on(database_url, data) as farm:
        assert "live verified" in await unattended(farm)


async def test_a_verification_does_little_and_leaves_evidence(farm: Farm) -> None:
    """An ordinary manual run of system `verification`, with two looks before the app is stopped."""
    async with played_agent(farm, "A1") as agent:
        process_id = await verify(farm)
        assignment = await take(agent)
        record_of = await farm.get(process_id)

        plan = json.loads(assignment.plan_json)
        kinds = [action["kind"] for action in plan["actions"]]
        assert kinds == ["launch_app", "search", "watch", "screenshot", "ui_dump", "stop_app"]
        assert [action["params"] for action in plan["actions"][3:5]] == [{"name": "verified"}] * 2
        assert [action["index"] for action in plan["actions"]] == list(range(6))
        assert (record_of.process_type, record_of.request_id) == ("keyword_warmup", "")
        assert (record_of.requested_by.system, record_of.requested_by.user) == (
            "verification",
            "ada",
        )
        assert not record_of.HasField("callback")


@ONE_ENGINE
@pytest.mark.parametrize(
    ("changes", "code", "reason", "fields"),
    [
        ({"capability": "nope"}, "INVALID_ARGUMENT", "unknown_capability:nope", ["capability"]),
        ({"capability": "fyp_warmup"}, "INVALID_ARGUMENT", "invalid_request", ["capability"]),
        ({"capability": "maintenance"}, "INVALID_ARGUMENT", "invalid_request", ["inputs"]),
        ({"capability": "post_video"}, "INVALID_ARGUMENT", "invalid_request", ["inputs"]),
        ({"inputs_json": "[]"}, "INVALID_ARGUMENT", "invalid_request", ["inputs"]),
        ({"inputs_json": "{}"}, "INVALID_ARGUMENT", "invalid_request", ["inputs.keywords"]),
        ({"phone_id": "what"}, "NOT_FOUND", "unknown_phone:what", ["target.phone_id"]),
        ({"account_id": "who"}, "NOT_FOUND", "unknown_account:who", ["target.account_id"]),
        (
            {"phone_id": "", "requested_by": ""},
            "INVALID_ARGUMENT",
            "invalid_request",
            ["phone_id", "requested_by"],
        ),
    ],
    ids=str,
)
async def test_what_cannot_be_verified_is_refused(
    farm: Farm, changes: dict[str, str], code: str, reason: str, fields: list[str]
) -> None:
    """Each with its reason and its field."""
    async with played_agent(farm, "A1"):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await verify(farm, **changes)

        assert refused.value.code() is grpc.StatusCode[code]
        assert told(refused) == (reason, fields)


async def refused_record(farm: Farm, process_id: str) -> str:
    """Return the reason for which the verification does not count."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await record(farm, process_id)
    assert refused.value.code() in {
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.NOT_FOUND,
    }
    return told(refused)[0]


async def test_only_a_completed_verification_with_evidence_counts(farm: Farm) -> None:
    """Not an ordinary process, not before its end, not before both its files came."""
    async with played_agent(farm, "A1") as agent:
        ordinary = (await farm.enqueue(request())).process_id
        await agent.act_out(await take_only(agent))
        await farm.until(ordinary, "completed")
        process_id = await verify(farm)
        waiting = await refused_record(farm, process_id)
        assignment = await take(agent)
        running = await refused_record(farm, process_id)
        await agent.report(*agent.whole_run(assignment))
        await farm.until(process_id, "completed")
        reasons = [await refused_record(farm, process_id)]
        for kind, name in (("log", "other.log"), VERIFIED[0]):
            await leave_evidence(farm, assignment.run, kind, name)
            reasons.append(await refused_record(farm, process_id))
        await leave_evidence(farm, assignment.run, *VERIFIED[1])

        assert waiting == "state_conflict:PLANNED"
        assert running == "state_conflict:EXECUTING"
        assert reasons == ["state_conflict:no_evidence"] * 3
        assert (await record(farm, process_id)).process_id == process_id
        assert await refused_record(farm, ordinary) == "state_conflict:not_a_verification"
        assert await refused_record(farm, NO_ID) == "unknown_process"
        assert await refused_record(farm, "x") == "unknown_process"
        cancelled = await verify(farm)
        await farm.cancel(cancelled)
        assert await refused_record(farm, cancelled) == "state_conflict:CANCELLED"


async def take_only(agent: PlayedAgent) -> agent_pb2.Assignment:
    """Return the next assignment, not yet started."""
    await agent.offer()
    (assignment,) = await agent.assigned()
    return assignment


@ONE_ENGINE
@pytest.mark.parametrize("runtime", ["dummy", "", "something"])
async def test_a_run_that_is_no_run_proves_nothing(farm: Farm, runtime: str) -> None:
    """The dummy drives no phone, and of what an older agent does not say nothing is believed."""
    async with played_agent(farm, "A1", runtime=runtime) as agent:
        process_id = await proved(farm, agent)
        reason = await refused_record(farm, process_id)
    # Another runtime of the same agent later on makes no difference to what has run.
    async with played_agent(farm, "A1", runtime="docker", incarnation=2):
        later = await refused_record(farm, process_id)

    assert (reason, later) == ("state_conflict:not_a_real_run",) * 2


async def test_a_profile_is_tried_without_being_put_to_use(farm: Farm) -> None:
    """The run gets the given version; what the check found is its result."""
    async with played_agent(farm, "A1") as agent:
        process_id = await check_profile(farm)
        assignment = await take(agent)
        plan = json.loads(assignment.plan_json)
        assert [(a["kind"], a["params"]) for a in plan["actions"]] == [
            ("launch_app", {}),
            ("check_profile", {}),
            ("stop_app", {}),
        ]
        assert plan["profile"]["version"] == read_profile("other", TRIED).version
        assert plan["profile"]["package"] == "com.example.other"
        assert plan["account"] == {"account_id": "acc-A1", "app": "shortvideo"}
        found = {"screens": [{"screen": "feed", "reached": True, "selectors": []}]}
        records = agent.whole_run(assignment)
        for each in records:
            if each.action_done.kind == "check_profile":
                each.action_done.outputs_json = json.dumps(found)
        await agent.report(*records)

        done = await farm.until(process_id, "completed")

        assert done.process_type == "profile_check"
        assert list(json.loads(done.result_json)["items"].values()) == [found]
        assert await refused_record(farm, process_id) == "state_conflict:not_a_verification"
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await farm.enqueue(request(capability="profile_check"))
        assert told(refused)[0] == "unknown_capability:profile_check"
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await farm.enqueue(request(inputs_json='{"keywords": ["a"], "app": "other"}'))
        assert told(refused)[0] == "unknown_app:other"


async def test_a_profile_check_takes_the_account_of_its_app(farm: Farm) -> None:
    """Of several accounts on the phone the one of the profile's app, else it must be named."""
    async with played_agent(farm, "A1") as agent:
        second = fleet_pb2.Account(
            account_id="second", phone_id="ph-a1", app="shortvideo", active=True
        )
        await farm.fleet.PutAccount(
            fleet_pb2.PutAccountRequest(account=second), metadata=bearer(KEY)
        )
        for name in ("shortvideo", "other"):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await check_profile(farm, name=name)
            assert told(refused)[0] == "account_ambiguous:ph-a1"

        process_id = await check_profile(farm, account_id="second")

        assignment = await take(agent)
        assert (assignment.process_id, assignment.account_id) == (process_id, "second")


@ONE_ENGINE
@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"profile_toml": "a = ["}, "profile_toml"),
        ({"profile_toml": ""}, "profile_toml"),
        ({"profile_toml": "activity = '.Main'"}, "profile_toml"),
        ({"profile_toml": TRIED + "n = nan"}, "profile_toml"),
        ({"profile_toml": "package = 'x'\na = " + "[" * 5000 + "]" * 5000}, "profile_toml"),
        ({"profile_toml": "# " + "x" * 300_000}, "profile_toml"),
        ({"name": ""}, "name"),
        ({"name": "../x"}, "name"),
        ({"requested_by": " "}, "requested_by"),
    ],
)
async def test_a_profile_that_cannot_be_read_is_refused(
    farm: Farm, changes: dict[str, str], field: str
) -> None:
    """And named; nothing is enqueued."""
    async with played_agent(farm, "A1"):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await check_profile(farm, **changes)

        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert told(refused) == ("invalid_request", [field])
