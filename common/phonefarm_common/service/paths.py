"""The paths of a service on its host, and those that its unit hides from it."""

import re
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

HIDDEN: Final = ("/home", "/root", "/run/user", "/tmp", "/var/tmp")  # noqa: S108 - by ProtectHome=, PrivateTmp=

_STATE_LINE: Final = re.compile(r"^RequiresMountsFor=(\S+)$", re.MULTILINE)
_PLAIN: Final = re.compile(r"[A-Za-z0-9/._@:,+=-]+")


@dataclass(frozen=True, kw_only=True)
class Service:
    """One program of the farm as a service: agent, controller or gateway."""

    program: str

    @property
    def name(self) -> str:
        """The name of the service, of its command, and of its system user and group."""
        return f"phonefarm-{self.program}"

    @property
    def default_state(self) -> Path:
        """The state directory, unless an operator chooses another."""
        return Path(f"/var/lib/{self.name}")

    @property
    def environment(self) -> Path:
        """The file with the settings and secrets; its folder is the service's own."""
        return Path(f"/etc/{self.name}/{self.program}.env")

    @property
    def options(self) -> str:
        """The setting in `environment` that holds further options of the program."""
        return f"PHONEFARM_{self.program.upper()}_OPTIONS"

    @property
    def unit(self) -> Path:
        """The unit that `install` writes."""
        return Path(f"/etc/systemd/system/{self.name}.service")

    @property
    def changes(self) -> Path:
        """The folder in which `systemctl edit` puts its changes of the unit."""
        return Path(f"/etc/systemd/system/{self.name}.service.d")

    def installed_state(self) -> Path | None:
        """Return the state directory that the installed unit names; None when there is no unit."""
        try:
            found = _STATE_LINE.search(self.unit.read_text())
        except FileNotFoundError:
            return None
        return Path(found[1]) if found else None


@dataclass(frozen=True, kw_only=True)
class Program:
    """The command that starts a program, and every path that it needs."""

    command: str
    paths: tuple[Path, ...]


def this_program(service: Service, source: str) -> Program:
    """Return this program as the unit is to start it; *source* is the `__file__` of its package."""
    script = Path(sys.prefix) / "bin" / service.name
    if script.exists():
        words = [str(script)]
    else:
        words = [sys.executable, "-m", f"phonefarm_{service.program}"]
    paths = [Path(words[0]), Path(sys.executable).resolve(), Path(sys.base_prefix)]
    return Program(command=shlex.join(words), paths=(*paths, Path(source).resolve()))


def hidden(path: Path) -> bool:
    """Tell whether the unit hides *path* from the program."""
    return any(path.is_relative_to(place) for place in HIDDEN)


def plain(text: str) -> bool:
    """Tell whether *text* means itself in a unit: no space, quote, `%` or `$`."""
    return _PLAIN.fullmatch(text) is not None


def read_environment(path: Path) -> dict[str, str]:
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
