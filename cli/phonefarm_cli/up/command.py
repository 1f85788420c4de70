"""`phonefarm up`: its options."""

import argparse
import asyncio
import os
from pathlib import Path

from phonefarm_common import config

from phonefarm_cli.console.connect import Subparsers
from phonefarm_cli.errors import ExitCode
from phonefarm_cli.terminal import echo
from phonefarm_cli.up.run import run_farm
from phonefarm_cli.up.secrets import DATABASE
from phonefarm_cli.up.settings import Settings

_ABOUT = """\
Run a whole farm in this terminal until Ctrl-C or SIGTERM: a controller, an agent for this machine's
phones, a gateway and, with --simulate, simulated phones. Each program is a separate process that
logs to DIR/logs. All programs stop when this command stops. If one program stops by itself, all
others stop too, unless it was one of several controllers. The command takes its agent's phones into
service, and gives each simulated phone an account, so that you can send work at once.
"""

_EPILOG = """\
DIR/up.json appears when everything is ready; only you can read it. It contains the addresses, the
API key, the webhook secret, the phones and the process ids. The other phonefarm commands read it.

environment (instead of a secret NAME, you can set NAME_FILE to the path of a file that holds it):
  INGEST_SECRET              the API key of callers; if absent, created and kept in DIR
  PHONE_FARM_WEBHOOK_SECRET  signs callbacks; if absent, created and kept in DIR
  PHONEFARM_AGENT_TOKEN, PHONEFARM_GATEWAY_TOKEN   authenticate the programs; if absent, created
  PHONEFARM_DATABASE         URL of the database, with its password; if absent, SQLite in DIR
  PHONEFARM_TIME_SCALE       for tests: multiplies every timer; above 0, at most 1
  PHONEFARM_PRODUCTION       1: the farm refuses runtimes without isolation, and scaled timers

examples:
  phonefarm up --simulate 3                        three simulated phones
  phonefarm up --simulate 4 --personality samsung,foldable
  phonefarm up                                     every phone on USB that allows debugging
  phonefarm up --connect 10.0.0.21:5555            a phone on the network
  phonefarm up --database-file /etc/phonefarm/database --runtime docker
  phonefarm up --database-file /etc/phonefarm/database --controllers 2

send work:
  curl -H "Authorization: Bearer $KEY" -H 'Content-Type: application/json' \\
    http://127.0.0.1:8080/capability-requests/enqueue -d '{"request_id": "1",
    "capability": "keyword_warmup", "mode": "manual", "target": {"routing": "queue"},
    "inputs": {"keywords": ["tiny houses"], "videos_per_keyword": 1, "watch_seconds": 2},
    "callback": {"url": "http://127.0.0.1:9000/hook"}, "requested_by": {"system": "me"}}'
"""


def add(commands: Subparsers) -> None:
    """Add `phonefarm up`."""
    up = commands.add_parser(
        "up",
        help="run a whole farm in this terminal",
        description=_ABOUT,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    up.add_argument(
        "--simulate", type=int, default=0, metavar="N", help="run N simulated phones (0)"
    )
    add_personality(up)
    up.add_argument(
        "--rest",
        default="127.0.0.1:8080",
        metavar="HOST:PORT",
        help="address of the REST API; port 0 takes any free port (%(default)s)",
    )
    up.add_argument(
        "--grpc",
        default="127.0.0.1:7070",
        metavar="HOST:PORT",
        help="address of the controller, on loopback; port 0 takes any free port (%(default)s)",
    )
    up.add_argument(
        "--controllers",
        type=int,
        default=1,
        metavar="N",
        help="run N controllers on one PostgreSQL database, each on a port of its own (1)",
    )
    up.add_argument(
        "--data",
        type=Path,
        default=Path(".farm"),
        metavar="DIR",
        help="folder for all data of the farm; each farm needs its own folder (%(default)s)",
    )
    database = up.add_mutually_exclusive_group()
    database.add_argument(
        "--database",
        metavar="URL",
        help=(
            "sqlite:///FILE or postgresql://USER@HOST/NAME (env PHONEFARM_DATABASE; default: "
            "SQLite in DIR); other users of this host can read a password that you give here"
        ),
    )
    database.add_argument(
        "--database-file",
        metavar="FILE",
        help="a file that contains this URL, with its password (env PHONEFARM_DATABASE_FILE)",
    )
    add_runtime(up)
    up.add_argument(
        "--connect",
        action="append",
        default=[],
        metavar="HOST:PORT",
        help="address of a phone that speaks adb over the network; repeatable",
    )
    up.set_defaults(perform=_up, parser=up)


def add_personality(parser: argparse.ArgumentParser) -> None:
    """Add --personality."""
    parser.add_argument(
        "--personality",
        type=_names,
        default=(),
        metavar="NAME[,NAME]",
        help=(
            "personalities that the simulated phones take in turn, e.g. samsung,xiaomi; "
            "`phonefarm-simulator --help` lists all (default: pixel-15, a current phone whose "
            "feed moves)"
        ),
    )


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for name in text.split(",") if name)


def add_runtime(parser: argparse.ArgumentParser) -> None:
    """Add --runtime."""
    parser.add_argument(
        "--runtime",
        default="auto",
        choices=["auto", "docker", "process", "dummy"],
        help=(
            "the runtime that executes runs; if the Docker engine answers, `auto` chooses `docker` "
            "and builds the image; otherwise, it chooses `process`, which does not isolate runs "
            "(%(default)s)"
        ),
    )


def _up(options: argparse.Namespace) -> ExitCode:
    settings = Settings(
        data=options.data.absolute(),
        simulate=options.simulate,
        personalities=options.personality,
        rest=options.rest,
        grpc=options.grpc,
        database=options.database
        or config.given_secret(options.database_file, option="--database-file", name=DATABASE),
        controllers=options.controllers,
        runtime=options.runtime,
        connect=tuple(dict.fromkeys(options.connect)),
        environment=dict(os.environ),
    )
    echo(f"starting a farm in {settings.data}")
    return asyncio.run(run_farm(settings))
