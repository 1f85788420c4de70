"""The steps that remove all that a service has made on its host."""

from collections.abc import Sequence
from pathlib import Path

from phonefarm_common.service import steps
from phonefarm_common.service.paths import Service
from phonefarm_common.service.steps import InstallStep


def plan(
    service: Service,
    *,
    state: Path | None,
    stopped: Sequence[InstallStep] = (),
    files: Sequence[InstallStep] = (),
) -> list[InstallStep]:
    """Return the steps; *state* is removed too, if given.

    The steps *stopped* come once the service has stopped, *files* after its own files are removed.
    """
    return [
        InstallStep(
            text=f"stop and disable {service.name}",
            needed=service.unit.exists,
            do=lambda: steps.systemctl("disable", "--now", service.name),
        ),
        InstallStep(
            text="clear the service's failed state in systemd",
            needed=lambda: steps.answers_yes("systemctl", "is-failed", "--quiet", service.name),
            do=lambda: steps.systemctl("reset-failed", service.name),
        ),
        *stopped,
        *[_removed(path) for path in _links(service)],
        _removed(service.changes),
        InstallStep(
            text=f"remove {service.unit}",
            needed=service.unit.exists,
            do=lambda: _remove_unit(service),
        ),
        _removed(service.environment.parent),
        *files,
        *([] if state is None else [_removed(state)]),
        InstallStep(
            text=f"remove the user and group {service.name}",
            needed=lambda: steps.user_exists(service.name),
            do=lambda: _remove_user(service.name),
        ),
    ]


def _links(service: Service) -> list[Path]:
    """Return the links that `systemctl enable` made for the unit."""
    return list(service.unit.parent.glob(f"*.wants/{service.unit.name}"))


def _removed(path: Path) -> InstallStep:
    return InstallStep(
        text=f"remove {path}",
        needed=lambda: path.exists() or path.is_symlink(),
        do=lambda: steps.remove(path),
    )


def _remove_unit(service: Service) -> None:
    steps.remove(service.unit)
    steps.systemctl("daemon-reload")


def _remove_user(name: str) -> None:
    steps.command("userdel", name)
    if steps.group_exists(name):
        steps.command("groupdel", name)
