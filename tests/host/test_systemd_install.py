"""Installing and removing the service on a host with a real systemd."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from phonefarm.v1 import access_pb2, access_pb2_grpc, fleet_pb2
from phonefarm_common.channel import bearer
from support.controller import KEY, farm_on
from support.systemd_host import SERVICE, SystemdHost, systemd_host

pytestmark = [
    pytest.mark.systemd,
    pytest.mark.docker,
    pytest.mark.asyncio(loop_scope="module"),
]

NOBODY_THERE = "127.0.0.1:9"
MOST_EXPOSURE = 4.0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def host(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[SystemdHost]:
    """Start one host for the tests of this module; each leaves it as it found it."""
    async with systemd_host(tmp_path_factory.mktemp("host")) as it:
        yield it


def install_words(host: SystemdHost, *more: str) -> list[str]:
    """Return the command that installs here."""
    state = str(host.state / "agent")
    words = ["install", "--state", state, "--controller", NOBODY_THERE, "--name", "host-1"]
    return [*words, *more]


@pytest.mark.long
async def test_install_can_be_repeated_and_uninstall_leaves_nothing(host: SystemdHost) -> None:
    """Files, user and group are there after install, and none of them after uninstall."""
    before = await host.files()
    users = await host.run("getent", "passwd")

    dry = await host.agent(*install_words(host, "--dry-run"))
    assert await host.files() == before
    await host.agent(*install_words(host))
    installed = await host.files()
    again = await host.agent(*install_words(host))
    unit = await host.show()
    environment = await host.run("stat", "-c", "%a %U", "/etc/phonefarm-agent/agent.env")
    state = await host.run("stat", "-c", "%a %U", str(host.state / "agent"))
    unsaid = await host.agent("uninstall", code=2)
    await host.agent("uninstall", "--remove-state")

    assert "would create the system user" in dry
    assert "nothing to do: the service is already installed correctly" in again
    assert "set PHONEFARM_AGENT_TOKEN" in again
    assert unit["UnitFileState"] == "enabled"
    assert environment.split() == ["600", "root"]
    assert state.split() == ["700", SERVICE]
    assert "--keep-state" in unsaid
    assert len(installed - before) >= 6
    left = {path for path in await host.files() - before if not _is_of_shadow_tools(path)}
    assert left == set()
    assert await host.run("getent", "passwd") == users
    assert (await host.show())["LoadState"] == "not-found"
    assert "the service is not installed" in await host.agent("uninstall")


async def test_install_joins_and_starts_in_one_step(host: SystemdHost, tmp_path: Path) -> None:
    """One word from the controller is all a host needs; said again, it is passed over."""
    state = host.state / "agent"
    words = ["install", "--state", str(state), "--now", "--join"]
    doors: dict[str, Any] = {"tls": ("127.0.0.1", 0), "mtls": ("127.0.0.1", 0)}
    async with farm_on(f"sqlite:///{tmp_path}/farm.db", tmp_path, scale=1.0, **doors) as farm:
        access = access_pb2_grpc.AccessServiceStub(farm.channel)
        invite = access_pb2.InviteRequest(role="agent", member_id="host-7")
        token = (await access.Invite(invite, metadata=bearer(KEY))).token

        other = await host.agent(*words, token, "--name", "host-8", code=2)
        cut = await host.agent(*words, token[:-9], code=2)
        said = await host.agent(*words, token)
        connected = await host.until(ActiveState="active", StatusText="connected")
        member = await host.run("stat", "-c", "%a %U", str(state / "member.json"))
        again = await host.agent(*words, token)
        known = await farm.fleet.ListAgents(fleet_pb2.ListAgentsRequest(), metadata=bearer(KEY))
        await host.agent("uninstall", "--remove-state")

    assert "omit --name" in other
    assert "--join: " in cut
    assert "join the farm as host-7" in said
    assert "set PHONEFARM" not in said
    assert connected["SubState"] == "running"
    assert member.split() == ["600", SERVICE]
    assert "nothing to do: the service is already installed correctly" in again
    assert [(agent.agent_id, agent.connected) for agent in known.agents] == [("host-7", True)]


@pytest.mark.long
async def test_the_unit_is_confined(host: SystemdHost) -> None:
    """The init finds no fault in the unit and rates its exposure at 4.0 or better."""
    await host.agent(*install_words(host))

    verified = await host.run("systemd-analyze", "verify", f"{SERVICE}.service")
    rated = await host.run("systemd-analyze", "security", "--no-pager", SERVICE)
    tested = await host.run("udevadm", "test", "/sys/class/net/lo", code=None)
    await host.agent("uninstall", "--remove-state")

    assert verified.strip() == ""
    exposure = re.search(r"Overall exposure level for \S+: ([0-9.]+)", rated)
    assert exposure is not None, rated
    assert float(exposure[1]) <= MOST_EXPOSURE
    assert "60-phonefarm-agent.rules" in tested
    assert "60-phonefarm-agent.rules:" not in tested, "udev complains of a line"


@pytest.mark.long
async def test_without_a_controller_it_is_up_and_says_so(host: SystemdHost) -> None:
    """`install --now` comes back once the agent knows that nobody is there; status says it."""
    await _runnable(host)

    await host.agent(*install_words(host, "--now"))
    told = await host.show()
    status = await host.run("systemctl", "status", "--no-pager", SERVICE)
    processes = await host.run("cat", f"/proc/{told['MainPID']}/status")
    await host.run("systemctl", "stop", SERVICE)
    stopped = await host.show()
    await host.agent("uninstall", "--remove-state")

    assert told["ActiveState"] == "active"
    assert f"controller {NOBODY_THERE} not connected" in told["StatusText"]
    assert "0 phones (0 fit); 0 runs" in status
    assert "NoNewPrivs:\t1" in processes
    assert "CapEff:\t0000000000000000" in processes
    assert (stopped["ActiveState"], stopped["ExecMainStatus"]) == ("inactive", "0")


@pytest.mark.long
async def test_a_wrong_setting_is_told_and_not_repeated(host: SystemdHost) -> None:
    """Exit code 2 leaves the unit failed, with what is wrong as its status; no new start."""
    await _runnable(host, options="--adb-port 5037")

    await host.agent(*install_words(host))
    await host.run("systemctl", "start", SERVICE, code=1)
    told = await host.until(ActiveState="failed")
    looked = await host.agent("doctor", code=1)
    await host.agent("uninstall", "--remove-state")

    assert told["ExecMainStatus"] == "2"
    assert told["NRestarts"] == "0"
    assert "--adb-port" in told["StatusText"]
    assert re.search(r"fail +settings +--adb-port", looked), looked
    assert re.search(r"fail +service +failed", looked), looked


@pytest.mark.long
async def test_doctor_looks_with_the_rights_of_the_service(host: SystemdHost) -> None:
    """A secret that root can read and the service cannot is told by doctor, though root asks."""
    token = "/etc/phonefarm-agent/token"
    await host.agent(*install_words(host, "--token-file", token))
    await host.write(token, "a-token")
    await host.run("chmod", "600", token)

    closed = await host.agent("doctor", code=1)
    await host.run("chown", SERVICE, token)
    opened = await host.agent("doctor", code=1)
    await host.agent("uninstall", "--remove-state")

    assert f"cannot read {token}" in closed
    assert "settings" not in opened
    assert re.search(r"fail +controller +127.0.0.1:9: UNAVAILABLE", opened), opened


@pytest.mark.long
async def test_only_root_and_only_where_the_service_can_live(
    host: SystemdHost,
) -> None:
    """What cannot work is refused with the remedy, before anything is changed."""
    before = await host.files()
    program = "/opt/phonefarm/bin/phonefarm-agent"

    nobody = await host.run("runuser", "-u", "nobody", "--", program, "install", code=2)
    hidden = await host.agent("install", "--state", "/home/farm", code=2)
    long = await host.agent("install", "--state", "/srv/" + "x" * 60, code=2)
    groupless = await host.agent("install", "--docker-group", "whales", code=2)
    nameless = await host.agent("install", "--name", "a b", code=2)

    assert "sudo phonefarm-agent install" in nobody
    assert "/home" in hidden
    assert "bytes" in long
    assert "docker.io" in groupless
    assert "--name" in nameless
    assert await host.files() == before


@pytest.mark.long
async def test_a_loop_that_is_held_up_is_ended_with_its_stack_told(host: SystemdHost) -> None:
    """The feeding thread lives, the loop does not: watchdog, SIGABRT, and where it stood."""
    await host.write("/srv/stuck/stuck.py", _STUCK)
    await host.write("/etc/systemd/system/stuck.service", _STUCK_UNIT)
    await host.run("systemctl", "daemon-reload")

    await host.run("systemctl", "start", "stuck")
    told = await host.until(unit="stuck", ActiveState="failed")
    said = await host.run("journalctl", "--no-pager", "-u", "stuck")
    await host.run("rm", "-r", "/srv/stuck", "/etc/systemd/system/stuck.service")
    await host.run("systemctl", "reset-failed", "stuck")

    assert told["Result"] == "watchdog"
    assert "watchdog.keep_alive_withheld" in said
    assert "in held_up" in said


_STUCK = """
import asyncio, faulthandler, time
from phonefarm_agent.host.sd_notify import systemd_notifier, watchdog_seconds
from phonefarm_agent.host.watchdog import watchdog

def held_up():
    time.sleep(600)

async def alive():
    pass

async def main():
    notifier = systemd_notifier()
    with watchdog(proof=alive, keep_alive=notifier.keep_alive, period=watchdog_seconds()):
        notifier.ready()
        await asyncio.sleep(1)
        held_up()

faulthandler.enable()
asyncio.run(main())
"""

_STUCK_UNIT = """
[Service]
Type=notify
WatchdogSec=2
ExecStart=/opt/phonefarm/bin/python3 /srv/stuck/stuck.py
"""


async def _runnable(host: SystemdHost, *, options: str = "") -> None:
    """Write settings before install, which leaves them as they are."""
    settings = {
        "PHONEFARM_AGENT_CONTROLLER": NOBODY_THERE,
        "PHONEFARM_AGENT_NAME": "host-1",
        "PHONEFARM_AGENT_TOKEN": "a-token",
        "PHONEFARM_AGENT_OPTIONS": options,
    }
    text = "".join(f"{name}={value}\n" for name, value in settings.items())
    await host.write("/etc/phonefarm-agent/agent.env", text)


def _is_of_shadow_tools(path: str) -> bool:
    """Tell whether a file is a backup that useradd and userdel keep of their own tables."""
    return re.fullmatch(r"/etc/(passwd|group|shadow|gshadow|subuid|subgid)-", path) is not None
