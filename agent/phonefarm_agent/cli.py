"""`phonefarm-agent`: the daemon on a phone host, and the image its runs live in."""

import argparse
import asyncio
import faulthandler
import os
import shlex
import socket
import sqlite3
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from phonefarm_common import config
from phonefarm_common.address_policy import Network, network
from phonefarm_common.certificates import Member, MemberBrokenError, read_member, time_left
from phonefarm_common.channel import is_loopback
from phonefarm_common.clock import SystemClock
from phonefarm_common.config import ConfigError
from phonefarm_common.endpoints import controllers_of
from phonefarm_common.enrollment import NotJoinedError, join
from phonefarm_common.ids import is_name
from phonefarm_common.join_tokens import InvitationError, invitation_of
from phonefarm_common.lifecycle import stop_signals
from phonefarm_common.logs import configure_logs

from phonefarm_agent.app.agent import run_agent
from phonefarm_agent.app.lifecycle import ExitCode
from phonefarm_agent.app.settings import Settings
from phonefarm_agent.app.state_dir import StateBrokenError, StateBusyError
from phonefarm_agent.assets.store import ASSET_BYTES, CACHE_BYTES, Limits
from phonefarm_agent.host import paths
from phonefarm_agent.host.commands import add_host_commands
from phonefarm_agent.host.metrics import measured
from phonefarm_agent.host.sd_notify import take_notifier
from phonefarm_agent.host.systemd import supervision
from phonefarm_agent.phones.adb.server import AdbStartError
from phonefarm_agent.phones.limits import PhoneLimits
from phonefarm_agent.runs.run_directory import NoRoomError
from phonefarm_agent.runtimes import image

MIB = 1024 * 1024
WARM = 2
MOST_WARM = 64
RESERVE_BYTES = 32 * MIB
"""Kept on the disk for journal and evidence of what runs when it fills up."""

_ABOUT = """\
The daemon on each phone host. It owns an adb server, tells the controller which phones are fit
now, and runs what the controller assigns to them, each run in a container of its own.
"""

_EPILOG = """\
example:
  phonefarm-agent image build
  phonefarm-agent join TOKEN --state /var/lib/phonefarm-agent
  phonefarm-agent run --state /var/lib/phonefarm-agent --connect 10.0.0.21:5555
  phonefarm-agent run --controller 10.0.0.1:7072,10.0.0.2:7072    several of one farm
"""

_RUN_EPILOG = """\
environment:
  PHONEFARM_AGENT_CONTROLLER  as --controller
  PHONEFARM_AGENT_NAME        as --name
  PHONEFARM_AGENT_STATE       as --state
  PHONEFARM_AGENT_TOKEN       what proves who calls to a controller on loopback, without TLS; an
                              agent without it shows the certificate it has joined with
  PHONEFARM_AGENT_TOKEN_FILE  a file that holds it, instead
  PHONEFARM_JOIN_TOKEN(_FILE) joins with it first, unless the state holds a certificate
  PHONEFARM_PRODUCTION        1: no runtime without isolation, no scaled timers
  PHONEFARM_TIME_SCALE        for tests: 0.1 makes every timer ten times as fast
  PHONEFARM_LOG_LEVEL         debug, info (default), warning or error

exit codes:
  0  stopped by SIGTERM or SIGINT; runs in containers go on and are taken back at the next start
  1  a fault in the agent, or the host does not let it begin (adb, disk)
  2  a setting is missing or wrong
  4  another agent works with the state directory
  5  superseded: an agent of this name with a newer start has taken over, twice in a row
  6  the controller refused this agent: identity_cloned, agent_too_old or time_scale_differs
"""


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return its exit code."""
    parsed = _parser().parse_args(arguments)
    code: int = parsed.perform(parsed)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="phonefarm-agent",
        description=_ABOUT,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    _add_run(commands)
    _add_join(commands)
    add_host_commands(commands, _settings_of)
    image.add_image_commands(commands)
    return parser


def _add_run(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    run = commands.add_parser(
        "run",
        help="work until told to stop",
        description="Work for a controller until SIGTERM or SIGINT.",
        epilog=_RUN_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_run_options(run)
    run.set_defaults(perform=_run)


def _add_join(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    add = commands.add_parser(
        "join",
        help="become an agent of a farm, with a token from `phonefarm agents invite`",
        description="Make a key, which stays here, and trade the token for a certificate. A running"
        " agent takes it up by itself.",
    )
    add.add_argument(
        "token",
        nargs="?",
        metavar="TOKEN",
        help="or in PHONEFARM_JOIN_TOKEN, or in the file that PHONEFARM_JOIN_TOKEN_FILE names",
    )
    state = os.environ.get("PHONEFARM_AGENT_STATE") or paths.installed_state()
    add.add_argument(
        "--state",
        type=Path,
        default=state,
        required=state is None,
        metavar="DIR",
        help="the agent's state directory (the installed service's)",
    )
    add.add_argument(
        "--name",
        default="",
        metavar="AGENT_ID",
        help="this agent's name, where the invitation leaves it open (this host's)",
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
    """Join, under this host's name where nobody chose another."""
    wanted = name
    with suppress(InvitationError):
        wanted = name or ("" if invitation_of(token).member_id else socket.gethostname())
    return asyncio.run(join(token, state, role="agent", wanted=wanted))


def _add_run_options(run: argparse.ArgumentParser) -> None:
    run.add_argument(
        "--controller",
        action="append",
        default=[],
        metavar="HOST:PORT",
        help="a controller's gRPC; of a host that joined, instead of what it was told then;"
        " several with commas, or given again",
    )
    run.add_argument(
        "--state",
        **_from_environment("PHONEFARM_AGENT_STATE"),
        type=Path,
        metavar="DIR",
        help="journal, adb key, evidence: what must survive a restart; for one agent alone",
    )
    run.add_argument(
        "--name",
        default=os.environ.get("PHONEFARM_AGENT_NAME", ""),
        metavar="AGENT_ID",
        help="this agent's name; of a host that joined, the certificate's",
    )
    run.add_argument(
        "--runtime",
        default="auto",
        choices=["auto", "docker", "process", "dummy"],
        help="where runs live; auto: docker where an engine answers and the image is there,"
        " otherwise process, which isolates nothing, with a warning",
    )
    run.add_argument(
        "--image",
        default=image.default_name(),
        metavar="NAME",
        help="the run container's image (default %(default)s), made by `image build`",
    )
    run.add_argument(
        "--warm",
        type=int,
        default=WARM,
        metavar="N",
        help="have at most N run containers ready before their runs come, never more than phones"
        " that can work; each takes about 30 MiB; 0: none (default %(default)s)",
    )
    run.add_argument(
        "--connect",
        action="append",
        default=[],
        metavar="HOST:PORT",
        help="a phone that speaks adb over the network; may be given again",
    )
    run.add_argument(
        "--adb-port",
        type=int,
        default=0,
        metavar="PORT",
        help="where the agent's own adb server listens on localhost (0: any; never 5037)",
    )
    run.add_argument(
        "--dummy-phones",
        type=int,
        default=0,
        metavar="N",
        help="no adb: N phones that are not there, DUMMY0001 and on, for the dummy runtime",
    )
    run.add_argument(
        "--allow-asset-cidr",
        action="append",
        default=[],
        metavar="CIDR",
        help="let videos and pictures be fetched from this network too, e.g. 10.20.0.0/16;"
        " may be given again",
    )
    run.add_argument(
        "--asset-limit",
        type=int,
        default=ASSET_BYTES // MIB,
        metavar="MIB",
        help="the largest file fetched for a run (default %(default)s)",
    )
    run.add_argument(
        "--asset-cache",
        type=int,
        default=CACHE_BYTES // MIB,
        metavar="MIB",
        help="how much of the disk fetched files may take together (default %(default)s)",
    )
    run.add_argument(
        "--metrics",
        metavar="HOST:PORT",
        help="serve /metrics for Prometheus there, on loopback; port 0 for any (default: nowhere)",
    )
    run.add_argument(
        "--metrics-for-all",
        action="store_true",
        help="let --metrics name an address that is not loopback: who reaches it reads it",
    )
    run.add_argument(
        "--stop-runs-on-exit",
        action="store_true",
        default=os.environ.get("PHONEFARM_STOP_RUNS_ON_EXIT", "") not in {"", "0"},
        help="end containers too when the agent stops (env PHONEFARM_STOP_RUNS_ON_EXIT=1)",
    )
    run.add_argument(
        "--ready-file",
        type=Path,
        metavar="FILE",
        help='written once ready: {"adb": "HOST:PORT", "pid": N, "runtime": .., "agent_id": ..}',
    )


def _from_environment(name: str) -> dict[str, Any]:
    """Return how an option takes its value from the environment, where it is set there."""
    value = os.environ.get(name)
    return {"default": value} if value else {"required": True}


def _run(parsed: argparse.Namespace) -> int:
    # A watchdog's SIGABRT makes Python say where every thread stood.
    faulthandler.enable()
    configure_logs(program="agent", level=os.environ.get("PHONEFARM_LOG_LEVEL") or "info")
    try:
        _join_first(parsed)
        return asyncio.run(_work(_settings(parsed)))
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
    if token and _member(parsed.state) is None:
        _joined(token, parsed.state.absolute(), parsed.name or "")


async def _work(settings: Settings) -> int:
    async with stop_signals() as stop:
        supervise = measured(supervision(), settings.metrics)
        return await run_agent(settings, stop, supervise)


def _complain(error: Exception, code: ExitCode) -> int:
    print(f"phonefarm-agent: {error}", file=sys.stderr)
    if (supervisor := take_notifier()) is not None:
        supervisor.status(str(error))
        supervisor.close()
    return int(code)


class _Options(argparse.ArgumentParser):
    """The options of `run`, read for another verb: what is wrong is said, nothing ends."""

    def error(self, message: str) -> NoReturn:
        """Raise ConfigError instead of leaving the program."""
        raise ConfigError(message)


def _settings_of(words: Sequence[str]) -> Settings:
    """Return the settings that `run` would have with *words* and the environment; ConfigError."""
    parser = _Options(prog="run", add_help=False)
    _add_run_options(parser)
    given = shlex.split(os.environ.get("PHONEFARM_AGENT_OPTIONS", ""))
    return _settings(parser.parse_args([*given, *words]))


def _settings(parsed: argparse.Namespace) -> Settings:
    """Read every setting once; ConfigError names the one that is wrong."""
    token = config.secret("PHONEFARM_AGENT_TOKEN") or ""
    member = None if token else _member(parsed.state)
    if not token and member is None:
        raise ConfigError(
            "this host has not joined: `phonefarm-agent join TOKEN` (see `phonefarm agents "
            "invite`); or, on loopback, set PHONEFARM_AGENT_TOKEN or PHONEFARM_AGENT_TOKEN_FILE"
        )
    named = parsed.controller or [os.environ.get("PHONEFARM_AGENT_CONTROLLER", "")]
    told = member is not None and not any(named)
    name = parsed.name or (member.member_id if member else "")
    if member is not None and name != member.member_id:
        raise ConfigError(
            f"--name is {name!r}, the certificate {member.member_id!r}'s: leave the name out"
        )
    if not is_name(name):
        raise ConfigError(f"--name must be 1-128 of A-Z a-z 0-9 . _ : -, not {name!r}")
    if parsed.adb_port == 5037 or not 0 <= parsed.adb_port < 65536:
        raise ConfigError("--adb-port must be a port, and not 5037: that one is other tools'")
    if parsed.dummy_phones < 0:
        raise ConfigError("--dummy-phones must be 0 or more")
    if not 0 <= parsed.warm <= MOST_WARM:
        raise ConfigError(f"--warm must be 0 to {MOST_WARM} containers, not {parsed.warm}")
    if not 0 < parsed.asset_limit <= parsed.asset_cache:
        raise ConfigError("--asset-limit must be above 0 and at most --asset-cache")
    for phone in parsed.connect:
        config.address(phone, name="--connect")
    return Settings(
        controllers=() if told else controllers_of(named, name="--controller"),
        token=token,
        joined=member is not None,
        agent_id=name,
        state=parsed.state.absolute(),
        runtime=parsed.runtime,
        image=parsed.image,
        connect=tuple(dict.fromkeys(parsed.connect)),
        adb_port=parsed.adb_port,
        dummy_phones=parsed.dummy_phones,
        warm=parsed.warm,
        ready_file=parsed.ready_file,
        stop_runs_on_exit=parsed.stop_runs_on_exit,
        production=config.production(),
        time_scale=config.time_scale(),
        timers=config.timers(),
        metrics=_metrics(parsed),
        phone_limits=PhoneLimits().scaled(config.time_scale()),
        reserve=RESERVE_BYTES,
        asset_networks=tuple(_network(text) for text in parsed.allow_asset_cidr),
        asset_limits=Limits(
            asset_bytes=parsed.asset_limit * MIB, cache_bytes=parsed.asset_cache * MIB
        ),
    )


def _member(state: Path) -> Member | None:
    try:
        return read_member(state.absolute())
    except (MemberBrokenError, OSError) as error:
        raise ConfigError(str(error)) from error


def _metrics(parsed: argparse.Namespace) -> tuple[str, int] | None:
    if parsed.metrics is None:
        return None
    host, port = config.address(parsed.metrics, name="--metrics")
    if not is_loopback(host) and not parsed.metrics_for_all:
        raise ConfigError(
            f"--metrics: {host} is not loopback, and whoever reaches it could read the numbers: use"
            " 127.0.0.1, or say --metrics-for-all"
        )
    return host, port


def _network(text: str) -> Network:
    try:
        return network(text)
    except ValueError as error:
        raise ConfigError(f"--allow-asset-cidr: {error}") from error
