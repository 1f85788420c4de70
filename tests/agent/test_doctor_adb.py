"""What doctor says of adb on a host on which another program uses it too."""

from pathlib import Path

import pytest
from phonefarm_agent.host.checks import adb as checks
from phonefarm_simulator.farm import simulated_phones
from support.adb import adb_server


async def test_another_adb_server_is_named_with_what_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A phone that somebody's `adb devices` holds is not one to be plugged in."""
    async with simulated_phones(1, tmp_path / "sim") as farm, adb_server(tmp_path) as other:
        monkeypatch.setattr(checks, "USUAL_PORT", other.port)
        await other.connect(farm["SIM0001"].address)

        [finding] = await checks.check_other_server()

    assert farm["SIM0001"].address in str(finding)
    assert "kill-server" in str(finding)
    assert await checks.check_other_server() == []  # it is gone
