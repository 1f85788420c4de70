"""Write docs/states.md from the transition tables; --check compares instead and fails on drift."""

import argparse
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from phonefarm_controller.model import states

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "states.md"

HEAD = """\
# States

For callers, operators and developers who find a state in a response, a log or the code:
this page lists every state and every allowed transition.

`make protos` generates this page from the tables in
`controller/phonefarm_controller/model/states.py`; do not edit it by hand.
The same tables define the CHECK constraints in the database and the errors for forbidden
transitions.
"""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """One table of allowed moves."""

    title: str
    what: str
    moves: Mapping[Any, frozenset[Any]]
    begins: tuple[StrEnum, ...]


MACHINES = (
    Machine(
        title="Process",
        what="A process is what a caller sees as one request.\n"
        "Its state follows from its items; nobody sets the state directly.",
        moves=states.PROCESS_MOVES,
        begins=(states.ProcessState.PLANNED,),
    ),
    Machine(
        title="Queue item",
        what="An item is one unit of work, for one phone and one account, with one plan.\n"
        "The controller never claims only a part of an item.",
        moves=states.ITEM_MOVES,
        begins=(states.ItemState.QUEUED, states.ItemState.SCHEDULED),
    ),
    Machine(
        title="Run",
        what="A run is one attempt at an item.",
        moves=states.RUN_MOVES,
        begins=(states.RunState.CLAIMED,),
    ),
    Machine(
        title="Lease",
        what="A lease is the right to drive a phone for an account.\n"
        "Its epoch is a number; each new lease of a phone has a higher epoch.",
        moves=states.LEASE_MOVES,
        begins=(states.LeaseState.LIVE,),
    ),
    Machine(
        title="A phone's health",
        what="The controller judges a phone's health by the rules in `health/policy.py`.\n"
        "A phone gets work while its health is good or suspect.",
        moves=states.HEALTH_MOVES,
        begins=(states.Health.GOOD,),
    ),
    Machine(
        title="Delivery",
        what="A delivery is one callback that the farm must send.\n"
        "To send a delivery, a gateway leases it for 60 s; the gateway may lose this lease.\n"
        "When an operator replays an ended delivery, the delivery becomes pending again.",
        moves=states.DELIVERY_MOVES,
        begins=(states.DeliveryState.PENDING,),
    ),
)


def page() -> str:
    """Return the whole page."""
    return "\n".join([HEAD, *(_section(machine) for machine in MACHINES), _public()])


def _section(machine: Machine) -> str:
    first = "begins here"
    lines = [f"## {machine.title}", "", machine.what, "", "| state | may become |", "|---|---|"]
    for state, to in machine.moves.items():
        name = f"`{state}` ({first})" if state in machine.begins else f"`{state}`"
        reached = ", ".join(f"`{after}`" for after in _ordered(machine, to))
        lines.append(f"| {name} | {reached or 'nothing: it has ended'} |")
    lines += ["", "```mermaid", "stateDiagram-v2"]
    lines += [f"    [*] --> {state}" for state in machine.begins]
    for state, to in machine.moves.items():
        lines += [f"    {state} --> {after}" for after in _ordered(machine, to)]
        if not to:
            lines.append(f"    {state} --> [*]")
    return "\n".join([*lines, "```", ""])


def _ordered(machine: Machine, some: frozenset[Any]) -> list[StrEnum]:
    return [state for state in machine.moves if state in some]


def _public() -> str:
    lines = ["## What callers see", "", "| internal | public status |", "|---|---|"]
    lines += [f"| `{state}` | `{status}` |" for state, status in states.PUBLIC.items()]
    return "\n".join([*lines, ""])


def main() -> int:
    """Write the page, or with --check tell whether it is what the tables make."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 on drift")
    if not parser.parse_args().check:
        PAGE.write_text(page())
        return 0
    if PAGE.exists() and PAGE.read_text() == page():
        return 0
    print("docs/states.md is not what model/states.py makes: run `make protos`")
    return 1


if __name__ == "__main__":
    sys.exit(main())
