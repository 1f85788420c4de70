"""The paths of the service on its host, and those that the unit hides from it."""

import re
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

SERVICE = "phonefarm-agent"
USER = "phonefarm-agent"
DEFAULT_STATE = Path("/var/lib/phonefarm-agent")
ENVIRONMENT = Path("/etc/phonefarm-agent/agent.env")
UNIT = Path(f"/etc/systemd/system/{SERVICE}.service")
CHANGES = Path(f"/etc/systemd/system/{SERVICE}.service.d")
"""What `systemctl edit` adds to the unit."""
RULES = Path("/etc/udev/rules.d/60-phonefarm-agent.rules")
READY = Path(f"/run/{SERVICE}/ready.json")
HIDDEN = ("/home", "/root", "/run/user", "/tmp", "/var/tmp")  # noqa: S108 - by ProtectHome=, PrivateTmp=

LONGEST_STATE = 53
"""Bytes: sockets below STATE/runs/RUN must have paths that fit (unix(7), 108 bytes)."""

_STATE_LINE = re.compile(r"^Environment=PHONEFARM_AGENT_STATE=(\S+)$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Program:
    """The command that starts the agent, and every path that it needs."""

    command: str
    paths: tuple[Path, ...]


def this_program() -> Program:
    """Return this program, as the unit is to start it."""
    script = Path(sys.prefix) / "bin" / "phonefarm-agent"
    command = (
        shlex.join([str(script)])
        if script.exists()
        else shlex.join([sys.executable, "-m", "phonefarm_agent"])
    )
    paths = [script if script.exists() else Path(sys.executable)]
    paths += [Path(sys.executable).resolve(), Path(sys.base_prefix), Path(__file__).resolve()]
    return Program(command=command, paths=tuple(paths))


def hidden(path: Path) -> bool:
    """Tell whether the unit hides *path* from the agent."""
    return any(path.is_relative_to(place) for place in HIDDEN)


def installed_state(unit: Path = UNIT) -> Path | None:
    """Return the state directory that the installed unit names; None when there is no unit."""
    try:
        found = _STATE_LINE.search(unit.read_text())
    except FileNotFoundError:
        return None
    return Path(found[1]) if found else None


def read_environment(path: Path = ENVIRONMENT) -> dict[str, str]:
    """Return the settings in an environment file, as systemd reads it (systemd.exec(5)).

    Raises OSError when it cannot be read. Lines are NAME=VALUE; a value may stand in quotes.
    """
    found: dict[str, str] = {}
    for line in path.read_text().splitlines():
        name, equals, value = line.strip().partition("=")
        if not equals or name.startswith(("#", ";")):
            continue
        value = value.strip()
        if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
            value = value[1:-1]
        found[name.strip()] = value
    return found
