"""The settings of an agent."""

from dataclasses import dataclass, field
from pathlib import Path

from phonefarm_common.address_policy import Network
from phonefarm_common.disk_space import RequiredFree
from phonefarm_common.timers import Timers

from phonefarm_agent.assets.store import AssetLimits
from phonefarm_agent.judge.judge import JudgeSettings
from phonefarm_agent.model.screen import ScreensPolicy
from phonefarm_agent.phones.limits import PhoneLimits


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of one agent; read once at the start (`run_options`)."""

    controllers: tuple[str, ...]  # HOST:PORT; empty: those that a host which joined was told of
    token: str
    agent_id: str
    state: Path
    runtime: str  # auto, docker, process or dummy
    image: str
    connect: tuple[str, ...]  # addresses of network phones
    adb_port: int  # 0: any
    dummy_phones: int  # above 0: no adb at all
    ready_file: Path | None
    stop_runs_on_exit: bool
    production: bool
    time_scale: float
    timers: Timers
    joined: bool = False
    """True if the state directory has a certificate; the agent then uses TLS."""
    screens: ScreensPolicy = ScreensPolicy.ALWAYS
    """When people may see the screens of this host's phones."""
    warm: int = 0  # so many containers are made ahead of their runs
    metrics: tuple[str, int] | None = None  # where Prometheus may ask; None: nowhere
    asset_networks: tuple[Network, ...] = ()  # beyond the public internet
    judge: JudgeSettings = field(default_factory=JudgeSettings)
    asset_limits: AssetLimits = field(default_factory=AssetLimits)
    phone_limits: PhoneLimits = field(default_factory=PhoneLimits)
    least_free: RequiredFree = field(default_factory=RequiredFree)
    """The space that must be free on the state's disk before new work begins."""
    reserve: int = 0  # bytes kept there for the end of what runs; 0: none
