"""`phonefarm-controller`: run a controller."""

import argparse
import asyncio
import os
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from phonefarm_common import config, lifecycle, logs
from phonefarm_common.channel import is_loopback
from phonefarm_common.endpoints import parse_controllers
from phonefarm_common.ids import is_name
from phonefarm_common.service import commands

from phonefarm_controller import install
from phonefarm_controller.app.controller import running
from phonefarm_controller.evidence.availability import BackendAwayError
from phonefarm_controller.evidence.backends.s3_address import FORM, SCHEME, S3Address, read_bucket
from phonefarm_controller.model.errors import DatabaseBusyError
from phonefarm_controller.model.retention import DAYS, FOREVER, read_duration, read_retention
from phonefarm_controller.settings import Settings
from phonefarm_controller.store.database import DatabaseTakenError
from phonefarm_controller.store.migrate import DatabaseUnusableError

EPILOG = """\
as a service of systemd (each has its own --help):
  phonefarm-controller install      installs the service
  phonefarm-controller uninstall    removes it

environment (each NAME may instead be given as NAME_FILE, the path of a file that holds the value):
  INGEST_SECRET(_FILE)              a key with every scope, for creating the first API key
  PHONEFARM_DATABASE(_FILE)         URL of the database, with its password
  PHONEFARM_AGENT_TOKEN(_FILE)      authenticates agents on loopback
  PHONEFARM_GATEWAY_TOKEN(_FILE)    authenticates gateways on loopback
  AWS_ACCESS_KEY_ID(_FILE), AWS_SECRET_ACCESS_KEY(_FILE), AWS_SESSION_TOKEN(_FILE)
                                    credentials for the store of --evidence s3://...
  PHONEFARM_PRODUCTION              1: the controller refuses scaled timers, and inputs for the
                                    dummy runtime
  OTEL_EXPORTER_OTLP_ENDPOINT       URL of the collector to which traces are sent, for example
                                    http://127.0.0.1:4318; OTEL_TRACES_SAMPLER says how many
                                    (no NAME_FILE; see docs/tracing.md)
  PHONEFARM_TIME_SCALE              for tests: multiplies every timer; above 0, at most 1

evidence in a bucket on Amazon S3, or on a store that supports the S3 protocol (the bucket must
exist; the parts in brackets are optional):
  s3://BUCKET[/PREFIX][?endpoint=http://HOST:PORT][&region=REGION]

exit codes:
  0 SIGTERM or SIGINT stopped the controller
  2 a setting is wrong, or the controller cannot use an address or a directory
  3 the database or the evidence store does not answer, or another controller uses the SQLite file

examples:
  INGEST_SECRET=... phonefarm-controller --database sqlite:////var/lib/phonefarm/farm.db
  AWS_ACCESS_KEY_ID=... AWS_SECRET_ACCESS_KEY=... INGEST_SECRET=... phonefarm-controller \\
    --evidence 's3://phonefarm/farm-1?endpoint=http://store.example:9000'
"""


SWITCH_SECONDS = 0.0005
_EXIT_CODES: Final[Mapping[tuple[type[Exception], ...], int]] = {
    (DatabaseTakenError, DatabaseUnusableError, DatabaseBusyError, BackendAwayError): 3,
    (config.ConfigError, ValueError, OSError): 2,
}
"""By the errors of a start that an operator can mend."""


def main() -> None:
    """Run until a signal stops it, or run `install` or `uninstall`."""
    if sys.argv[1:2] and sys.argv[1] in commands.VERBS:
        sys.exit(install.main(sys.argv[1:]))
    parser = argparse.ArgumentParser(
        prog="phonefarm-controller",
        description=(
            "Run a controller. It manages the processes and the queue of a farm, and serves gRPC "
            "to gateways, to agents and to the phonefarm command."
        ),
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--listen",
        default="127.0.0.1:7070",
        help="address for gRPC on loopback; port 0 takes any free port (%(default)s)",
    )
    parser.add_argument(
        "--tls-listen",
        metavar="HOST:PORT",
        help=(
            "address for operators and for hosts that join, served with TLS; requires --mtls-listen"
        ),
    )
    parser.add_argument(
        "--mtls-listen",
        metavar="HOST:PORT",
        help=(
            "address for agents and gateways on other hosts, which connect with their "
            "certificates; requires --tls-listen"
        ),
    )
    parser.add_argument(
        "--name",
        action="append",
        default=[],
        metavar="NAME",
        help=(
            "name or address under which other hosts can reach this host; repeatable; invitations "
            "contain the first name or address"
        ),
    )
    parser.add_argument(
        "--controllers",
        action="append",
        default=[],
        metavar="HOST:PORT",
        help=(
            "the --mtls-listen addresses of all controllers of this farm; the controller sends "
            "this list to each host that joins or renews its certificate; separate the addresses "
            "by commas, or repeat the option"
        ),
    )
    parser.add_argument(
        "--ca",
        type=Path,
        metavar="DIR",
        help=(
            "folder of the farm's certificate authority; the controller creates it when "
            "necessary; all controllers on one database need the same files (DATA/ca)"
        ),
    )
    parser.add_argument(
        "--evidence",
        metavar="DIR|URL",
        help=(
            "directory or bucket (see below) for evidence; all controllers on one database share "
            "it (DATA/evidence)"
        ),
    )
    parser.add_argument(
        "--data",
        type=Path,
        default=Path(".farm/controller"),
        help="folder for this controller's own files (%(default)s)",
    )
    database = parser.add_mutually_exclusive_group()
    database.add_argument(
        "--database",
        metavar="URL",
        help=(
            "sqlite:///FILE or postgresql://USER@HOST/NAME (env PHONEFARM_DATABASE; without both, "
            "SQLite in the data folder); other users of this host can read a password given here"
        ),
    )
    database.add_argument(
        "--database-file",
        metavar="FILE",
        help="a file that contains this URL, with its password (env PHONEFARM_DATABASE_FILE)",
    )
    parser.add_argument("--farm", default="farm", help="the farm's name (%(default)s)")
    kept = ",".join(
        f"{each}={FOREVER if days is None else f'{days}d'}" for each, days in DAYS.items()
    )
    parser.add_argument(
        "--keep-evidence",
        default="",
        metavar="CLASS=TIME,...",
        help=(
            "how long to keep the evidence of a run after the run ends, for each class of "
            "evidence; TIME is, for example, 30d, 12h or forever; a class that you do not name "
            f"keeps its default: {kept}"
        ),
    )
    parser.add_argument(
        "--keep-processes",
        default=FOREVER,
        metavar="TIME",
        help=(
            "how long to keep a process, with its items, results and deliveries, after it ends "
            "(%(default)s)"
        ),
    )
    parser.add_argument(
        "--max-wait",
        default="24h",
        metavar="TIME",
        help="the longest time that work waits before the farm ends it, if the caller gave no "
        "deadline; the time starts when the work is due, and stops while a pause holds the work "
        "back; for example 24h, 7d or forever (%(default)s)",
    )
    parser.add_argument(
        "--golden-every",
        default=FOREVER,
        metavar="TIME",
        help=(
            "give each phone a golden job, which is a small harmless run that proves that the "
            "phone works: once in TIME (e.g. 24h) when the phone is free, and before the phone "
            "leaves quarantine; forever turns golden jobs off (%(default)s)"
        ),
    )
    parser.add_argument(
        "--screens",
        type=int,
        default=20,
        metavar="N",
        help="relay at most N views of phones' screens at a time; 0 for none (%(default)s)",
    )
    parser.add_argument(
        "--metrics",
        metavar="HOST:PORT",
        help=(
            "serve /metrics for Prometheus at this loopback address; port 0 takes any free port "
            "(default: /metrics is not served)"
        ),
    )
    parser.add_argument(
        "--metrics-for-all",
        action="store_true",
        help=(
            "allow a --metrics address that is not a loopback address; everybody who can reach "
            "this address can then read the metrics"
        ),
    )
    parser.add_argument(
        "--ready-file",
        type=Path,
        help="write the addresses and the process id to this file when the controller is ready",
    )
    parser.add_argument("--log-level", default="info", choices=["debug", "info", "warning"])
    options = parser.parse_args()
    # The thread that commits must not wait the default 5 ms for the interpreter's lock.
    sys.setswitchinterval(SWITCH_SECONDS)
    logs.configure_logs(program="controller", level=options.log_level)
    try:
        code = asyncio.run(_serve(_settings(options)))
    except _StartError as error:
        lifecycle.complain("phonefarm-controller", str(error.__cause__))
        sys.exit(error.code)
    except (config.ConfigError, ValueError) as error:
        lifecycle.complain("phonefarm-controller", str(error))
        sys.exit(2)
    sys.exit(code)


class _StartError(Exception):
    """The controller could not start, for a reason that an operator can mend: its cause."""

    def __init__(self, code: int) -> None:
        super().__init__()
        self.code = code


def _only(error: Exception) -> BaseException:
    """Return the one error in groups within groups; a group of several as it is."""
    found: BaseException = error
    while isinstance(found, BaseExceptionGroup) and len(found.exceptions) == 1:
        found = found.exceptions[0]
    return found


def _settings(options: argparse.Namespace) -> Settings:
    host, port = config.address(options.listen, name="--listen")
    if not is_loopback(host):
        raise config.ConfigError(
            f"--listen: {host} is not a loopback address, and --listen does not use TLS: for "
            "other hosts, give --tls-listen and --mtls-listen"
        )
    if not is_name(options.farm):
        raise config.ConfigError("--farm must be 1 to 128 characters from A-Z a-z 0-9 . _ : -")
    data = options.data.absolute()
    tls, mtls = (
        config.address(text, name=name) if text else None
        for name, text in (
            ("--tls-listen", options.tls_listen),
            ("--mtls-listen", options.mtls_listen),
        )
    )
    if (tls is None) != (mtls is None):
        raise config.ConfigError(
            "--tls-listen and --mtls-listen require each other: give both or neither"
        )
    for option, given in (("--name", options.name), ("--ca", options.ca)):
        if given and mtls is None:
            raise config.ConfigError(f"{option} is for other hosts: give --mtls-listen too")
    several: tuple[str, ...] = ()
    if options.controllers:
        several = parse_controllers(options.controllers, name="--controllers")
        if mtls is None:
            raise config.ConfigError("--controllers is for hosts that join: give --mtls-listen too")
    return Settings(
        host=host,
        port=port,
        database_url=_database(options) or f"sqlite:///{data / 'farm.db'}",
        data=data,
        farm_id=options.farm,
        ingest_secret=config.secret("INGEST_SECRET"),
        agent_token=config.secret("PHONEFARM_AGENT_TOKEN"),
        gateway_token=config.secret("PHONEFARM_GATEWAY_TOKEN"),
        timers=config.timers(),
        time_scale=config.time_scale(),
        production=config.production(),
        ready_file=options.ready_file,
        metrics=_metrics(options),
        keep=read_retention(options.keep_evidence, options.keep_processes),
        max_wait=read_duration(options.max_wait, name="--max-wait"),
        golden_every=read_duration(options.golden_every, name="--golden-every"),
        screens=_screens(options.screens),
        tls=tls,
        mtls=mtls,
        names=tuple(options.name),
        controllers=several,
        evidence=_evidence(options.evidence),
        authority=options.ca.absolute() if options.ca else None,
    )


def _screens(most: int) -> int:
    if most < 0:
        raise config.ConfigError(f"--screens must be 0 or more, not {most}")
    return most


def _database(options: argparse.Namespace) -> str | None:
    url: str | None = options.database or config.given_secret(
        options.database_file, option="--database-file", name="PHONEFARM_DATABASE"
    )
    if url and not url.startswith(("sqlite:///", "postgresql://", "postgresql+asyncpg://")):
        raise config.ConfigError("--database must be sqlite:///FILE or postgresql://USER@HOST/NAME")
    return url


def _evidence(text: str | None) -> Path | S3Address | None:
    if not text:
        return None
    if text.startswith(SCHEME):
        return read_bucket(text)
    if "://" in text:
        raise config.ConfigError(f"--evidence must be a directory or have the form {FORM}")
    return Path(text).absolute()


def _metrics(options: argparse.Namespace) -> tuple[str, int] | None:
    if options.metrics is None:
        if options.metrics_for_all:
            raise config.ConfigError("--metrics-for-all requires --metrics: give both")
        return None
    host, port = config.address(options.metrics, name="--metrics")
    if not is_loopback(host) and not options.metrics_for_all:
        raise config.ConfigError(
            f"--metrics: {host} is not a loopback address, so other hosts could read the metrics: "
            "use 127.0.0.1, or give --metrics-for-all"
        )
    return host, port


async def _serve(settings: Settings) -> int:
    async with lifecycle.stop_signals() as stop, AsyncExitStack() as stack:
        try:
            controller = await stack.enter_async_context(running(settings))
        except Exception as error:
            cause = _only(error)
            for kinds, code in _EXIT_CODES.items():
                if isinstance(cause, kinds):
                    raise _StartError(code) from cause
            raise
        facts = {"grpc": config.shown_address(settings.host, controller.port), "pid": os.getpid()}
        facts |= {"metrics_port": controller.metrics_port}
        facts |= {"tls_port": controller.tls_port, "mtls_port": controller.mtls_port}
        lifecycle.write_private_json(settings.ready_file, facts)
        lifecycle.notify_systemd("READY=1")
        await stop.wait()
    return 0
