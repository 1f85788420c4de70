"""A scripted controller, and agents that talk to it."""

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
from phonefarm_agent.app.settings import Settings
from phonefarm_common.timers import Timers
from support.agents import SCALE, AgentMaker, running_agent
from support.controller_script import TOKEN, ScriptedController, scripted_controller


@pytest.fixture
def timers() -> Timers:
    """Return the table, twenty times as fast."""
    return Timers().scaled(SCALE)


@pytest.fixture
async def controller(timers: Timers) -> AsyncIterator[ScriptedController]:
    """Serve as a controller that does what the test says."""
    async with scripted_controller(timers) as scripted:
        yield scripted


@pytest.fixture
def settings(tmp_path: Path, controller: ScriptedController, timers: Timers) -> Settings:
    """Describe a dummy agent of two phones."""
    return Settings(
        controllers=(controller.address,),
        token=TOKEN,
        agent_id="agent-1",
        state=tmp_path / "state",
        runtime="dummy",
        image="unused",
        connect=(),
        adb_port=0,
        dummy_phones=2,
        ready_file=None,
        stop_runs_on_exit=False,
        production=False,
        time_scale=SCALE,
        timers=timers,
    )


@pytest.fixture
def agent(settings: Settings) -> AgentMaker:
    """Make agents from the settings, changed where a test says so."""
    return partial(running_agent, settings)
