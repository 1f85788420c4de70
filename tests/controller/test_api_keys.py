"""API keys: made once, known by their digest, ended at once; what each scope opens."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.rpc import error_details_pb2, status_pb2
from phonefarm.v1 import (
    access_pb2,
    access_pb2_grpc,
    content_pb2,
    doctor_pb2,
    fleet_pb2,
    inspect_pb2,
    operator_pb2,
    process_pb2,
    screen_pb2,
    verification_pb2,
)
from phonefarm_common.channel import bearer
from phonefarm_common.ids import new_secret
from phonefarm_common.reasons import FarmError, Reason
from phonefarm_controller.auth.api_keys import ApiKeys
from phonefarm_controller.model.scopes import (
    EVERY_SCOPE,
    Scope,
    allowed,
    digest_of,
    is_key,
    is_key_name,
    key_of,
)
from phonefarm_controller.store.database import Database, Transaction
from phonefarm_controller.store.schema.access import api_keys
from phonefarm_controller.store.schema.cluster import audit
from sqlalchemy import select
from support.controller import GATEWAY_TOKEN, KEY, Farm, farm_on, request
from support.world import World, world_on

READS, OPERATES = "read", "operate"
SCOPES = {
    "ProcessService.Enqueue": "submit",
    "ProcessService.GetProcess": READS,
    "ProcessService.ListProcesses": READS,
    "ProcessService.CancelProcess": "cancel",
    "InspectService.WatchProcess": READS,
    "InspectService.GetTimeline": READS,
    "InspectService.ExplainProcess": READS,
    "InspectService.GetQueueItem": READS,
    "InspectService.ListDeliveries": READS,
    "InspectService.ListFailingReceivers": READS,
    "ProcessService.CheckInputs": "submit",
    "InspectService.ReplayDeliveries": OPERATES,
    "InspectService.ListEvidence": READS,
    "InspectService.ReadEvidence": READS,
    "InspectService.ListCapabilities": READS,
    "ContentService.FindContent": "submit",
    "ContentService.Ingest": "submit",
    "ContentService.CancelContent": "cancel",
    "ContentService.UpsertSnapshot": "submit",
    "ScreenService.View": "watch",
    "ScreenService.TakeStill": "watch",
    "ScreenService.WatchThumbnails": "watch",
    "VerificationService.VerifyCapability": OPERATES,
    "VerificationService.CheckProfile": OPERATES,
    "VerificationService.RecordVerification": OPERATES,
    "FleetService.ListPhones": READS,
    "FleetService.ShowPhone": READS,
    "FleetService.ListNeedsHands": READS,
    "FleetService.ListIncidents": READS,
    "FleetService.WatchFarm": READS,
    "FleetService.ListAudit": OPERATES,
    "FleetService.AdmitPhone": OPERATES,
    "FleetService.ReturnPhone": OPERATES,
    "FleetService.PutAccount": OPERATES,
    "FleetService.PutAccounts": OPERATES,
    "FleetService.DeleteAccount": OPERATES,
    "FleetService.ListAccounts": READS,
    "FleetService.PutGroup": OPERATES,
    "FleetService.ChangeGroup": OPERATES,
    "FleetService.SetCleanUp": OPERATES,
    "FleetService.ListGroups": READS,
    "FleetService.ListAgents": READS,
    "FleetService.ListGateways": READS,
    "FleetService.MaintainPhone": OPERATES,
    "FleetService.RetirePhone": OPERATES,
    "FleetService.ClearAccount": OPERATES,
    "FleetService.Pause": OPERATES,
    "FleetService.Resume": OPERATES,
    "FleetService.ListPauses": READS,
    "FleetService.PutWindow": OPERATES,
    "FleetService.RemoveWindow": OPERATES,
    "FleetService.ListWindows": READS,
    "FleetService.PutLimit": OPERATES,
    "FleetService.RemoveLimit": OPERATES,
    "FleetService.ListLimits": READS,
    "ScheduleService.AddSchedule": OPERATES,
    "ScheduleService.ListSchedules": READS,
    "ScheduleService.GetSchedule": READS,
    "ScheduleService.PauseSchedule": OPERATES,
    "ScheduleService.ResumeSchedule": OPERATES,
    "ScheduleService.DeleteSchedule": OPERATES,
    "DoctorService.Examine": READS,
    "DoctorService.ListAlertEvents": READS,
    "DoctorService.SendTestAlert": OPERATES,
    "DoctorService.ReplayAlertEvent": OPERATES,
    "OperatorService.ReleasePhone": OPERATES,
    "OperatorService.DrainPhone": OPERATES,
    "OperatorService.DrainAgent": OPERATES,
    "OperatorService.UndrainAgent": OPERATES,
    "OperatorService.RerunProcess": OPERATES,
    "OperatorService.HoldPhone": OPERATES,
    "OperatorService.GetHold": READS,
    "OperatorService.UnholdPhone": OPERATES,
    "OperatorService.Backup": "admin",
    "AccessService.CreateKey": "admin",
    "AccessService.ListKeys": "admin",
    "AccessService.RevokeKey": "admin",
    "AccessService.Invite": "admin",
    "AccessService.RevokeMember": "admin",
}
"""What each call of callers and operators needs; CheckKey names its own."""

MODULES = (
    process_pb2,
    inspect_pb2,
    content_pb2,
    verification_pb2,
    fleet_pb2,
    operator_pb2,
    doctor_pb2,
    screen_pb2,
    access_pb2,
)


def methods() -> dict[str, MethodDescriptor]:
    """Return every call of the services above by `Service.Call`."""
    return {
        f"{service.name}.{method.name}": method
        for module in MODULES
        for service in module.DESCRIPTOR.services_by_name.values()
        for method in service.methods
        if method.name != "CheckKey"
    }


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    """Open a controller's operations on each engine, in virtual time."""
    async with world_on(database_url) as world:
        yield world


@pytest.fixture
def access(farm: Farm) -> Any:
    """Return a client for keys."""
    return access_pb2_grpc.AccessServiceStub(farm.channel)


async def make(access: Any, name: str, *scopes: str, key: str = KEY, **more: Any) -> str:
    """Make a key; return its text."""
    wish = access_pb2.CreateKeyRequest(name=name, scopes=scopes, **more)
    made = await access.CreateKey(wish, metadata=bearer(key))
    return str(made.secret)


async def refusal(call: Any) -> tuple[grpc.StatusCode, str]:
    """Return how the call was refused: its code, and the reason as callers read it."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    trailing: Any = caught.value.trailing_metadata() or ()
    details = status_pb2.Status.FromString(dict(trailing)["grpc-status-details-bin"])
    info = error_details_pb2.ErrorInfo()
    assert details.details[0].Unpack(info)
    return caught.value.code(), info.reason


def check_key(farm: Farm, key: str, scope: str = "read", **more: str) -> Any:
    """Ask what the key may do."""
    metadata = (*bearer(key), *more.items())
    asked = process_pb2.CheckKeyRequest(scope=scope)
    return farm.processes.CheckKey(asked, metadata=metadata)


async def call(farm: Farm, method: MethodDescriptor, key: str) -> tuple[str, str]:
    """Make an empty call with the key; return its code's name and its reason."""
    pool = descriptor_pool.Default()
    kinds = [
        message_factory.GetMessageClass(pool.FindMessageTypeByName(kind.full_name))
        for kind in (method.input_type, method.output_type)
    ]
    path = f"/{method.containing_service.full_name}/{method.name}"
    open_call = farm.channel.unary_stream if method.server_streaming else farm.channel.unary_unary
    wire: Any = open_call(
        path,
        request_serializer=kinds[0].SerializeToString,
        response_deserializer=kinds[1].FromString,
    )
    begun = wire(kinds[0](), metadata=bearer(key), timeout=180)
    try:
        if method.server_streaming:
            async for _ in begun:
                break
        else:
            await begun
    except grpc.aio.AioRpcError as error:
        trailing: Any = error.trailing_metadata() or ()
        told = status_pb2.Status.FromString(dict(trailing).get("grpc-status-details-bin", b""))
        info = error_details_pb2.ErrorInfo()
        return error.code().name, info.reason if told.details and told.details[0].Unpack(
            info
        ) else ""
    return "OK", ""


def test_a_key_carries_a_checksum() -> None:
    """One character changed, left out or put in is seen without asking any database."""
    key = key_of(new_secret())

    assert is_key(key)
    for place in range(len(key)):
        other = "x" if key[place] != "x" else "y"
        assert not is_key(key[:place] + other + key[place + 1 :])
        assert not is_key(key[:place] + key[place + 1 :])
    assert not any(is_key(text) for text in ("", "pf_", key + "\n", f" {key}", key.upper()))


def test_names_of_keys_are_plain() -> None:
    """What stands in logs and audits cannot pretend to be something else."""
    assert all(is_key_name(name) for name in ("crm", "crm-2.eu_west", "9", "a" * 64))
    wrong = ("", "a" * 65, "a b", "-a", "a/b", "é", "a\n", "ingest_secret")
    assert not any(is_key_name(name) for name in wrong)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ((), set()),
        (("read",), {"read"}),
        (("submit", "cancel"), {"submit", "cancel"}),
        (("operate",), {"operate", "read", "watch"}),
        (("admin",), set(EVERY_SCOPE)),
    ],
)
def test_scopes_include_others(given: Sequence[str], meant: set[str]) -> None:
    """Admin includes all, operate includes read and watch, nothing else includes anything."""
    assert allowed(Scope(word) for word in given) == meant


def test_every_call_has_its_scope_in_the_table() -> None:
    """A new call cannot be forgotten: its scope is written here, and tested below."""
    assert set(methods()) - set(SCOPES) == set()


async def test_every_call_needs_its_scope(farm: Farm, access: Any) -> None:
    """A key with every other scope is refused by the scope it lacks; one with it is let in."""
    others: dict[str, str] = {}
    for needed in ("submit", "read", "watch", "cancel", "operate", "admin"):
        implied = {"admin"} | ({"operate"} if needed in {"read", "watch"} else set())
        rest = [str(s) for s in Scope if s != needed and s not in implied]
        others[needed] = await make(access, f"all-but-{needed}", *rest)
    exact = {scope: await make(access, f"only-{scope}", scope) for scope in others}

    found = {
        name: (
            await call(farm, method, "wrong"),
            await call(farm, method, others[SCOPES[name]]),
            await call(farm, method, exact[SCOPES[name]]),
        )
        for name, method in methods().items()
    }

    for name, (strange, refused, let_in) in found.items():
        assert strange == ("UNAUTHENTICATED", "unauthenticated"), name
        assert refused == ("PERMISSION_DENIED", f"insufficient_scope:{SCOPES[name]}"), name
        assert let_in[0] not in {"UNAUTHENTICATED", "PERMISSION_DENIED"}, name


APK = {"apk_url": "https://e.example/a.apk", "sha256": "0" * 64, "package": "com.e.app"}


@pytest.mark.parametrize(
    ("capability", "inputs"), [("install_apk", APK), ("run_steps", {"steps": [{"wait": 1}]})]
)
async def test_what_may_change_a_phone_needs_a_key_that_may_operate(
    farm: Farm, access: Any, capability: str, inputs: dict[str, Any]
) -> None:
    """To submit is not enough: it changes the phone for every later caller."""
    submits = await make(access, "crm", "submit")
    operates = await make(access, "desk", "submit", "operate")
    wanted = request(
        capability=capability,
        inputs_json=json.dumps(inputs),
        target=process_pb2.Target(routing=process_pb2.ROUTING_QUEUE),
    )

    refused = await refusal(farm.processes.Enqueue(wanted, metadata=bearer(submits)))
    accepted = await farm.processes.Enqueue(wanted, metadata=bearer(operates))

    assert refused == (grpc.StatusCode.PERMISSION_DENIED, "insufficient_scope:operate")
    assert accepted.items_planned == 1


async def test_the_text_of_a_key_is_told_once_and_kept_nowhere(farm: Farm, access: Any) -> None:
    """The database has a SHA-256; lists and audits have the name."""
    secret = await make(access, "crm", "submit", "read", "submit")

    answer = await access.ListKeys(access_pb2.ListKeysRequest(), metadata=bearer(KEY))
    async with farm.controller.database.reading() as tx:
        stored = (await tx.connection.execute(select(api_keys))).mappings().one()
        noted = (await tx.connection.execute(select(audit))).mappings().all()

    assert secret.startswith("pf_")
    (listed,) = answer.keys
    assert (listed.name, list(listed.scopes)) == ("crm", ["submit", "read"])
    assert listed.created_by == "ingest_secret"
    assert not listed.HasField("expires_at")
    assert stored["digest"] == hashlib.sha256(secret.encode()).hexdigest()
    assert secret not in repr((stored, noted, listed))
    assert [(row["verb"], row["subject"], row["actor"]) for row in noted] == [
        ("create key", "crm", "ingest_secret")
    ]


async def test_a_key_is_checked_by_name_and_scope(farm: Farm, access: Any) -> None:
    """CheckKey tells the key's name and what it may do; without a scope of that name it says so."""
    secret = await make(access, "desk", "operate")

    desk = await check_key(farm, secret)
    server = await check_key(farm, KEY, "admin")

    assert (desk.name, list(desk.scopes)) == ("desk", ["read", "watch", "operate"])
    assert (server.name, list(server.scopes)) == ("ingest_secret", [str(s) for s in Scope])
    assert await refusal(check_key(farm, secret, "submit")) == (
        grpc.StatusCode.PERMISSION_DENIED,
        "insufficient_scope:submit",
    )
    assert await refusal(check_key(farm, secret, "everything")) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "invalid_request",
    )


async def test_a_revoked_key_is_refused_from_then_on(farm: Farm, access: Any) -> None:
    """The next call is refused, its name is free, and the record says when it ended."""
    secret = await make(access, "crm", "submit")
    await farm.processes.Enqueue(request(), metadata=bearer(secret))

    revoked = await access.RevokeKey(access_pb2.RevokeKeyRequest(name="crm"), metadata=bearer(KEY))
    refused = await refusal(farm.processes.Enqueue(request(), metadata=bearer(secret)))
    again = await refusal(
        access.RevokeKey(access_pb2.RevokeKeyRequest(name="crm"), metadata=bearer(KEY))
    )
    other = await make(access, "crm", "read")
    answer = await access.ListKeys(access_pb2.ListKeysRequest(), metadata=bearer(KEY))

    assert revoked.HasField("revoked_at")
    assert refused == (grpc.StatusCode.UNAUTHENTICATED, "unauthenticated")
    assert again == (grpc.StatusCode.NOT_FOUND, "unknown_key:crm")
    assert (await check_key(farm, other)).name == "crm"
    assert [key.HasField("revoked_at") for key in answer.keys] == [False, True]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "a b"}, "name"),
        ({"name": "ingest_secret"}, "name"),
        ({"scopes": []}, "scopes"),
        ({"scopes": ["read", "write"]}, "scopes"),
        ({"expires_at": datetime(2020, 1, 1, tzinfo=UTC)}, "expires_at"),
        ({"expires_at": {"seconds": -(10**15)}}, "expires_at"),
    ],
)
async def test_a_wrong_wish_for_a_key_names_the_field(
    tmp_path: Path, changes: dict[str, Any], field: str
) -> None:
    """Nothing is made, and the remedy is told."""
    async with farm_on(f"sqlite:///{tmp_path / 'farm.db'}", tmp_path / "data") as farm:
        access: Any = access_pb2_grpc.AccessServiceStub(farm.channel)
        wish = access_pb2.CreateKeyRequest(**({"name": "crm", "scopes": ["read"]} | changes))

        with pytest.raises(grpc.aio.AioRpcError, match=field):
            await access.CreateKey(wish, metadata=bearer(KEY))
        answer = await access.ListKeys(access_pb2.ListKeysRequest(), metadata=bearer(KEY))

        assert not answer.keys


async def test_a_name_is_given_once_also_in_a_race(farm: Farm, access: Any) -> None:
    """Of ten who want a name at once one gets it; the others are told of the conflict."""
    wishes = [make(access, "crm", "read") for _ in range(10)]

    ends = await asyncio.gather(*wishes, return_exceptions=True)

    refused = [end for end in ends if isinstance(end, grpc.aio.AioRpcError)]
    assert len(refused) == 9
    assert {error.code() for error in refused} == {grpc.StatusCode.FAILED_PRECONDITION}


async def test_a_gateway_with_a_wrong_token_has_a_reason_of_its_own(farm: Farm) -> None:
    """It is not the caller's key that is wrong, and a caller must not be told so."""
    wrong = {"x-phonefarm-gateway-token": "wrong"}
    right = {"x-phonefarm-gateway-token": GATEWAY_TOKEN}
    unauthenticated = grpc.StatusCode.UNAUTHENTICATED

    assert await refusal(check_key(farm, KEY, **wrong)) == (
        unauthenticated,
        "gateway_token_refused",
    )
    assert await refusal(check_key(farm, "no", **right)) == (unauthenticated, "unauthenticated")
    assert (await check_key(farm, KEY, **right)).name == "ingest_secret"


async def test_a_key_ends_when_it_was_said_to(world: World) -> None:
    """At the moment of its expiry it is a stranger's; until then it is good."""
    keys = ApiKeys(database=world.database, monotonic=world.clock.monotonic)
    async with world.database.reading() as tx:
        end = tx.now + timedelta(seconds=2)
    made = await keys.create("crm", [Scope.READ], expires_at=end, actor="test")

    before = await keys.find(made.text)
    await until(world, end)
    after = await keys.find(made.text)

    assert before is not None
    assert after is None
    assert await keys.any()


async def until(world: World, moment: datetime) -> None:
    """Let the database's clock come to the moment: SQLite's is the test's, PostgreSQL's is real."""
    async with asyncio.timeout(180):
        while True:
            async with world.database.reading() as tx:
                left = (moment - tx.now).total_seconds()
            if left <= 0:
                return
            world.clock.advance(left)
            await asyncio.sleep(0.05)


async def test_a_mistyped_key_asks_no_database(tmp_path: Path) -> None:
    """Guesses cost a checksum; a well-made guess costs one look."""
    async with world_on(f"sqlite:///{tmp_path / 'farm.db'}") as world:
        watched = _Counted(world.database)
        keys = ApiKeys(database=watched, monotonic=world.clock.monotonic)
        good = (await keys.create("crm", [Scope.READ], expires_at=None, actor="test")).text
        watched.looks = 0

        found = [await keys.find(text) for text in ("", "secret", good[:-1], good[:-1] + "g")]
        looks_for_mistyped = watched.looks
        stranger = await keys.find(key_of(new_secret()))

        assert found == [None] * 4
        assert looks_for_mistyped == 0
        assert stranger is None
        assert watched.looks == 1


class _Counted(Database):
    """A database that counts its transactions."""

    def __init__(self, database: Database) -> None:
        self.__dict__.update(database.__dict__)
        self.looks = 0

    def reading(self) -> Any:
        """Count, and read."""
        self.looks += 1
        return super().reading()

    def writing(self, **more: Any) -> Any:
        """Count, and write."""
        self.looks += 1
        return super().writing(**more)


async def test_the_use_of_a_key_is_written_once_a_minute(tmp_path: Path) -> None:
    """A key shown a hundred times a second costs one small write a minute."""
    async with world_on(f"sqlite:///{tmp_path / 'farm.db'}") as world:
        watched = _Counted(world.database)
        keys = ApiKeys(database=watched, monotonic=world.clock.monotonic)
        text = (await keys.create("crm", [Scope.READ], expires_at=None, actor="test")).text
        seen = []
        for seconds in (0, 30, 29, 2, 1):
            world.clock.advance(seconds)
            watched.looks = 0
            await asyncio.gather(*(keys.find(text) for _ in range(5)))
            seen.append((watched.looks - 5, (await keys.all())[0].last_used_at))

        assert [writes for writes, _ in seen] == [1, 0, 0, 1, 0]
        assert seen[0][1] == seen[2][1]
        assert seen[3][1] == seen[4][1]
        assert seen[3][1] is not None
        assert seen[0][1] is not None
        assert seen[3][1] - seen[0][1] == timedelta(seconds=61)


async def test_a_full_disk_locks_nobody_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When its use cannot be written a key still opens what it may."""

    async def fails(tx: Transaction, key_id: str, *, than: timedelta) -> None:
        raise OSError("no space left on device")

    async with world_on(f"sqlite:///{tmp_path / 'farm.db'}") as world:
        keys = ApiKeys(database=world.database, monotonic=world.clock.monotonic)
        text = (await keys.create("crm", [Scope.READ], expires_at=None, actor="test")).text
        monkeypatch.setattr("phonefarm_controller.store.api_keys.note_use_if_older", fails)

        found = await keys.find(text)

        assert found is not None
        assert found.name == "crm"


async def test_without_any_secret_or_key_nobody_is_let_in_and_it_says_so(tmp_path: Path) -> None:
    """The reason is the operator's to repair; one key is enough to make it the caller's again."""
    url = f"sqlite:///{tmp_path / 'farm.db'}"
    async with world_on(url) as world:
        keys = ApiKeys(database=world.database, monotonic=world.clock.monotonic)
        made = await keys.create("crm", [Scope.READ], expires_at=None, actor="test")
    async with farm_on(url, tmp_path / "data", ingest_secret=None) as farm:
        keys = ApiKeys(database=farm.controller.database, monotonic=lambda: 0.0)
        await keys.revoke("crm", actor="test")
        nothing = await refusal(check_key(farm, "some"))
        spent = await refusal(check_key(farm, made.text))
        other = await keys.create("crm", [Scope.READ], expires_at=None, actor="test")
        wrong = await refusal(check_key(farm, "some"))
        good = await check_key(farm, other.text)

    assert nothing == spent == (grpc.StatusCode.FAILED_PRECONDITION, "no_secret_configured")
    assert wrong == (grpc.StatusCode.UNAUTHENTICATED, "unauthenticated")
    assert good.name == "crm"


@pytest.mark.postgres
async def test_a_key_revoked_on_one_controller_is_refused_on_the_other(
    postgres_url: str, tmp_path: Path
) -> None:
    """Nothing is remembered: the very next call elsewhere is refused."""
    async with (
        farm_on(postgres_url, tmp_path / "one") as one,
        farm_on(postgres_url, tmp_path / "two") as two,
    ):
        here: Any = access_pb2_grpc.AccessServiceStub(one.channel)
        there: Any = access_pb2_grpc.AccessServiceStub(two.channel)
        for number in range(5):
            secret = await make(here, f"crm-{number}", "read")
            good = await check_key(two, secret)

            await here.RevokeKey(access_pb2.RevokeKeyRequest(name=good.name), metadata=bearer(KEY))

            assert (await refusal(check_key(two, secret)))[1] == "unauthenticated"
        with pytest.raises(grpc.aio.AioRpcError, match="crm-0"):
            await there.RevokeKey(access_pb2.RevokeKeyRequest(name="crm-0"), metadata=bearer(KEY))


@pytest.mark.postgres
async def test_two_controllers_give_a_name_once(postgres_url: str) -> None:
    """The index decides, not a look before the write."""
    async with world_on(postgres_url) as one, world_on(postgres_url) as two:
        makers = [ApiKeys(database=w.database, monotonic=lambda: 0.0) for w in (one, two)]
        for number in range(10):
            ends = await asyncio.gather(
                *(
                    keys.create(f"crm-{number}", [Scope.READ], expires_at=None, actor="test")
                    for keys in makers
                ),
                return_exceptions=True,
            )

            refused = [end for end in ends if isinstance(end, FarmError)]
            assert [error.reason for error in refused] == [Reason.STATE_CONFLICT]


def test_the_digest_is_plain_sha256() -> None:
    """Whoever must look a key up by hand can."""
    assert digest_of("pf_x") == hashlib.sha256(b"pf_x").hexdigest()
