"""The controller's settings; read once, at start."""

from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from phonefarm_common.disk_space import MIB, RequiredFree
from phonefarm_common.timers import Timers

from phonefarm_controller.alarms import Limits
from phonefarm_controller.evidence.backends.s3_address import S3Address
from phonefarm_controller.model.retention import RetentionPolicy


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything a controller needs to know."""

    host: str
    port: int
    database_url: str = field(repr=False)
    data: Path
    farm_id: str
    ingest_secret: str | None
    agent_token: str | None
    gateway_token: str | None
    timers: Timers
    time_scale: float
    production: bool
    ready_file: Path | None
    least_free: RequiredFree = field(default_factory=RequiredFree)
    """The space that must be free on the disk of `data` before new work begins."""
    reserve: int = 64 * MIB
    """Bytes on that disk that are reserved so that running work can end."""
    keep: RetentionPolicy = field(default_factory=RetentionPolicy)
    """How long evidence and processes are kept."""
    max_wait: timedelta | None = timedelta(hours=24)
    """How long claimable work without a deadline may wait; None: without limit."""
    golden_every: timedelta | None = None
    """The time between golden jobs of a phone; None: none, not even after a quarantine."""
    screens: int = 20
    """The most viewers of screens at one time."""
    limits: Limits | None = None
    """The limits of the watchdogs; None: the usual limits times `time_scale`."""
    metrics: tuple[str, int] | None = None
    """The (host, port) on which metrics are served."""
    tls: tuple[str, int] | None = None
    """The (host, port) for hosts without a certificate, and for operators on other hosts."""
    mtls: tuple[str, int] | None = None
    """The (host, port) for agents and gateways that have certificates."""
    names: tuple[str, ...] = ()
    """The names by which other hosts call this one; invitations contain the first."""
    controllers: tuple[str, ...] = ()
    """HOST:PORT of every controller's `mtls`, for hosts that join or renew."""
    authority: Path | None = None
    """The directory of the certificate authority; None: `data`/ca."""
    evidence: Path | S3Address | None = None
    """The evidence backend that all controllers of a database share; None: `data`/evidence."""
    paused: bool = False
    """Pause all work at the start, as after a restore."""
    alert_url: str | None = field(default=None, repr=False)
    """The URL to which alerts are sent; None: nowhere."""
    certificate_life: timedelta = timedelta(hours=24)

    @property
    def evidence_backend(self) -> Path | S3Address:
        """Return where evidence is kept."""
        return self.evidence or self.data / "evidence"
