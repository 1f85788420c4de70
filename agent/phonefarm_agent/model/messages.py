"""The controller's messages as values, and what a session needs to know about the host."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from phonefarm_agent.model.evidence import EvidenceFile
from phonefarm_agent.model.host import HostReport
from phonefarm_agent.model.phone import PhoneReport
from phonefarm_agent.model.records import Record
from phonefarm_agent.model.run import Assignment, Go, HeldRun, RunRef, RunStarted, StopOrder


@dataclass(frozen=True, kw_only=True)
class PhoneName:
    """The controller's id of a phone, or why it refused the phone."""

    serialno: str
    phone_id: str
    refused: str = ""


@dataclass(frozen=True, kw_only=True)
class Welcome:
    """The controller accepts the session, and says which of its runs may continue."""

    term: int
    farm_id: str
    going_on: tuple[RunRef, ...] = ()
    stops: tuple[StopOrder, ...] = ()
    phones: tuple[PhoneName, ...] = ()


@dataclass(frozen=True, kw_only=True)
class PhoneNames:
    """New ids of phones."""

    phones: tuple[PhoneName, ...]


@dataclass(frozen=True, kw_only=True)
class Assignments:
    """New assignments."""

    assignments: tuple[Assignment, ...]


@dataclass(frozen=True, kw_only=True)
class StartVerdicts:
    """The start gate's answers: go or stop."""

    go: tuple[Go, ...] = ()
    stops: tuple[StopOrder, ...] = ()


@dataclass(frozen=True, kw_only=True)
class HeartbeatAck:
    """The heartbeat *number* is committed; the `lost` leases have ended."""

    number: int
    lost: tuple[RunRef, ...] = ()


@dataclass(frozen=True, kw_only=True)
class RecordAck:
    """The controller has committed the run's records up to `sequence`."""

    run_id: str
    epoch: int
    sequence: int


@dataclass(frozen=True, kw_only=True)
class RecordAcks:
    """Acknowledgements of records."""

    acks: tuple[RecordAck, ...]


@dataclass(frozen=True, kw_only=True)
class Stops:
    """Orders to stop runs."""

    stops: tuple[StopOrder, ...]


@dataclass(frozen=True, kw_only=True)
class DesiredState:
    """The desired state of this agent; what it does not name stays as it is."""

    claimed: tuple[Assignment, ...] = ()
    executing: tuple[RunRef, ...] = ()
    stops: tuple[StopOrder, ...] = ()
    screens: tuple[str, ...] = ()  # the tickets of those who wait to see one


@dataclass(frozen=True, kw_only=True)
class Superseded:
    """A newer session of this agent took over."""

    by_incarnation: int


ControllerMessage = (
    Welcome
    | PhoneNames
    | Assignments
    | StartVerdicts
    | HeartbeatAck
    | RecordAcks
    | Stops
    | DesiredState
    | Superseded
)
"""Every message of a controller."""


class Host(Protocol):
    """What a session needs of this host: its phones and runs. No call blocks."""

    def phones(self) -> tuple[PhoneReport, ...]:
        """Return the report of every phone."""
        ...

    def condition(self) -> HostReport:
        """Return the host's incidents, recovery steps and why it withholds its phones."""
        ...

    def offered(self) -> tuple[str, ...]:
        """Return the ro.serialno of each phone fit for work now."""
        ...

    def held(self) -> tuple[HeldRun, ...]:
        """Return every run not yet forgotten."""
        ...

    def live(self) -> tuple[RunRef, ...]:
        """Return the runs whose leases are to be renewed: those not yet released."""
        ...

    def started(self) -> tuple[RunStarted, ...]:
        """Return the runs that wait at the start gate."""
        ...

    def take_records(self, limit: int) -> list[Record]:
        """Return at most *limit* records that were not sent since the last `rewind`."""
        ...

    def rewind(self) -> None:
        """Mark every unacknowledged record to be sent again."""
        ...

    def unacknowledged(self) -> int:
        """Return how many records wait for acknowledgement."""
        ...

    def connected(self, sent_at: float, welcome: Welcome) -> None:
        """Apply the Welcome to the Hello that was sent at *sent_at*."""
        ...

    def renewed(self, sent_at: float, runs: Sequence[RunRef], lost: Sequence[RunRef]) -> None:
        """Apply the answer to the heartbeat that was sent at *sent_at* for *runs*."""
        ...

    def receive(self, message: ControllerMessage) -> None:
        """Apply a message of the controller."""
        ...

    def evidence(self) -> tuple[EvidenceFile, ...]:
        """Return the stored files that wait for upload, oldest first."""
        ...

    def evidence_received(self, file: EvidenceFile, *, missing: str = "") -> None:
        """Remove *file* from the spool; *missing* says why it was never uploaded."""
        ...
