"""What a caller requests, as it was read from the wire and not yet checked."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any


class Mode(StrEnum):
    """Whether a person watches the run."""

    MANUAL = "manual"
    UNATTENDED = "unattended"


class Routing(StrEnum):
    """How the phones are chosen."""

    DIRECT = "direct"
    QUEUE = "queue"
    GROUP = "group"


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where the work may run; docs/rest.md describes the fields."""

    routing: Routing
    phone_id: str | None = None
    account_id: str | None = None
    phone_group: str | None = None
    account_group: str | None = None
    phone_ids: tuple[str, ...] = ()
    account_ids: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Submission:
    """One enqueue. `digest` is equal for equal requests."""

    request_id: str
    capability: str
    mode: Mode
    target: Target
    inputs: Mapping[str, Any]
    system: str
    user: str | None
    requested_by_metadata: str
    callback_url: str | None
    callback_metadata: str
    digest: str
    target_json: str
    inputs_json: str
    priority: int = 5
    not_before: datetime | None = None
    deadline: datetime | None = None
    dry_run: bool = False
    caller: str = ""  # the name of the key it came with
    traceparent: str | None = None  # the span in which it came

    @property
    def key(self) -> tuple[str, str, str]:
        """Return what makes a repeat a duplicate."""
        return (self.capability, self.system, self.request_id)


@dataclass(frozen=True, kw_only=True)
class PhoneFact:
    """What the planner needs to know of a phone."""

    phone_id: str
    retired: bool


@dataclass(frozen=True, kw_only=True)
class AccountFact:
    """What the planner needs to know of an account."""

    account_id: str
    phone_id: str | None
    app: str
    active: bool


@dataclass(frozen=True, kw_only=True)
class TargetFacts:
    """The part of the farm that one batch of requests names, and the phones of its accounts."""

    phones: Mapping[str, PhoneFact] = field(default_factory=dict)
    accounts: Mapping[str, AccountFact] = field(default_factory=dict)
    phone_groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    account_groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    apps_in_use: frozenset[str] = frozenset()

    def accounts_on(self, phone_id: str, app: str | None) -> list[AccountFact]:
        """Return the active accounts bound to the phone, of *app* when given."""
        return [
            account
            for account in self.accounts.values()
            if account.phone_id == phone_id and account.active and app in {None, account.app}
        ]
