"""`phonefarm-controller`: the command line; it loads the controller only to run one."""

import argparse
import sys
from pathlib import Path

from phonefarm_common.service import VERBS

from phonefarm_controller.model.retention import DAYS, FOREVER

EPILOG = """\
as a service of systemd (each has its own --help):
  phonefarm-controller install      installs the service
  phonefarm-controller uninstall    removes it

environment (instead of NAME, you can set NAME_FILE, where listed, to the path of a file that holds
the value):
  INGEST_SECRET(_FILE)              a key with every scope, for creating the first API key
  PHONEFARM_DATABASE(_FILE)         URL of the database, with its password
  PHONEFARM_AGENT_TOKEN(_FILE)      authenticates agents on loopback
  PHONEFARM_GATEWAY_TOKEN(_FILE)    authenticates gateways on loopback
  AWS_ACCESS_KEY_ID(_FILE), AWS_SECRET_ACCESS_KEY(_FILE), AWS_SESSION_TOKEN(_FILE)
                                    credentials for the store of --evidence s3://...
  PHONEFARM_ALERT_URL(_FILE)        the farm sends its alerts to this URL (docs/monitoring.md); set
                                    it for every controller
  PHONEFARM_PRODUCTION              1: the controller refuses scaled timers, and inputs for the
                                    dummy runtime
  OTEL_EXPORTER_OTLP_ENDPOINT       URL of the collector that gets the controller's traces, for
                                    example http://127.0.0.1:4318; OTEL_TRACES_SAMPLER sets how
                                    many (docs/tracing.md)
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


def main() -> None:
    """Run until a signal stops it, or run `install` or `uninstall`."""
    # --help must not wait for what a controller loads.
    if sys.argv[1:2] and sys.argv[1] in VERBS:
        from phonefarm_controller import install  # noqa: PLC0415 - see above

        sys.exit(install.main(sys.argv[1:]))
    options = build_parser().parse_args()
    from phonefarm_controller.app import program  # noqa: PLC0415 - see above

    sys.exit(program.run(options))


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the options."""
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
        help="TLS address for operators and for hosts that join; requires --mtls-listen",
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
            "name or address under which other hosts can reach this host; repeatable; the first "
            "one is written into invitations"
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
            "sqlite:///FILE or postgresql://USER@HOST/NAME (env PHONEFARM_DATABASE; default: "
            "SQLite in the data folder); other users of this host can read a password that you "
            "give here"
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
        help="how long work may wait before the farm ends it, if the caller gave no deadline; the "
        "time begins when the work is due, and does not run while a pause holds the work back; "
        "e.g. 24h, 7d or forever (%(default)s)",
    )
    parser.add_argument(
        "--golden-every",
        default=FOREVER,
        metavar="TIME",
        help=(
            "how often each phone gets a golden job when it is free, e.g. 24h; a golden job is a "
            "harmless run that proves that the phone works; each phone also gets one before it "
            "leaves quarantine; `forever` turns golden jobs off (%(default)s)"
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
        "--paused",
        action="store_true",
        help=(
            "pause all work before the controller gives any run to an agent, for example after you "
            "have restored a database; `phonefarm resume --all` ends the pause"
        ),
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
    return parser
