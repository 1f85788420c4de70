"""docs/install.md and docs/upgrading.md, typed on three bare hosts of Debian 12.

The hosts are alone in one network. They share /opt/phonefarm, because to install the packages takes
longest. pip takes them from wheels that lie beside the wheel of this checkout.
"""

import asyncio
import json
import re
import shlex
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from support.systemd_host import PROGRAM, SystemdHost, docker, started_host
from support.wheels import build_wheel, collect_wheels

pytestmark = [
    pytest.mark.systemd,
    pytest.mark.docker,
    pytest.mark.long,
    pytest.mark.asyncio(loop_scope="module"),
]

DOCS = Path(__file__).resolve().parents[2] / "docs"
ROLES = ("controller", "gateway", "agent")
EXTRAS = frozenset({"controller", "postgres", "gateway", "agent", "cli"})
FOLDER = "/srv/install"
SECONDS = 300.0
MOST_EXPOSURE = {"controller": 2.5, "gateway": 2.5, "agent": 4.0}
NOT_OF_THE_SERVICE = (
    *("/root/", "/usr/local/bin/phonefarm", FOLDER),
    *(f"/etc/{table}-" for table in ("passwd", "group", "shadow", "gshadow", "subuid", "subgid")),
)
FARM = "farm.example.com"
HOST_OF = {"controller's host": "controller", "gateway's host": "gateway", "phone host": "agent"}
APT_GET = """\
#!/bin/sh
# The packages are in the image, except the engine, whose socket is there, and curl (Site.ask).
set -eu
[ "$1 $2" = "install --yes" ]
shift 2
for package; do
    case $package in docker.io | curl) ;; *) dpkg --status "$package" >/dev/null ;; esac
done
"""


@dataclass(frozen=True, kw_only=True)
class Block:
    """The commands of a page that are for one host."""

    host: str
    section: str
    text: str


def blocks(page: str) -> list[Block]:
    """Return the blocks of commands in a page; the words before a block name its host."""
    found = []
    section = host = ""
    block: list[str] | None = None
    for line in (DOCS / page).read_text().splitlines():
        if line == "```" and block is not None:
            found.append(Block(host=host, section=section, text="\n".join(block)))
            block = None
        elif block is not None:
            block.append(line)
        elif line == "```sh":
            block = []
        elif line.startswith(("## ", "On the ")):
            section = line.removeprefix("## ") if line.startswith("## ") else section
            host = next((HOST_OF[name] for name in HOST_OF if name in line), host)
    return found


@dataclass(kw_only=True)
class Site:
    """Three bare hosts in one network, and what the commands on them printed."""

    hosts: dict[str, SystemdHost]
    version: str
    before: dict[str, set[str]]
    said: dict[str, str]

    async def type(self, block: Block) -> None:
        """Type a block on its host, and keep what it prints by its section."""
        host = self.hosts[block.host]
        # The engine mounts the agent's directories by their paths outside.
        state = f"phonefarm-agent install --state {host.state}/agent"
        text = block.text.replace("VERSION", self.version)
        lines = text.replace("phonefarm-agent install", state).splitlines()
        asked = [line for line in lines if line.startswith("curl ")]
        script = "\n".join(line for line in lines if line not in asked)
        words = [f"--workdir={FOLDER}", "--env=HOME=/root", "--env=LC_ALL=C.UTF-8"]
        words += ["--env=PIP_NO_INDEX=1", f"--env=PIP_FIND_LINKS={FOLDER}/wheels"]
        said = await docker(
            "exec", *words, host.container, "bash", "-euxc", script, seconds=SECONDS
        )
        assert said.code == 0, f"{block.section}\n{said.out}"
        self.said[block.section] = self.said.get(block.section, "") + said.out
        for line in asked:
            await self.ask(*shlex.split(line)[1:])

    async def ask(self, *words: str) -> str:
        """Run this machine's curl in the network of the hosts; return the answer."""
        first = next(iter(self.hosts.values()))
        told = await docker("inspect", "--format={{.State.Pid}}", first.container)
        into = ["nsenter", f"--net=/proc/{told.out.strip()}/ns/net"]
        command = [*into, "curl", *words]
        asked = await asyncio.to_thread(
            subprocess.run, command, capture_output=True, text=True, check=False
        )
        assert asked.returncode == 0, asked.stdout + asked.stderr
        return asked.stdout


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(
    tmp_path_factory: pytest.TempPathFactory, executor_image: str
) -> AsyncIterator[Site]:
    """Start the hosts and type docs/install.md, all but its last section."""
    shared = tmp_path_factory.mktemp("install")
    program, wheels = shared / "opt", shared / "work" / "wheels"
    program.mkdir()
    wheels.mkdir(parents=True)
    await asyncio.to_thread(collect_wheels, wheels, EXTRAS)
    wheel = await asyncio.to_thread(build_wheel, wheels.parent)
    options = [f"--volume={program}:{PROGRAM}", f"--volume={wheels.parent}:{FOLDER}"]
    network = "none"
    hosts = {}
    async with AsyncExitStack() as stack:
        for role in ROLES:
            host = await stack.enter_async_context(
                started_host(program, f"--network={network}", *options)
            )
            network = f"container:{host.container}" if network == "none" else network
            await host.write("/usr/local/bin/apt-get", APT_GET)
            await host.run("chmod", "755", "/usr/local/bin/apt-get")
            await host.run("sh", "-c", f"echo 127.0.0.1 {FARM} >> /etc/hosts")
            hosts[role] = host
        it = Site(
            hosts=hosts,
            version=wheel.name.split("-")[1],
            before={role: await host.files() for role, host in hosts.items()},
            said={},
        )
        for block in blocks("install.md"):
            if block.section != "Removing a host":
                await it.type(block)
        yield it


async def test_three_bare_hosts_become_a_farm(site: Site) -> None:
    """Agent and gateway are connected, and a caller's key is accepted by REST."""
    key = (await site.hosts["controller"].run("cat", f"{FOLDER}/caller.key")).strip()

    answer = await site.ask(
        "--fail",
        "--silent",
        "-H",
        f"Authorization: Bearer {key}",
        "http://127.0.0.1:8080/processes",
    )

    look = site.said["4. The first look"]
    assert re.search(r"^host-1\tyes\t", look, re.MULTILINE), look
    assert re.search(r"^gw-1\tyes\tyes\t", look, re.MULTILINE), look
    assert json.loads(answer)["processes"] == []


async def test_only_root_can_read_the_secrets(site: Site) -> None:
    """The settings are root's with mode 0600, and no secret is in the list of processes."""
    secrets = set()
    for role, host in site.hosts.items():
        path = f"/etc/phonefarm-{role}/{role}.env"
        mode = await host.run("stat", "-c", "%a %U", path)
        state = await host.run("sh", "-c", f"stat -c '%a %U' {_state(host, role)}")
        text = await host.run("cat", path)
        secrets.update(re.findall(r"^[A-Z_]+(?:SECRET|TOKEN)=(.+)$", text, re.MULTILINE))
        assert mode.split() == ["600", "root"]
        assert state.split() == ["700", f"phonefarm-{role}"]

    listed = ""
    for host in site.hosts.values():
        listed += await host.run("sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '")

    assert len(secrets) == 4  # three of the controller, and the one that signs callbacks
    assert all(len(secret) >= 43 for secret in secrets)
    assert "phonefarm-controller --data" in listed
    assert [secret for secret in secrets if secret in listed] == []


async def test_each_unit_is_confined(site: Site) -> None:
    """Systemd finds no fault in the units, and rates their exposure as low."""
    for role, host in site.hosts.items():
        name = f"phonefarm-{role}"

        verified = await host.run("systemd-analyze", "verify", f"{name}.service")
        rated = await host.run("systemd-analyze", "security", "--no-pager", name)
        shown = await host.show(name)
        process = await host.run("cat", f"/proc/{shown['MainPID']}/status")

        assert verified.strip() == ""
        exposure = re.search(r"Overall exposure level for \S+: ([0-9.]+)", rated)
        assert exposure is not None, rated
        assert float(exposure[1]) <= MOST_EXPOSURE[role]
        assert "NoNewPrivs:\t1" in process
        assert "CapEff:\t0000000000000000" in process
        assert (shown["ActiveState"], shown["UnitFileState"]) == ("active", "enabled")


async def test_install_can_be_repeated(site: Site) -> None:
    """A second install changes nothing, and keeps the secrets."""
    for role, host in site.hosts.items():
        settings = await host.run("cat", f"/etc/phonefarm-{role}/{role}.env")

        again = await host.run(f"phonefarm-{role}", "install", "--state", _state(host, role))

        assert "nothing to do" in again
        assert await host.run("cat", f"/etc/phonefarm-{role}/{role}.env") == settings


async def test_what_cannot_work_is_refused(site: Site) -> None:
    """Before anything is changed, with the option and the remedy."""
    controller, gateway = site.hosts["controller"], site.hosts["gateway"]
    before = [await host.files() for host in (controller, gateway)]

    nobody = await controller.run(
        "runuser", "-u", "nobody", "--", "phonefarm-controller", "install", code=2
    )
    hidden = await controller.run(
        "phonefarm-controller", "install", "--state", "/home/farm", code=2
    )
    unsaid = await controller.run("phonefarm-controller", "uninstall", code=2)
    moved = await gateway.run("phonefarm-gateway", "install", "--state", "/srv/farm", code=2)
    quoted = await gateway.run("phonefarm-gateway", "install", "--options", 'a "b"', code=2)

    assert "sudo phonefarm-controller install" in nobody
    assert "--state /home/farm must be an absolute path outside" in hidden
    assert "--remove-state" in unsaid
    assert "--keep-state" in moved
    assert "--options must be one line" in quoted
    assert [await host.files() for host in (controller, gateway)] == before


async def test_a_wrong_setting_ends_the_service(site: Site) -> None:
    """Exit code 2, and systemd does not start it again."""
    for role, wrong in (("controller", "--screens -1"), ("gateway", "--body-limit 0")):
        host, name = site.hosts[role], f"phonefarm-{role}"
        path = f"/etc/{name}/{role}.env"
        settings = await host.run("cat", path)
        await host.write(path, f'{settings}\nPHONEFARM_{role.upper()}_OPTIONS="{wrong}"\n')

        await host.run("systemctl", "restart", name, code=1)
        shown = await host.until(unit=name, ActiveState="failed")
        await host.write(path, settings)
        await host.run("systemctl", "restart", name)

        assert (shown["ExecMainStatus"], shown["NRestarts"]) == ("2", "0")
        assert wrong.split()[0] in shown["StatusText"]


async def test_an_upgrade_keeps_the_farm(site: Site) -> None:
    """docs/upgrading.md, from top to bottom: members, keys and secrets are the same after it."""
    host = site.hosts["controller"]
    settings = await host.run("cat", "/etc/phonefarm-controller/controller.env")

    for block in blocks("upgrading.md"):
        await site.type(block)

    look = site.said["The order"]
    assert re.search(r"^host-1\tyes\t", look, re.MULTILINE), look
    assert re.search(r"^gw-1\tyes\tyes\t", look, re.MULTILINE), look
    assert await host.run("cat", "/etc/phonefarm-controller/controller.env") == settings


async def test_nothing_is_left_of_a_removed_farm(site: Site) -> None:
    """After the last section of the page: no file, user, process or container."""
    for block in blocks("install.md"):
        if block.section == "Removing a host":
            await site.type(block)

    for role, host in site.hosts.items():
        left = await host.files() - site.before[role]
        processes = await host.run("sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
        assert {path for path in left if not path.startswith(NOT_OF_THE_SERVICE)} == set()
        assert f"phonefarm-{role}" not in await host.run("cat", "/etc/passwd", "/etc/group")
        assert "phonefarm" not in processes


def _state(host: SystemdHost, role: str) -> str:
    return f"{host.state}/agent" if role == "agent" else f"/var/lib/phonefarm-{role}"
