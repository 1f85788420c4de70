"""The farm's name and secrets: from the environment, or made once and kept in the folder."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from phonefarm_common import config
from phonefarm_common.ids import new_id, new_secret, new_webhook_secret
from phonefarm_common.lifecycle import write_private_json

from phonefarm_cli.errors import CommandError, ExitCode

API_KEY: Final = "INGEST_SECRET"
AGENT_TOKEN: Final = "PHONEFARM_AGENT_TOKEN"  # noqa: S105 - a variable's name
GATEWAY_TOKEN: Final = "PHONEFARM_GATEWAY_TOKEN"  # noqa: S105 - a variable's name
WEBHOOK_SECRET: Final = "PHONE_FARM_WEBHOOK_SECRET"  # noqa: S105 - a variable's name
DATABASE: Final = "PHONEFARM_DATABASE"
_NAMES: Final = (API_KEY, AGENT_TOKEN, GATEWAY_TOKEN, WEBHOOK_SECRET)


@dataclass(frozen=True, kw_only=True)
class Secrets:
    """The secrets that the programs of one farm share."""

    farm: str
    values: Mapping[str, str] = field(repr=False)
    given: frozenset[str]

    def __getitem__(self, name: str) -> str:
        return self.values[name]

    def only(self, *names: str) -> dict[str, str]:
        """Return the secrets of one program, as its environment."""
        return {name: self.values[name] for name in names}


def load_secrets(data: Path, environment: Mapping[str, str]) -> Secrets:
    """Return the given or kept secrets; make and keep the rest. CommandError for a broken file."""
    path = data / "secrets.json"
    kept = _read(path)
    # The name labels the farm's containers: two farms on one Docker engine must differ.
    made = {name: new_secret() for name in _NAMES} | {WEBHOOK_SECRET: new_webhook_secret()}
    complete = {"farm": f"farm-{new_id()[:8]}"} | made | kept
    if complete != kept:
        write_private_json(path, complete)
    given = {name: config.secret(name, environment) for name in _NAMES}
    set_now = {name: value for name, value in given.items() if value}
    for name in (API_KEY, AGENT_TOKEN, GATEWAY_TOKEN):
        if not all("!" <= char <= "~" for char in set_now.get(name, "")):
            raise CommandError(
                (
                    f"{name} contains a space or a character that is not ASCII, which HTTP "
                    f"headers do not allow: set another value, or unset {name} and the command "
                    "creates a value"
                ),
                ExitCode.MISUSED,
            )
    return Secrets(farm=complete.pop("farm"), values=complete | set_now, given=frozenset(set_now))


def _read(path: Path) -> dict[str, str]:
    remedy = "remove the file, and the command creates new secrets"
    try:
        kept = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise CommandError(f"{path} cannot be used: {error}; {remedy}", ExitCode.MISUSED) from error
    if isinstance(kept, dict) and all(isinstance(v, str) and v for v in kept.values()):
        return kept
    raise CommandError(f"{path} is not a JSON object of strings; {remedy}", ExitCode.MISUSED)


def without_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without any program's secrets."""
    names = (*_NAMES, DATABASE)
    hidden = {*names, *(f"{name}_FILE" for name in names)}
    return {name: value for name, value in environment.items() if name not in hidden}
