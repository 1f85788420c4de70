"""App profiles: how an app is driven, as data. docs/app-profiles.md describes the format."""

import hashlib
import json
import tomllib
from dataclasses import dataclass


class ProfileError(Exception):
    """A profile cannot be used; the text names it and what is wrong."""


@dataclass(frozen=True, kw_only=True)
class Profile:
    """One version of a profile; `json` is its content with name and version, for the executor."""

    name: str
    version: str  # sha256 of the TOML
    toml: str
    json: str


def read_profile(name: str, toml: str) -> Profile:
    """Return the profile *name* with this content; ProfileError when it cannot be used."""
    try:
        content = tomllib.loads(toml)
    except tomllib.TOMLDecodeError as error:
        raise ProfileError(f"app profile {name}: {error}") from error
    if not isinstance(content.get("package"), str):
        raise ProfileError(f"app profile {name}: needs `package`, the app's package name")
    version = hashlib.sha256(toml.encode()).hexdigest()
    text = json.dumps(content | {"name": name, "version": version}, default=str)
    return Profile(name=name, version=version, toml=toml, json=text)
