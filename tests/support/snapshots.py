"""What stands in the controller's database, and what must always be true of it."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import pairwise
from typing import Any

from phonefarm_controller.model.processes import Tally, derive
from phonefarm_controller.model.states import (
    DELIVERY_MOVES,
    ITEM_ACTIVE,
    ITEM_MOVES,
    ITEM_TERMINAL,
    LEASE_MOVES,
    PROCESS_MOVES,
    PROCESS_TERMINAL,
    PUBLIC,
    RUN_MOVES,
    DeliveryState,
    ItemState,
    LeaseState,
    ProcessState,
    RunState,
)
from phonefarm_controller.store.database import Database

Row = Mapping[str, Any]

_TABLES = {
    "processes": ("capability_requests", ("process_id",)),
    "items": ("queue_items", ("item_id",)),
    "runs": ("runs", ("run_id",)),
    "results": ("action_results", ("run_id", "epoch", "sequence")),
    "leases": ("leases", ("lease_id",)),
    "phones": ("phones", ("phone_id",)),
    "accounts": ("accounts", ("account_id",)),
    "deliveries": ("deliveries", ("delivery_id",)),
    "transitions": ("transitions", ("number",)),
}


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """Every row of the tables that matter, by key."""

    processes: Mapping[Any, Row]
    items: Mapping[Any, Row]
    runs: Mapping[Any, Row]
    results: Mapping[Any, Row]
    leases: Mapping[Any, Row]
    phones: Mapping[Any, Row]
    accounts: Mapping[Any, Row]
    deliveries: Mapping[Any, Row]
    transitions: Mapping[Any, Row]

    def without_records(self) -> "Snapshot":
        """Return the same without what a late record may leave: the record and its number."""
        runs = {key: {**row, "last_sequence": None} for key, row in self.runs.items()}
        return Snapshot(**{**vars(self), "results": {}, "runs": runs})


def micros(moment: datetime) -> int:
    """Return the moment as it is stored."""
    return round(moment.timestamp() * 1_000_000)


async def snapshot(database: Database) -> Snapshot:
    """Read the whole database in one transaction."""
    found = {}
    async with database.reading() as tx:
        for name, (table, key) in _TABLES.items():
            # As it stands, without types: moments are microseconds.
            rows = await tx.connection.exec_driver_sql(f"SELECT * FROM {table}")  # noqa: S608
            names = list(rows.keys())
            places = [names.index(part) for part in key]
            found[name] = {
                row[places[0]] if len(key) == 1 else tuple(row[i] for i in places): dict(
                    zip(names, row, strict=True)
                )
                for row in rows
            }
    return Snapshot(**found)


def check(now: Snapshot) -> None:
    """Assert what must be true of any committed state."""
    _check_leases(now)
    _check_processes(now)
    _check_deliveries(now)
    _check_once(now)
    _check_timeline(now)


def check_step(before: Snapshot, after: Snapshot) -> None:
    """Assert what must be true of any committed change."""
    _check_moves(before.processes, after.processes, ProcessState, PROCESS_MOVES)
    _check_moves(before.items, after.items, ItemState, ITEM_MOVES)
    _check_moves(before.runs, after.runs, RunState, RUN_MOVES)
    _check_moves(before.leases, after.leases, LeaseState, LEASE_MOVES)
    _check_moves(before.deliveries, after.deliveries, DeliveryState, DELIVERY_MOVES)
    for key, phone in before.phones.items():
        assert after.phones[key]["epoch"] >= phone["epoch"]
    for key, process in before.processes.items():
        if process["state"] in PROCESS_TERMINAL:
            assert after.processes[key] == process, "an ended process was touched"
        assert after.processes[key]["executing_at"] or not process["executing_at"]
    for key, item in before.items.items():
        if item["state"] in ITEM_TERMINAL:
            assert after.items[key] == item, "an ended item was touched"
        assert after.items[key]["attempt"] >= item["attempt"]
    for key, result in before.results.items():
        assert after.results[key] == result, "a kept record was changed"
    for key, transition in before.transitions.items():
        assert after.transitions[key] == transition, "the past was changed"


def _check_moves(
    before: Mapping[Any, Row],
    after: Mapping[Any, Row],
    states: type[StrEnum],
    moves: Mapping[Any, frozenset[Any]],
) -> None:
    for key, row in before.items():
        was, now = states(row["state"]), states(after[key]["state"])
        reachable, wave = {was}, {was}
        while wave := {to for state in wave for to in moves[state]} - reachable:
            reachable |= wave
        assert now in reachable, f"{key} went from {was} to {now}"


def _check_leases(now: Snapshot) -> None:
    for holder, flag in (("phone_id", "phone_held"), ("account_id", "account_held")):
        held = [lease[holder] for lease in now.leases.values() if lease[flag]]
        assert len(held) == len(set(held)), f"two leases hold one {holder}"
    epochs = defaultdict(list)
    for lease in now.leases.values():
        epochs[lease["phone_id"]].append(lease["epoch"])
        item, run = now.items[lease["item_id"]], now.runs[lease["run_id"]]
        assert (run["lease_id"], run["epoch"]) == (lease["lease_id"], lease["epoch"])
        if lease["state"] == LeaseState.LIVE:
            assert lease["account_held"]
            assert item["lease_id"] == lease["lease_id"]
            assert item["state"] in ITEM_ACTIVE
            assert run["state"] == item["state"]
        else:
            assert lease["account_held"] == lease["revoked"]
            assert run["state"] in {RunState.ENDED, RunState.VOIDED}
    for phone_id, used in epochs.items():
        assert len(used) == len(set(used)), "an epoch was given twice"
        assert max(used) <= now.phones[phone_id]["epoch"]
    for item in now.items.values():
        if item["state"] in ITEM_ACTIVE:
            lease = now.leases[item["lease_id"]]
            assert lease["state"] == LeaseState.LIVE, "an item is active without a live lease"
            assert (item["phone_id"], item["account_id"]) == (
                lease["phone_id"],
                lease["account_id"],
            )


def _check_processes(now: Snapshot) -> None:
    children = defaultdict(list)
    for item in now.items.values():
        children[item["process_id"]].append(item)
    for key, process in now.processes.items():
        state = ProcessState(process["state"])
        lines = children[key]
        tallies = [
            Tally(state=ItemState(i["state"]), executed=bool(i["executed"]), count=1) for i in lines
        ]
        assert state is derive(tallies), "a process is not what its items make it"
        assert (state in PROCESS_TERMINAL) == all(i["state"] in ITEM_TERMINAL for i in lines)
        assert (process["executing_at"] is not None) == any(i["executed"] for i in lines)
        if process["executing_at"] is not None:
            assert PUBLIC[state] != "queued"
    attempts: dict[str, list[Row]] = defaultdict(list)
    for run in now.runs.values():
        attempts[run["item_id"]].append(run)
    for key, item in now.items.items():
        runs = sorted(attempts[key], key=lambda run: run["attempt"])
        assert [run["attempt"] for run in runs] == list(range(1, item["attempt"] + 1))
        open_runs = [r for r in runs if r["state"] in {RunState.CLAIMED, RunState.EXECUTING}]
        assert len(open_runs) == (item["state"] in ITEM_ACTIVE)
        assert all(run["run_id"] == item["run_id"] for run in open_runs)


def _check_deliveries(now: Snapshot) -> None:
    told = defaultdict(list)
    for delivery in now.deliveries.values():
        told[delivery["process_id"]].append(delivery)
    for key, process in now.processes.items():
        story = sorted(told[key], key=lambda d: d["sequence"])
        assert [d["sequence"] for d in story] == list(range(1, process["sequence"] + 1))
        if process["callback_url"] is None:
            assert not story
            continue
        words = [d["milestone"] for d in story if d["milestone"] != "cancel_requested"]
        assert words[0] == "accepted"
        assert all(a != b for a, b in pairwise(words))
        status = PUBLIC[ProcessState(process["state"])]
        assert words[-1] == status or (status == "queued" and words == ["accepted"])
        cancels = sum(d["milestone"] == "cancel_requested" for d in story)
        assert cancels == (process["cancel_requested_at"] is not None)


def _check_timeline(now: Snapshot) -> None:
    """Each chain begins with the making, follows the table without a gap, and ends with now."""
    chains: dict[str, list[Row]] = defaultdict(list)
    for number in sorted(now.transitions):
        row = now.transitions[number]
        chains[row["item_id"] or row["process_id"]].append(row)
        assert row["actor"], "nobody did it"
        assert row["reason"], "it happened for no reason"
    assert set(chains) == set(now.items) | set(now.processes)
    for key, item in now.items.items():
        _check_chain(chains[key], item["state"], ItemState, ITEM_MOVES)
        assert all(row["process_id"] == item["process_id"] for row in chains[key])
        attempts = {r["attempt"]: r for r in now.runs.values() if r["item_id"] == key}
        for row in chains[key]:
            run = attempts.get(row["attempt"])
            if run is not None and row["to_state"] in {*ITEM_ACTIVE, ItemState.DONE}:
                assert (row["phone_id"], row["account_id"]) == (run["phone_id"], run["account_id"])
                if row["to_state"] != ItemState.CLAIMED:
                    assert row["actor"] == f"agent:{run['agent_id']}"
    for key, process in now.processes.items():
        wishes = [row for row in chains[key] if row["reason"] == "cancel_requested"]
        moves = [row for row in chains[key] if row not in wishes]
        _check_chain(moves, process["state"], ProcessState, PROCESS_MOVES)
        assert all(row["from_state"] == row["to_state"] for row in wishes)
        assert len(wishes) <= (process["cancel_requested_at"] is not None)


def _check_chain(
    chain: Sequence[Row],
    state: str,
    states: type[StrEnum],
    moves: Mapping[Any, frozenset[Any]],
) -> None:
    assert chain[0]["from_state"] is None
    assert chain[0]["reason"] == "accepted"
    assert chain[-1]["to_state"] == state
    for one, next_one in pairwise(chain):
        assert one["to_state"] == next_one["from_state"], "a move was not noted"
        assert one["at"] <= next_one["at"]
        was, to = states(next_one["from_state"]), states(next_one["to_state"])
        assert to in moves[was], f"noted a move from {was} to {to}"


def _check_once(now: Snapshot) -> None:
    """No attempt follows one that left a `once` action between started and done."""
    begun: dict[str, str] = {}
    for key in sorted(now.results):
        row = now.results[key]
        if row["late"]:
            continue
        run = now.runs[row["run_id"]]
        body, once = json.loads(row["body"]), now.items[run["item_id"]]["once_actions"]
        if body.get("index") not in json.loads(once):
            continue
        if row["kind"] == "action_started":
            begun[row["run_id"]] = body["kind"]
        elif row["kind"] == "action_done":
            begun.pop(row["run_id"], None)
    for run_id, kind in begun.items():
        item = now.items[now.runs[run_id]["item_id"]]
        assert item["attempt"] == now.runs[run_id]["attempt"], "a once action was tried again"
        assert item["state"] in ITEM_ACTIVE | ITEM_TERMINAL, "it waits to be tried again"
        if item["state"] in {ItemState.DEAD_LETTER, ItemState.CANCELLED}:
            assert json.loads(item["failure"])["code"] == f"outcome_unknown:{kind}"
