"""schemathesis and hypothesis against the real system: no 5xx, no answer that is not published."""

import asyncio
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from gateway.support.published import published
from hypothesis import Phase
from hypothesis import strategies as st
from phonefarm_controller.screens import links
from phonefarm_gateway.routes.table import ENDPOINTS
from support.controller import KEY
from support.examples import at_most, given
from support.rest_farm import RestFarm

CONFIG = Path(__file__).with_name("schemathesis.toml")
LIMIT_SECONDS = 1200.0  # ends a hang
NOBODY = "6f1c2f0e-8f0f-4c55-9d55-0f6a1a2b3c4d"


@pytest.mark.long
@pytest.mark.timeout(LIMIT_SECONDS + 30)
async def test_schemathesis_finds_nothing(
    moving: RestFarm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All its checks: examples, coverage, fuzzing and sequences along the links.

    Event streams and WebSockets are left out: they do not end by themselves, and are no plain GET.
    The played agent opens no screen.
    """
    monkeypatch.setattr(links, "ANSWER_SECONDS", 0.2)
    await moving.put_account("sim-0001", phone_id="ph-sim1")
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG), "run"]
    command += [f"{moving.caller.base}/openapi.json", "--checks", "all", "--no-color"]
    command += ["--header", f"Authorization: Bearer {KEY}"]
    for stream in ("streamEvents", "streamFarm", "viewScreen", "watchThumbnails"):
        command += ["--exclude-operation-id", stream]
    environment = {
        "SCHEMATHESIS_HOOKS": "contract.schemathesis_hooks",
        "PYTHONPATH": str(CONFIG.parent.parent),
        "FARM_HOOK": moving.receiver.url("/hook"),
        "FARM_VIDEO": moving.receiver.url("/v.mp4"),
    }
    process = await asyncio.create_subprocess_exec(
        *command,
        env=dict(os.environ) | environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()

    assert process.returncode == 0, said.decode()[-20_000:]
    assert "Stateful" in said.decode()


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(min_value=-(2**70), max_value=2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.sampled_from(["direct", "queue", "group", "manual", "2030-01-01T00:00:00Z", "\0", "{}"]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=10,
)


def placed(path: str, **ids: str) -> str:
    """Return the path with these ids, and others of the farm."""
    known = {"phone_id": "ph-sim1", "agent_id": "agent-1", "capability": "keyword_warmup"} | ids
    return re.sub(r"\{(\w+)\}", lambda name: known.get(name[1], "nobody"), path)


def good_bodies(farm: RestFarm) -> list[tuple[str, str, dict[str, Any]]]:
    """Return method, path and an accepted body of every endpoint that takes one."""
    found: list[tuple[str, str, dict[str, Any]]] = []
    for endpoint in ENDPOINTS:
        if not endpoint.takes_body:
            continue
        path = placed(endpoint.path, process_id=NOBODY, account_id="acc-SIM1")
        body = json.loads(json.dumps(dict(endpoint.example or {"sequences": [1], "reason": "r"})))
        if "account_id" in body:
            body["account_id"] = "acc-SIM1"
        if "video_path" in body:
            body["video_path"] = farm.receiver.url("/v.mp4")
        found.append((endpoint.method, path, body))
    return found


def disturbed(data: st.DataObject, body: dict[str, Any]) -> dict[str, Any]:
    """Return *body* with up to three of its values, at any depth, replaced or taken away."""
    for _ in range(data.draw(st.integers(min_value=1, max_value=3))):
        place: Any = body
        while isinstance(place, dict | list) and place:
            keys = sorted(place) if isinstance(place, dict) else range(len(place))
            key: Any = data.draw(st.sampled_from(keys))
            if not isinstance(place[key], dict | list) or data.draw(st.booleans()):
                if data.draw(st.booleans()):
                    place[key] = data.draw(VALUES)
                else:
                    del place[key]
                break
            place = place[key]
    return body


@at_most(
    25,
    # Shrinking asks the farm thousands of times; the first body that fails says enough.
    phases=(Phase.explicit, Phase.generate),
)
@given(data=st.data())
async def test_valid_json_that_is_wrong_is_answered(still: RestFarm, data: st.DataObject) -> None:
    """A good body of any endpoint, disturbed: an answer that is published, below 500."""
    for method, path, good in good_bodies(still):
        body = data.draw(VALUES) if data.draw(st.integers(0, 4)) == 0 else disturbed(data, good)

        answer = await still.caller.call(method, path, json.dumps(body).encode())

        assert answer.status < 500, (path, body, answer.body)
        if answer.status == 422:
            assert answer.fields, (path, body)


test_valid_json_that_is_wrong_is_answered = pytest.mark.asyncio(loop_scope="module")(
    test_valid_json_that_is_wrong_is_answered
)


async def test_every_example_is_accepted(moving: RestFarm) -> None:
    """The bodies that the description shows, sent to a farm that has their account."""
    await moving.put_account("sim-0001", phone_id="ph-sim1")
    accepted = await moving.enqueue(request_id="for the paths")
    sent = 0
    for path, methods in published()["paths"].items():
        for method, operation in methods.items():
            media = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
            if "example" not in media:
                continue
            text = json.dumps(media["example"])
            text = text.replace("https://example.com", moving.receiver.url(""))
            place = placed(
                path, process_id=accepted, account_id="sim-0002", schedule="morning-warmup"
            )

            answer = await moving.caller.call(method.upper(), place, text.encode())

            assert answer.status in {200, 202}, (path, answer.body)
            sent += 1

    assert sent >= 6
