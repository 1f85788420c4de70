"""The steps that make a program a service of systemd."""

import asyncio
import os
import pwd
from collections.abc import Callable
from pathlib import Path

from phonefarm_common.certificates import FILE as MEMBER
from phonefarm_common.enrollment import NotJoinedError, join
from phonefarm_common.service import paths, steps
from phonefarm_common.service.paths import Program, Service
from phonefarm_common.service.steps import InstallStep, StepFailedError


class CannotInstallError(Exception):
    """The service cannot be installed as requested; the text names the remedy."""


def checked_state(service: Service, program: Program, wanted: Path) -> Path:
    """Return the state directory *wanted* in its shortest form.

    Raises CannotInstallError unless the service can run *program* with it on this host.
    """
    state = Path(os.path.normpath(wanted))
    if not Path("/run/systemd/system").is_dir():
        raise CannotInstallError(
            "systemd is not this host's init system, so the service cannot be installed"
        )
    for path in program.paths:
        if paths.hidden(path):
            raise CannotInstallError(
                f"the service cannot run {path}, because systemd hides "
                f"{', '.join(paths.HIDDEN)} from it; install phonefarm elsewhere, for example "
                "with `python3 -m venv /opt/phonefarm`"
            )
    checked_folder(state, name="--state")
    kept = service.installed_state()
    if kept not in {None, state}:
        raise CannotInstallError(
            f"the service is installed with the state directory {kept}: uninstall the service "
            "with --keep-state, move the directory, and install the service again"
        )
    return state


def checked_folder(path: Path, *, name: str) -> Path:
    """Return *path* unless a unit cannot give it to a program; CannotInstallError."""
    if not path.is_absolute() or paths.hidden(path):
        raise CannotInstallError(
            f"{name} {path} must be an absolute path outside {', '.join(paths.HIDDEN)}"
        )
    if not paths.plain(str(path)):
        raise CannotInstallError(f"{name} {path} must contain only A-Z a-z 0-9 . _ / @ : , + = -")
    return path


def check_setting(text: str, *, name: str) -> None:
    """Raise CannotInstallError if *text* cannot stand between double quotes in a settings file."""
    if any(character in '"\\$`' or not character.isprintable() for character in text):
        raise CannotInstallError(
            f'{name} must be one line without the characters " \\ $ `: install without it, and '
            "write the setting into the settings file"
        )


def user_and_state(service: Service, state: Path) -> list[InstallStep]:
    """Return the steps that create the system user and its state directory."""
    return [
        InstallStep(
            text=f"create the system user and group {service.name}",
            needed=lambda: not steps.user_exists(service.name),
            do=lambda: _make_user(service, state),
        ),
        InstallStep(
            text=f"create the state directory {state}, for {service.name} only",
            needed=lambda: not _is_owned(state, service.name),
            do=lambda: _make_owned(state, service.name),
        ),
    ]


def settings(path: Path, text: Callable[[], str]) -> list[InstallStep]:
    """Return the steps that write a file for root only, unless it exists: *text* may be secret."""
    return [
        InstallStep(
            text=f"write {path} (0600, for root only)",
            needed=lambda: not path.exists(),  # an operator's own words are never replaced
            do=lambda: steps.write(path, text(), 0o600),
        ),
        InstallStep(
            text=f"allow only root to read {path}",
            needed=lambda: path.exists() and bool(path.stat().st_mode & 0o077),
            do=lambda: path.chmod(0o600),
        ),
    ]


def written(path: Path, text: str, *, then: Callable[[], None]) -> InstallStep:
    """Return the step that writes a file where it differs, and does *then* afterwards."""

    def do() -> None:
        steps.write(path, text, 0o644)
        then()

    return InstallStep(text=f"write {path}", needed=lambda: steps.differs(path, text, 0o644), do=do)


def enabled(service: Service, unit: str) -> list[InstallStep]:
    """Return the steps that write the unit and enable it."""
    return [
        written(service.unit, unit, then=lambda: steps.systemctl("daemon-reload")),
        InstallStep(
            text=f"enable {service.name}, so that it starts when this host starts",
            needed=lambda: (
                not steps.answers_yes("systemctl", "is-enabled", "--quiet", service.name)
            ),
            do=lambda: steps.systemctl("enable", service.name),
        ),
    ]


def joined(service: Service, state: Path, invitation: str, name: str) -> InstallStep:
    """Return the step that joins the farm as *name*, unless the state has a certificate."""

    def do() -> None:
        try:
            asyncio.run(join(invitation, state, role=service.program, wanted=name))
        except NotJoinedError as error:
            raise StepFailedError(str(error)) from error

    return InstallStep(
        text=f"join the farm as {name}",
        needed=lambda: not (state / MEMBER).exists(),  # an invitation is good once
        do=do,
    )


def started(service: Service) -> InstallStep:
    """Return the step that starts the service and waits until it is ready."""
    return InstallStep(
        text=f"start {service.name}",
        needed=lambda: not steps.answers_yes("systemctl", "is-active", "--quiet", service.name),
        do=lambda: steps.systemctl("start", service.name),
    )


def _make_user(service: Service, state: Path) -> None:
    words = ["useradd", "--system", "--user-group", "--no-create-home", "--home-dir", str(state)]
    words += ["--shell", "/usr/sbin/nologin", "--comment", f"Phonefarm {service.program}"]
    steps.command(*words, service.name)


def _is_owned(state: Path, user: str) -> bool:
    try:
        facts = state.stat()
        return (facts.st_uid, facts.st_mode & 0o7777) == (pwd.getpwnam(user).pw_uid, 0o700)
    except (FileNotFoundError, KeyError):
        return False


def _make_owned(state: Path, name: str) -> None:
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    user = pwd.getpwnam(name)
    # A state kept over an uninstall belongs to the number that the user had before.
    for path in (state, *state.rglob("*")):
        os.chown(path, user.pw_uid, user.pw_gid, follow_symlinks=False)
    state.chmod(0o700)
