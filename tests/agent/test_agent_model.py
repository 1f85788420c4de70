"""The pure parts of the agent: moves, endings, executor events, probes, names of phones."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from phonefarm_agent.model.records import (
    ActionDone,
    ActionFailed,
    ActionStarted,
    Body,
    Failure,
    PhoneReleased,
    Record,
    RunEnded,
    RunRefused,
    decode_body,
    encode_body,
)
from phonefarm_agent.model.run import (
    MOVES,
    Assignment,
    IllegalMoveError,
    Phase,
    RunRef,
    RunState,
    StopOrder,
    StopStrategy,
)
from phonefarm_agent.phones.identity import (
    Identity,
    duplicates,
    second_ways,
    serialno_problem,
)
from phonefarm_agent.phones.limits import PhoneLimits
from phonefarm_agent.phones.probe import CONDITIONS, Answered, Unanswered, evaluate
from phonefarm_agent.phones.probe import parse as parse_probe
from phonefarm_agent.phones.readiness import ReadinessStages
from phonefarm_agent.runs.event_parser import BadEventError, ExecutorEvent, RunFinished, parse_event
from phonefarm_agent.runs.journal_schema import decode_state, encode_state
from phonefarm_agent.runs.outcome import Cause, Stopped, broken, decide_ending
from phonefarm_agent.runs.record_queue import RecordQueue
from phonefarm_common.reasons import FailureClass, FailureCode
from phonefarm_common.wire_enums import Readiness, RunOutcome
from support.examples import given

REF = RunRef(run_id="r", item_id="i", attempt=1, lease_id="l", epoch=3)
ASSIGNMENT = Assignment(
    ref=REF,
    process_id="p",
    phone_id="phone",
    serialno="S",
    account_id="a",
    capability="c",
    plan_json="{}",
    cap_seconds=1.0,
)
FAILURE = Failure(code="selector_not_found", message="m", failure_class=FailureClass.WORK)

names = st.text(max_size=20)
failures = st.builds(
    Failure,
    code=names,
    message=names,
    failure_class=st.sampled_from([FailureClass.WORK, FailureClass.INFRA, FailureClass.ACCOUNT]),
    final=st.booleans(),
)
numbers = st.integers(min_value=0, max_value=1000)
seconds = st.floats(min_value=0, max_value=1e6)
bodies: st.SearchStrategy[Body] = st.one_of(
    st.builds(ActionStarted, index=numbers, kind=names),
    st.builds(ActionDone, index=numbers, kind=names, outputs_json=names, seconds=seconds),
    st.builds(ActionFailed, index=numbers, kind=names, failure=failures, seconds=seconds),
    st.builds(RunEnded, outcome=st.sampled_from(RunOutcome), failure=st.none() | failures),
    st.builds(RunRefused, reason=names),
    st.builds(PhoneReleased, clean=st.booleans(), residue=st.lists(names).map(tuple)),
)


class RunMoves(RuleBasedStateMachine):
    """Any order of moves and stop orders, legal or not."""

    def __init__(self) -> None:
        super().__init__()
        self.state = RunState(assignment=ASSIGNMENT)
        self.trail = [Phase.ASSIGNED]

    @rule(to=st.sampled_from(Phase))
    def move(self, to: Phase) -> None:
        """Try a move; one that is refused changes nothing."""
        before = self.state
        try:
            self.state = before.move(to)
        except IllegalMoveError:
            assert to not in MOVES[before.phase] or before.stop is not None
            assert self.state == before
        else:
            self.trail.append(to)

    @rule(strategy=st.sampled_from(StopStrategy), after=st.floats(0, 10))
    @precondition(lambda self: self.state.phase is not Phase.FORGOTTEN)
    def order_stop(self, strategy: StopStrategy, after: float) -> None:
        """Order a stop; orders only become firmer."""
        before = self.state.stop
        order = StopOrder(ref=REF, reason="x", strategy=strategy, force_after_seconds=after)
        self.state = self.state.order_stop(order)
        if before is not None and before.strategy is StopStrategy.HARD:
            assert self.state.stop == before

    @invariant()
    def story_is_sound(self) -> None:
        """No phase twice, `went` just when it went, nothing after the end."""
        assert len(set(self.trail)) == len(self.trail)
        assert self.state.went == (Phase.GOING in self.trail)
        if self.state.went and Phase.RELEASED in self.trail:
            assert Phase.ENDED in self.trail

    @invariant()
    def journal_keeps_it(self) -> None:
        """Read back from the journal's text what was written."""
        text = json.dumps(
            {
                "ref": REF.__dict__,
                **{k: v for k, v in ASSIGNMENT.__dict__.items() if k != "ref"},
            }
        )
        assert decode_state(text, encode_state(self.state)) == self.state


TestRunMoves = RunMoves.TestCase


def test_every_phase_has_moves_and_can_be_reached() -> None:
    """The table names every phase, as a source and (but the first) as a target."""
    assert set(MOVES) == set(Phase)
    assert set().union(*MOVES.values()) == set(Phase) - {Phase.ASSIGNED}


@given(body=bodies)
def test_records_come_back_from_the_journal_as_they_went(body: Body) -> None:
    """Encoding and decoding a body gives the same value."""
    assert decode_body(encode_body(body)) == body


@given(line=st.binary(max_size=300))
def test_hostile_lines_are_logs_or_named_faults(line: bytes) -> None:
    """No bytes make the parser fail in any other way."""
    try:
        told = parse_event(line)
    except BadEventError:
        return
    assert told is None or told.sequence >= 1


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


@given(
    document=st.fixed_dictionaries(
        {"sequence": st.integers(-1, 5) | json_values},
        optional={
            "type": st.sampled_from(
                ["action_started", "action_done", "action_failed", "run_finished", "x"]
            ),
            "index": json_values,
            "kind": json_values,
            "outputs": json_values,
            "seconds": json_values,
            "failure": json_values,
            "outcome": st.sampled_from(["done", "stopped"]) | json_values,
        },
    )
)
def test_hostile_story_lines_are_named_faults(document: dict[str, Any]) -> None:
    """Whatever a line holds where something else belongs, it is a BadLineError or a value."""
    try:
        told = parse_event(json.dumps(document).encode())
    except BadEventError:
        return
    assert isinstance(told, ExecutorEvent)


DONE = RunFinished(outcome="done", failure=None)
FAILED = RunFinished(outcome="failed", failure=FAILURE)
HALTED = RunFinished(outcome="stopped", failure=None)
FENCED = broken(FailureCode.AGENT_FENCED, "x")
CANCELLED = Stopped(reason="cancelled")


@pytest.mark.parametrize(
    ("finished", "code", "cause", "told_to_stop", "outcome", "failure"),
    [
        (DONE, 0, None, False, RunOutcome.DONE, None),
        (DONE, 0, CANCELLED, True, RunOutcome.DONE, None),
        (DONE, 0, FENCED, False, RunOutcome.DONE, None),
        (DONE, 1, None, False, RunOutcome.FAILED, "run_crashed"),
        (FAILED, 1, None, False, RunOutcome.FAILED, "selector_not_found"),
        (FAILED, 1, None, True, RunOutcome.FAILED, "selector_not_found"),
        (FAILED, 1, FENCED, False, RunOutcome.FAILED, "agent_fenced"),
        (FAILED, 137, None, False, RunOutcome.FAILED, "run_crashed"),
        (HALTED, 3, None, True, RunOutcome.STOPPED, None),
        (HALTED, 3, None, False, RunOutcome.FAILED, "run_crashed"),
        (
            RunFinished(outcome="abandoned", failure=None),
            75,
            None,
            False,
            RunOutcome.FAILED,
            "run_abandoned",
        ),
        (None, 137, CANCELLED, True, RunOutcome.STOPPED, None),
        (None, 137, FENCED, True, RunOutcome.FAILED, "agent_fenced"),
        (None, None, None, False, RunOutcome.FAILED, "run_crashed"),
        (None, 0, None, False, RunOutcome.FAILED, "run_crashed"),
    ],
)
def test_how_a_run_ended(  # noqa: PLR0917 - the columns of the table
    finished: RunFinished | None,
    code: int | None,
    cause: Cause | None,
    told_to_stop: bool,
    outcome: RunOutcome,
    failure: str | None,
) -> None:
    """The table of endings."""
    ended = decide_ending(
        finished=finished,
        output_read=True,
        exit_code=code,
        exit_detail="",
        cause=cause,
        stop_ordered=told_to_stop,
        failed_action=(2, "search"),
    )

    assert ended.outcome is outcome
    assert (ended.failure.code if ended.failure else None) == failure
    assert ended.failed_action_kind == ("search" if outcome is RunOutcome.FAILED else "")


@pytest.mark.parametrize(
    ("finished", "failure"),
    [(None, "runtime_failed"), (RunFinished(outcome="done", failure=None), None)],
)
def test_output_that_was_not_read_proves_no_crash(
    finished: RunFinished | None, failure: str | None
) -> None:
    """An engine that keeps the log to itself is at fault, and not the phone."""
    ended = decide_ending(
        finished=finished,
        output_read=False,
        exit_code=0,
        exit_detail="",
        cause=None,
        stop_ordered=False,
        failed_action=None,
    )

    assert (ended.failure.code if ended.failure else None) == failure


HEALTHY = """1
=battery
Current Battery Service state:
  level: 80
  temperature: 250
=storage
Filesystem      1K-blocks    Used Available Use% Mounted on
/dev/block/dm-5  52000000 9000000  43000000  18% /data
=trust
Trust manager state:
 User "Owner" (id=0, flags=0x4c13) (current): trustState=UNTRUSTED, trustManaged=0, deviceLocked=0
 User "Work" (id=10, flags=0x1030): trustState=UNTRUSTED, trustManaged=0, deviceLocked=1
"""


def probed(answer: str, before: str = "") -> dict[str, str]:
    """Return the reason of each gate that does not pass; `?` and why where it cannot be told."""
    failed = Answered(readiness=Readiness.UNFIT, reason=before)
    was = {before: failed} if before else {}
    return {
        stage: f"?{told.error}" if isinstance(told, Unanswered) else told.reason
        for stage, told in evaluate(parse_probe(answer), was)
        if isinstance(told, Unanswered) or told.readiness is not Readiness.READY
    }


@pytest.mark.parametrize(
    ("change", "before", "found"),
    [
        (("", ""), "", {}),
        (("1\n", "\n"), "", {"boot": "sys.boot_completed is not set"}),
        (("level: 80", "level: 14"), "", {"battery": "battery_low:14"}),
        (("level: 80", "level: 17"), "", {}),
        (("level: 80", "level: 17"), "battery", {"battery": "battery_low:17"}),
        (("level: 80", "level: 20"), "battery", {}),
        (("temperature: 250", "temperature: 450"), "", {"temperature": "battery_hot:45"}),
        (("temperature: 250", "temperature: 430"), "", {}),
        (
            ("temperature: 250", "temperature: 430"),
            "temperature",
            {"temperature": "battery_hot:43"},
        ),
        (("43000000", "1000"), "", {"storage": "storage_low:1000KiB"}),
        (("43000000", "250000"), "", {}),
        (("43000000", "250000"), "storage", {"storage": "storage_low:250000KiB"}),
        (("deviceLocked=0", "deviceLocked=1"), "", {"unlock": "screen_locked"}),
        (("deviceLocked=1", "deviceLocked=0"), "", {}),
    ],
)
def test_the_conditions_of_a_probe(
    change: tuple[str, str], before: str, found: dict[str, str]
) -> None:
    """Boot, heat, charge, room and lock hold a phone back; it must recover a little to return."""
    assert probed(HEALTHY.replace(*change, 1), before) == found


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (("1\n", "error: closed\n"), {"boot": "?getprop: error: closed"}),
        (
            ("  level: 80\n", "Can't find service\n"),
            {
                "battery": "?dumpsys battery: Current Battery Service state: Can't find service "
                "temperature: 250"
            },
        ),
        (("  level: 80\n", "  level: 300\n"), {"battery"}),
        (("  temperature: 250\n", ""), {"temperature"}),
        (("43000000", "-"), {"storage"}),
        (("(current)", ""), {"unlock"}),
        (("=trust", "Killed"), {"unlock"}),
    ],
)
def test_what_a_phone_does_not_tell_is_neither_yes_nor_no(
    change: tuple[str, str], found: dict[str, str] | set[str]
) -> None:
    """A service that is gone or an answer of another form is no verdict, and says what came."""
    told = probed(HEALTHY.replace(*change, 1))

    assert all(reason.startswith("?") for reason in told.values())
    assert (told if isinstance(found, dict) else set(told)) == found


@given(answer=st.text(max_size=200))
def test_no_answer_breaks_the_probe(answer: str) -> None:
    """Whatever a phone says, nothing is raised, and nothing but an answer makes it ready."""
    told = dict(evaluate(parse_probe(answer), {})).values()

    assert any(isinstance(one, Unanswered) or one.readiness is not Readiness.READY for one in told)


def stages_at(*heard: tuple[float, str, Answered | Unanswered]) -> ReadinessStages:
    """Return the stages of a phone that is online since 0 and of which that was heard."""
    stages = ReadinessStages(PhoneLimits())
    stages.begin(0.0)
    for at, name, told in heard:
        stages.take_answer(name, told, at)
    return stages


WELL = tuple((1.0, name, Answered()) for name in ("identify", "boot", *CONDITIONS))
NO_BATTERY = Unanswered(error="dumpsys battery: no answer")


def test_what_cannot_be_told_changes_nothing_until_it_is_too_old() -> None:
    """A phone whose battery does not answer stays ready for five minutes, then it is not."""
    stages = stages_at(*WELL, *((float(at), "battery", NO_BATTERY) for at in range(2, 400, 30)))
    for name in ("boot", "temperature", "storage", "unlock"):
        stages.take_answer(name, Answered(), 390.0)

    assert stages.verdict(301.0) == (Readiness.READY, "")
    assert stages.verdict(301.5) == (
        Readiness.UNFIT,
        "battery_untold:dumpsys battery: no answer",
    )
    assert {stage.name: stage.state.value for stage in stages.report(301.5)} == {
        "identify": "passed",
        "boot": "passed",
        "temperature": "passed",
        "battery": "untold",
        "storage": "passed",
        "unlock": "passed",
    }


def test_what_was_never_told_is_not_ready() -> None:
    """A new phone without a battery to ask is preparing, then unfit; one answer makes it ready."""
    stages = stages_at(*(one for one in WELL if one[1] != "battery"), (2.0, "battery", NO_BATTERY))

    assert stages.verdict(60.0) == (Readiness.PREPARING, "battery")
    assert stages.verdict(62.0)[1] == "battery_untold:dumpsys battery: no answer"
    stages.take_answer("battery", Answered(), 70.0)
    assert stages.verdict(70.0) == (Readiness.READY, "")


@pytest.mark.parametrize(
    ("heard", "limit", "reason"),
    [
        ((), 30.0, "identify_over_limit:"),
        (((1.0, "identify", Unanswered(error="closed")),), 30.0, "identify_over_limit:closed"),
        (
            (
                (1.0, "identify", Answered()),
                (2.0, "boot", Answered(readiness=Readiness.PREPARING, reason="not yet")),
            ),
            181.0,
            "boot_over_limit:not yet",
        ),
    ],
)
def test_no_phone_prepares_for_ever(
    heard: tuple[tuple[float, str, Answered | Unanswered], ...], limit: float, reason: str
) -> None:
    """A stage over its limit is unfit under its own name, with the last error."""
    stages = stages_at(*heard)

    assert stages.verdict(limit)[0] is Readiness.PREPARING
    assert stages.verdict(limit + 0.1) == (Readiness.UNFIT, reason)


def test_a_phone_that_comes_back_keeps_its_hysteresis_but_not_its_answers() -> None:
    """Plugged in again it is asked anew; a gate it had failed is still the stricter one."""
    stages = stages_at(*WELL)
    stages.take_answer("battery", Answered(readiness=Readiness.UNFIT, reason="battery_low:9"), 2.0)

    stages.end()
    stages.begin(3.0)

    assert stages.verdict(3.0) == (Readiness.PREPARING, "identify")
    assert stages.answers()["battery"].reason == "battery_low:9"
    assert {stage.state.value for stage in stages.report(3.0)} == {"running", "waiting"}
    stages.forget_previous_phone()
    assert "battery" not in stages.answers()


@pytest.mark.parametrize(
    ("serialno", "problem"),
    [
        ("", "empty_serial"),
        ("unknown", "placeholder_serial"),
        ("0123456789ABCDEF", "placeholder_serial"),
        ("00000000", "placeholder_serial"),
        ("a b", "unusable_serial"),
        ("x" * 200, "placeholder_serial"),
        ("R58M123ABC", ""),
        ("10.0.0.1:5555", ""),
    ],
)
def test_serials_that_name_no_phone(serialno: str, problem: str) -> None:
    """Empty, placeholder and unusable serials are refused by name."""
    assert serialno_problem(serialno) == problem


def test_a_serial_seen_twice_is_named() -> None:
    """Only what two phones claim is a duplicate: two boots of one serial are two phones."""
    one, two = Identity(serialno="A", boot_id="1"), Identity(serialno="A", boot_id="2")
    untold, other = Identity(serialno="A", boot_id=""), Identity(serialno="B", boot_id="3")

    assert duplicates({"usb": one, "tcp": two, "other": other}) == {"A"}
    assert duplicates({"usb": untold, "tcp": untold}) == {"A"}
    assert duplicates({"usb": one, "10.0.0.1:5555": one, "other": other}) == frozenset()


def test_a_phone_that_is_reached_twice_is_used_by_its_cable() -> None:
    """Cable and Wi-Fi at once (ws-scrcpy-web#532): one phone, of which the cable is used."""
    one, other = Identity(serialno="A", boot_id="1"), Identity(serialno="B", boot_id="3")

    ways = second_ways({"10.0.0.1:5555": one, "usb": one, "adb-A._adb-tls._tcp": one, "b": other})

    assert ways == {"10.0.0.1:5555": "usb", "adb-A._adb-tls._tcp": "usb"}


@given(
    taken=st.lists(st.integers(1, 12), max_size=6),
    acknowledged=st.lists(st.tuples(st.integers(1, 3), st.integers(0, 12)), max_size=6),
)
def test_the_outbox_loses_nothing_that_is_not_acknowledged(
    taken: list[int], acknowledged: list[tuple[int, int]]
) -> None:
    """After any takes, acknowledgements and a rewind, the rest comes in order, each once."""
    record_queue = RecordQueue()
    for epoch in (1, 2, 3):
        ref = RunRef(run_id=f"r{epoch}", item_id="i", attempt=1, lease_id="l", epoch=epoch)
        record_queue.put(
            Record(
                ref=ref,
                sequence=number,
                at=datetime.now(UTC),
                body=ActionStarted(index=0, kind="x"),
            )
            for number in range(1, 11)
        )
    for limit in taken:
        record_queue.take(limit)
    upto = {1: 0, 2: 0, 3: 0}
    for epoch, sequence in acknowledged:
        record_queue.acknowledge(f"r{epoch}", epoch, sequence)
        record_queue.acknowledge(f"r{epoch}", epoch + 1, 12)
        upto[epoch] = max(upto[epoch], sequence)

    record_queue.rewind()
    rest = [(record.ref.epoch, record.sequence) for record in record_queue.take(1000)]

    assert rest == [(e, n) for e in (1, 2, 3) for n in range(upto[e] + 1, 11)]
    assert len(record_queue) == len(rest)
