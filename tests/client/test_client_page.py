"""docs/python.md: its code works as it stands there, in order, against a farm."""

import asyncio
import contextlib
import io
import re
from pathlib import Path
from typing import Any

import pytest
from client.conftest import SECRET
from phonefarm.client import CallbackVerificationError
from support.controller import KEY
from support.rest_farm import RestFarm

PAGE = (Path(__file__).resolve().parent.parent.parent / "docs" / "python.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def run(code: str, names: dict[str, Any]) -> str:
    """Run a block of the page; return what it prints."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(code, "docs/python.md", "exec"), names)  # noqa: S102 - that is the test
    return said.getvalue()


@pytest.mark.asyncio(loop_scope="module")
async def test_the_code_of_the_page_works(
    served: RestFarm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every block in a thread, as a program would; the test plays the agent for the first."""
    await served.put_account("sim-0001", phone_id="ph-sim2")
    values = {"FARM": served.caller.base, "KEY": KEY, "SECRET": SECRET}
    for name, value in (values | {"HOOK": served.receiver.url()}).items():
        monkeypatch.setenv(name, value)
    names: dict[str, Any] = {}
    said: list[str] = []
    for block in BLOCKS:
        running = asyncio.create_task(asyncio.to_thread(run, block, names))
        if "processes.wait(" in block:
            await served.agent.act_out(await served.assigned("SIM2"))
        said.append(await running)

    sent, errors, retries, listed, events, offered, _ = said
    assert sent.startswith("completed {")
    assert "inputs.keywords" in errors
    assert retries.strip().isdigit()
    assert names["accepted"].process_id in listed
    assert events.splitlines()[-2].startswith("completed [")
    assert events.splitlines()[-1].startswith("farm.reset")
    assert offered.strip().isdigit()
    got = (await served.receiver.wait(3))[-1]
    assert "completed" in await asyncio.to_thread(_called_back, names, got)
    with pytest.raises(CallbackVerificationError):
        names["on_callback"](got.body + b" ", got.headers)


def _called_back(names: dict[str, Any], got: Any) -> str:
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        names["on_callback"](got.body, got.headers)
    return said.getvalue()
