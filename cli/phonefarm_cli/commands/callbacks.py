"""`phonefarm callbacks listen`: receives callbacks here, checks their signatures, prints them."""

import argparse
import asyncio
import json
import os
from dataclasses import asdict
from typing import Final

from phonefarm_common import config
from phonefarm_common.lifecycle import stop_signals

from phonefarm_cli.client.receiver import CallbackEvent, Receiver
from phonefarm_cli.console.connect import Subparsers, add_verbs
from phonefarm_cli.console.farm_address import EPILOG, add_farm_options, farm_address
from phonefarm_cli.errors import CommandError, ExitCode
from phonefarm_cli.terminal import echo, note_stderr, warn

SECRET: Final = "PHONE_FARM_WEBHOOK_SECRET"  # noqa: S105 - a variable's name
_NOTES: Final = """\
The command prints a URL: use it as the callback URL in your requests. `phonefarm up` allows its
farm to send callbacks to this machine. The command reads the secret from PHONE_FARM_WEBHOOK_SECRET,
the farm's up.json, or WEBHOOK_SECRET, which `phonefarm env` sets. It also accepts callbacks with a
wrong signature, but marks them UNSIGNED.

examples:
  phonefarm callbacks listen
  phonefarm callbacks listen 127.0.0.1:9000 --json

"""


def add(commands: Subparsers) -> None:
    """Add `phonefarm callbacks` and its verb."""
    verbs = add_verbs(commands, "callbacks", "receive callbacks on this machine, to try them out")
    about = "receive callbacks, check their signatures, and print them until Ctrl-C"
    listen = verbs.add_parser(
        "listen",
        help=about,
        description=f"{about[0].upper()}{about[1:]}.",
        epilog=_NOTES + EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    listen.add_argument(
        "address",
        nargs="?",
        default="127.0.0.1:9000",
        metavar="HOST:PORT",
        help="address on which to listen; port 0 takes any free port (%(default)s)",
    )
    add_farm_options(listen)
    listen.add_argument("--json", action="store_true", help="print one callback per line as JSON")
    listen.set_defaults(parser=listen, perform=lambda options: asyncio.run(_listen(options)))


async def _listen(options: argparse.Namespace) -> ExitCode:
    # `phonefarm env` sets the last one, and also PHONEFARM_GRPC, which names a farm without secret.
    secret = (
        config.secret(SECRET)
        or farm_address(options).webhook_secret
        or os.environ.get("WEBHOOK_SECRET", "")
    )
    if not secret:
        raise CommandError(
            f"the command does not know the secret that signs the farm's callbacks: set {SECRET} "
            f"or {SECRET}_FILE",
            ExitCode.MISUSED,
        )
    address = config.address(options.address, name="HOST:PORT")
    show = _show_json if options.json else _show
    try:
        async with (
            stop_signals() as stop,
            Receiver.serving(secret, address=address, told=show) as receiver,
        ):
            note_stderr(f"listening for callbacks at {receiver.url}; press Ctrl-C to stop")
            await stop.wait()
    except OSError as error:
        message = f"cannot listen at {options.address}: {error.strerror}; give another HOST:PORT"
        raise CommandError(message, ExitCode.MISUSED) from error
    return ExitCode.OK


def _show(event: CallbackEvent) -> None:
    line = f"{event.process_id}  {event.sequence}  {event.milestone}  {event.status}"
    if event.signed:
        echo(f"{line}  signature ok")
    else:
        warn(f"{line}  UNSIGNED, or signed with another secret")


def _show_json(event: CallbackEvent) -> None:
    shown = {name: value for name, value in asdict(event).items() if name != "at"}
    print(json.dumps(shown), flush=True)
