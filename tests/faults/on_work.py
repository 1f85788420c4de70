"""What is promised of work: one end, its limits in time, its attempts, every word of its runs."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from faults.history import HAND, AskKind, History, JournalRun, Violation
from phonefarm_common.reasons import FailureClass
from phonefarm_controller.model.retry_policy import RetryPolicy
from phonefarm_controller.model.states import ITEM_TERMINAL, PROCESS_TERMINAL
from support.snapshots import Row, check

_BEGINNING = {"CLAIMED", "EXECUTING"}
_REACHES_PHONE: Final = 5_000_000
"""Microseconds that a slow phone may take from the executor's first word to its first effect."""

_TRANSACTION: Final = 10_000_000
"""Microseconds that a transaction may wait for a lock."""


def consistent(history: History) -> Iterator[Violation]:
    """Find what no committed state may be (support/snapshots.py)."""
    try:
        check(replace(history.rows, transitions=_as_they_were(history)))
    except AssertionError as error:
        frame = error.__traceback__
        while frame is not None and frame.tb_next is not None:
            frame = frame.tb_next
        line = frame.tb_lineno if frame is not None else 0
        shows = f"snapshots.py:{line}: {error!r}"
        yield Violation(promise="consistent", subject="the database", shows=shows)


def _as_they_were(history: History) -> dict[int, Row]:
    """Return the moves with the moments at which they were really made.

    Where a clock that was set back leaves a choice, it is the first one behind the move before.
    """
    clock = history.database_clock
    last: dict[str, int] = defaultdict(int)
    moves: dict[int, Row] = {}
    for number, move in sorted(history.rows.transitions.items()):
        subject = move["item_id"] or move["process_id"]
        times, before = clock.times(move["at"]), last[subject]
        at = next((one for one in times if one >= before), times[-1])
        # A move is dated by its transaction's beginning where the clock was set back since.
        if before - _TRANSACTION <= at < before and clock.set_back(at, before):
            at = before
        last[subject] = at
        moves[number] = {**move, "at": at}
    return moves


def ended_once(history: History) -> Iterator[Violation]:
    """Find what has not ended, and what moved after its end."""
    for process_id, process in history.rows.processes.items():
        if process["state"] not in PROCESS_TERMINAL:
            shows = f"it is still {process['state']}"
            yield Violation(promise="ended_once", subject=process_id, shows=shows)
    for process_id, moves in history.moves_of.items():
        ends: Counter[str] = Counter()
        for move in moves:
            subject = move["item_id"] or process_id
            states = ITEM_TERMINAL if move["item_id"] else PROCESS_TERMINAL
            if ends[subject] and move["from_state"] != move["to_state"]:
                shows = f"it had ended and became {move['to_state']}"
                yield Violation(promise="ended_once", subject=subject, shows=shows)
            ends[subject] += move["to_state"] in states and move["from_state"] != move["to_state"]


def cancelled(history: History) -> Iterator[Violation]:
    """Find what began after its cancel, or did not end as the answer to the cancel said."""
    for process_id, moves in history.moves_of.items():
        asked = False
        for move in moves:
            asked |= move["item_id"] is None and move["reason"] == "cancel_requested"
            if asked and move["item_id"] and move["to_state"] in _BEGINNING:
                shows = f"{move['item_id']} became {move['to_state']} after the cancel"
                yield Violation(promise="cancelled", subject=process_id, shows=shows)
    for ask in history.asks:
        if ask.status != 200 or ask.kind not in {AskKind.CANCEL, AskKind.TAKE_BACK}:
            continue
        if ask.kind is AskKind.CANCEL:
            named = list(ask.answer["cancelled_queue_item_ids"])
        else:
            named = [ask.answer["queue_item_id"]]
        for item_id in named:
            state = history.rows.items[item_id]["state"]
            if state != "CANCELLED":
                shows = f"the answer said cancelled, it is {state}"
                yield Violation(promise="cancelled", subject=item_id, shows=shows)


def in_time(history: History) -> Iterator[Violation]:
    """Find what began before its time, or after its deadline."""
    for process_id, moves in history.moves_of.items():
        for move in moves:
            item = history.rows.items.get(move["item_id"])
            if item is None or move["to_state"] != "EXECUTING":
                continue
            began = [run["started_at"] for run in history.runs_of[move["item_id"]]]
            if any(at and at > item["deadline_at"] for at in began):
                shows = f"{item['item_id']} was let go after its deadline"
                yield Violation(promise="in_time", subject=process_id, shows=shows)
    for run_id, at in _first_hands(history).items():
        run = history.rows.runs[run_id]
        item = history.rows.items.get(run["item_id"])
        late = 0 if item is None else _clock_at(history, run, at) - item["deadline_at"]
        if late > _REACHES_PHONE:
            shows = f"{run_id} acted {late / 1e6:.3f} s after its deadline"
            yield Violation(promise="in_time", subject=run["item_id"], shows=shows)
    for ask in history.asks:
        named = str(ask.answer.get("process_id")) if ask.accepted else ""
        for item in history.items_of.get(named, []):
            if ask.deadline is not None and item["deadline_at"] != ask.deadline:
                shows = f"the deadline asked for was {ask.deadline}, kept is {item['deadline_at']}"
                yield Violation(promise="in_time", subject=item["item_id"], shows=shows)
            for run in history.runs_of[item["item_id"]]:
                if ask.not_before is not None and run["created_at"] < ask.not_before:
                    shows = f"claimed at {run['created_at']}, not before {ask.not_before}"
                    yield Violation(promise="in_time", subject=item["item_id"], shows=shows)


def _clock_at(history: History, run: Row, at: int) -> int:
    """Return what the database's clock showed at a hand, as it was when the run was let go.

    What remained until the deadline was told then, or when the agent asked again: where the clock
    was set meanwhile, the latest deadline of those counts.
    """
    clock = history.database_clock
    begun = at if run["started_at"] is None else min(clock.times(run["started_at"])[0], at)
    return at + clock.least_off(begun, at)


def _first_hands(history: History) -> dict[str, int]:
    """Return when each run's hand was first seen on its phone, in microseconds."""
    first: dict[str, int] = {}
    for ledger in history.ledgers.values():
        for entry in ledger:
            if entry["kind"] in HAND and entry["connection"] and entry["run"] in history.rows.runs:
                at = int(entry["wall"] * 1e6)
                first[entry["run"]] = min(at, first.get(entry["run"], at))
    return first


def retried(history: History) -> Iterator[Violation]:
    """Find more attempts than the policy has, and those after what must not be tried again."""
    policy = RetryPolicy()
    for item_id, item in history.rows.items.items():
        attempts = 1 if json.loads(item["once_actions"]) else policy.work_attempts
        for failures, most in (
            ("work_failures", attempts),
            ("infra_failures", policy.infra_attempts),
        ):
            if item[failures] > most:
                shows = f"{item[failures]} {failures}, allowed are {most}"
                yield Violation(promise="retried", subject=item_id, shows=shows)
        for run in history.runs_of[item_id][:-1]:
            final = _final_failure(history.results_of[run["run_id"]])
            if final is not None:
                shows = f"attempt {run['attempt']} ended for good with {final}, others followed"
                yield Violation(promise="retried", subject=item_id, shows=shows)


def _final_failure(results: list[Row]) -> str | None:
    for row in results:
        failure = json.loads(row["body"]).get("failure") if row["kind"] == "run_ended" else None
        if failure and not row["late"]:
            final = failure["final"] or failure["failure_class"] == FailureClass.ACCOUNT
            if final:
                return str(failure["code"])
    return None


def reported_once(history: History) -> Iterator[Violation]:
    """Find words of a run that are missing, and actions with no result or several."""
    for run_id, run in history.rows.runs.items():
        rows = history.results_of[run_id]
        numbers = [row["sequence"] for row in rows]
        if numbers != list(range(1, run["last_sequence"] + 1)):
            shows = f"its records are {numbers}, acknowledged up to {run['last_sequence']}"
            yield Violation(promise="reported_once", subject=run_id, shows=shows)
        told = Counter(
            (row["kind"] == "action_started", json.loads(row["body"])["index"])
            for row in rows
            if row["kind"] in {"action_started", "action_done", "action_failed"}
        )
        for (started, index), count in told.items():
            if count > 1:
                what = "beginnings" if started else "results"
                shows = f"action {index} has {count} {what}"
                yield Violation(promise="reported_once", subject=run_id, shows=shows)
    for item_id, item in history.rows.items.items():
        if item["state"] == "DONE":
            missing = _missing(history, item)
            if missing:
                shows = f"done without a result of the actions {missing}"
                yield Violation(promise="reported_once", subject=item_id, shows=shows)


def _missing(history: History, item: Row) -> list[int]:
    """Return the actions of a done item with no result in its last run and not done once before."""
    done = {
        json.loads(row["body"])["index"]
        for row in history.results_of[item["run_id"]]
        if row["kind"] == "action_done"
    }
    done |= set(json.loads(item["once_done"]))
    return sorted(set(range(item["actions_total"])) - done)


def acknowledged(history: History) -> Iterator[Violation]:
    """Find runs, and words of runs, that an agent holds and the farm does not know."""
    for run in history.journal:
        shows = _held_back(history, run)
        if shows:
            yield Violation(promise="acknowledged", subject=run.run_id, shows=shows)


def _held_back(history: History, run: JournalRun) -> str:
    if run.run_id not in history.rows.runs:
        return f"{run.agent_id} has a run that the database does not know"
    if run.phase != "forgotten":
        return f"{run.agent_id} still has it as {run.phase}"
    if run.unacknowledged:
        return f"{run.agent_id} waits for the acknowledgement of {list(run.unacknowledged)}"
    kept = history.rows.runs[run.run_id]["last_sequence"]
    if kept != run.last_sequence:
        return f"{run.agent_id} told {run.last_sequence} records, kept are {kept}"
    return ""
