"""Tables of work: processes, items, runs, leases, and what runs leave."""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    Table,
    UniqueConstraint,
    false,
    text,
)

from phonefarm_controller.model.states import ItemState, LeaseState, ProcessState, RunState
from phonefarm_controller.store.schema.types import (
    Instant,
    SafeText,
    all_of,
    metadata,
    one_of,
    partial_index,
)

capability_requests = Table(
    "capability_requests",
    metadata,
    Column("process_id", SafeText, primary_key=True),
    Column("process_type", SafeText, nullable=False),
    Column("request_id", SafeText),
    Column("system", SafeText, nullable=False),
    Column("user", SafeText),
    Column("requested_by_metadata", SafeText, nullable=False),
    Column("mode", SafeText, nullable=False),
    Column("digest", SafeText, nullable=False),
    Column("target", SafeText, nullable=False),
    Column("inputs", SafeText, nullable=False),
    Column("callback_url", SafeText),
    Column("callback_metadata", SafeText, nullable=False),
    # Asked for by an operator to prove the capability; its runs leave evidence at their end.
    Column("verification", Boolean, nullable=False, server_default=false()),
    Column("single_target", Boolean, nullable=False),
    Column("state", SafeText, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("executing_at", Instant),
    Column("retrying_at", Instant),
    Column("cancel_requested_at", Instant),
    Column("cancel_requested_by", SafeText),
    Column("finished_at", Instant),
    Column("sequence", BigInteger, nullable=False, server_default=text("0")),
    Column("traceparent", SafeText),  # the span in which it was requested (W3C Trace Context)
    Column("rerun_of", SafeText),  # the process whose request it repeats, by an operator's word
    UniqueConstraint("process_type", "system", "request_id"),
    one_of("state", ProcessState),
    CheckConstraint(
        "(state IN ('DONE', 'PARTIAL', 'DEAD_LETTER', 'CANCELLED')) = (finished_at IS NOT NULL)",
        name="finished_when_terminal",
    ),
)
Index("uq_requests_rerun_of", capability_requests.c.rerun_of, unique=True)
Index("ix_requests_created", capability_requests.c.created_at, capability_requests.c.process_id)
partial_index(
    "ix_requests_finished",
    capability_requests.c.finished_at,
    capability_requests.c.process_id,
    where=text("finished_at IS NOT NULL"),
)

transitions = Table(  # the timeline: every move of a process and of its items
    "transitions",
    metadata,
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("process_id", SafeText, nullable=False),
    Column("item_id", SafeText),  # None when the process itself moved
    Column("at", Instant, nullable=False),
    Column("from_state", SafeText),  # None when it was made
    Column("to_state", SafeText, nullable=False),
    Column("actor", SafeText, nullable=False),
    Column("reason", SafeText, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("phone_id", SafeText),
    Column("account_id", SafeText),
)
Index("ix_transitions_process", transitions.c.process_id, transitions.c.number)

app_profiles = Table(
    "app_profiles",
    metadata,
    Column("version", SafeText, primary_key=True),  # sha256 of the content
    Column("name", SafeText, nullable=False),
    Column("content", SafeText, nullable=False),  # the TOML, as read
    Column("created_at", Instant, nullable=False),
)

queue_items = Table(
    "queue_items",
    metadata,
    Column("item_id", SafeText, primary_key=True),
    Column(
        "process_id",
        SafeText,
        ForeignKey("capability_requests.process_id"),
        nullable=False,
        index=True,
    ),
    Column("ordinal", Integer, nullable=False),
    Column("capability", SafeText, nullable=False),
    Column("app", SafeText, nullable=False),
    Column("state", SafeText, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("ready_at", Instant, nullable=False),
    # Set once ready_at has passed: claims read the ready items in the order of the queue.
    Column("ready", Boolean, nullable=False, server_default=false()),
    Column("deadline_at", Instant, nullable=False),
    Column("deadline_given", Boolean, nullable=False),
    Column("want_phone_id", SafeText),
    Column("want_account_id", SafeText),
    Column("want_phone_group", SafeText),
    Column("plan", SafeText, nullable=False),
    Column("actions_total", Integer, nullable=False),
    Column("once_actions", SafeText, nullable=False),
    Column("cap_seconds", Float, nullable=False),
    Column("profile_version", SafeText, ForeignKey("app_profiles.version"), nullable=False),
    Column("phone_id", SafeText),
    Column("account_id", SafeText),
    Column("attempt", Integer, nullable=False),
    Column("work_failures", Integer, nullable=False),
    Column("infra_failures", Integer, nullable=False),
    Column("executed", Boolean, nullable=False),
    Column("run_id", SafeText),
    Column("lease_id", SafeText),
    Column("epoch", BigInteger, nullable=False),
    Column("once_started", SafeText),
    Column("once_done", SafeText, nullable=False),
    Column("actions_done", Integer, nullable=False),
    Column("last_phone_id", SafeText),
    Column("failure", SafeText),
    Column("outputs", SafeText),
    Column("cancel", SafeText),
    Column("finished_at", Instant),
    UniqueConstraint("process_id", "ordinal"),
    one_of("state", ItemState),
    CheckConstraint(
        "(state IN ('DONE', 'DEAD_LETTER', 'CANCELLED')) = (finished_at IS NOT NULL)",
        name="finished_when_terminal",
    ),
    CheckConstraint(
        "state NOT IN ('CLAIMED', 'EXECUTING') OR (lease_id IS NOT NULL AND phone_id IS NOT NULL)",
        name="active_is_leased",
    ),
)
# An index of a part is used only by who says the very same words of that part.
CLAIMABLE: Final = text("state IN ('QUEUED', 'SCHEDULED')")
READY: Final = text("ready IS TRUE")
UNREADY: Final = text("ready IS NOT TRUE")
WAITING: Final = text("state IN ('QUEUED', 'SCHEDULED', 'RETRYABLE')")
UNFINISHED: Final = text("finished_at IS NULL")
DEADLINE_GIVEN: Final = text("deadline_given IS TRUE")
DUE: Final = text("state IN ('SCHEDULED', 'RETRYABLE')")
OPEN_PHONE_ONLY: Final = text("capability IN ('hold', 'golden_job') AND finished_at IS NULL")
WITHOUT_APP: Final = text("app = ''")
"""The condition for items without an app (model.items.NO_APP)."""
GOLDEN_JOB: Final = text("capability = 'golden_job'")


_ORDER: Final = (
    queue_items.c.priority.desc(),
    queue_items.c.created_at,
    queue_items.c.ordinal,
    queue_items.c.item_id,
)
partial_index(
    "ix_queue_items_bound_ready",
    queue_items.c.want_phone_id,
    queue_items.c.want_account_id,
    queue_items.c.app,
    *_ORDER,
    where=all_of(CLAIMABLE, READY),
)
partial_index(
    "ix_queue_items_open_ready",
    queue_items.c.app,
    queue_items.c.want_phone_group,
    *_ORDER,
    where=all_of(CLAIMABLE, READY, text("want_phone_id IS NULL")),
)
partial_index(
    "ix_queue_items_without_app_ready",
    queue_items.c.want_phone_id,
    *_ORDER,
    where=all_of(CLAIMABLE, READY, WITHOUT_APP),
)
partial_index("ix_queue_items_unready", queue_items.c.ready_at, where=all_of(CLAIMABLE, UNREADY))
partial_index("ix_queue_items_alone", queue_items.c.want_phone_id, where=OPEN_PHONE_ONLY)
partial_index("ix_queue_items_golden_made", queue_items.c.created_at, where=GOLDEN_JOB)
partial_index("ix_queue_items_deadline", queue_items.c.deadline_at, where=WAITING)
partial_index(
    "ix_queue_items_deadline_given",
    queue_items.c.deadline_at,
    where=all_of(WAITING, DEADLINE_GIVEN),
)
partial_index("ix_queue_items_due", queue_items.c.ready_at, where=DUE)

runs = Table(
    "runs",
    metadata,
    Column("run_id", SafeText, primary_key=True),
    Column("item_id", SafeText, ForeignKey("queue_items.item_id"), nullable=False, index=True),
    Column("attempt", Integer, nullable=False),
    Column("phone_id", SafeText, nullable=False),
    Column("account_id", SafeText, nullable=False),
    Column("agent_id", SafeText, nullable=False),
    Column("lease_id", SafeText, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("state", SafeText, nullable=False),
    Column("container", SafeText),
    Column("snapshot_id", SafeText),  # of the account's runtime snapshot that the run was handed
    Column("snapshot", SafeText),  # its JSON, as it was then
    Column("runtime", SafeText),  # of its agent at the claim; None from release 0.1.0
    Column("last_sequence", BigInteger, nullable=False),
    Column("outcome", SafeText),
    Column("created_at", Instant, nullable=False),
    Column("started_at", Instant),
    Column("ended_at", Instant),
    UniqueConstraint("item_id", "attempt"),
    one_of("state", RunState),
)
STARTED: Final = text("started_at IS NOT NULL")
# What an account has done of late, for its limits.
partial_index("ix_runs_account_started", runs.c.account_id, runs.c.started_at, where=STARTED)

action_results = Table(
    "action_results",
    metadata,
    Column("run_id", SafeText, primary_key=True),
    Column("epoch", BigInteger, primary_key=True),
    Column("sequence", BigInteger, primary_key=True),
    Column("kind", SafeText, nullable=False),
    Column("body", SafeText, nullable=False),
    Column("late", Boolean, nullable=False),  # came when the attempt was no longer the current one
    Column("received_at", Instant, nullable=False),
)

leases = Table(
    "leases",
    metadata,
    Column("lease_id", SafeText, primary_key=True),
    Column("run_id", SafeText, ForeignKey("runs.run_id"), nullable=False, index=True),
    Column("item_id", SafeText, nullable=False),
    Column("process_id", SafeText, nullable=False),
    Column("phone_id", SafeText, nullable=False),
    Column("account_id", SafeText, nullable=False),
    Column("agent_id", SafeText, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("state", SafeText, nullable=False),
    Column("phone_held", Boolean, nullable=False),
    Column("account_held", Boolean, nullable=False),
    Column("renewals", BigInteger, nullable=False),
    Column("cap_at", Instant, nullable=False),  # granted_at + the longest it may be kept
    Column("granted_at", Instant, nullable=False),
    Column("ended_at", Instant),
    Column("reason", SafeText),
    Column("revoked", Boolean, nullable=False, server_default=false()),
    one_of("state", LeaseState),
    CheckConstraint("(state = 'ended') = (NOT phone_held)", name="held_until_ended"),
)
PHONE_HELD: Final = text("phone_held")
ACCOUNT_HELD: Final = text("account_held")
partial_index("uq_leases_phone", leases.c.phone_id, unique=True, where=PHONE_HELD)
partial_index("uq_leases_account", leases.c.account_id, unique=True, where=ACCOUNT_HELD)
partial_index("ix_leases_agent", leases.c.agent_id, where=PHONE_HELD)

verifications = Table(
    "verifications",
    metadata,
    Column("capability", SafeText, primary_key=True),
    Column("profile_version", SafeText, primary_key=True),
    Column("run_id", SafeText, ForeignKey("runs.run_id"), nullable=False),
    Column("verified_by", SafeText, nullable=False),
    Column("verified_at", Instant, nullable=False),
)

contents = Table(  # what was ingested: the key that makes a repeat a duplicate
    "contents",
    metadata,
    Column("account_id", SafeText, primary_key=True),
    Column("content_id", SafeText, primary_key=True),
    Column(
        "process_id",
        SafeText,
        ForeignKey("capability_requests.process_id"),
        nullable=False,
        index=True,
    ),
    Column("item_id", SafeText, ForeignKey("queue_items.item_id"), nullable=False, index=True),
)

evidence = Table(
    "evidence",
    metadata,
    Column("evidence_id", SafeText, primary_key=True),
    Column("run_id", SafeText, nullable=False, index=True),
    Column("process_id", SafeText, nullable=False, index=True),
    Column("name", SafeText, nullable=False),
    Column("kind", SafeText, nullable=False),
    Column("path", SafeText, nullable=False),  # below the evidence directory; empty: it is gone
    Column("bytes", BigInteger, nullable=False),
    Column("sha256", SafeText, nullable=False),
    Column("truncated", Boolean, nullable=False),
    Column("action_index", Integer, nullable=False),
    Column("received_at", Instant, nullable=False),
    Column("removed_at", Instant),  # by retention; the file goes behind the commit
    Column("removed_why", SafeText),
    UniqueConstraint("run_id", "name"),
)
partial_index(
    "ix_evidence_kept",
    evidence.c.received_at,
    evidence.c.evidence_id,
    where=text("removed_at IS NULL"),
)
partial_index(
    "ix_evidence_leftover",
    evidence.c.removed_at,
    evidence.c.evidence_id,
    where=text("removed_at IS NOT NULL AND path <> ''"),
)
