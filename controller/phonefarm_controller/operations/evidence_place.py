"""Check at the start that the evidence directory is this farm's own.

Controllers on one database must share the directory: one that had another would list files which it
cannot read. A marker in it names the farm.
"""

import asyncio
from pathlib import Path
from typing import Final

from phonefarm_common.config import ConfigError
from phonefarm_common.identity import new_id

from phonefarm_controller.operations.whole import whole
from phonefarm_controller.store import profiles
from phonefarm_controller.store.database import Database

MARKER: Final = ".farm"


class WrongPlaceError(ConfigError):
    """The directory is not this farm's; the text says what to do."""


@whole
async def claim_evidence_place(
    database: Database, directory: Path, *, farm_id: str, shared: bool
) -> None:
    """Find or leave the farm's marker in *directory*; WrongPlaceError, OSError.

    A directory without one is taken when it has the farm's newest evidence, or there is none yet;
    one that is not *shared* with other controllers is always taken.
    """
    async with database.reading() as tx:
        newest = await profiles.newest_evidence(tx)
    await asyncio.to_thread(_claim, directory, farm_id, newest if shared else None)


def _claim(directory: Path, farm_id: str, newest: str | None) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    marker = directory / MARKER
    try:
        found = marker.read_text("utf-8", "replace").strip()
    except FileNotFoundError:
        if newest is not None and not (directory / newest).is_file():
            raise WrongPlaceError(
                f"{directory} has no marker and not the evidence this farm has kept: mount the "
                f"directory that all its controllers share there, or, if the evidence is lost, "
                f"write the farm's name into {marker}: echo {farm_id} > {marker}"
            ) from None
        scratch = directory / f"{MARKER}.{new_id()}"
        scratch.write_text(f"{farm_id}\n")
        scratch.replace(marker)
        return
    if found != farm_id:
        raise WrongPlaceError(
            f"{directory} belongs to the farm {found[:100]!r}, not to {farm_id!r}: give this "
            f"controller the --data, or the --farm, that goes with its database"
        )
