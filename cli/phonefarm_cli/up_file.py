"""DIR/up.json: how other commands find a running farm; for its owner only."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from phonefarm_common.lifecycle import write_private_json

from phonefarm_cli.errors import CommandError, ExitCode

NAME = "up.json"


@dataclass(frozen=True, kw_only=True)
class UpFilePhone:
    """One phone; `serial` is its adb serial, `account_id` is empty when it has none or several."""

    phone_id: str
    serialno: str
    serial: str
    account_id: str


@dataclass(frozen=True, kw_only=True)
class UpFile:
    """A ready farm. Addresses are HOST:PORT, empty for what it does not have."""

    rest: str
    grpc: str
    adb: str
    api_key: str
    webhook_secret: str
    runtime: str
    phones: tuple[UpFilePhone, ...]
    pids: Mapping[str, int]
    simulator_control: str

    def __repr__(self) -> str:
        """Show no secret."""
        return f"UpFile(rest={self.rest!r}, grpc={self.grpc!r})"


def write_up_file(directory: Path, report: UpFile) -> None:
    """Write up.json whole, readable by its owner only."""
    write_private_json(directory / NAME, asdict(report))


def remove_up_file(directory: Path) -> None:
    """Remove the up.json of an earlier farm."""
    (directory / NAME).unlink(missing_ok=True)


def read_up_file(directory: Path) -> UpFile:
    """Return the up.json in *directory*; CommandError when no farm runs with it."""
    path = directory / NAME
    try:
        facts: dict[str, Any] = json.loads(path.read_text())
        phones = tuple(UpFilePhone(**phone) for phone in facts.pop("phones"))
        return UpFile(**facts, phones=phones)
    except FileNotFoundError as error:
        raise CommandError(
            f"no farm runs with the data folder {directory} (there is no {path}): start a farm "
            "with `phonefarm up`, or give the folder of a running farm with --data"
        ) from error
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise CommandError(f"{path} cannot be used: {error}", ExitCode.MISUSED) from error
