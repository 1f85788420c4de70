"""`phonefarm-gateway install` and `uninstall`: the gateway as a service of systemd."""

import argparse
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from phonefarm_common.certificates import FILE as MEMBER
from phonefarm_common.ids import new_webhook_secret
from phonefarm_common.service import commands, install, uninstall
from phonefarm_common.service.paths import Service, read_environment, this_program
from phonefarm_common.service.steps import InstallStep
from phonefarm_common.service.unit import server_unit

import phonefarm_gateway

GATEWAY: Final = Service(program="gateway")

_INSTALL: Final = f"""\
Install the gateway as a systemd service. The command creates a system user, the state directory,
the file {GATEWAY.environment} (0600) with a new secret that signs callbacks, and the unit. You can
safely repeat the command: it writes only files that differ, and never replaces the settings. If a
farm has several gateways, copy the first gateway's settings to each other host before you install
there. See docs/install.md.
"""
_CONTENT: Final = "certificate"

_ENVIRONMENT: Final = """\
# Settings of phonefarm-gateway on this host; only root may read this file, because it has secrets.
# After a change: systemctl restart phonefarm-gateway.

# The secret that signs callbacks; receivers verify callbacks with it. All gateways of a farm need
# the same secret.
PHONE_FARM_WEBHOOK_SECRET={webhook_secret}
# If this host has joined with `phonefarm-gateway install --join TOKEN`, leave the next two settings
# empty: the certificate contains the addresses. Otherwise set HOST:PORT of the controllers on this
# host, and PHONEFARM_GATEWAY_TOKEN as in their settings. Instead of the token, you can name a file
# with the token; the user phonefarm-gateway must be able to read the file.
PHONEFARM_GATEWAY_CONTROLLER={controller}
{token}
# Further options of phonefarm-gateway: --tls-cert FILE --tls-key FILE for https, and so on.
{options_name}="{options}"
"""


def unit(*, command: str, state: Path) -> str:
    """Return the gateway's unit."""
    return server_unit(
        name=GATEWAY.name,
        description="Phonefarm gateway: REST API for callers, and callbacks to them",
        after="network-online.target phonefarm-controller.service",
        command=f"{command} --state {state}",
        options=GATEWAY.options,
        environment=GATEWAY.environment,
        state=state,
        also_writable=(),
        stop_seconds=60,
    )


def environment(
    *, options: str, webhook_secret: str = "", controller: str = "", token_file: str = ""
) -> str:
    """Return the file with the settings."""
    usual = GATEWAY.environment.with_name("token")
    token = (
        f"PHONEFARM_GATEWAY_TOKEN_FILE={token_file}"
        if token_file
        else f"PHONEFARM_GATEWAY_TOKEN=\n#PHONEFARM_GATEWAY_TOKEN_FILE={usual}"
    )
    return _ENVIRONMENT.format(
        webhook_secret=webhook_secret,
        controller=controller,
        token=token,
        options_name=GATEWAY.options,
        options=options,
    )


def main(arguments: Sequence[str]) -> int:
    """Run the verb that is the first of *arguments*; return its exit code."""
    given = parsers().parse_args(arguments)
    if given.verb == "install":
        return commands.install(GATEWAY, lambda: _plan(given), _missing, given)
    return commands.uninstall(
        GATEWAY, lambda state: uninstall.plan(GATEWAY, state=state), given, content=_CONTENT
    )


def parsers() -> argparse.ArgumentParser:
    """Return the parser of both verbs."""
    parser = argparse.ArgumentParser(prog=GATEWAY.name)
    verbs = parser.add_subparsers(dest="verb", required=True)
    add = commands.add_verb(verbs, "install", _INSTALL)
    commands.add_install_options(add, GATEWAY)
    commands.add_join_option(add, GATEWAY)
    add.add_argument(
        "--name",
        default="",
        metavar="GATEWAY_ID",
        help=(
            "the gateway's name in the farm (default: the name in the invitation, or this host's "
            "name)"
        ),
    )
    add.add_argument(
        "--controller",
        default="",
        metavar="HOST:PORT",
        help="addresses of the controllers on this host, for a new settings file",
    )
    add.add_argument(
        "--token-file",
        default="",
        metavar="FILE",
        help="path of the file with PHONEFARM_GATEWAY_TOKEN, for a new settings file",
    )
    add.add_argument(
        "--options",
        default="--listen 127.0.0.1:8080",
        help=(
            'phonefarm-gateway options, for a new settings file (default: --options="%(default)s")'
        ),
    )
    commands.add_uninstall(verbs, content=_CONTENT)
    return parser


def _plan(given: argparse.Namespace) -> list[InstallStep]:
    invitation, name = commands.read_invitation(given, default_name=socket.gethostname())
    program = this_program(GATEWAY, phonefarm_gateway.__file__)
    state = install.checked_state(GATEWAY, program, given.state)
    for option in ("controller", "token_file", "options"):
        install.check_setting(getattr(given, option), name=f"--{option.replace('_', '-')}")

    def settings() -> str:
        return environment(
            options=given.options,
            webhook_secret=new_webhook_secret(),
            controller=given.controller,
            token_file=given.token_file,
        )

    return [
        *install.user_and_state(GATEWAY, state),
        *install.settings(GATEWAY.environment, settings),
        *install.enabled(GATEWAY, unit(command=program.command, state=state)),
        *([install.joined(GATEWAY, state, invitation, name)] if invitation else []),
        *([install.started(GATEWAY)] if given.now else []),
    ]


def _missing() -> str:
    """Return the settings without which the gateway reaches no controller."""
    state = GATEWAY.installed_state()
    if state is not None and (state / MEMBER).exists():
        return ""
    found = read_environment(GATEWAY.environment)
    missing = [] if found.get("PHONEFARM_GATEWAY_CONTROLLER") else ["PHONEFARM_GATEWAY_CONTROLLER"]
    if not found.get("PHONEFARM_GATEWAY_TOKEN") and not found.get("PHONEFARM_GATEWAY_TOKEN_FILE"):
        missing.append("PHONEFARM_GATEWAY_TOKEN (or run `phonefarm-gateway install --join TOKEN`)")
    return ", ".join(missing)
