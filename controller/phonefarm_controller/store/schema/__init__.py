"""The tables, by subject. States carry CHECKs made from the transition tables."""

from phonefarm_controller.store.schema import access, cluster, delivery, fleet, schedules, work
from phonefarm_controller.store.schema.types import metadata

__all__ = ["access", "cluster", "delivery", "fleet", "metadata", "schedules", "work"]
