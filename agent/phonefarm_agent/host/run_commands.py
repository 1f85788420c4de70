"""The verbs `run` and `join` of `phonefarm-agent`."""

import argparse
import asyncio
import faulthandler
import os
import socket
import sqlite3
import sys
from contextlib import suppress
from pathlib import Path

from phonefarm_common import config
from phonefarm_common.certificates import Member, time_left
from phonefarm_common.clock import SystemClock
from phonefarm_common.config import ConfigError
from phonefarm_common.enrollment import NotJoinedError, join
from phonefarm_common.join_tokens import InvitationError, decode_token
from phonefarm_common.lifecycle import stop_signals
from phonefarm_common.logs import configure_logs

from phonefarm_agent.app.agent import run_agent
from phonefarm_agent.app.lifecycle import ExitCode
from phonefarm_agent.app.run_options import add_run_options, read_membership, settings_from
from phonefarm_agent.app.settings import Settings
from phonefarm_agent.app.state_dir import StateBrokenError, StateBusyError
from phonefarm_agent.host.metrics import with_metrics
from phonefarm_agent.host.paths import AGENT
from phonefarm_agent.host.sd_notify import systemd_notifier
from phonefarm_agent.host.systemd import systemd_reporter
from phonefarm_agent.phones.adb.server import AdbStartError
from phonefarm_agent.runs.run_directory import NoRoomError

_RUN_EPILOG = """\
environment:
  PHONEFARM_AGENT_CONTROLLER  default of --controller
  PHONEFARM_AGENT_NAME        default of --name
  PHONEFARM_AGENT_STATE       default of --state
  PHONEFARM_AGENT_TOKEN       authenticates the agent to a controller on loopback, without TLS; an
                              agent without this token uses the certificate from `join`
  PHONEFARM_AGENT_TOKEN_FILE  a file that holds PHONEFARM_AGENT_TOKEN
  PHONEFARM_JOIN_TOKEN(_FILE) joins the farm with this token first, unless --state has a certificate
  PHONEFARM_PRODUCTION        1: the agent refuses runtimes without isolation, and scaled timers
  PHONEFARM_TIME_SCALE        for tests: multiplies every timer; above 0, at most 1
  PHONEFARM_LOG_LEVEL         debug, info (default), warning or error

exit codes:
  0  SIGTERM or SIGINT stopped the agent; runs in containers continue, and the next agent takes them
     back
  1  the agent has a fault, or it could not start because of adb or the disk
  2  a setting is missing or wrong
  4  another agent uses the state directory
  5  superseded: another agent with the same name has taken over for the second time
  6  the controller refused this agent: identity_cloned, agent_too_old or time_scale_differs
"""


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verbs; the chosen one is `arguments.perform(arguments)`, an exit code."""
    _add_run(commands)
    _add_join(commands)


def _add_run(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    run = commands.add_parser(
        "run",
        help="run the agent until a signal stops it",
        description="Run the agent until SIGTERM or SIGINT stops it.",
        epilog=_RUN_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_run_options(run)
    run.set_defaults(perform=_run)


def _add_join(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    add = commands.add_parser(
        "join",
        help="make this host a member of a farm, with a token from `phonefarm agents invite`",
        description=(
            "Create a key, which stays on this host, and exchange the token for a "
            "certificate. A running agent starts to use the new certificate by itself."
        ),
    )
    add.add_argument(
        "token",
        nargs="?",
        metavar="TOKEN",
        help=(
            "the token (env PHONEFARM_JOIN_TOKEN, or PHONEFARM_JOIN_TOKEN_FILE for a "
            "file that holds it)"
        ),
    )
    state = os.environ.get("PHONEFARM_AGENT_STATE") or AGENT.installed_state()
    add.add_argument(
        "--state",
        type=Path,
        default=state,
        required=state is None,
        metavar="DIR",
        help="the agent's state directory (default: the state directory of the installed service)",
    )
    add.add_argument(
        "--name",
        default="",
        metavar="AGENT_ID",
        help=(
            "this agent's name in the farm, if the invitation does not contain a name (default: "
            "this host's name)"
        ),
    )
    add.set_defaults(perform=_join)


def _join(parsed: argparse.Namespace) -> int:
    try:
        token = parsed.token or config.secret("PHONEFARM_JOIN_TOKEN") or ""
        member = _joined(token, parsed.state.absolute(), parsed.name)
    except (ConfigError, NotJoinedError, OSError) as error:
        return _complain(error, ExitCode.FAILED)
    told = time_left(member.facts, SystemClock().now())
    print(f"joined as {member.member_id} at {member.controller}; certificate {told}")
    return 0


def _joined(token: str, state: Path, name: str) -> Member:
    """Join the farm, under this host's name unless another is given."""
    wanted = name
    with suppress(InvitationError):
        wanted = name or ("" if decode_token(token).member_id else socket.gethostname())
    return asyncio.run(join(token, state, role="agent", wanted=wanted))


def _run(parsed: argparse.Namespace) -> int:
    # A watchdog's SIGABRT makes Python say where every thread stood.
    faulthandler.enable()
    configure_logs(program="agent", level=os.environ.get("PHONEFARM_LOG_LEVEL") or "info")
    try:
        _join_first(parsed)
        return asyncio.run(_work(settings_from(parsed)))
    except NotJoinedError as error:
        return _complain(error, ExitCode.FAILED)
    except (ConfigError, NoRoomError, StateBrokenError) as error:
        return _complain(error, ExitCode.MISCONFIGURED)
    except StateBusyError as error:
        return _complain(error, ExitCode.STATE_BUSY)
    except (AdbStartError, sqlite3.Error, OSError) as error:
        return _complain(error, ExitCode.FAILED)


def _join_first(parsed: argparse.Namespace) -> None:
    """Join with PHONEFARM_JOIN_TOKEN, where it is set, unless the state holds a certificate."""
    token = config.secret("PHONEFARM_JOIN_TOKEN")
    if token and read_membership(parsed.state) is None:
        _joined(token, parsed.state.absolute(), parsed.name or "")


async def _work(settings: Settings) -> int:
    async with stop_signals() as stop:
        report_status = with_metrics(systemd_reporter(), settings.metrics)
        return await run_agent(settings, stop, report_status)


def _complain(error: Exception, code: ExitCode) -> int:
    print(f"phonefarm-agent: {error}", file=sys.stderr)
    if (notifier := systemd_notifier()) is not None:
        notifier.status(str(error))
        notifier.close()
    return int(code)
