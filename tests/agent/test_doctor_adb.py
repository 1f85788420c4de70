"""What doctor says of adb on a host on which another program uses it too."""

from pathlib import Path

import pytest
from phonefarm_agent.host.checks import adb as checks
from phonefarm_agent.host.checks.finding import Verdict
from phonefarm_agent.host.checks.phone_network import check_phone_network, local_addresses
from phonefarm_agent.phones.adb.client import Adb
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


REAL = """\
1: lo: <LOOPBACK,UP,LOWER_UP> mtu 65536 qdisc noqueue state UNKNOWN group default qlen 1000
    inet 127.0.0.1/8 scope host lo
       valid_lft forever preferred_lft forever
12: rmnet_data1: <UP,LOWER_UP> mtu 1500 qdisc mq state UNKNOWN group default qlen 1000
    inet 10.71.3.9/30 scope global rmnet_data1
23: wlan0: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc mq state UP group default qlen 3000
    inet 192.168.68.104/24 brd 192.168.68.255 scope global wlan0
       valid_lft forever preferred_lft forever
"""
ONE_LINE = (
    "70: eth0    inet 192.168.1.130/24 brd 192.168.1.255 scope global eth0"
    "\\       valid_lft forever preferred_lft forever"
)


@pytest.mark.parametrize(
    ("said", "addresses"),
    [
        (REAL, ["192.168.68.104"]),
        (ONE_LINE, ["192.168.1.130"]),
        (REAL.replace("\n", "\r\n"), ["192.168.68.104"]),
        ("/system/bin/sh: ip: not found", []),
        ("", []),
    ],
)
def test_addresses_in_local_networks_are_read(said: str, addresses: list[str]) -> None:
    """As phones print them (RikkaApps/WADB#28); a mobile network's is not for this host to dial."""
    assert local_addresses(said) == addresses


async def test_a_phone_that_the_network_reaches_is_named(tmp_path: Path) -> None:
    """Its UI server takes commands there without a password; one behind isolation is fine."""
    async with simulated_phones(2, tmp_path / "sim") as farm, adb_server(tmp_path) as server:
        adb = Adb(host="127.0.0.1", port=server.port)
        serials = [farm[name].address for name in ("SIM0001", "SIM0002")]
        for name, address in (("SIM0001", "127.0.0.1"), ("SIM0002", "255.255.255.255")):
            farm[name].phone.wifi_address = address  # the second cannot be dialled
            await server.connect(farm[name].address)

        reached = await check_phone_network(adb, serials)
        [isolated] = await check_phone_network(adb, serials[1:])

    [finding] = reached
    assert finding.verdict is Verdict.WARN
    assert f"{serials[0]} (127.0.0.1)" in finding.text
    assert serials[1] not in finding.text
    assert "client isolation" in finding.remedy
    assert isolated.verdict is Verdict.OK
    assert await check_phone_network(adb, []) == []
