"""Proving from the command: real runs on simulated phones, through all programs."""

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from phonefarm.v1 import process_pb2
from phonefarm_cli.errors import CommandError
from support.commanding import Operator
from support.live_farm import LiveFarm, bare_environment, hand, warmup
from support.up_process import started_up

SHORTVIDEO = (
    resources.files("phonefarm_controller").joinpath("profiles", "shortvideo.toml").read_text()
)
INPUTS = {"keywords": ["tiny houses"], "videos_per_keyword": 1, "watch_seconds": 1}


@dataclass(frozen=True, kw_only=True)
class Ended:
    """What a command said and how it ended."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveFarm]:
    """Run one farm of two phones, each run a plain process."""
    with started_up(tmp_path_factory.mktemp("proving") / "farm", simulate=2) as up:
        yield up.ready()
        assert up.stop() == 0, up.said


@pytest.fixture
def operator(live: LiveFarm, capsys: pytest.CaptureFixture[str]) -> Operator:
    """Give commands to it from this process."""
    return Operator(live.grpc, capsys, key=live.api_key)


async def command(live: LiveFarm, *words: str, said: str = "") -> Ended:
    """Run the command as a process of its own, with *said* on its stdin."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "phonefarm_cli", *words, "--data", str(live.data)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=bare_environment(),
    )
    async with asyncio.timeout(180):
        out, err = await process.communicate(said.encode())
    assert process.returncode is not None
    return Ended(code=process.returncode, out=out.decode(), err=err.decode())


async def unattended(live: LiveFarm) -> dict[str, Any]:
    """Ask for work without a person; return the answer."""
    target = {"routing": "direct", "account_id": "sim-0002"}
    async with hand(live) as it:
        body = warmup(target) | {"mode": "unattended"}
        _, answer = await it.call("POST", "/capability-requests/enqueue", body)
    return answer


async def count(live: LiveFarm) -> int:
    """Return how many processes the farm has."""
    async with hand(live) as it:
        request = process_pb2.ListProcessesRequest(limit=500)
        controller = it.controller
        page = await controller.call(controller.processes.ListProcesses, request)
        return len(page.processes)


async def test_a_capability_is_verified_by_a_real_run(live: LiveFarm, tmp_path: Path) -> None:
    """It says what it does, does it, records it; unattended work is taken from then on."""
    before = await unattended(live)

    told = await command(
        *(live, "capabilities", "verify", "keyword_warmup", "--phone", "SIM0001"),
        *("--inputs", "-", "--yes"),
        said=json.dumps(INPUTS),
    )
    assert told.code == 0, told.out + told.err
    after = await unattended(live)
    assert after["status"] == "accepted", after
    async with hand(live) as it:
        await it.until(after["process_id"], "completed")
    listed = json.loads((await command(live, "capabilities", "list", "--json")).out)
    process_id = next(line.split()[1] for line in told.out.splitlines() if "process " in line)
    saved = await command(live, "processes", "evidence", process_id, "--save", str(tmp_path / "e"))

    assert before["error"] == "capability_not_live_verified:keyword_warmup"
    assert "keyword_warmup will run on ph-sim0001" in told.out
    assert "keyword_warmup is live verified with shortvideo" in told.out
    assert f"phonefarm processes evidence {process_id}" in told.out
    (found,) = [one for one in listed if one["name"] == "keyword_warmup"]
    assert [app["process_id"] for app in found["apps"] if app["live_verified"]] == [process_id]
    assert saved.code == 0, saved.err
    assert {path.name for path in (tmp_path / "e").rglob("*.*")} >= {"verified.png", "verified.xml"}


async def test_a_run_that_fails_verifies_nothing(live: LiveFarm) -> None:
    """Exit code 1 with the reason, and where to look."""
    async with hand(live) as it:
        await it.phones.fault("SIM0002", "logged_out")
        told = await command(
            live, "capabilities", "verify", "keyword_warmup", "--phone", "SIM0002", "--yes"
        )
        await it.made_whole()

    assert told.code == 1
    assert "keyword_warmup is not verified: account_logged_out" in told.err
    assert "--save DIR" in told.err


@pytest.mark.parametrize(
    "ask",
    [
        (["nonsense", "--phone", "SIM0001"], "{}", "there is no capability nonsense; known: "),
        (["fyp_warmup", "--phone", "SIM0001"], "{}", "never runs unattended"),
        (["open_url", "--phone", "SIM0001"], "{}", "needs no verification"),
        (["keyword_warmup", "--phone", "SIM9"], "{}", "there is no phone SIM9"),
        (
            ["keyword_warmup", "--phone", "SIM0001", "--account", "sim-0002"],
            "{}",
            "sim-0002 is not an active account on ph-sim0001; its active accounts: sim-0001",
        ),
        (["keyword_warmup", "--phone", "SIM0001"], "{", "is not JSON"),
        (["keyword_warmup", "--phone", "SIM0001"], "[]", "must contain a JSON object"),
        (["keyword_warmup", "--phone", "SIM0001"], '{"keywords": []}', "keywords"),
        (["maintenance", "--phone", "SIM0001"], "", "inputs"),
    ],
)
async def test_what_cannot_be_verified_is_said_before_a_phone_is_touched(
    live: LiveFarm, operator: Operator, tmp_path: Path, ask: tuple[list[str], str, str]
) -> None:
    """With what there is instead."""
    words, inputs, told = ask
    (tmp_path / "inputs.json").write_text(inputs)
    given = ["--inputs", str(tmp_path / "inputs.json")] if inputs else []
    before = await count(live)

    with pytest.raises(CommandError, match=re.escape(told)):
        await operator.command("capabilities", "verify", *words, *given, "--yes")

    assert await count(live) == before


async def test_nobody_to_ask_is_no_yes(live: LiveFarm) -> None:
    """Without a terminal it needs --yes."""
    ended = await command(live, "capabilities", "verify", "keyword_warmup", "--phone", "SIM0001")

    assert ended.code == 2
    assert "give --yes" in ended.err


async def test_a_profile_is_tried_selector_by_selector(live: LiveFarm, tmp_path: Path) -> None:
    """What was found is shown with its text and place; screens of actions are not tried."""
    good = "".join(line for line in SHORTVIDEO.splitlines(True) if not line.startswith("post = "))
    (tmp_path / "good.toml").write_text(good)

    ended = await command(
        *(live, "profiles", "check", str(tmp_path / "good.toml"), "--phone", "SIM0001")
    )

    assert ended.code == 0, ended.err
    rows = [line.split("\t") for line in ended.out.splitlines()]
    assert ["", "search.box", "yes"] in [row[:3] for row in rows]
    assert ["results", "", "not checked"] in [row[:3] for row in rows]
    assert "the run found everything that it looked for" in ended.out


@pytest.mark.long
async def test_a_selector_that_is_not_there_is_named(live: LiveFarm, tmp_path: Path) -> None:
    """Exit code 1; the rest is still told."""
    broken = SHORTVIDEO.replace('box = { id = "search_box" }', 'box = { id = "gone_box" }')
    (tmp_path / "newapp.toml").write_text(broken)

    ended = await command(
        *(live, "profiles", "check", str(tmp_path / "newapp.toml"), "--phone", "SIM0001", "--json")
    )

    assert ended.code == 1
    assert "search.box was not found on the screen search" in ended.err
    told = json.loads(ended.out)
    assert told["found"] is False
    found = {
        one["selector"]: one["found"] for screen in told["screens"] for one in screen["selectors"]
    }
    assert not found["search.box"]
    assert found["search.button"]


async def test_what_is_no_profile_touches_no_phone(live: LiveFarm, tmp_path: Path) -> None:
    """Line and key are told."""
    (tmp_path / "bad.toml").write_text(SHORTVIDEO.replace('tap = "nav.feed"', 'tap = "nav.fed"'))
    before = await count(live)

    ended = await command(
        *(live, "profiles", "check", str(tmp_path / "bad.toml"), "--phone", "SIM0001")
    )

    assert ended.code == 1
    assert "no phone was touched" in ended.err
    assert "screens.feed.tap is not the name of a selector in this file: 'nav.fed'" in ended.err
    assert "line " in ended.err
    assert await count(live) == before


def on_terminal(live: LiveFarm, *words: str, typed: bytes = b"") -> tuple[int, str]:
    """Run the command on a terminal of its own, type, and return its exit code and screen."""
    master, slave = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "phonefarm_cli", *words, "--data", str(live.data)],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=bare_environment() | {"TERM": "xterm", "COLUMNS": "160"},
    )
    os.close(slave)
    try:
        os.write(master, typed)
        seen = b""
        with suppress(OSError):  # EIO: nobody has the other end any more
            while part := os.read(master, 65536):
                seen += part
        return process.wait(30), seen.decode(errors="replace")
    finally:
        process.kill()
        process.wait()
        os.close(master)


async def test_a_terminal_shows_the_work_and_is_asked(live: LiveFarm) -> None:
    """A live view that ends with the process; verify begins only with a yes."""
    async with hand(live) as it:
        process_id = await it.warm_up({"routing": "direct", "account_id": "sim-0001"})
    before = await count(live)

    code, screen = await asyncio.to_thread(on_terminal, live, "processes", "watch", process_id)
    verify = ("capabilities", "verify", "keyword_warmup", "--phone", "SIM0001")
    refused, asked = await asyncio.to_thread(on_terminal, live, *verify, typed=b"n\n")

    assert code == 0, screen
    assert f"{process_id}: completed" in screen
    assert "DONE" in screen
    assert "ph-sim0001" in screen
    assert refused == 1
    assert "begin? (y/N)" in asked
    assert "the verification was not started" in asked
    assert await count(live) == before
