"""The options of `phonefarm-gateway`; --help loads nothing else."""

import argparse
from collections.abc import Mapping
from pathlib import Path

_ENVIRONMENT = """\
further commands (each has its own --help):
  phonefarm-gateway join TOKEN --state DIR    exchanges an invitation for a certificate
  phonefarm-gateway install                   installs the gateway as a service of systemd
  phonefarm-gateway uninstall                 removes the service

environment (instead of NAME, you can set NAME_FILE to the path of a file that holds the value):
  PHONEFARM_GATEWAY_TOKEN     authenticates this gateway to a controller on loopback
  PHONE_FARM_WEBHOOK_SECRET   signs callbacks; without this secret, callbacks are not signed
  PHONEFARM_CONSOLE_SECRET    seals logins to /console; gateways with the same secret share logins.
                              If absent, the gateway derives the secret from
                              PHONEFARM_GATEWAY_TOKEN. A gateway that has joined has no token: it
                              makes a new secret at each start, so a restart ends its logins
  OTEL_EXPORTER_OTLP_ENDPOINT URL of the collector that gets the gateway's traces, for example
                              http://127.0.0.1:4318; OTEL_TRACES_SAMPLER sets how many
                              (no NAME_FILE; see docs/tracing.md)

TLS: give --tls-cert and --tls-key. The gateway notices a renewed pair within 10 s and uses it for
new connections; open connections continue with the old pair.

several controllers of one farm:
  phonefarm-gateway --controller 10.0.0.1:7072,10.0.0.2:7072 --state DIR
"""


def build_parser(environment: Mapping[str, str]) -> argparse.ArgumentParser:
    """Return the parser; some defaults are in the environment."""
    parser = argparse.ArgumentParser(
        prog="phonefarm-gateway",
        description="Run a gateway, which serves the REST API and sends the callbacks.",
        epilog=_ENVIRONMENT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--listen",
        metavar="HOST:PORT",
        default="127.0.0.1:8080",
        help="address of the REST API; port 0 takes any free port (default: %(default)s)",
    )
    for name, about in (
        ("cert", "PEM file with the certificate of this address and its chain"),
        ("key", "PEM file with the private key of the certificate, unencrypted"),
    ):
        variable = f"PHONEFARM_GATEWAY_TLS_{name.upper()}"
        parser.add_argument(
            f"--tls-{name}",
            metavar="FILE",
            default=environment.get(variable, ""),
            help=f"{about}; callers must then use https (env {variable})",
        )
    parser.add_argument(
        "--controller",
        metavar="HOST:PORT",
        action="append",
        default=[],
        help=(
            "address of a controller; separate several by commas or repeat the option; a gateway "
            "that has joined the farm does not need this option, because the farm sends it the "
            "list (env PHONEFARM_GATEWAY_CONTROLLER)"
        ),
    )
    parser.add_argument(
        "--state",
        metavar="DIR",
        type=Path,
        help="folder with the certificate that `phonefarm-gateway join TOKEN --state DIR` received",
    )
    parser.add_argument(
        "--allow-callback-cidr",
        metavar="CIDR",
        action="append",
        default=[],
        help="also send callbacks to this private network, e.g. 10.20.0.0/16; repeatable",
    )
    parser.add_argument(
        "--callback-ca",
        metavar="FILE",
        type=Path,
        help="also trust receivers with certificates from these authorities (PEM file)",
    )
    parser.add_argument(
        "--allow-asset-cidr",
        metavar="CIDR",
        action="append",
        default=[],
        help="also accept videos and covers from this private network; repeatable",
    )
    parser.add_argument(
        "--rate-limit",
        metavar="PER_SECOND",
        type=float,
        default=500.0,
        help=(
            "largest number of requests per second for each key; 0 means no limit (default: "
            "%(default)g)"
        ),
    )
    parser.add_argument(
        "--rate-burst",
        metavar="N",
        type=int,
        default=1000,
        help=(
            "number of requests that a key may make at once before --rate-limit applies "
            "(default: %(default)s)"
        ),
    )
    parser.add_argument(
        "--connections",
        metavar="N",
        type=int,
        default=1000,
        help=(
            "largest number of open connections; half of them may be event streams (default: "
            "%(default)s)"
        ),
    )
    parser.add_argument(
        "--open-metrics",
        action="store_true",
        help="serve /metrics without a key; otherwise callers need a key with the `read` scope",
    )
    parser.add_argument(
        "--body-limit",
        metavar="BYTES",
        type=int,
        default=1024 * 1024,
        help="size of the largest request body (default: %(default)s)",
    )
    parser.add_argument(
        "--console-origin",
        metavar="URL",
        action="append",
        default=[],
        help="https://HOST of a TLS proxy through which people log in to the console; the proxy "
        "must forward the Host header; repeatable",
    )
    parser.add_argument(
        "--ready-file",
        metavar="PATH",
        type=Path,
        help=(
            "write this file as soon as the gateway accepts requests: "
            '{"rest": "HOST:PORT", "pid": N}'
        ),
    )
    return parser
