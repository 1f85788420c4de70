"""Contexts: the farms that an operator works with, by name, in a file of the operator's own."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from phonefarm_common.lifecycle import write_private_json

from phonefarm_cli.errors import CommandError, ExitCode

FILE_VARIABLE: Final = "PHONEFARM_CONTEXTS"
CONTEXT_VARIABLE: Final = "PHONEFARM_CONTEXT"


@dataclass(frozen=True, kw_only=True)
class Context:
    """One farm: its controllers, a key, and what is not needed for every command."""

    grpc: str
    key: str = field(repr=False)
    ca: str = ""
    rest: str = ""


@dataclass(frozen=True, kw_only=True)
class Contexts:
    """The contexts by name; `current` is the one that commands use, or ''."""

    current: str
    known: Mapping[str, Context]

    def __getitem__(self, name: str) -> Context:
        """Return the context; CommandError names the others."""
        if name not in self.known:
            names = ", ".join(self.known) or "none"
            message = f"there is no context {name} in {contexts_file()}; known: {names}"
            raise CommandError(message, ExitCode.MISUSED)
        return self.known[name]


def contexts_file(environment: Mapping[str, str] = os.environ) -> Path:
    """Return the file: PHONEFARM_CONTEXTS, or phonefarm/contexts.json in XDG_CONFIG_HOME.

    https://specifications.freedesktop.org/basedir-spec/latest/
    """
    if given := environment.get(FILE_VARIABLE):
        return Path(given)
    home = environment.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(home) / "phonefarm" / "contexts.json"


def read_contexts() -> Contexts:
    """Return the contexts of the file, none when there is no file; CommandError for a wrong one."""
    path = contexts_file()
    try:
        facts = json.loads(path.read_text())
        known = {str(name): Context(**values) for name, values in facts["contexts"].items()}
        return Contexts(current=str(facts["current"]), known=known)
    except FileNotFoundError:
        return Contexts(current="", known={})
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise CommandError(f"{path} cannot be used: {error}", ExitCode.MISUSED) from error


def write_contexts(contexts: Contexts) -> None:
    """Write the file whole, readable by its owner only: it has keys."""
    path = contexts_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    known = {name: asdict(context) for name, context in contexts.known.items()}
    write_private_json(path, {"current": contexts.current, "contexts": known})
