"""`phonefarm-agent uninstall`: plans the removal of all that the service has made."""

from collections.abc import Callable
from pathlib import Path

from phonefarm_agent.host import paths, steps
from phonefarm_agent.host.install import reload_udev
from phonefarm_agent.host.paths import CHANGES, ENVIRONMENT, RULES, SERVICE, UNIT, USER
from phonefarm_agent.host.steps import InstallStep, StepFailedError
from phonefarm_agent.runtimes.docker_engine import Engine, FoundContainer
from phonefarm_agent.runtimes.interface import RuntimeFailedError


def plan(
    *, state: Path, name: str, keep_state: bool, tell: Callable[[str], None]
) -> list[InstallStep]:
    """Return the steps; *name* is the agent whose run containers are removed, empty: none."""
    runs = _Runs(name, tell)
    return [
        InstallStep(
            text=f"stop and disable {SERVICE}",
            needed=UNIT.exists,
            do=lambda: _systemctl("disable", "--now", SERVICE),
        ),
        InstallStep(
            text="clear the service's failed state in systemd",
            needed=lambda: steps.answers_yes("systemctl", "is-failed", "--quiet", SERVICE),
            do=lambda: _systemctl("reset-failed", SERVICE),
        ),
        InstallStep(text=f"end the run containers of {name}", needed=runs.found, do=runs.remove),
        *[_removed(path) for path in _links()],
        _removed(CHANGES),
        InstallStep(text=f"remove {UNIT}", needed=UNIT.exists, do=_remove_unit),
        _removed(ENVIRONMENT.parent),
        InstallStep(text=f"remove {RULES}", needed=RULES.exists, do=_remove_rules),
        *([] if keep_state else [_removed(state)]),
        InstallStep(
            text=f"remove the user and group {USER}",
            needed=lambda: steps.user_exists(USER),
            do=_remove_user,
        ),
    ]


def agent_name() -> str:
    """Return the agent's name in the service's settings; empty when it cannot be read."""
    try:
        return paths.read_environment().get("PHONEFARM_AGENT_NAME", "")
    except OSError:
        return ""


class _Runs:
    """Finds and removes the containers of this agent, of any farm."""

    def __init__(self, name: str, tell: Callable[[str], None]) -> None:
        self._name = name
        self._tell = tell
        self._engine = Engine()

    def found(self) -> bool:
        return bool(self._list())

    def remove(self) -> None:
        for container in self._list():
            try:
                self._engine.remove(container.id)
            except RuntimeFailedError as error:
                raise StepFailedError(str(error)) from error

    def _list(self) -> list[FoundContainer]:
        if not self._name:
            return []
        try:
            return self._engine.containers({"phonefarm.agent": self._name})
        except RuntimeFailedError as error:
            self._tell(f"the run containers were not removed: {error}")
            return []


def _links() -> list[Path]:
    """Return the links that `systemctl enable` made for the unit."""
    return list(UNIT.parent.glob(f"*.wants/{UNIT.name}"))


def _removed(path: Path) -> InstallStep:
    return InstallStep(
        text=f"remove {path}",
        needed=lambda: path.exists() or path.is_symlink(),
        do=lambda: steps.remove(path),
    )


def _remove_unit() -> None:
    steps.remove(UNIT)
    _systemctl("daemon-reload")


def _remove_rules() -> None:
    steps.remove(RULES)
    reload_udev()


def _remove_user() -> None:
    steps.command("userdel", USER)
    if steps.group_exists(USER):
        steps.command("groupdel", USER)


def _systemctl(*words: str) -> None:
    steps.command("systemctl", *words)
