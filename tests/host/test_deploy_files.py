"""The files in deploy/ are those that `install` writes."""

from pathlib import Path

from phonefarm_agent.host import unit
from phonefarm_agent.host.layout import DEFAULT_STATE

DEPLOY = Path(__file__).resolve().parent.parent.parent / "deploy"


def _unit(systemd: int) -> str:
    command = "/opt/phonefarm/bin/phonefarm-agent"
    return unit.unit(command=command, state=DEFAULT_STATE, docker_group="docker", systemd=systemd)


def test_the_kept_files_are_what_install_writes() -> None:
    """Whoever changes one changes the other."""
    environment = unit.environment(controller="", name="", token_file="", options="")

    assert (DEPLOY / "phonefarm-agent.service").read_text() == _unit(252)
    assert (DEPLOY / "60-phonefarm-agent.rules").read_text() == unit.rules()
    assert (DEPLOY / "agent.env").read_text() == environment


def test_restarts_are_spaced_out_where_systemd_can() -> None:
    """RestartSteps= came with systemd 254; older ones would only complain of it."""
    assert "RestartSteps=" not in _unit(253)
    assert "RestartMaxDelaySec=120" in _unit(254)
