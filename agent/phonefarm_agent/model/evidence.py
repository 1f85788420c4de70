"""Evidence files that wait for upload, and the manifest of each run."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from phonefarm_agent.model.run import RunRef


@dataclass(frozen=True, kw_only=True)
class EvidenceFile:
    """One stored file; `action_index` is -1 for the run as a whole."""

    ref: RunRef
    name: str
    kind: str
    path: Path
    size: int
    sha256: str
    action_index: int = -1
    truncated: bool = False


@dataclass(frozen=True, kw_only=True)
class ManifestEntry:
    """One file in a run's manifest; `missing` says why the controller does not get it."""

    name: str
    kind: str
    action: int
    size: int = 0
    sha256: str = ""
    truncated: bool = False
    missing: str = ""

    def as_json(self) -> dict[str, object]:
        """Return its entry in the manifest."""
        what: dict[str, object] = {"name": self.name, "kind": self.kind, "action": self.action}
        if self.missing:
            return what | {"missing": self.missing}
        return what | {"bytes": self.size, "sha256": self.sha256, "truncated": self.truncated}


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The manifest of a run: its files by name.

    It is `closed` with the run's ending, after which no file is added, and `delivered` once the
    controller has it, which is after every other file.
    """

    ref: RunRef
    entries: Mapping[str, ManifestEntry] = field(default_factory=dict)
    ending: Mapping[str, object] = field(default_factory=dict)
    closed: bool = False
    delivered: bool = False
