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
    """What of the disk of `data` must be free for new work."""
    reserve: int = 64 * MIB
    """Bytes of it that are kept for the end of what runs."""
    keep: RetentionPolicy = field(default_factory=RetentionPolicy)
    """How long evidence and processes are kept."""
    max_wait: timedelta | None = timedelta(hours=24)
    """How long work without a deadline waits, while it could be claimed; None: for ever."""
    golden_every: timedelta | None = None
    """Each phone gets a golden job so often; None: never, nor behind a quarantine."""
    screens: int = 20
    """How many views of screens it relays at a time."""
    limits: Limits | None = None
    """Of the watchdogs; the usual ones times `time_scale` when None."""
    metrics: tuple[str, int] | None = None
    """Where Prometheus is served: (host, port)."""
    tls: tuple[str, int] | None = None
    """Where hosts without a certificate join and operators call from afar: (host, port)."""
    mtls: tuple[str, int] | None = None
    """Where agents and gateways come with their certificates."""
    names: tuple[str, ...] = ()
    """What other hosts call this one; the first stands in invitations."""
    controllers: tuple[str, ...] = ()
    """HOST:PORT of every controller's `mtls`, told to hosts that join or renew."""
    authority: Path | None = None
    """The directory of the farm's authority; `data`/ca when None."""
    evidence: Path | S3Address | None = None
    """The place that all controllers on one database share; `data`/evidence when None."""
    paused: bool = False
    """Pause all work before anything begins, as after a restore."""
    alert_url: str | None = field(default=None, repr=False)
    """Where alerts are sent; None: nowhere."""
    certificate_life: timedelta = timedelta(hours=24)

    @property
    def evidence_backend(self) -> Path | S3Address:
        """Return where evidence is kept."""
        return self.evidence or self.data / "evidence"
