"""`phonefarm-agent install`: plans the steps that make the agent a systemd service."""

import asyncio
import os
import pwd
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from phonefarm_common.certificates import FILE as MEMBER
from phonefarm_common.enrollment import NotJoinedError, join

from phonefarm_agent.host import paths, steps, unit
from phonefarm_agent.host.paths import ENVIRONMENT, RULES, SERVICE, UNIT, USER, Program
from phonefarm_agent.host.steps import InstallStep, StepFailedError


class CannotInstallError(Exception):
    """The service cannot be installed as requested; the text names the remedy."""


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
    wanted = replace(wanted, state=Path(os.path.normpath(wanted.state)))
    _refuse(wanted, program)
    texts = {
        UNIT: unit.unit(
            command=program.command,
            state=wanted.state,
            docker_group=wanted.docker_group,
            systemd=_systemd_version(),
        ),
        RULES: unit.rules(),
    }
    return [
        InstallStep(
            text=f"create the system user and group {USER}",
            needed=lambda: not steps.user_exists(USER),
            do=lambda: _make_user(wanted.state),
        ),
        InstallStep(
            text=f"create the state directory {wanted.state}, for {USER} only",
            needed=lambda: not _is_ours(wanted.state),
            do=lambda: _make_ours(wanted.state),
        ),
        InstallStep(
            text=f"write {ENVIRONMENT} (0600, for root only)",
            needed=lambda: not ENVIRONMENT.exists(),  # an operator's own words are never replaced
            do=lambda: steps.write(ENVIRONMENT, _environment(wanted), 0o600),
        ),
        InstallStep(
            text=f"allow only root to read {ENVIRONMENT}",
            needed=lambda: ENVIRONMENT.exists() and _is_open(ENVIRONMENT),
            do=lambda: ENVIRONMENT.chmod(0o600),
        ),
        _written(RULES, texts[RULES], then=reload_udev),
        _written(UNIT, texts[UNIT], then=lambda: _systemctl("daemon-reload")),
        InstallStep(
            text=f"enable {SERVICE}, so that it starts when this host starts",
            needed=lambda: not steps.answers_yes("systemctl", "is-enabled", "--quiet", SERVICE),
            do=lambda: _systemctl("enable", SERVICE),
        ),
        *([_joined(wanted)] if wanted.invitation else []),
        *([_started()] if wanted.start else []),
    ]


def ready_to_start(environment: Path = ENVIRONMENT) -> str:
    """Return the settings that are still missing, empty when none is."""
    found = paths.read_environment(environment)
    missing = [
        name
        for name in ("PHONEFARM_AGENT_CONTROLLER", "PHONEFARM_AGENT_NAME")
        if not found.get(name)
    ]
    state = paths.installed_state()
    if state is not None and (state / MEMBER).exists():
        return ""
    if not found.get("PHONEFARM_AGENT_TOKEN") and not found.get("PHONEFARM_AGENT_TOKEN_FILE"):
        missing.append("PHONEFARM_AGENT_TOKEN (or run `phonefarm-agent join TOKEN`)")
    return ", ".join(missing)


def _refuse(wanted: InstallOptions, program: Program) -> None:
    if not Path("/run/systemd/system").is_dir():
        raise CannotInstallError(
            "systemd is not the init system of this host, so the service cannot be installed"
        )
    for path in program.paths:
        if paths.hidden(path):
            raise CannotInstallError(
                f"the service cannot run {path}, because systemd hides "
                f"{', '.join(paths.HIDDEN)} from it; install phonefarm elsewhere, for "
                "example with `python3 -m venv /opt/phonefarm`"
            )
    if not wanted.state.is_absolute() or paths.hidden(wanted.state):
        raise CannotInstallError(
            f"--state {wanted.state} must be an absolute path outside {', '.join(paths.HIDDEN)}"
        )
    if len(os.fsencode(wanted.state)) > paths.LONGEST_STATE:
        raise CannotInstallError(
            f"--state {wanted.state} must be at most {paths.LONGEST_STATE} bytes long, because "
            "the length of socket paths is limited"
        )
    if any(character.isspace() or character in "%$\"'\\" for character in str(wanted.state)):
        raise CannotInstallError(f"--state {wanted.state} must not contain spaces, quotes, % or $")
    kept = paths.installed_state()
    if kept not in {None, wanted.state}:
        raise CannotInstallError(
            f"the service is installed with the state directory {kept}: uninstall the service "
            "with --keep-state, move the directory, and install the service again"
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


def _written(path: Path, text: str, *, then: Callable[[], None]) -> InstallStep:
    def do() -> None:
        steps.write(path, text, 0o644)
        then()

    return InstallStep(text=f"write {path}", needed=lambda: steps.differs(path, text, 0o644), do=do)


def _joined(wanted: InstallOptions) -> InstallStep:
    def do() -> None:
        try:
            asyncio.run(join(wanted.invitation, wanted.state, role="agent", wanted=wanted.name))
        except NotJoinedError as error:
            raise StepFailedError(str(error)) from error

    return InstallStep(
        text=f"join the farm as {wanted.name}",
        needed=lambda: not (wanted.state / MEMBER).exists(),  # an invitation is good once
        do=do,
    )


def _started() -> InstallStep:
    return InstallStep(
        text=f"start {SERVICE}",
        needed=lambda: not steps.answers_yes("systemctl", "is-active", "--quiet", SERVICE),
        do=lambda: _systemctl("start", SERVICE),
    )


def _make_user(state: Path) -> None:
    words = ["useradd", "--system", "--user-group", "--no-create-home", "--home-dir", str(state)]
    words += ["--shell", "/usr/sbin/nologin", "--comment", "Phonefarm agent", USER]
    steps.command(*words)


def _is_ours(state: Path) -> bool:
    try:
        facts = state.stat()
        return (facts.st_uid, facts.st_mode & 0o7777) == (pwd.getpwnam(USER).pw_uid, 0o700)
    except (FileNotFoundError, KeyError):
        return False


def _make_ours(state: Path) -> None:
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    user = pwd.getpwnam(USER)
    # A state kept over an uninstall belongs to the number that the user had before.
    for path in (state, *state.rglob("*")):
        os.chown(path, user.pw_uid, user.pw_gid, follow_symlinks=False)
    state.chmod(0o700)


def _is_open(path: Path) -> bool:
    return bool(path.stat().st_mode & 0o077)


def _systemd_version() -> int:
    words = steps.command("systemctl", "--version").split()
    return int(words[1]) if len(words) > 1 and words[1].isdigit() else 0


def _systemctl(*words: str) -> None:
    steps.command("systemctl", *words)


def reload_udev() -> None:
    """Make udev apply the rules to the phones that are plugged in now."""
    if shutil.which("udevadm") and Path("/run/udev/control").exists():
        steps.command("udevadm", "control", "--reload")
        steps.command("udevadm", "trigger", "--subsystem-match=usb", "--action=change")
