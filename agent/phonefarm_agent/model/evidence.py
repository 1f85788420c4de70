"""A file of a run on its way to the controller."""

from dataclasses import dataclass
from pathlib import Path

from phonefarm_agent.model.run import RunRef

KINDS = frozenset({"screenshot", "ui_dump", "logcat", "log", "manifest"})


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
