"""The checker lets a good history pass, and finds what is wrong with each broken one."""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

import pytest
from faults.checker import PROMISES, violations
from faults.clocks import DATABASE_CLOCK, Setting
from faults.good_history import good_history
from faults.history import Ask, AskKind, History
from support.snapshots import Row

Break = Callable[[History], History]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> History:
    """Return a history in which every promise was kept; nobody changes it."""
    return asyncio.run(good_history(tmp_path_factory.mktemp("story")))


def _row(history: History, table: str, key: Any, **changes: Any) -> History:
    rows = dict(getattr(history.rows, table))
    rows[key] = {**rows[key], **changes}
    return replace(history, rows=replace(history.rows, **{table: rows}))


def _without(history: History, table: str, *keys: Any) -> History:
    rows = {key: row for key, row in getattr(history.rows, table).items() if key not in keys}
    return replace(history, rows=replace(history.rows, **{table: rows}))


def _ask(history: History, place: int, **changes: Any) -> History:
    asks = list(history.asks)
    asks[place] = replace(asks[place], **changes)
    return replace(history, asks=tuple(asks))


def _ask_of(history: History, key: str) -> Ask:
    return next(ask for ask in history.asks if ask.key == key)


def _process(history: History, request_id: str) -> str:
    found = [k for k, row in history.rows.processes.items() if row["request_id"] == request_id]
    return str(found[0])


def _item(history: History, request_id: str) -> Row:
    return history.items_of[_process(history, request_id)][0]


def _runs(history: History, request_id: str) -> list[Row]:
    return history.runs_of[_item(history, request_id)["item_id"]]


def _entry(history: History, kind: str, request_id: str, **changes: Any) -> History:
    """Change the entry of that kind that a request's first run left on its phone."""
    run_id = _runs(history, request_id)[0]["run_id"]
    return replace(
        history,
        ledgers={
            serial: tuple(
                {**entry, **changes} if (entry["kind"], entry["run"]) == (kind, run_id) else entry
                for entry in entries
            )
            for serial, entries in history.ledgers.items()
        },
    )


def _more_moves(history: History, *moves: Mapping[str, Any]) -> History:
    rows = dict(history.rows.transitions)
    for move in moves:
        number = max(rows) + 1
        rows[number] = {**rows[max(rows)], "number": number, **move}
    return replace(history, rows=replace(history.rows, transitions=rows))


def _moved(history: History, request_id: str, to_state: str) -> dict[str, Any]:
    item = _item(history, request_id)
    names = {"process_id": item["process_id"], "item_id": item["item_id"], "reason": "a bug"}
    return {**names, "from_state": item["state"], "to_state": to_state}


HOUR: Final = 3600
_DATED: Final = {"runs": ("created_at", "started_at", "ended_at"), "transitions": ("at",)}


def _set(off: float, at: float) -> Setting:
    return Setting(clock=DATABASE_CLOCK, off=off, began=at, ended=at)


def _clock_off(history: History, seconds: int) -> History:
    """Have the database's clock off from behind the beginning of `watch` until `post` was let go.

    It is right again before the hand of `post`.
    """
    (run,) = _runs(history, "watch")
    since, until = run["started_at"] + 500_000, run["ended_at"] + 500_000

    def dated(row: Row, names: tuple[str, ...]) -> Row:
        moments = {name: row[name] for name in names if row[name] is not None}
        wrong = {name: at + seconds * 10**6 for name, at in moments.items() if since <= at < until}
        return {**row, **wrong}

    tables = {
        table: {key: dated(row, names) for key, row in getattr(history.rows, table).items()}
        for table, names in _DATED.items()
    }
    settings = (_set(seconds, since / 1e6), _set(0, until / 1e6))
    return replace(
        history,
        rows=replace(history.rows, **tables),
        settings=settings,
        began=run["created_at"] / 1e6 - 1,
        ended=history.arrivals[-1].at + 1,
    )


# What each broken history lacks.


def _answered_500(good: History) -> History:
    return _ask(good, 0, status=500, answer={})


def _answered_without_retry_after(good: History) -> History:
    return _ask(good, 1, status=503, answer={})


def _cancel_refused(good: History) -> History:
    return _ask(good, -1, status=409, answer={})


_LATE: Final = Ask(
    kind=AskKind.WORK,
    key="too late",
    status=422,
    began=10,
    ended=12,
    answer={"error": {"code": "invalid_field", "message": "deadline is in the past"}},
    deadline=11_000_000,
)
"""First heard of behind its deadline: rightly refused."""


def _refused_before_its_deadline(good: History) -> History:
    return replace(good, asks=(*good.asks, replace(_LATE, deadline=13_000_000)))


def _refused_though_accepted_before(good: History) -> History:
    taken = replace(_ask_of(good, "watch"), key=_LATE.key, began=1, ended=2)
    return replace(good, asks=(*good.asks, taken, _LATE))


def _refused_before_its_deadline_by_a_clock_that_was_right(good: History) -> History:
    """Have it ahead until a second before the request."""
    settings = (_set(5, 0), _set(0, 9))
    asks = (*good.asks, replace(_LATE, deadline=13_000_000))
    return replace(good, asks=asks, settings=settings)


def _lost_after_202(good: History) -> History:
    return _without(good, "processes", _process(good, "watch"))


def _ingested_and_lost(good: History) -> History:
    lost = Ask(
        kind=AskKind.CONTENT,
        key="content",
        status=202,
        began=0,
        ended=0,
        answer={"queue_item_id": "gone"},
    )
    return replace(good, asks=(*good.asks, lost))


def _repeat_made_another(good: History) -> History:
    return _ask(good, 1, answer={"process_id": _process(good, "post")})


def _repeat_called_new(good: History) -> History:
    return _ask(good, 1, status=202)


def _arrivals_of(good: History, request_id: str, *, but: int) -> History:
    process_id = _process(good, request_id)
    kept = [a for a in good.arrivals if (a.process_id, a.sequence) != (process_id, but)]
    return replace(good, arrivals=tuple(kept))


def _event_in_the_middle_lost(good: History) -> History:
    return _arrivals_of(good, "watch", but=2)


def _end_not_told(good: History) -> History:
    return _arrivals_of(good, "watch", but=3)


def _told_out_of_order(good: History) -> History:
    process_id = _process(good, "again")
    moved = [
        replace(a, at=0.0) if (a.process_id, a.sequence) == (process_id, 3) else a
        for a in good.arrivals
    ]
    return replace(good, arrivals=tuple(moved))


def _next_before_taken(good: History) -> History:
    """Answer the first event with 500, and take it only after the second."""
    mine = [a for a in good.arrivals if a.process_id == _process(good, "again")]
    refused = replace(mine[0], answered=500)
    taken = replace(mine[0], at=mine[-1].at + 1)
    others = [a for a in good.arrivals if a is not mine[0]]
    return replace(good, arrivals=(*others, refused, taken))


def _signed_wrongly(good: History) -> History:
    return replace(good, arrivals=(replace(good.arrivals[0], signed=False), *good.arrivals[1:]))


def _never_taken(good: History) -> History:
    return replace(good, arrivals=tuple(replace(a, answered=500) for a in good.arrivals))


def _two_leases_on_one_phone(good: History) -> History:
    first, second = sorted(good.rows.leases)[:2]
    held = {"state": "dirty", "phone_held": True, "phone_id": "ph-a"}
    return _row(_row(good, "leases", first, **held), "leases", second, **held)


def _moved_before_its_last_move_in_spite_of_a_step(good: History) -> History:
    """Have the end of the run dated before its beginning, by more than the clock was set back."""
    ended = good.rows.runs[_runs(good, "watch")[0]["run_id"]]["ended_at"]
    stepped = _clock_off(good, -HOUR)
    (number,) = [
        number
        for number, row in stepped.rows.transitions.items()
        if row["item_id"] == _item(good, "watch")["item_id"] and row["to_state"] == "DONE"
    ]
    return _row(stepped, "transitions", number, at=ended - (HOUR + 3) * 10**6)


def _still_waiting(good: History) -> History:
    return _row(good, "processes", _process(good, "late"), state="PLANNED")


def _ended_twice(good: History) -> History:
    return _more_moves(good, _moved(good, "watch", "DEAD_LETTER"))


def _began_after_cancel(good: History) -> History:
    return _more_moves(good, _moved(good, "stopped", "EXECUTING"))


def _answered_cancelled_and_done(good: History) -> History:
    return _row(good, "items", _item(good, "unwanted")["item_id"], state="DONE")


def _taken_back_and_posted(good: History) -> History:
    item_id = _item(good, "post")["item_id"]
    ask = Ask(
        kind=AskKind.TAKE_BACK,
        key="content",
        status=200,
        began=0,
        ended=0,
        answer={"queue_item_id": item_id},
    )
    return replace(good, asks=(*good.asks, ask))


def _began_after_deadline(good: History) -> History:
    item = _item(good, "watch")
    return _row(good, "items", item["item_id"], deadline_at=item["created_at"] - 1)


def _acted_after_deadline(good: History) -> History:
    """Let go in time, and frozen on the way to the phone."""
    (run,) = _runs(good, "watch")
    late = run["started_at"] / 1e6 + 7
    for kind in ("searched", "tapped"):
        good = _entry(good, kind, "watch", wall=late)
    return _row(good, "items", run["item_id"], deadline_at=run["started_at"] + 1_000_000)


def _acted_after_deadline_in_spite_of_a_step(good: History) -> History:
    """Have the clock set back only behind the hand: nobody was told of more time."""
    late = _acted_after_deadline(good)
    (run,) = _runs(late, "watch")
    return replace(late, settings=(_set(-HOUR, run["started_at"] / 1e6 + 8),))


def _began_before_its_time(good: History) -> History:
    (run,) = _runs(good, "later")
    return _row(good, "runs", run["run_id"], created_at=run["created_at"] - 60_000_000)


def _deadline_forgotten(good: History) -> History:
    item = _item(good, "late")
    return _row(good, "items", item["item_id"], deadline_at=item["deadline_at"] + 1)


def _post_tried_twice(good: History) -> History:
    return _row(good, "items", _item(good, "post")["item_id"], work_failures=2)


def _tried_nine_times(good: History) -> History:
    return _row(good, "items", _item(good, "watch")["item_id"], infra_failures=9)


def _tried_after_a_final_failure(good: History) -> History:
    first = _runs(good, "again")[0]
    (key,) = [
        key
        for key, row in good.rows.results.items()
        if (row["run_id"], row["kind"]) == (first["run_id"], "run_ended")
    ]
    body = json.loads(good.rows.results[key]["body"])
    body["failure"]["failure_class"] = "account"
    return _row(good, "results", key, body=json.dumps(body))


def _first_result(good: History) -> Any:
    (run,) = _runs(good, "watch")
    return next(
        key
        for key, row in good.rows.results.items()
        if (row["run_id"], row["kind"]) == (run["run_id"], "action_done")
    )


def _record_lost(good: History) -> History:
    return _without(good, "results", _first_result(good))


def _result_twice(good: History) -> History:
    row = good.rows.results[_first_result(good)]
    (run,) = _runs(good, "watch")
    number = run["last_sequence"] + 1
    results = {**good.rows.results, (run["run_id"], 0, number): {**row, "sequence": number}}
    told = _row(good, "runs", run["run_id"], last_sequence=number)
    return replace(told, rows=replace(told.rows, results=results))


def _done_without_its_result(good: History) -> History:
    return _row(good, "results", _first_result(good), kind="action_skipped")


def _journal(good: History, **changes: Any) -> History:
    return replace(good, journal=(replace(good.journal[0], **changes), *good.journal[1:]))


def _word_unheard(good: History) -> History:
    return _journal(good, unacknowledged=(3,))


def _run_unknown(good: History) -> History:
    return _journal(good, run_id="nobody")


def _run_held_for_ever(good: History) -> History:
    return _journal(good, phase="ended")


def _word_forgotten(good: History) -> History:
    return _journal(good, last_sequence=good.journal[0].last_sequence + 1)


def _epoch_fell(good: History) -> History:
    return _entry(good, "lease_written", "watch", epoch=99)


def _late_by_an_old_stream(good: History) -> History:
    """Let the next run's tap come by the stream that the first one had opened."""
    (run,) = _runs(good, "watch")
    (ledger,) = [one for one in good.ledgers.values() if one and one[1]["run"] == run["run_id"]]
    stream = next(e["stream"] for e in ledger if e["kind"] == "searched")
    return _entry(good, "tapped", "post", stream=stream)


def _another_hosts_hand(good: History) -> History:
    return _entry(good, "tapped", "watch", agent="south")


def _the_work_of_another(good: History) -> History:
    return _entry(good, "searched", "watch", detail={"query": "zq000002"})


def _after_its_run(good: History) -> History:
    (run,) = _runs(good, "watch")
    return _entry(good, "tapped", "watch", wall=run["ended_at"] / 1e6 + 1)


def _before_its_go(good: History) -> History:
    (run,) = _runs(good, "watch")
    return _entry(good, "tapped", "watch", wall=run["started_at"] / 1e6 - 1)


def _after_its_run_by_a_clock_set_back(good: History) -> History:
    return _clock_off(_after_its_run(good), -HOUR)


def _after_its_run_by_a_clock_set_forward(good: History) -> History:
    return _clock_off(_after_its_run(good), HOUR)


def _before_its_go_by_a_clock_set_back(good: History) -> History:
    (run,) = _runs(good, "post")
    early = _entry(good, "tapped", "post", wall=run["started_at"] / 1e6 - 0.1)
    return _clock_off(early, -HOUR)


def _never_let_go(good: History) -> History:
    (run,) = _runs(good, "watch")
    return _row(good, "runs", run["run_id"], started_at=None)


def _of_an_older_epoch(good: History) -> History:
    return _entry(good, "tapped", "watch", epoch=0)


def _of_no_run(good: History) -> History:
    return _entry(good, "tapped", "watch", run="nobody")


def _posted_twice(good: History) -> History:
    (entry,) = [e for one in good.ledgers.values() for e in one if e["kind"] == "posted"]
    return replace(good, ledgers={**good.ledgers, "another phone": (entry,)})


def _done_and_not_posted(good: History) -> History:
    return _entry(good, "posted", "post", detail={"caption": "something else"})


BROKEN: Final[Mapping[str, tuple[Break, ...]]] = {
    "answered": (
        _answered_500,
        _answered_without_retry_after,
        _cancel_refused,
        _refused_before_its_deadline,
        _refused_though_accepted_before,
        _refused_before_its_deadline_by_a_clock_that_was_right,
    ),
    "kept": (_lost_after_202, _ingested_and_lost),
    "repeated": (_repeat_made_another, _repeat_called_new),
    "told": (
        _event_in_the_middle_lost,
        _end_not_told,
        _told_out_of_order,
        _next_before_taken,
        _signed_wrongly,
        _never_taken,
    ),
    "consistent": (
        _two_leases_on_one_phone,
        _moved_before_its_last_move_in_spite_of_a_step,
    ),
    "ended_once": (_still_waiting, _ended_twice),
    "cancelled": (_began_after_cancel, _answered_cancelled_and_done, _taken_back_and_posted),
    "in_time": (
        _began_after_deadline,
        _acted_after_deadline,
        _acted_after_deadline_in_spite_of_a_step,
        _began_before_its_time,
        _deadline_forgotten,
    ),
    "retried": (_post_tried_twice, _tried_nine_times, _tried_after_a_final_failure),
    "reported_once": (_record_lost, _result_twice, _done_without_its_result),
    "acknowledged": (_word_unheard, _run_unknown, _run_held_for_ever, _word_forgotten),
    "one_driver": (
        _epoch_fell,
        _late_by_an_old_stream,
        _another_hosts_hand,
        _the_work_of_another,
    ),
    "fenced": (
        _after_its_run,
        _before_its_go,
        _after_its_run_by_a_clock_set_back,
        _after_its_run_by_a_clock_set_forward,
        _before_its_go_by_a_clock_set_back,
        _never_let_go,
        _of_an_older_epoch,
        _of_no_run,
    ),
    "posted_once": (_posted_twice, _done_and_not_posted),
}


def test_a_good_history_passes(good: History) -> None:
    """Work, a post, a second attempt, a begin to wait for, a deadline, cancels: all well."""
    found = violations(good)

    states = {row["request_id"]: row["state"] for row in good.rows.processes.values()}
    assert found == []
    assert states == {
        "watch": "DONE",
        "post": "DONE",
        "again": "DONE",
        "later": "DONE",
        "late": "DEAD_LETTER",
        "unwanted": "CANCELLED",
        "stopped": "CANCELLED",
    }
    assert len(_runs(good, "again")) == 2


def test_who_comes_behind_the_deadline_may_be_refused(good: History) -> None:
    """An outage may outlast a deadline: what nobody has accepted by then need not be."""
    assert violations(replace(good, asks=(*good.asks, _LATE))) == []


@pytest.mark.parametrize("seconds", [HOUR, 2, -2, -HOUR])
def test_a_step_of_the_databases_clock_breaks_no_promise(good: History, seconds: int) -> None:
    """What was dated by the wrong clock is taken for when it was, where the step is known."""
    stepped = _clock_off(good, seconds)

    assert violations(stepped) == []
    assert violations(replace(stepped, settings=())) != []


def test_a_deadline_may_pass_by_a_clock_that_is_ahead(good: History) -> None:
    """Who asks while it is ahead is refused by what it shows."""
    ask = replace(_LATE, deadline=13_000_000)

    settings = (_set(5, 11.5), _set(0, 13))

    assert violations(replace(good, asks=(*good.asks, ask), settings=settings)) == []


def test_a_clock_set_back_gives_more_time_to_who_asks_again(good: History) -> None:
    """What remains until the deadline is told by the clock as it is then."""
    late = _acted_after_deadline(good)
    (run,) = _runs(late, "watch")

    stepped = replace(late, settings=(_set(-2, run["started_at"] / 1e6 + 0.5),))

    assert "in_time" in {found.promise for found in violations(late)}
    assert "in_time" not in {found.promise for found in violations(stepped)}


def test_each_promise_is_seen_broken() -> None:
    """No promise is judged by a rule that was never seen to find anything."""
    assert set(BROKEN) == set(PROMISES)


@pytest.mark.parametrize(
    ("promise", "broken"),
    [
        pytest.param(promise, broken, id=f"{promise}-{broken.__name__.strip('_')}")
        for promise, ways in BROKEN.items()
        for broken in ways
    ],
)
def test_a_broken_history_is_found(good: History, promise: str, broken: Break) -> None:
    """What was changed in a good history is named with the promise that it breaks."""
    found = violations(broken(good))

    assert promise in {violation.promise for violation in found}
