"""`phonefarm-controller install` and `uninstall`: the controller as a service of systemd."""

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from phonefarm_common.config import ConfigError
from phonefarm_common.ids import new_secret
from phonefarm_common.service import commands, install, uninstall
from phonefarm_common.service.paths import Service, read_environment, this_program
from phonefarm_common.service.steps import InstallStep
from phonefarm_common.service.unit import server_unit

import phonefarm_controller

CONTROLLER: Final = Service(program="controller")

_INSTALL: Final = f"""\
Install the controller as a systemd service. The command creates a system user, the state directory,
the file {CONTROLLER.environment} (0600) with new secrets, and the unit. You can safely repeat the
command: it writes only files that differ, and never replaces the settings. If several controllers
share one database, copy the first controller's settings to each other host before you install
there. See docs/install.md.
"""
_CONTENT: Final = "SQLite database, evidence and certificate authority"
_FOLDERS: Final = ("--ca", "--evidence")
_FOR_OTHER_HOSTS: Final = "--tls-listen 0.0.0.0:7071 --mtls-listen 0.0.0.0:7072"

_ENVIRONMENT: Final = """\
# Settings of phonefarm-controller on this host; only root may read this file, because it has
# secrets. After a change: phonefarm-controller install, then systemctl restart
# phonefarm-controller. Controllers that share one database need the same secrets.

# A key with every scope, for creating the first API key. Give it to nobody.
INGEST_SECRET={ingest_secret}
# With these, agents and gateways on this host can work without a certificate.
PHONEFARM_AGENT_TOKEN={agent_token}
PHONEFARM_GATEWAY_TOKEN={gateway_token}
# The database; without this setting, a SQLite file in the state directory:
#PHONEFARM_DATABASE=postgresql://farm:PASSWORD@db/farm
# Where the farm sends its alerts (docs/monitoring.md); without this setting, it sends none:
#PHONEFARM_ALERT_URL=
# The credentials, if the evidence is in a bucket (--evidence s3://...):
#AWS_ACCESS_KEY_ID=
#AWS_SECRET_ACCESS_KEY=
# Further options of phonefarm-controller. For other hosts, which call this host NAME:
#   {others} --name NAME
# For several controllers, which share the directories (docs/several.md):
#   --controllers c1:7072,c2:7072 --ca DIR --evidence DIR
{options_name}="{options}"
"""


def unit(*, command: str, state: Path, also_writable: tuple[Path, ...] = ()) -> str:
    """Return the controller's unit."""
    return server_unit(
        name=CONTROLLER.name,
        description="Phonefarm controller: owns the farm's processes and queue",
        after="network-online.target postgresql.service",
        command=f"{command} --data {state}",
        options=CONTROLLER.options,
        environment=CONTROLLER.environment,
        state=state,
        also_writable=also_writable,
        stop_seconds=30,
    )


def environment(
    *, options: str, ingest_secret: str = "", agent_token: str = "", gateway_token: str = ""
) -> str:
    """Return the file with the settings."""
    return _ENVIRONMENT.format(
        ingest_secret=ingest_secret,
        agent_token=agent_token,
        gateway_token=gateway_token,
        others=_FOR_OTHER_HOSTS,
        options_name=CONTROLLER.options,
        options=options,
    )


def shared_folders(options: str) -> tuple[Path, ...]:
    """Return the directories outside the state that *options* of the controller name.

    Raises ConfigError if one is not an absolute path that a unit can name.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for option in _FOLDERS:
        parser.add_argument(option, default="")
    try:
        given, _ = parser.parse_known_args(shlex.split(options))
    except ValueError as error:
        raise ConfigError(f"{CONTROLLER.options}: {error}") from error
    named = [(option, getattr(given, option.removeprefix("--"))) for option in _FOLDERS]
    return tuple(
        install.checked_folder(Path(text), name=option)
        for option, text in named
        if text and "://" not in text
    )


def main(arguments: Sequence[str]) -> int:
    """Run the verb that is the first of *arguments*; return its exit code."""
    parser = parsers()
    given = parser.parse_args(arguments)
    if given.verb == "install":
        return commands.install(CONTROLLER, lambda: _plan(given), _missing, given)
    return commands.uninstall(
        CONTROLLER,
        lambda state: uninstall.plan(CONTROLLER, state=state),
        given,
        content=_CONTENT,
    )


def parsers() -> argparse.ArgumentParser:
    """Return the parser of both verbs."""
    parser = argparse.ArgumentParser(prog=CONTROLLER.name)
    verbs = parser.add_subparsers(dest="verb", required=True)
    add = commands.add_verb(verbs, "install", _INSTALL)
    commands.add_install_options(add, CONTROLLER)
    add.add_argument(
        "--name",
        default="",
        metavar="NAME",
        help=(
            "name or address at which other hosts reach this host, for a new settings file; the "
            "controller then listens for these hosts on the ports 7071 and 7072"
        ),
    )
    add.add_argument(
        "--options",
        default="",
        help=(
            "further phonefarm-controller options, for a new settings file, e.g. "
            '--options="--golden-every 24h"'
        ),
    )
    commands.add_uninstall(verbs, content=_CONTENT)
    return parser


def _plan(given: argparse.Namespace) -> list[InstallStep]:
    program = this_program(CONTROLLER, phonefarm_controller.__file__)
    state = install.checked_state(CONTROLLER, program, given.state)
    options = " ".join(
        [*([f"{_FOR_OTHER_HOSTS} --name {given.name}"] if given.name else []), given.options]
    ).strip()
    install.check_setting(given.name, name="--name")
    install.check_setting(options, name="--options")
    kept = read_environment(CONTROLLER.environment) if CONTROLLER.environment.exists() else {}
    folders = shared_folders(kept.get(CONTROLLER.options, options))

    def settings() -> str:
        return environment(
            options=options,
            ingest_secret=new_secret(),
            agent_token=new_secret(),
            gateway_token=new_secret(),
        )

    return [
        *install.user_and_state(CONTROLLER, state),
        *install.settings(CONTROLLER.environment, settings),
        *install.enabled(
            CONTROLLER, unit(command=program.command, state=state, also_writable=folders)
        ),
        *([install.started(CONTROLLER)] if given.now else []),
    ]


def _missing() -> str:
    """Return the settings without which nobody can call the controller."""
    found = read_environment(CONTROLLER.environment)
    given = found.get("INGEST_SECRET") or found.get("INGEST_SECRET_FILE")
    return "" if given else "INGEST_SECRET"
