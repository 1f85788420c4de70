"""What is ingested is posted; what is proven may run unattended; a profile can be tried."""

import hashlib
import json
from importlib import resources
from typing import Any

import pytest
from phonefarm.v1 import verification_pb2
from phonefarm_cli.errors import CommandError
from phonefarm_common.ids import new_id
from support.asset_server import asset_server, mp4
from support.live_farm import Hand, eventually, warmup
from support.once import ONE_RUNTIME

VIDEO = mp4(200_000, seed=11)


@ONE_RUNTIME
async def test_an_ingested_video_is_posted_once_by_its_account(at_work: Hand) -> None:
    """The very bytes, the caption with its hashtags; the repeat changes nothing."""
    phone = at_work.farm.phones[0]
    before = len(await at_work.phones.ledger(phone.serialno))
    async with asset_server() as web:
        web.put("/v.mp4", VIDEO)
        body = {
            "content_id": new_id(),
            "account_id": phone.account_id,
            "video_path": web.url("/v.mp4"),
            "caption": "My cat",
            "hashtags": ["cats", "#fyp"],
        }
        status, taken = await at_work.call("POST", "/ingest", body)
        assert status == 202, taken
        process_id = await process_of(at_work, taken["queue_item_id"])
        record = await at_work.until(process_id, "completed", within=180)
    again, repeat = await at_work.call("POST", "/ingest", body)  # its asset is gone by now

    entries = (await at_work.phones.ledger(phone.serialno))[before:]
    posted = [entry for entry in entries if entry["kind"] == "posted"]
    assert len(posted) == 1
    assert "My cat #cats #fyp" in json.dumps(posted)
    assert hashlib.sha256(VIDEO).hexdigest() in json.dumps(posted)
    assert (record["process_type"], record["request_id"], record["callback"]) == (
        "post_video",
        None,
        None,
    )
    (outputs,) = record["result"]["items"].values()
    assert outputs["video"]["sha256"] == hashlib.sha256(VIDEO).hexdigest()
    assert outputs["post"]["caption"] == "My cat #cats #fyp"
    assert (again, repeat["status"], repeat["queue_status"]) == (200, "duplicate", "DONE")


async def process_of(at_work: Hand, item_id: str) -> str:
    """Return the process of the item."""
    status, listed = await at_work.call("GET", "/processes?type=post_video")
    assert status == 200, listed
    (found,) = [
        process["process_id"]
        for process in listed["processes"]
        if item_id in process["linked_ids"]["queue_item_ids"]
    ]
    return str(found)


@ONE_RUNTIME
@pytest.mark.long
async def test_a_verified_capability_may_run_unattended(at_work: Hand) -> None:
    """A real run leaves its evidence, is recorded, and opens the mode for everybody."""
    target = {"routing": "direct", "phone_id": at_work.farm.phones[1].phone_id}
    unattended = warmup(target) | {"mode": "unattended"}
    status, refused = await at_work.call("POST", "/capability-requests/enqueue", unattended)

    controller = at_work.controller
    wanted = verification_pb2.VerifyCapabilityRequest(
        capability="keyword_warmup", phone_id=target["phone_id"], requested_by="ada"
    )
    started = await controller.call(controller.verification.VerifyCapability, wanted)
    process_id = started.process_id
    await at_work.until(process_id, "completed", within=180)

    async def recorded() -> verification_pb2.Verification | None:
        request = verification_pb2.RecordVerificationRequest(process_id=process_id)
        try:
            return await controller.call(controller.verification.RecordVerification, request)
        except CommandError:  # evidence travels behind the run's end
            return None

    verification = await eventually(recorded, what="the evidence")
    assert (status, refused["error"]) == (422, "capability_not_live_verified:keyword_warmup")
    assert (verification.verified_by, verification.app) == ("ada", "shortvideo")
    accepted = await at_work.accepted("/capability-requests/enqueue", unattended)
    await at_work.until(accepted, "completed", within=180)


@ONE_RUNTIME
async def test_a_profile_is_walked_through_on_a_phone(at_work: Hand) -> None:
    """Every screen that a tap leads to, each selector found or not; nothing is typed."""
    packaged = resources.files("phonefarm_controller").joinpath("profiles", "shortvideo.toml")
    toml = packaged.read_text() + '\n[selectors.made_up]\nbutton = { id = "no_such_button" }\n'

    request = verification_pb2.CheckProfileRequest(
        name="shortvideo",
        profile_toml=toml,
        phone_id=at_work.farm.phones[2].phone_id,
        requested_by="ada",
    )
    controller = at_work.controller
    started = await controller.call(controller.verification.CheckProfile, request)
    record = await at_work.until(started.process_id, "completed", within=180)

    (outputs,) = record["result"]["items"].values()
    screens: dict[str, Any] = {screen["screen"]: screen for screen in outputs["screens"]}
    assert screens["search"]["reached"], screens
    found = {each["selector"]: each["found"] for each in screens["search"]["selectors"]}
    assert found["search.box"]
