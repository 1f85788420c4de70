"""The demo's eyes: its receiver and its proofs must see what is wrong."""

import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from phonefarm_cli.client.receiver import CallbackEvent, Receiver
from phonefarm_cli.client.simulator import SimulatorClient
from phonefarm_cli.demo.checks import (
    CheckFailedError,
    check_callbacks,
    check_profile,
    check_searches,
)
from phonefarm_cli.errors import CommandError
from phonefarm_cli.up_file import UpFilePhone
from phonefarm_simulator.control_server import control_served
from phonefarm_simulator.farm import simulated_phones

SECRET = "s3cret"
PHONE = UpFilePhone(
    phone_id="ph-sim0001", serialno="SIM0001", serial="127.0.0.1:1", account_id="sim-0001"
)
BODY = json.dumps(
    {
        "milestone": "accepted",
        "sequence": 1,
        "process": {"process_id": "p", "status": "queued"},
    }
).encode()


def _headers(*, body: bytes = BODY, secret: str = SECRET, age: int = 0) -> dict[str, str]:
    stamp = str(int(time.time()) - age)
    signature = hmac.new(secret.encode(), f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()
    return {"X-PhoneFarm-Timestamp": stamp, "X-PhoneFarm-Signature": signature}


@pytest.mark.parametrize(
    ("made", "changed", "signed"),
    [
        ({}, {}, True),
        ({"secret": "another"}, {}, False),
        ({"body": BODY + b" "}, {}, False),
        ({"age": 3600}, {}, False),
        ({}, {"X-PhoneFarm-Timestamp": "1"}, False),
        ({}, {"X-PhoneFarm-Timestamp": "soon"}, False),
        ({}, {"X-PhoneFarm-Signature": "é"}, False),
        ({}, {"X-PhoneFarm-Signature": ""}, False),
    ],
)
async def test_only_a_fresh_signature_of_the_body_counts(
    made: dict[str, Any], changed: dict[str, str], signed: bool
) -> None:
    """Whatever is forged, stale or missing is remembered as not signed."""
    async with Receiver.serving(SECRET) as receiver, aiohttp.ClientSession() as session:
        headers = _headers(**made) | changed
        answer = await session.post(receiver.url, data=BODY, headers=headers)

        assert answer.status == 204
        (event,) = receiver.of("p")
        assert event.signed is signed


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'{"process": 3}', b"\xff", b"[" * 9999]
)
async def test_what_is_no_event_is_refused(body: bytes) -> None:
    """The receiver answers 400 and goes on."""
    async with Receiver.serving(SECRET) as receiver, aiohttp.ClientSession() as session:
        answer = await session.post(receiver.url, data=body)

        assert answer.status == 400
        assert receiver.events == []


def _event(milestone: str, sequence: int, *, signed: bool = True) -> CallbackEvent:
    return CallbackEvent(
        process_id="p", milestone=milestone, sequence=sequence, status="x", signed=signed, at=0.0
    )


@pytest.mark.parametrize(
    ("events", "told"),
    [
        ([], "none"),
        ([_event("accepted", 1)], "accepted"),
        ([_event("accepted", 1), _event("completed", 3)], "out of order"),
        ([_event("completed", 1), _event("accepted", 2)], "were completed, accepted"),
        ([_event("accepted", 1), _event("completed", 2, signed=False)], "have no valid signature"),
    ],
)
def test_callbacks_that_are_not_right_prove_nothing(events: list[CallbackEvent], told: str) -> None:
    """Missing, misordered or unsigned ones are named."""
    with pytest.raises(CheckFailedError, match=told):
        check_callbacks("it", events, last="completed")


def test_callbacks_that_are_right_prove_it() -> None:
    """Signed, in order, from accepted to the end."""
    check_callbacks("it", [_event("accepted", 1), _event("completed", 2)], last="completed")


@pytest.fixture
async def simulation(tmp_path: Path) -> AsyncIterator[SimulatorClient]:
    """Yield the command's client of a real simulator with one phone nobody has touched."""
    async with (
        simulated_phones(1, tmp_path) as farm,
        control_served(farm, host="127.0.0.1", port=0) as control,
        SimulatorClient.opened(control) as client,
    ):
        yield client


async def test_an_untouched_phone_proves_nothing(simulation: SimulatorClient) -> None:
    """Neither searches nor a profile are believed without the phone's own word."""
    with pytest.raises(CheckFailedError, match="its ledger contains"):
        await check_searches(simulation, [PHONE], ["tiny houses"])
    with pytest.raises(CheckFailedError, match="should have the profile"):
        await check_profile(simulation, PHONE, {"display_name": "Somebody"})


async def test_a_profile_that_no_run_saved_proves_nothing(simulation: SimulatorClient) -> None:
    """The right name is not enough: a run must have put it there."""
    name: dict[str, Any] = {"display_name": "Somebody"}
    await simulation.call("account", serial="SIM0001", **name)

    with pytest.raises(CheckFailedError, match="no run saved"):
        await check_profile(simulation, PHONE, name)


async def test_a_refusal_of_the_simulator_is_passed_on(simulation: SimulatorClient) -> None:
    """What it says is what the operator reads."""
    with pytest.raises(CommandError, match="the simulator refused the request: there is no phone"):
        await simulation.state("SIM9999")
    with pytest.raises(CommandError, match="refused"):
        await simulation.call("fault", serial="SIM0001", fault="nonsense")
