"""An agent in this process, and the work its tests give it."""

import asyncio
import json
import tomllib
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import phonefarm_controller
from phonefarm.v1 import agent_pb2 as pb
from phonefarm_agent.app.agent import run_agent
from phonefarm_agent.app.lifecycle import ExitCode
from phonefarm_agent.app.settings import Settings
from phonefarm_agent.judge.verdict import Verdict, undecided
from phonefarm_common.timers import Timers
from phonefarm_simulator.farm import Farm as Phones
from support.controller import AGENT_TOKEN, Farm

SCALE = 0.05
PHONE_SCALE = 0.2
"""Real adb and simulated phones need some time to answer, also on a busy machine."""

PROFILE = Path(phonefarm_controller.__file__).with_name("profiles") / "shortvideo.toml"


@dataclass(kw_only=True)
class RunningAgent:
    """An agent at work; `stop` ends it."""

    settings: Settings
    stopping: asyncio.Event
    task: asyncio.Task[ExitCode]

    async def stop(self, *, seconds: float = 180.0) -> ExitCode:
        """Tell it to stop and return its exit code."""
        self.stopping.set()
        async with asyncio.timeout(seconds):
            return await self.task


def agent_of(farm: Farm, state: Path, phones: Phones, *, runtime: str = "dummy") -> Settings:
    """Return the settings of an agent of *farm* with simulated phones, at PHONE_SCALE."""
    return Settings(
        controllers=(f"127.0.0.1:{farm.controller.port}",),
        token=AGENT_TOKEN,
        agent_id="host-1",
        state=state,
        runtime=runtime,
        image="unused",
        connect=tuple(phone.address for phone in phones),
        adb_port=0,
        dummy_phones=0,
        ready_file=None,
        stop_runs_on_exit=False,
        production=False,
        time_scale=PHONE_SCALE,
        timers=Timers().scaled(PHONE_SCALE),
    )


AgentMaker = Callable[..., AbstractAsyncContextManager[RunningAgent]]


@asynccontextmanager
async def running_agent(settings: Settings, **changes: Any) -> AsyncIterator[RunningAgent]:
    """Run an agent with *settings*, changed as told, until the block ends."""
    wanted = replace(settings, **changes)
    stopping = asyncio.Event()
    task = asyncio.create_task(run_agent(wanted, stopping))
    running = RunningAgent(settings=wanted, stopping=stopping, task=task)
    try:
        yield running
    finally:
        if not task.done():
            await running.stop()


def assignment(
    serialno: str = "DUMMY0001",
    *,
    epoch: int = 1,
    actions: int = 2,
    repeat: str = "safe",
    cap: float = 60.0,
    **dummy: Any,
) -> pb.Assignment:
    """Return an assignment; `dummy` steers the dummy runtime."""
    plan = {
        "account": {"account_id": "acc-1", "app": "shortvideo"},
        "profile": {"name": "shortvideo", "version": "v", "package": "com.example.shortvideo"},
        "actions": [
            {
                "index": index,
                "kind": "launch_app",
                "params": {},
                "limit_seconds": 60.0,
                "repeat": repeat,
            }
            for index in range(actions)
        ],
        "dummy": dummy,
    }
    return pb.Assignment(
        run=pb.RunRef(
            run_id=str(uuid.uuid4()),
            item_id=str(uuid.uuid4()),
            attempt=1,
            lease_id=str(uuid.uuid4()),
            epoch=epoch,
        ),
        process_id=str(uuid.uuid4()),
        phone_id="phone-1",
        serialno=serialno,
        account_id="acc-1",
        capability="keyword_warmup",
        plan_json=json.dumps(plan),
        cap_seconds=cap,
    )


def phone_work(
    serialno: str,
    *steps: tuple[str, dict[str, Any]],
    epoch: int = 1,
    clean_up: Sequence[str] | None = None,
) -> pb.Assignment:
    """Return an assignment that drives the simulator's app: kind and params of each step."""
    work = assignment(serialno, epoch=epoch)
    plan = json.loads(work.plan_json)
    plan["profile"] = {
        "name": "shortvideo",
        "version": "of-a-test",
        **tomllib.loads(PROFILE.read_text()),
    }
    plan["actions"] = [
        {"index": index, "kind": kind, "params": params, "limit_seconds": 30.0, "repeat": "safe"}
        for index, (kind, params) in enumerate(steps)
    ]
    if clean_up is not None:
        plan["clean_up"] = list(clean_up)
    work.plan_json = json.dumps(plan)
    return work


def posting_work(
    serialno: str, url: str, caption: str, *, epoch: int = 1, confirm: float = 60.0
) -> pb.Assignment:
    """Return an assignment that posts the video at *url*."""
    work = phone_work(serialno, epoch=epoch)
    plan = json.loads(work.plan_json)
    plan["actions"] = [
        {"index": index, **action} for index, action in enumerate(posting(url, caption, confirm))
    ]
    work.plan_json = json.dumps(plan)
    return work


def posting(url: str, caption: str, confirm: float = 60.0) -> list[dict[str, Any]]:
    """Return the actions of post_video, still without their index; action 4 is the once one."""
    steps: tuple[tuple[str, dict[str, Any], float], ...] = (
        ("fetch_asset", {"asset": "video", "url": url, "type": "video"}, 60.0),
        ("push_file", {"asset": "video"}, 60.0),
        ("share_video", {"asset": "video"}, 60.0),
        ("write_caption", {"text": caption}, 60.0),
        ("confirm_post", {}, confirm),
        ("verify_posted", {"caption": caption}, 20.0),
        ("stop_app", {}, 60.0),
    )
    return [
        {
            "kind": kind,
            "params": params,
            "limit_seconds": limit,
            "repeat": "once" if kind == "confirm_post" else "safe",
        }
        for kind, params, limit in steps
    ]


async def no_judge(_action: int, _texts: Sequence[str]) -> Verdict:
    """Judge no video."""
    return undecided("nobody judges here")


async def no_ui_server(_up: bool) -> str:
    """Refuse to start a UI server."""
    return "ui_server_failed: a test without a phone"
