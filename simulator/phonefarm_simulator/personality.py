"""What kind of phone a simulated phone is: its build and the faults it has from the start."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files

from phonefarm_simulator.faults import Fault, FaultSettings

DEFAULT = "pixel-15"
_FOLDER = files("phonefarm_simulator") / "personalities"


@dataclass(frozen=True, kw_only=True)
class Personality:
    """One file of `personalities/`; its faults come back when all others are cleared."""

    name: str
    title: str
    sdk: int
    properties: Mapping[str, str]
    dump_waits: bool
    """Whether `uiautomator dump` takes its time on a screen at rest, as on every real phone."""
    faults: Mapping[Fault, FaultSettings]


def names() -> Sequence[str]:
    """Return the personalities that can be chosen."""
    found = (entry.name for entry in _FOLDER.iterdir())
    return sorted(name.removesuffix(".toml") for name in found if name.endswith(".toml"))


def personality(name: str) -> Personality:
    """Return a personality; ValueError names those there are."""
    if name not in names():
        raise ValueError(f"unknown personality {name}; known: {', '.join(names())}")
    document = tomllib.loads((_FOLDER / f"{name}.toml").read_text())
    return Personality(
        name=name,
        title=document["title"],
        sdk=document["sdk"],
        properties=document["properties"],
        dump_waits=document.get("dump_waits", True),
        faults={
            Fault(fault): FaultSettings(**settings)
            for fault, settings in document.get("faults", {}).items()
        },
    )
