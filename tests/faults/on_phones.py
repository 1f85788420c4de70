"""What is promised of phones: one driver at a time, nothing from an old lease, no post twice."""

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

from faults.history import HAND, TOKEN, History, Violation
from phonefarm_simulator.ledger import Kind
from support.snapshots import Row


def one_driver(history: History) -> Iterator[Violation]:
    """Find epochs that fell, and what a hand did by one lease while another held the phone."""
    for serial, ledger in history.ledgers.items():
        for shows in _intrusions(history, ledger):
            yield Violation(promise="one_driver", subject=serial, shows=shows)


def _intrusions(history: History, ledger: tuple[Row, ...]) -> Iterator[str]:
    highest = 0
    opened: dict[tuple[int, int], int | None] = {}
    agents: dict[int, str] = {}
    for entry in ledger:
        where = f"entry {entry['sequence']} ({entry['kind']})"
        stream = (entry["connection"], entry["stream"])
        if entry["kind"] == Kind.SERVICE_OPENED:
            opened[stream] = entry["epoch"]
        elif entry["kind"] == Kind.LEASE_WRITTEN:
            if entry["epoch"] < highest:
                yield f"{where} writes the epoch {entry['epoch']} after {highest}"
            highest = max(highest, entry["epoch"])
            agent = agents.setdefault(entry["connection"], entry["agent"])
            if agent != entry["agent"]:
                yield f"{where} is of {entry['agent']} by the connection of {agent}"
        elif entry["kind"] in HAND and entry["connection"]:
            if opened.get(stream, entry["epoch"]) != entry["epoch"]:
                yield f"{where} came by a stream of the epoch {opened[stream]} in {entry['epoch']}"
            hand = agents.get(entry["connection"], entry["agent"])
            if hand != entry["agent"]:
                yield f"{where} came from {hand}, the lease is of {entry['agent']}"
            yield from _of_another(history, entry, where)


def _of_another(history: History, entry: Row, where: str) -> Iterator[str]:
    run = history.rows.runs.get(entry["run"])
    if run is None:
        return
    holder = history.rows.items[run["item_id"]]["process_id"]
    for token in TOKEN.findall(json.dumps(entry["detail"])):
        owner = history.process_of_token.get(token)
        # A box may show what an earlier run left in it; what is searched and saved was typed now.
        if owner != holder and entry["kind"] in {Kind.SEARCHED, Kind.TYPED, Kind.PROFILE_SAVED}:
            yield f"{where} is of process {owner} while {holder} holds the phone"


def fenced(history: History) -> Iterator[Violation]:
    """Find a hand on a phone before its run was let go, or after the run's end."""
    phones = {phone["serialno"]: phone["phone_id"] for phone in history.rows.phones.values()}
    for serial, ledger in history.ledgers.items():
        for entry in ledger:
            if entry["kind"] in HAND and entry["connection"]:
                shows = _outside(history, entry, phones.get(serial))
                if shows:
                    where = f"entry {entry['sequence']} ({entry['kind']}) "
                    yield Violation(promise="fenced", subject=serial, shows=where + shows)


def _outside(history: History, entry: Row, phone_id: str | None) -> str:
    run = history.rows.runs.get(entry["run"])
    if run is None:
        return f"is of the run {entry['run']}, which does not exist"
    if (run["phone_id"], run["epoch"]) != (phone_id, entry["epoch"]):
        return f"has the epoch {entry['epoch']}, its run has {run['epoch']} on {run['phone_id']}"
    at = entry["wall"] * 1e6
    if run["started_at"] is None:
        return "is of a run that was never let go"
    clock = history.database_clock
    started = clock.times(run["started_at"])[0]
    if at < started:
        return f"came {(started - at) / 1e6:.3f} s before its run was let go"
    if run["ended_at"] is not None and at > (ended := clock.times(run["ended_at"])[-1]):
        return f"came {(at - ended) / 1e6:.3f} s after the end of its run"
    return ""


def posted_once(history: History) -> Iterator[Violation]:
    """Find content that was posted twice on whatever phones, or is called done and was not."""
    posts: Counter[str] = Counter()
    for ledger in history.ledgers.values():
        for entry in ledger:
            if entry["kind"] == Kind.POSTED:
                posts.update(set(TOKEN.findall(_caption(entry))))
    for token, process_id in history.process_of_token.items():
        state = history.rows.processes[process_id]["state"]
        if all(item["once_actions"] == "[]" for item in history.items_of[process_id]):
            continue
        if posts[token] > 1:
            shows = f"{token} was posted {posts[token]} times"
            yield Violation(promise="posted_once", subject=process_id, shows=shows)
        if state == "DONE" and not posts[token]:
            shows = f"{token} is called done and was never posted"
            yield Violation(promise="posted_once", subject=process_id, shows=shows)


def _caption(entry: Row) -> str:
    detail: dict[str, Any] = entry["detail"]
    return str(detail.get("caption", ""))
