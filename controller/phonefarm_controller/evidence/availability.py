"""Check that the evidence backend is this farm's own: at the start, and while it is used.

Controllers on one database must share the backend: one that had another would list files which it
cannot read. A marker in it names the farm.
"""

import asyncio
import errno
import time
from collections.abc import Callable
from functools import partial
from typing import Final

from phonefarm_common.config import ConfigError
from phonefarm_common.reasons import FarmError, Reason

from phonefarm_controller.alarms import AlarmName, Alarms, Liveness
from phonefarm_controller.concurrency.loop import every
from phonefarm_controller.concurrency.threads import in_thread
from phonefarm_controller.concurrency.uninterrupted import uninterrupted
from phonefarm_controller.evidence.backends.backend import EvidenceBackend
from phonefarm_controller.store import evidence
from phonefarm_controller.store.database import Database


class WrongBackendError(ConfigError):
    """The backend is another farm's, or the controller has no access; the text says what to do."""


class BackendAwayError(Exception):
    """The evidence backend does not answer; the text names the backend."""


@uninterrupted
async def claim_backend(
    database: Database, backend: EvidenceBackend, *, farm_id: str, shared: bool
) -> None:
    """Find or leave the farm's marker in *place*; WrongPlaceError, PlaceAwayError.

    A place without one is taken when it has the farm's newest evidence, or there is none yet; one
    that is not *shared* with other controllers is always taken.
    """
    async with database.reading() as tx:
        newest = await evidence.newest_evidence(tx)
    try:
        await in_thread(partial(_claim, backend, farm_id, newest if shared else None))
    except OSError as error:
        if error.errno in _OURS:
            raise WrongBackendError(f"{backend} cannot be used: {error.strerror}") from error
        raise BackendAwayError(f"{backend} does not answer: {error.strerror}") from error


def check_available(alarms: Alarms) -> None:
    """Raise FarmError `evidence_away` while the place is known not to be as it was at the start.

    Nobody waits then for what does not answer, and nothing is written where a directory was.
    """
    if wrong := alarms.wrong(AlarmName.EVIDENCE_AWAY):
        raise FarmError(Reason.EVIDENCE_AWAY, wrong)


_OURS = frozenset({errno.EACCES, errno.EPERM, errno.ENODEV, errno.ENOTDIR, errno.EROFS})
"""Errors that remain when the call is repeated."""


@uninterrupted
async def why_unavailable(backend: EvidenceBackend, *, farm_id: str) -> str:
    """Return what keeps the place from being used now; empty when nothing does."""
    try:
        # Not behind the calls that hang because of it.
        found = await asyncio.to_thread(backend.marker)
    except OSError as error:
        return f"{backend} does not answer: {error.strerror}"
    if found is None:
        return f"{backend} has lost its marker since the controller started"
    return "" if found == farm_id else _belongs_to(backend, found, farm_id)


def _claim(backend: EvidenceBackend, farm_id: str, newest: str | None) -> None:
    found = backend.marker()
    if found == farm_id:
        return
    if found is not None:
        raise WrongBackendError(
            f"{_belongs_to(backend, found, farm_id)}: start this controller with the --data and "
            "--evidence, or the --farm, that belong to its database"
        )
    if newest is not None and not backend.has(newest):
        raise WrongBackendError(
            f"{backend} contains neither a marker nor this farm's evidence: mount the directory, "
            "or set --evidence to the directory or bucket that all controllers of the farm share; "
            f"if the evidence is lost, create a marker: {backend.marking(farm_id)}"
        )
    backend.mark(farm_id)


def _belongs_to(backend: EvidenceBackend, found: str, farm_id: str) -> str:
    return f"{backend} belongs to the farm {found[:100]!r}, not to {farm_id!r}"


PERIOD_SECONDS: Final = 15.0


async def run_availability_check(
    liveness: Liveness,
    *,
    backend: EvidenceBackend,
    farm_id: str,
    alarms: Alarms,
    period: float,
    monotonic: Callable[[], float] = time.monotonic,
) -> None:
    """Check until cancelled; raise the alarm at once, with the seconds it has lasted."""
    well = monotonic()

    async def check() -> None:
        nonlocal well
        wrong = await why_unavailable(backend, farm_id=farm_id)
        if not wrong:
            well = monotonic()
        alarms.tell(AlarmName.EVIDENCE_AWAY, monotonic() - well if wrong else 0.0, wrong)

    await every(period, "evidence_availability", check, liveness=liveness)
