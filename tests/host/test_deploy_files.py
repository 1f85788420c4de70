"""The files in deploy/: those that `install` writes, and those of controllers and gateways."""

import re
import subprocess
import sys
from pathlib import Path
from shutil import which

import pytest
import yaml
from phonefarm_agent.host import unit
from phonefarm_agent.host.paths import AGENT
from phonefarm_controller import install as controller
from phonefarm_gateway import install as gateway

DEPLOY = Path(__file__).resolve().parent.parent.parent / "deploy"


def _unit(systemd: int) -> str:
    command = "/opt/phonefarm/bin/phonefarm-agent"
    return unit.unit(
        command=command, state=AGENT.default_state, docker_group="docker", systemd=systemd
    )


def test_the_kept_files_are_what_install_writes() -> None:
    """Whoever changes one changes the other."""
    programs = "/opt/phonefarm/bin"
    written = {
        "phonefarm-agent.service": _unit(252),
        "60-phonefarm-agent.rules": unit.rules(),
        "agent.env": unit.environment(controller="", name="", token_file="", options=""),
        "phonefarm-controller.service": controller.unit(
            command=f"{programs}/phonefarm-controller", state=controller.CONTROLLER.default_state
        ),
        "controller.env": controller.environment(options=""),
        "phonefarm-gateway.service": gateway.unit(
            command=f"{programs}/phonefarm-gateway", state=gateway.GATEWAY.default_state
        ),
        "gateway.env": gateway.environment(options="--listen 127.0.0.1:8080"),
    }

    for name, text in written.items():
        assert (DEPLOY / name).read_text() == text, name


def test_restarts_are_spaced_out_where_systemd_can() -> None:
    """RestartSteps= came with systemd 254; older ones would only complain of it."""
    assert "RestartSteps=" not in _unit(253)
    assert "RestartMaxDelaySec=120" in _unit(254)


@pytest.mark.skipif(which("systemd-analyze") is None, reason="no systemd-analyze on this machine")
@pytest.mark.parametrize("name", ["phonefarm-controller", "phonefarm-gateway"])
def test_the_units_are_understood_by_systemd(tmp_path: Path, name: str) -> None:
    """Nothing is unknown to it; only the program, which is not installed here, is missing."""
    unit_file = tmp_path / f"{name}.service"
    text = (DEPLOY / f"{name}.service").read_text()
    unit_file.write_text(text.replace("/opt/phonefarm/bin/", "/usr/bin/env "))

    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit_file)],
        capture_output=True,
        text=True,
        check=False,
    )
    judged = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=25", str(unit_file)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert [line for line in done.stderr.splitlines() if name in line] == []
    assert judged.returncode == 0, judged.stdout[-300:]


def test_the_options_in_the_services_files_are_real() -> None:
    """Every option that a unit, an environment file or the compose file gives is in --help."""
    for program in ("controller", "gateway"):
        said = subprocess.run(
            [sys.executable, "-m", f"phonefarm_{program}", "--help"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        lines = (DEPLOY / f"phonefarm-{program}.service").read_text().splitlines()
        lines = [line for line in lines if line.startswith("ExecStart=")]
        settings = (DEPLOY / f"{program}.env").read_text().splitlines()
        lines += [line.lstrip("# ") for line in settings if "--" in line and "install" not in line]
        services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
        lines += [s["command"] for name, s in services.items() if name.startswith(program)]

        given = {option for line in lines for option in re.findall(r"--[a-z][a-z-]+", line)}

        assert given
        assert [option for option in sorted(given) if f"{option} " not in said] == []


def test_the_compose_file_is_two_of_each() -> None:
    """It is YAML, its parts are there, and both gateways know both controllers."""
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    services = compose["services"]

    commands = [services[f"controller-{n}"]["command"] for n in (1, 2)]
    ports = [command.split("--listen ")[1].split()[0] for command in commands]
    gateways = [services[f"gateway-{n}"]["environment"] for n in (1, 2)]
    known = [each["PHONEFARM_GATEWAY_CONTROLLER"] for each in gateways]
    assert sorted(services) == [
        "controller-1",
        "controller-2",
        "gateway-1",
        "gateway-2",
        "postgres",
    ]
    assert known == [",".join(ports)] * 2
    addresses = [services[f"gateway-{n}"]["command"].split()[2] for n in (1, 2)]
    assert f"reverse_proxy {' '.join(addresses)} {{" in (DEPLOY / "Caddyfile").read_text()
    assert services["controller-1"]["volumes"] == services["controller-2"]["volumes"]
