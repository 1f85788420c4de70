"""What the verbs `install` and `uninstall` of all programs share: options, questions, exit codes.

Exit codes: 0 done, 1 a step failed, 2 the request is wrong.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from phonefarm_common import config, lifecycle
from phonefarm_common.config import ConfigError
from phonefarm_common.ids import is_name
from phonefarm_common.join_tokens import InvitationError, decode_token
from phonefarm_common.service import steps
from phonefarm_common.service.install import CannotInstallError
from phonefarm_common.service.paths import Service
from phonefarm_common.service.steps import InstallStep, StepFailedError

EXIT_CODES = """\
exit codes:
  0  done, or nothing to do
  1  a step failed; the steps before it are done, and you can safely repeat the command
  2  the request is wrong; nothing was changed
"""

_UNINSTALL: Final = """\
Stop the service and remove everything that `install` created: the unit, the settings with their
secrets, and the user. With --remove-state, also remove the state directory.
"""

Plan = Callable[[], Sequence[InstallStep]]


def add_verb(
    verbs: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, description: str
) -> argparse.ArgumentParser:
    """Add `install` or `uninstall`, with its exit codes; return its parser."""
    return verbs.add_parser(
        name,
        help=f"{name} the service on this host",
        description=description,
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_install_options(parser: argparse.ArgumentParser, service: Service) -> None:
    """Add the options of `install` that every service has."""
    parser.add_argument(
        "--dry-run", action="store_true", help="only print what the command would do"
    )
    parser.add_argument("--now", action="store_true", help="also start the service")
    parser.add_argument(
        "--state",
        type=Path,
        default=service.default_state,
        metavar="DIR",
        help=f"the {service.program}'s state directory (default: %(default)s)",
    )


def add_join_option(parser: argparse.ArgumentParser, service: Service) -> None:
    """Add `--join`, for the services that are members of a farm."""
    gateway = service.program == "gateway"
    invite = "`phonefarm gateways invite`" if gateway else "`phonefarm agents invite`"
    parser.add_argument(
        "--join",
        default="",
        metavar="TOKEN",
        help=(
            f"also join the farm, with a token from {invite}; ignored if "
            "the state directory has a certificate (env PHONEFARM_JOIN_TOKEN, or "
            "PHONEFARM_JOIN_TOKEN_FILE for a file that holds the token)"
        ),
    )


def read_invitation(given: argparse.Namespace, *, default_name: str) -> tuple[str, str]:
    """Return the invitation, empty without one, and the member's name; ConfigError."""
    token = given.join or config.secret("PHONEFARM_JOIN_TOKEN") or ""
    try:
        invited = decode_token(token).member_id if token else ""
    except InvitationError as error:
        raise ConfigError(f"--join: {error}") from error
    name = given.name or invited or default_name
    if not is_name(name):
        raise ConfigError(
            f"--name must be 1 to 128 characters from A-Z a-z 0-9 . _ : -, not {name!r}"
        )
    if invited not in {"", name}:
        raise ConfigError(f"--name is {name!r}, but the invitation is for {invited!r}: omit --name")
    return token, name


def install(
    service: Service, plan: Plan, missing: Callable[[], str], given: argparse.Namespace
) -> int:
    """Do the steps of *plan* and print what comes next; return the exit code.

    *missing* names the settings that an operator has yet to give, empty for none.
    """
    if not given.dry_run and (refusal := _not_root(service, "install")):
        return refusal
    try:
        done = steps.perform(plan(), dry_run=given.dry_run, tell=print)
    except (CannotInstallError, ConfigError) as error:
        return complain(service, str(error), 2)
    except StepFailedError as error:
        return complain(service, str(error), 1)
    if not done:
        print("nothing to do: the service is already installed correctly")
    if given.dry_run:
        return 0
    if settings := missing():
        print(f"next: set {settings} in {service.environment}")
        print(f"then: run systemctl start {service.name}")
    elif not given.now:
        print(f"next: run systemctl restart {service.name}")
    return 0


def add_uninstall(
    verbs: "argparse._SubParsersAction[argparse.ArgumentParser]",
    *,
    content: str,
    description: str = _UNINSTALL,
) -> argparse.ArgumentParser:
    """Add `uninstall`; *content* says what the state directory holds."""
    parser = add_verb(verbs, "uninstall", description)
    parser.add_argument(
        "--dry-run", action="store_true", help="only print what the command would do"
    )
    kept = parser.add_mutually_exclusive_group()
    kept.add_argument("--keep-state", action="store_true", help="keep the state directory")
    kept.add_argument(
        "--remove-state",
        action="store_true",
        help=f"remove the state directory with its {content}",
    )
    return parser


def uninstall(
    service: Service,
    plan: Callable[[Path | None], Sequence[InstallStep]],
    given: argparse.Namespace,
    *,
    content: str,
) -> int:
    """Do the steps of *plan*, which takes the state directory to remove; return the exit code."""
    if not given.dry_run and (refusal := _not_root(service, "uninstall")):
        return refusal
    state = service.installed_state() or service.default_state
    keep = given.keep_state or not state.exists()
    if not keep and not given.remove_state and not given.dry_run:
        if not sys.stdin.isatty():
            return complain(service, f"give --keep-state or --remove-state: {state} exists", 2)
        keep = input(f"remove {state} with its {content}? [y/N] ") not in {"y", "yes"}
    try:
        done = steps.perform(plan(None if keep else state), dry_run=given.dry_run, tell=print)
    except StepFailedError as error:
        return complain(service, str(error), 1)
    if not done:
        print("nothing to do: the service is not installed")
    if keep and state.exists():
        print(f"kept: {state}")
    return 0


def complain(service: Service, text: str, code: int) -> int:
    """Print the error; return *code*."""
    lifecycle.complain(service.name, text)
    return code


def _not_root(service: Service, verb: str) -> int:
    if os.geteuid() == 0:
        return 0
    return complain(service, f"{verb} needs root: sudo {service.name} {verb} (or --dry-run)", 2)
