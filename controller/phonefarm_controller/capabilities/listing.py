"""List the capabilities: what they take, and with which apps they are verified."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from phonefarm_controller.capabilities.catalog import CAPABILITIES, Capability
from phonefarm_controller.concurrency.uninterrupted import uninterrupted
from phonefarm_controller.model.app_profiles import Profile
from phonefarm_controller.store import verifications
from phonefarm_controller.store.database import Database
from phonefarm_controller.store.verifications import Verification


@dataclass(frozen=True, kw_only=True)
class AppVerification:
    """Whether a capability was live verified with the version of an app profile in use now.

    What follows `live_verified` is None without one.
    """

    app: str
    profile_version: str
    live_verified: bool
    verified_at: datetime | None = None
    verified_by: str | None = None
    run_id: str | None = None
    process_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class CapabilityView:
    """A capability as callers see it."""

    name: str
    description: str
    modes: tuple[str, ...]
    routings: tuple[str, ...]
    endpoint: str
    inputs_schema_json: str
    can_be_verified: bool
    apps: tuple[AppVerification, ...]


class CapabilityList:
    """Lists the capabilities of this farm."""

    def __init__(
        self, *, database: Database, profiles: Mapping[str, Profile], dummy_allowed: bool
    ) -> None:
        self._database = database
        self._profiles = profiles
        self._dummy_allowed = dummy_allowed

    @uninterrupted
    async def capabilities(self) -> list[CapabilityView]:
        """Return every capability, by name."""
        versions = {profile.version for profile in self._profiles.values()}
        async with self._database.reading() as tx:
            recorded = await verifications.of_versions(tx, versions)
        known = {(each.capability, each.profile_version): each for each in recorded}
        return [
            self._view(capability, known)
            for capability in sorted(CAPABILITIES.values(), key=lambda each: each.name)
        ]

    def _view(
        self, capability: Capability, known: Mapping[tuple[str, str], Verification]
    ) -> CapabilityView:
        return CapabilityView(
            name=capability.name,
            description=capability.description,
            modes=tuple(str(mode) for mode in capability.modes),
            routings=tuple(sorted(str(routing) for routing in capability.routings)),
            endpoint=capability.endpoint,
            inputs_schema_json=json.dumps(capability.schema(dummy_allowed=self._dummy_allowed)),
            can_be_verified=capability.can_be_verified,
            apps=tuple(
                _app(profile, known.get((capability.name, profile.version)))
                for _, profile in sorted(self._profiles.items())
                if capability.needs_app
            ),
        )


def _app(profile: Profile, verification: Verification | None) -> AppVerification:
    if verification is None:
        return AppVerification(
            app=profile.name, profile_version=profile.version, live_verified=False
        )
    return AppVerification(
        app=profile.name,
        profile_version=profile.version,
        live_verified=True,
        verified_at=verification.verified_at,
        verified_by=verification.verified_by,
        run_id=verification.run_id,
        process_id=verification.process_id,
    )
