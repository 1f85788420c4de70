"""`phonefarm-agent uninstall`: plans the removal of all that the service has made."""

from collections.abc import Callable
from pathlib import Path

from phonefarm_common.service import steps, uninstall
from phonefarm_common.service.paths import read_environment
from phonefarm_common.service.steps import InstallStep, StepFailedError

from phonefarm_agent.host.install import reload_udev
from phonefarm_agent.host.paths import AGENT, RULES
from phonefarm_agent.runtimes.docker_engine import Engine, FoundContainer
from phonefarm_agent.runtimes.interface import RuntimeFailedError


def plan(*, state: Path | None, name: str, tell: Callable[[str], None]) -> list[InstallStep]:
    """Return the steps; *state* is removed too, if given.

    *name* is the agent whose run containers are removed; empty for none.
    """
    runs = _Runs(name, tell)
    ended = InstallStep(
        text=f"stop the run containers of {name}", needed=runs.found, do=runs.remove
    )
    rules = InstallStep(text=f"remove {RULES}", needed=RULES.exists, do=_remove_rules)
    return uninstall.plan(AGENT, state=state, stopped=[ended], files=[rules])


def agent_name() -> str:
    """Return the agent's name in the service's settings; empty when it cannot be read."""
    try:
        return read_environment(AGENT.environment).get("PHONEFARM_AGENT_NAME", "")
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


def _remove_rules() -> None:
    steps.remove(RULES)
    reload_udev()
