"""`phonefarm contexts`: the farms that you work with, by name."""

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from phonefarm_cli.console.connect import Subparsers, add_verbs
from phonefarm_cli.console.json_output import print_result
from phonefarm_cli.console.list_verbs import Listing, print_listing
from phonefarm_cli.contexts import Context, Contexts, contexts_file, read_contexts, write_contexts
from phonefarm_cli.errors import CommandError, ExitCode

_COLUMNS: Final = ("CONTEXT", "CURRENT", "CONTROLLERS", "REST", "CA")
_NOTES: Final = """\
The contexts are in ~/.config/phonefarm/contexts.json, or in the file that PHONEFARM_CONTEXTS names.
Only you can read the file, because it contains the keys. Commands use the current context unless
you name another farm (see the --help of any verb).

examples:
  phonefarm contexts put berlin --grpc 10.0.0.5:7443 --ca ca.pem --key-file ~/berlin.key
  phonefarm contexts use berlin
  phonefarm phones list --context berlin
  phonefarm contexts use --none
"""


def add(commands: Subparsers) -> None:
    """Add `phonefarm contexts` and its verbs."""
    verbs = add_verbs(commands, "contexts", "name the farms that you work with, and choose one")
    _verb(verbs, "list", "list the contexts", _list)
    put = _verb(verbs, "put", "create or replace a context", _put)
    put.add_argument("name", metavar="NAME", help="name of the farm")
    put.add_argument(
        "--grpc",
        required=True,
        metavar="HOST:PORT",
        help="addresses of the farm's controllers, separated by commas",
    )
    key = put.add_mutually_exclusive_group(required=True)
    key.add_argument("--key", metavar="KEY", help="an API key")
    key.add_argument("--key-file", type=Path, metavar="FILE", help="a file that holds the API key")
    put.add_argument(
        "--ca", type=Path, metavar="FILE", help="the farm's ca.pem; calls then use TLS"
    )
    put.add_argument(
        "--rest",
        default="",
        metavar="URL",
        help="URL of the farm's REST API, for `phonefarm env`",
    )
    use = _verb(verbs, "use", "make a context the current one", _use)
    chosen = use.add_mutually_exclusive_group(required=True)
    chosen.add_argument("name", nargs="?", metavar="NAME", help="name of the context")
    chosen.add_argument("--none", action="store_true", help="have no current context")
    delete = _verb(verbs, "delete", "delete a context", _delete)
    delete.add_argument("name", metavar="NAME", help="name of the context")


def _verb(
    verbs: Subparsers, name: str, about: str, handler: Callable[[argparse.Namespace], None]
) -> argparse.ArgumentParser:
    parser = verbs.add_parser(
        name,
        help=about,
        description=f"{about[0].upper()}{about[1:]}.",
        epilog=_NOTES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="print JSON for scripts")

    def perform(options: argparse.Namespace) -> ExitCode:
        handler(options)
        return ExitCode.OK

    parser.set_defaults(parser=parser, perform=perform)
    return parser


def _list(options: argparse.Namespace) -> None:
    contexts = read_contexts()
    listing = Listing(
        columns=_COLUMNS,
        rows=[
            [name, "yes" if name == contexts.current else "", each.grpc, each.rest, each.ca]
            for name, each in contexts.known.items()
        ],
        records=[_record(contexts, name) for name in contexts.known],
        empty="no contexts yet: `phonefarm contexts put --help` shows how to create one",
        optional=("CA", "REST"),
    )
    print_listing(listing, options)


def _put(options: argparse.Namespace) -> None:
    context = Context(
        grpc=options.grpc,
        key=options.key or _key_in(options.key_file),
        ca=str(options.ca.absolute()) if options.ca else "",
        rest=options.rest,
    )
    contexts = read_contexts()
    known = {**contexts.known, options.name: context}
    contexts = Contexts(current=contexts.current, known=known)
    write_contexts(contexts)
    print_result(options, _record(contexts, options.name), f"{options.name}: {context.grpc}")


def _key_in(path: Path) -> str:
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(
            f"--key-file {path} cannot be read: {error}", ExitCode.MISUSED
        ) from error


def _use(options: argparse.Namespace) -> None:
    contexts = read_contexts()
    if options.none:
        write_contexts(replace(contexts, current=""))
        print_result(options, {"current": ""}, "no context is current")
        return
    context = contexts[options.name]
    write_contexts(replace(contexts, current=options.name))
    line = f"{options.name} is current: commands go to {context.grpc}"
    print_result(options, {"current": options.name}, line)


def _delete(options: argparse.Namespace) -> None:
    contexts = read_contexts()
    gone = options.name
    record = _record(contexts, gone)
    known = {name: each for name, each in contexts.known.items() if name != gone}
    current = "" if contexts.current == gone else contexts.current
    write_contexts(Contexts(current=current, known=known))
    print_result(options, record, f"{gone}: deleted from {contexts_file()}")


def _record(contexts: Contexts, name: str) -> dict[str, Any]:
    """Return a context without its key."""
    context = contexts[name]
    shown = {"name": name, "current": name == contexts.current, "grpc": context.grpc}
    return shown | {"rest": context.rest, "ca": context.ca}
