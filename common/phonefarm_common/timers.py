"""The timers that programs must agree on, and the order between them."""

from dataclasses import dataclass, fields, replace
from typing import Self


@dataclass(frozen=True, kw_only=True)
class Timers:
    """The timers, in seconds on a monotonic clock; `violations` checks their order."""

    keepalive_agent: float = 1.5  # with its timeout: how soon a frozen controller is left
    keepalive_agent_timeout: float = 2
    keepalive_server: float = 10
    keepalive_server_timeout: float = 10
    heartbeat: float = 10
    desired: float = 5
    start: float = 30  # a claimed run that has not said `run_started` is voided
    suspect: float = 25  # an offer lapses, `agent_unreachable`
    offline: float = 45
    self_fence: float = 60  # counted from the *sending* of the last acknowledged heartbeat
    kill: float = 20
    clean_up: float = 60
    lease_ttl: float = 90
    reap: float = 2  # how often renewal counters are looked at
    loop_beat: float = 2  # how often the owner of a loop shows that it lives
    loop_lapse: float = 8  # after which silence another controller takes the loop
    probe: float = 30  # how often a shell is asked on each phone
    probe_limit: float = 5
    offer_fresh: float = 10  # fit means a shell answer within this
    relist: float = 2
    callback_lease: float = 60  # how long a gateway is lent a delivery
    callback_attempt: float = 30

    def scaled(self, factor: float) -> Self:
        """Return the timers, each multiplied by *factor* (tests use 0.1)."""
        if not 0 < factor <= 1:
            raise ValueError(f"time scale must be above 0 and at most 1, not {factor}")
        return replace(self, **{f.name: getattr(self, f.name) * factor for f in fields(self)})

    def violations(self) -> list[str]:
        """Return every broken order, empty when fencing is safe with these timers."""
        rules = {
            "heartbeat * 2 < suspect": self.heartbeat * 2 < self.suspect,
            "suspect < offline": self.suspect < self.offline,
            "offline < self_fence": self.offline < self.self_fence,
            "self_fence + kill < lease_ttl": self.self_fence + self.kill < self.lease_ttl,
            "desired < start": self.desired < self.start,
            "start < lease_ttl": self.start < self.lease_ttl,
            "keepalive_agent + timeout < suspect": (
                self.keepalive_agent + self.keepalive_agent_timeout < self.suspect
            ),
            "reap * 2 < lease_ttl - self_fence - kill": (
                self.reap * 2 < self.lease_ttl - self.self_fence - self.kill
            ),
            "loop_beat * 3 < loop_lapse": self.loop_beat * 3 < self.loop_lapse,
            "callback_attempt * 1.5 <= callback_lease": (
                self.callback_attempt * 1.5 <= self.callback_lease
            ),
            "probe_limit < offer_fresh": self.probe_limit < self.offer_fresh,
        }
        return [rule for rule, holds in rules.items() if not holds]
