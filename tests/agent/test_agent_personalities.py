"""Which kinds of simulated phone an agent offers, and what it says of the one it cannot use."""

from dataclasses import replace
from pathlib import Path

import pytest
from phonefarm_agent.app.settings import Settings
from phonefarm_common.timers import Timers
from phonefarm_simulator.farm import simulated_phones
from phonefarm_simulator.personality import names
from support.agents import PHONE_SCALE, running_agent
from support.controller_script import ScriptedController

TOO_OLD = "old-android"


@pytest.fixture
def timers() -> Timers:
    """Return the table, five times as fast."""
    return Timers().scaled(PHONE_SCALE)


async def test_every_kind_of_phone_is_offered_but_one_too_old(
    controller: ScriptedController, settings: Settings, timers: Timers, tmp_path: Path
) -> None:
    """Boards without a battery, foldables and phones with strange helpers are as fit as others."""
    kinds = names()
    heard = controller.heard
    async with simulated_phones(len(kinds), tmp_path / "phones", personalities=kinds) as farm:
        wanted = replace(
            settings,
            dummy_phones=0,
            connect=tuple(phone.address for phone in farm),
            time_scale=PHONE_SCALE,
            timers=timers,
        )
        fit = {phone.serial for kind, phone in zip(kinds, farm, strict=True) if kind != TOO_OLD}
        old = farm.phones[kinds.index(TOO_OLD)].address
        async with running_agent(wanted):
            await heard.until(lambda: set(heard.offered()) == fit, seconds=60)
            await heard.until(lambda: "Android 7" in heard.hands(old), seconds=60)
