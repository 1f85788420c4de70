"""docs/rest.md, "Verify a callback": its code accepts what the gateway sends and nothing else."""

import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from gateway.support.farm import farm
from gateway.support.published import check_schema, published
from gateway.support.receiver import Received, Receiver
from phonefarm_common.ids import new_webhook_secret
from standardwebhooks import WebhookVerificationError

DOC = (Path(__file__).resolve().parent.parent.parent / "docs" / "rest.md").read_text()


def code(language: str) -> str:
    """Return the page's one block in the language."""
    (block,) = re.findall(rf"^```{language}\n(.*?)^```$", DOC, re.DOTALL | re.MULTILINE)
    return str(block)


async def sent(secret: str) -> Received:
    """Return a callback of a gateway that signs with *secret*."""
    async with Receiver.serving() as receiver, farm(webhook_secret=secret) as it:
        await it.enqueue(callback={"url": receiver.url()})
        (got,) = await receiver.wait(1)
    webhook = published()["webhooks"]["process.updated"]["post"]
    check_schema(webhook["requestBody"]["content"]["application/json"]["schema"], got.event)
    assert {one["name"] for one in webhook["parameters"]} <= set(got.headers)
    return got


async def test_the_python_code_takes_the_secret_as_up_makes_it() -> None:
    """The event comes back; one byte more is refused."""
    secret = new_webhook_secret()
    got = await sent(secret)
    page: dict[str, Any] = {}
    exec(code("python"), page)  # noqa: S102 - that is the test

    event = page["verified"](got.body, got.headers, secret)

    assert event == got.event
    with pytest.raises(WebhookVerificationError):
        page["verified"](got.body + b" ", got.headers, secret)


@pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not installed")
async def test_the_javascript_code_takes_the_secret_as_up_makes_it() -> None:
    """The event comes back; one byte more, another secret and an old stamp are refused."""
    secret = new_webhook_secret()
    got = await sent(secret)
    headers = {name.lower(): value for name, value in got.headers.items()}
    body = got.body.decode()

    good = _javascript(body, headers, secret)
    longer = _javascript(body + " ", headers, secret)
    foreign = _javascript(body, headers, new_webhook_secret())
    old = _javascript(body, headers | {"x-phonefarm-timestamp": "1700000000"}, secret)
    unsigned = _javascript(body, {}, secret)

    assert json.loads(good.stdout) == got.event
    for refused in (longer, foreign, old, unsigned):
        assert refused.returncode != 0
        assert "this callback is not from the farm, or it is old" in refused.stderr


def _javascript(
    body: str, headers: Mapping[str, str], secret: str
) -> "subprocess.CompletedProcess[str]":
    call = f"verified({', '.join(json.dumps(value) for value in (body, headers, secret))})"
    program = f"{code('js')}\nconsole.log(JSON.stringify({call}));"
    return subprocess.run(["node", "-e", program], capture_output=True, text=True, check=False)
