"""The post of a run: the files that it fetched, their places, and the posts before it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from phonefarm_executor.control_client import Control
from phonefarm_executor.deadlines import Pace
from phonefarm_executor.failures import Code, FailedError
from phonefarm_executor.signals import Signals

ANSWER_MARGIN_SECONDS = 1.0
LOOK_SECONDS = 0.5


@dataclass(frozen=True, kw_only=True)
class Asset:
    """A file in the run directory, as the agent described it."""

    path: Path
    size: int
    sha256: str
    content_type: str

    @property
    def folder(self) -> str:
        """Return MediaStore's collection for it."""
        return "images" if self.content_type.startswith("image/") else "video"


@dataclass(frozen=True, kw_only=True)
class Wall:
    """The account's posts as its profile shows them: the newest first, and how many in all."""

    captions: tuple[str, ...]
    count: int | None


@dataclass(kw_only=True)
class Draft:
    """The state of the post during one run."""

    directory: Path
    media_folder: str
    control: Control
    signals: Signals
    pace: Pace
    assets: dict[str, Asset] = field(default_factory=dict)
    pushed: dict[str, str] = field(default_factory=dict)
    before: Wall | None = None  # what stood there when the composer was opened
    tapped: bool = False  # the post button was touched in this run

    def fetch(self, name: str, kind: str) -> Asset:
        """Have the agent fetch an asset and return it; its own failure code when it cannot."""
        self.control.ask_for(name)
        while (answer := self.signals.asset(name)) is None:
            self.pace.check()
            if self.pace.remaining() < ANSWER_MARGIN_SECONDS:
                message = f"the {kind} {name} did not arrive within the action's time limit"
                raise FailedError(Code.ASSET_UNREACHABLE, message)
            self.signals.wait(
                lambda: self.signals.asset(name) is not None or bool(self.signals.stop_reason),
                LOOK_SECONDS,
            )
        self.assets[name] = asset = self._read(name, answer)
        return asset

    def asset(self, name: str) -> Asset:
        """Return an asset this run has fetched; `plan_invalid` when it has not."""
        found = self.assets.get(name)
        if found is None:
            raise FailedError(Code.PLAN_INVALID, f"{name} has not been fetched")
        return found

    def place_of(self, name: str) -> str:
        """Return where an asset is put on the phone."""
        if not self.media_folder:
            raise FailedError(Code.PLAN_INVALID, "the plan names no media_folder")
        return f"{self.media_folder}/{self.asset(name).path.name}"

    def _read(self, name: str, answer: Mapping[str, Any]) -> Asset:
        match answer:
            case {"failure": {"code": str(code), "message": str(message)}}:
                known = Code(code) if code in set(Code) else Code.ASSET_UNREACHABLE
                raise FailedError(known, message)
            case {
                "path": str(path),
                "bytes": int(size),
                "sha256": str(sha256),
                "content_type": str(content_type),
            } if ".." not in path and not path.startswith("/"):
                return Asset(
                    path=self.directory / path,
                    size=size,
                    sha256=sha256,
                    content_type=content_type,
                )
            case _:
                message = f"the agent's answer about {name} cannot be read"
                raise FailedError(Code.RUN_CRASHED, message)
