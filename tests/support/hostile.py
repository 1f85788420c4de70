"""Messages nobody should send: noise, broken copies of good ones, text that databases refuse."""

import random
from collections.abc import Iterator, Mapping
from typing import Any, Final

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from phonefarm.v1 import (
    agent_pb2,
    callback_pb2,
    content_pb2,
    fleet_pb2,
    process_pb2,
    verification_pb2,
)
from phonefarm_common.channel import bearer
from support.controller import AGENT_TOKEN, GATEWAY_TOKEN, KEY, request

AS_CALLER: Final = bearer(KEY)
AS_GATEWAY: Final = (("x-phonefarm-gateway-token", GATEWAY_TOKEN),)
AS_AGENT: Final = bearer(AGENT_TOKEN)
NO_ID: Final = "7d3f1a90-0000-4000-8000-000000000000"

UNARY: Final[Mapping[str, tuple[Message, tuple[tuple[str, str], ...]]]] = {
    "ProcessService/Enqueue": (request(request_id="r"), AS_CALLER),
    "ProcessService/GetProcess": (process_pb2.GetProcessRequest(process_id=NO_ID), AS_CALLER),
    "ProcessService/ListProcesses": (
        process_pb2.ListProcessesRequest(limit=3, statuses=["queued"]),
        AS_CALLER,
    ),
    "ProcessService/CancelProcess": (
        process_pb2.CancelProcessRequest(process_id=NO_ID, reason="r", requested_by="b"),
        AS_CALLER,
    ),
    "ProcessService/CheckKey": (process_pb2.CheckKeyRequest(scope="read"), AS_CALLER),
    "ContentService/FindContent": (
        content_pb2.FindContentRequest(content_id="c", account_id="acc"),
        AS_CALLER,
    ),
    "ContentService/Ingest": (
        content_pb2.IngestRequest(
            content_id="c",
            account_id="acc",
            video_url="https://videos.example/a.mp4",
            caption="hello",
            hashtags=["one", "#two"],
            sound_id="s",
            cover_image_url="https://videos.example/a.png",
            callback_url="https://example.com/cb",
            scheduling_hint=Timestamp(seconds=1_900_000_000),
            metadata_json='{"a": 1}',
        ),
        AS_CALLER,
    ),
    "ContentService/CancelContent": (
        content_pb2.CancelContentRequest(content_id="c", account_id="acc", reason="r"),
        AS_CALLER,
    ),
    "ContentService/UpsertSnapshot": (
        content_pb2.UpsertSnapshotRequest(
            account_id="acc",
            ugc_account_id="u",
            snapshot_id="s",
            strategy_version=1,
            content_hash="h",
            strategy_synced_at=Timestamp(seconds=1_700_000_000),
            personality_json="{}",
            stage="warm",
            active_action="rest",
            active_skills_json='["a"]',
        ),
        AS_CALLER,
    ),
    "VerificationService/VerifyCapability": (
        verification_pb2.VerifyCapabilityRequest(
            capability="keyword_warmup",
            phone_id="ph-a1",
            account_id="acc",
            inputs_json='{"keywords": ["a"]}',
            requested_by="me",
        ),
        AS_CALLER,
    ),
    "VerificationService/CheckProfile": (
        verification_pb2.CheckProfileRequest(
            name="shortvideo",
            profile_toml='package = "com.example"',
            phone_id="ph-a1",
            account_id="acc",
            requested_by="me",
        ),
        AS_CALLER,
    ),
    "VerificationService/RecordVerification": (
        verification_pb2.RecordVerificationRequest(process_id=NO_ID),
        AS_CALLER,
    ),
    "FleetService/ListPhones": (fleet_pb2.ListPhonesRequest(), AS_CALLER),
    "FleetService/AdmitPhone": (fleet_pb2.AdmitPhoneRequest(phone_id="ph-a1"), AS_CALLER),
    "FleetService/ReturnPhone": (
        fleet_pb2.ReturnPhoneRequest(phone_id="ph-a1", reason="fine"),
        AS_CALLER,
    ),
    "FleetService/PutAccount": (
        fleet_pb2.PutAccountRequest(
            account=fleet_pb2.Account(
                account_id="acc", phone_id="ph-a1", app="shortvideo", active=True, condition="ok"
            )
        ),
        AS_CALLER,
    ),
    "FleetService/PutAccounts": (
        fleet_pb2.PutAccountsRequest(
            accounts=[fleet_pb2.Account(account_id="acc", app="shortvideo", active=True)]
        ),
        AS_CALLER,
    ),
    "FleetService/ListGroups": (fleet_pb2.ListGroupsRequest(), AS_CALLER),
    "FleetService/ListAccounts": (fleet_pb2.ListAccountsRequest(), AS_CALLER),
    "FleetService/PutGroup": (
        fleet_pb2.PutGroupRequest(
            group=fleet_pb2.Group(kind=fleet_pb2.GROUP_KIND_PHONE, name="g", member_ids=["ph-a1"])
        ),
        AS_CALLER,
    ),
    "FleetService/SetCleanUp": (
        fleet_pb2.SetCleanUpRequest(
            name="g",
            clean_up=fleet_pb2.CleanUp(steps=[fleet_pb2.CLEAN_UP_STEP_HOME]),
            reason="test",
        ),
        AS_CALLER,
    ),
    "FleetService/ListAgents": (fleet_pb2.ListAgentsRequest(), AS_CALLER),
    "CallbackService/LeaseDeliveries": (
        callback_pb2.LeaseDeliveriesRequest(gateway_id="gw", limit=2),
        AS_GATEWAY,
    ),
    "CallbackService/ReportDeliveries": (
        callback_pb2.ReportDeliveriesRequest(
            gateway_id="gw",
            reports=[
                callback_pb2.DeliveryReport(
                    delivery_id="d",
                    lease_token="t",
                    outcome=callback_pb2.DELIVERY_OUTCOME_FAILED,
                    error="e",
                )
            ],
        ),
        AS_GATEWAY,
    ),
}
"""Every unary method with a good request."""


def broken_copies(good: bytes, *, count: int, seed: int) -> Iterator[bytes]:
    """Return noise, and copies of *good* with bytes changed, lost, doubled or cut off."""
    dice = random.Random(seed)
    yield b""
    yield b"\xff" * 64
    yield b"\x0a\xff\xff\xff\xff\x7f"  # a length beyond the end
    for _ in range(count):
        data = bytearray(good or dice.randbytes(20))
        for _ in range(dice.randint(1, 4)):
            place = dice.randrange(len(data)) if data else 0
            match dice.randrange(4):
                case 0:
                    data[place : place + 1] = dice.randbytes(1)
                case 1:
                    data[place:place] = dice.randbytes(dice.randint(1, 8))
                case 2:
                    del data[place : place + dice.randint(1, 8)]
                case _:
                    data[place:place] = data[:place]
        yield bytes(data)


def with_text(good: Message, text: str) -> Iterator[tuple[str, Message]]:
    """Return a copy per string in the message, with that string replaced; and its path."""
    for path in _strings(good):
        copy = type(good)()
        copy.CopyFrom(good)
        holder: Any = copy
        for step in path[:-1]:
            holder = holder[step] if isinstance(step, int) else getattr(holder, step)
        last = path[-1]
        if isinstance(last, int):
            holder[last] = text
        else:
            setattr(holder, last, text)
        yield ".".join(str(step) for step in path), copy


def _strings(message: Message) -> Iterator[tuple[str | int, ...]]:
    for field in message.DESCRIPTOR.fields:
        value: Any = getattr(message, field.name)
        nested = field.type == FieldDescriptor.TYPE_MESSAGE
        if field.is_repeated:
            for place, part in enumerate(value):
                text = field.type == FieldDescriptor.TYPE_STRING
                inner = _strings(part) if nested else iter([()] if text else [])
                yield from ((field.name, place, *rest) for rest in inner)
        elif nested:
            if message.HasField(field.name):
                yield from ((field.name, *rest) for rest in _strings(value))
        elif field.type == FieldDescriptor.TYPE_STRING:
            yield (field.name,)


def hello(**changes: Any) -> agent_pb2.AgentMessage:
    """Return the first message of an agent with one phone."""
    phone = agent_pb2.PhoneReport(
        serialno="A1",
        adb_serial="127.0.0.1:1",
        transport=agent_pb2.TRANSPORT_ONLINE,
        readiness=agent_pb2.READINESS_READY,
        reason="r",
        model="m",
        android_release="14",
    )
    values: dict[str, Any] = {
        "agent_id": "agent-1",
        "boot_id": "boot-1",
        "incarnation": 1,
        "protocol_version": 1,
        "agent_version": "0",
        "phones": [phone],
        "time_scale": 0.05,
    }
    return agent_pb2.AgentMessage(hello=agent_pb2.Hello(**(values | changes)))
