"""The host's incidents and recovery steps."""

import json
import uuid
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from enum import StrEnum

import structlog
from phonefarm_common.clock import Clock

log = structlog.get_logger()

INCIDENTS_KEPT = 20
STEPS_KEPT = 100


class IncidentKind(StrEnum):
    """The kinds of host incidents."""

    ADB_DOWN = "adb_down"
    RUNTIME_DOWN = "runtime_down"
    STORAGE_FULL = "storage_full"
    PHONES_LOST = "phones_lost"


@dataclass(frozen=True, kw_only=True)
class HostIncident:
    """A problem of the host as a whole, for which none of its phones is to blame."""

    incident_id: str
    kind: IncidentKind
    error: str
    began_at: datetime
    ended_at: datetime | None = None  # None while it lasts
    serialnos: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class RecoveryStep:
    """A recovery step taken for a free phone; numbered from the agent's start."""

    number: int
    serialno: str
    adb_serial: str
    step: str
    reason: str
    outcome: str
    at: datetime


@dataclass(frozen=True, kw_only=True)
class HostReport:
    """The host's report; `withheld` says why it offers no phone, empty when it does."""

    withheld: str = ""
    incidents: tuple[HostIncident, ...] = ()
    recovery: tuple[RecoveryStep, ...] = ()


class Incidents:
    """The host's open and latest closed incidents; at most one of a kind is open."""

    def __init__(
        self,
        *,
        clock: Clock,
        kept: str,
        keep: Callable[[str], None],
        changed: Callable[[], None],
    ) -> None:
        """Load *kept*, which the previous process gave to *keep*; empty if there was none.

        *changed* is called after every change.
        """
        self._clock = clock
        self._keep = keep
        self._changed = changed
        self._all = list(_decode(kept)) if kept else []

    def update(self, kind: IncidentKind, error: str, serialnos: Iterable[str] = ()) -> None:
        """Open the incident of *kind*, or close it if *error* is empty; may be repeated."""
        lasting = self.lasting(kind)
        named = tuple(sorted(serialnos))
        if lasting is None and error:
            log.error("host.incident_began", kind=kind.value, error=error, serialnos=named)
            self._all.append(
                HostIncident(
                    incident_id=str(uuid.uuid4()),
                    kind=kind,
                    error=error[:500],
                    began_at=self._clock.now(),
                    serialnos=named,
                )
            )
        elif lasting is not None and not error:
            log.info("host.incident_ended", kind=kind.value, incident_id=lasting.incident_id)
            self._replace(lasting, replace(lasting, ended_at=self._clock.now()))
        elif lasting is not None and lasting.serialnos != named:
            self._replace(lasting, replace(lasting, serialnos=named))
        else:
            return
        self._trim()
        self._keep(json.dumps([_encode(one) for one in self._all]))
        self._changed()

    def lasting(self, kind: IncidentKind) -> HostIncident | None:
        """Return the open incident of *kind*, if there is one."""
        for incident in self._all:
            if incident.kind is kind and incident.ended_at is None:
                return incident
        return None

    def all(self) -> tuple[HostIncident, ...]:
        """Return the open incidents and the latest closed ones, the newest last."""
        return tuple(self._all)

    def _replace(self, old: HostIncident, new: HostIncident) -> None:
        self._all[self._all.index(old)] = new

    def _trim(self) -> None:
        ended = [one for one in self._all if one.ended_at is not None]
        for incident in ended[: max(0, len(self._all) - INCIDENTS_KEPT)]:
            self._all.remove(incident)


def _encode(incident: HostIncident) -> dict[str, object]:
    ended = incident.ended_at.isoformat() if incident.ended_at else None
    return asdict(incident) | {"began_at": incident.began_at.isoformat(), "ended_at": ended}


def _decode(text: str) -> Iterable[HostIncident]:
    for fields in json.loads(text):
        yield HostIncident(
            incident_id=fields["incident_id"],
            kind=IncidentKind(fields["kind"]),
            error=fields["error"],
            began_at=datetime.fromisoformat(fields["began_at"]),
            ended_at=datetime.fromisoformat(fields["ended_at"]) if fields["ended_at"] else None,
            serialnos=tuple(fields["serialnos"]),
        )
