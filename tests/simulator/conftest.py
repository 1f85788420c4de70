"""Two simulated phones and a private adb server that is connected to them.

They are `ideal` phones, which do nothing of their own; what the other personalities do is tested
where it is named.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from phonefarm_simulator.farm import Farm, SimulatedPhone, simulated_phones
from support.adb import AdbServer, adb_server


@pytest.fixture
async def farm(tmp_path: Path) -> AsyncIterator[Farm]:
    """Run two phones that nobody is connected to."""
    async with simulated_phones(2, tmp_path / "sim", personalities=["ideal"]) as running:
        yield running


@pytest.fixture
def phone(farm: Farm) -> SimulatedPhone:
    """Return the first of the two phones."""
    return farm["SIM0001"]


@pytest.fixture
async def adb(tmp_path: Path, phone: SimulatedPhone) -> AsyncIterator[AdbServer]:
    """Run a server connected to the first phone."""
    async with adb_server(tmp_path) as server:
        await server.connect(phone.address)
        yield server
