"""App profiles: how an app is driven, as data. docs/app-profiles.md describes the format."""

import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from phonefarm_common.reasons import FarmError, FieldProblem, Reason

from phonefarm_controller.model.items import NO_APP


class ProfileError(Exception):
    """The profile cannot be used; the text names it and the error."""


@dataclass(frozen=True, kw_only=True)
class Profile:
    """One version of a profile; `json` is its content with name and version, for the executor."""

    name: str
    version: str  # sha256 of the TOML
    toml: str
    json: str
    screens: int = 0


NO_PROFILE: Final = Profile(name=NO_APP, version="none", toml="", json="null")
"""The profile of work without an app; the executor then gets no profile."""


def read_profile(name: str, toml: str) -> Profile:
    """Return the profile *name* with this content; ProfileError when it cannot be used."""
    try:
        content = tomllib.loads(toml)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ProfileError(f"app profile {name}: {error}") from error
    if not isinstance(content.get("package"), str):
        raise ProfileError(
            f"app profile {name}: `package`, the name of the app's package, is missing"
        )
    version = hashlib.sha256(toml.encode()).hexdigest()
    try:
        whole = content | {"name": name, "version": version}
        text = json.dumps(whole, default=str, allow_nan=False)
    except (ValueError, RecursionError) as error:  # nan and inf are TOML, and no JSON
        raise ProfileError(f"app profile {name}: {error}") from error
    screens = content.get("screens")
    count = len(screens) if isinstance(screens, dict) else 0
    return Profile(name=name, version=version, toml=toml, json=text, screens=count)


def version_of(profiles: Mapping[str, Profile], app: str) -> str:
    """Return the version of the app's profile, also for NO_APP; FarmError `unknown_app`."""
    return NO_PROFILE.version if app == NO_APP else profile_of(profiles, app).version


def profile_of(profiles: Mapping[str, Profile], app: str) -> Profile:
    """Return the app's profile; FarmError `unknown_app`."""
    profile = profiles.get(app)
    if profile is None:
        known = ", ".join(sorted(profiles))
        problem = FieldProblem(field="inputs.app", message=f"must be one of: {known}")
        message = f"there is no app profile {app!r}; known: {known}"
        raise FarmError(Reason.UNKNOWN_APP, message, detail=app[:64], problems=(problem,))
    return profile
