"""Tables of recurring work: schedules, and what came of their instants."""

from typing import Final

from sqlalchemy import Boolean, Column, Integer, Table, UniqueConstraint, text

from phonefarm_controller.model.schedules import CatchUp, FiringOutcome, Overlap
from phonefarm_controller.store.schema.types import (
    Instant,
    SafeText,
    metadata,
    one_of,
    partial_index,
)

schedules = Table(
    "schedules",
    metadata,
    Column("schedule_id", SafeText, primary_key=True),
    Column("name", SafeText, nullable=False),
    Column("expression", SafeText, nullable=False),
    Column("zone", SafeText, nullable=False),
    Column("jitter_seconds", Integer, nullable=False),
    Column("catch_up", SafeText, nullable=False),
    Column("overlap", SafeText, nullable=False),
    Column("start_within_seconds", Integer),
    Column("request", SafeText, nullable=False),  # JSON, by model.schedules.request_text
    Column("paused", Boolean, nullable=False),
    Column("handled_until", Instant, nullable=False),
    Column("next_at", Instant),
    Column("due_at", Instant),
    Column("last_process_id", SafeText),
    Column("problem", SafeText, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("created_by", SafeText, nullable=False),
    UniqueConstraint("name"),
    one_of("catch_up", CatchUp),
    one_of("overlap", Overlap),
)
HAS_DUE: Final = text("due_at IS NOT NULL")
partial_index("ix_schedules_due", schedules.c.due_at, where=HAS_DUE)

schedule_firings = Table(
    "schedule_firings",
    metadata,
    Column("schedule_id", SafeText, primary_key=True),
    Column("instant", Instant, primary_key=True),
    Column("at", Instant, nullable=False),
    Column("outcome", SafeText, nullable=False),
    Column("process_id", SafeText),
    Column("reason", SafeText, nullable=False),
    Column("message", SafeText, nullable=False),
    one_of("outcome", FiringOutcome),
)
