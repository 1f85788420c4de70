"""The controller's settings; read once, at start."""

from dataclasses import dataclass
from pathlib import Path

from phonefarm_common.timers import Timers


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything a controller needs to know."""

    host: str
    port: int
    database_url: str
    data: Path
    farm_id: str
    ingest_secret: str | None
    agent_token: str | None
    gateway_token: str | None
    timers: Timers
    time_scale: float
    production: bool
    ready_file: Path | None
