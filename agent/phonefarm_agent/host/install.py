"""`phonefarm-agent install`: plans the steps that make the agent a systemd service."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from phonefarm_common.certificates import FILE as MEMBER
from phonefarm_common.service import install, steps
from phonefarm_common.service.install import CannotInstallError
from phonefarm_common.service.paths import Program, read_environment
from phonefarm_common.service.steps import InstallStep

from phonefarm_agent.host import paths, unit
from phonefarm_agent.host.paths import AGENT, RULES


@dataclass(frozen=True, kw_only=True)
class InstallOptions:
    """The options of `install`."""

    state: Path
    docker_group: str
    controller: str
    name: str
    token_file: str
    options: str
    start: bool
    invitation: str = ""  # joins the farm with it; the name is the invitation's then


def plan(wanted: InstallOptions, program: Program) -> list[InstallStep]:
    """Return the steps in order; CannotInstallError."""
    state = install.checked_state(AGENT, program, wanted.state)
    _refuse(wanted, state)
    service = unit.unit(
        command=program.command,
        state=state,
        docker_group=wanted.docker_group,
        systemd=_systemd_version(),
    )
    return [
        *install.user_and_state(AGENT, state),
        *install.settings(AGENT.environment, lambda: _environment(wanted)),
        install.written(RULES, unit.rules(), then=reload_udev),
        *install.enabled(AGENT, service),
        *(
            [install.joined(AGENT, state, wanted.invitation, wanted.name)]
            if wanted.invitation
            else []
        ),
        *([install.started(AGENT)] if wanted.start else []),
    ]


def missing_settings() -> str:
    """Return the settings that the installed service still needs, empty for none."""
    found = read_environment(AGENT.environment)
    missing = [
        name
        for name in ("PHONEFARM_AGENT_CONTROLLER", "PHONEFARM_AGENT_NAME")
        if not found.get(name)
    ]
    state = AGENT.installed_state()
    if state is not None and (state / MEMBER).exists():
        return ""
    if not found.get("PHONEFARM_AGENT_TOKEN") and not found.get("PHONEFARM_AGENT_TOKEN_FILE"):
        missing.append("PHONEFARM_AGENT_TOKEN (or run `phonefarm-agent join TOKEN`)")
    return ", ".join(missing)


def _refuse(wanted: InstallOptions, state: Path) -> None:
    if len(os.fsencode(state)) > paths.LONGEST_STATE:
        raise CannotInstallError(
            f"--state {state} must be at most {paths.LONGEST_STATE} bytes long, because "
            "the length of socket paths is limited"
        )
    if not steps.group_exists(wanted.docker_group):
        raise CannotInstallError(
            f"there is no group {wanted.docker_group}: install Docker Engine first (`apt-get "
            "install docker.io`), or use --docker-group to name the group that may use its "
            "socket"
        )


def _environment(wanted: InstallOptions) -> str:
    return unit.environment(
        controller=wanted.controller,
        name=wanted.name,
        token_file=wanted.token_file,
        options=wanted.options,
    )


def _systemd_version() -> int:
    words = steps.command("systemctl", "--version").split()
    return int(words[1]) if len(words) > 1 and words[1].isdigit() else 0


def reload_udev() -> None:
    """Make udev apply the rules to the phones that are plugged in now."""
    if shutil.which("udevadm") and Path("/run/udev/control").exists():
        steps.command("udevadm", "control", "--reload")
        steps.command("udevadm", "trigger", "--subsystem-match=usb", "--action=change")
