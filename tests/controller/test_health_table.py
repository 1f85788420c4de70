"""The policy of health, as values: what each thing that happens makes of a verdict."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import strategies as st
from phonefarm_common.reasons import FailureClass, FailureCode
from phonefarm_controller.health.policy import (
    NOT_THE_PHONES,
    cleaned,
    cooled,
    dirtied,
    excused,
    expired,
    is_refused_for_the_phone,
    is_the_phones,
    proved,
    retired,
    returned,
    struck,
)
from phonefarm_controller.model.failures import Failure
from phonefarm_controller.model.health import HealthPolicy, Owed, Verdict
from phonefarm_controller.model.states import (
    HEALTH_MOVES,
    Health,
    IllegalMoveError,
    check_health_move,
)
from support.examples import given

NOW = datetime(2026, 1, 1, tzinfo=UTC)
POLICY = HealthPolicy()
DAY = timedelta(days=1)


def later(seconds: float) -> datetime:
    """Return the moment so many seconds from now."""
    return NOW + timedelta(seconds=seconds)


def strike(verdict: Verdict, strikes: int, at: float = 0) -> Verdict:
    """Return the verdict after another failure, *strikes* with it."""
    return struck(verdict, "adb_failed", strikes=strikes, policy=POLICY, now=later(at))


def test_a_failure_makes_suspect_and_rests_the_phone() -> None:
    """It goes on working after 30 s, watched for ten minutes."""
    after = strike(Verdict(), 1)

    assert (after.health, after.until) == (Health.SUSPECT, later(600))
    assert after.cooling_until == later(30)
    assert after.reason == "infra_failure: it failed once recently, the last time with adb_failed"


def test_the_third_failure_quarantines_for_twenty_minutes() -> None:
    """Then time alone lets it work again, watched; and forgets, when nothing more happens."""
    out = strike(Verdict(), 3)
    watched = expired(out, policy=POLICY, now=later(1200))
    well = expired(watched, policy=POLICY, now=later(1800))

    assert (out.health, out.until, out.rounds) == (Health.QUARANTINED, later(1200), 1)
    assert expired(out, policy=POLICY, now=later(1199)).health is Health.QUARANTINED
    assert (watched.health, watched.cooling_until) == (Health.SUSPECT, None)
    assert (well.health, well.reason, well.until) == (Health.GOOD, "", None)
    assert well.rounds == 1


def test_repeated_rounds_last_longer_until_a_person_is_needed() -> None:
    """20, 40, 80 and 120 minutes; the fifth has no end."""
    verdict, at, lasted = Verdict(), 0.0, []
    for _ in range(5):
        verdict = strike(verdict, 3, at)
        lasted.append(None if verdict.until is None else (verdict.until - later(at)) / 60)
        at += 10_000
        verdict = (
            verdict if verdict.needs_person else expired(verdict, policy=POLICY, now=later(at))
        )

    assert lasted == [timedelta(seconds=m) for m in (20, 40, 80, 120)] + [None]
    assert verdict.needs_person
    assert "somebody must check it" in verdict.reason
    assert expired(verdict, policy=POLICY, now=later(10**7)) == replace(verdict, cooling_until=None)


def test_a_day_without_quarantine_forgets_the_rounds() -> None:
    """What was a month ago says nothing."""
    old = Verdict(rounds=4, round_at=NOW)

    soon, late = strike(old, 3, 86_000), strike(old, 3, 86_500)

    assert (soon.rounds, soon.until) == (5, None)
    assert (late.rounds, late.until) == (1, later(86_500 + 1200))


def test_dirt_stays_until_it_is_proved_away() -> None:
    """No time ends it; what the phone did before is looked at again then."""
    dirty = dirtied(strike(Verdict(), 1), "no answer")

    late = expired(dirty, policy=POLICY, now=later(10**6))
    clean = [cleaned(dirty, strikes=n, policy=POLICY, now=NOW).health for n in (0, 1, 3)]

    assert (dirty.health, dirty.reason, dirty.until) == (
        Health.QUARANTINED,
        "dirty: no answer",
        None,
    )
    assert late.dirty
    assert clean == [Health.GOOD, Health.SUSPECT, Health.QUARANTINED]


def test_a_round_goes_on_when_the_phone_was_dirty_meanwhile() -> None:
    """One bad run that also soiled its phone is one round."""
    dirty = dirtied(strike(Verdict(), 3), "no answer")

    clean = cleaned(dirty, strikes=3, policy=POLICY, now=later(60))

    assert (clean.rounds, clean.until) == (1, later(1200))


def test_failures_that_were_the_hosts_are_taken_back() -> None:
    """A quarantine of a moment ago becomes a suspicion, an older one stays."""
    out = strike(Verdict(), 3)

    at_once = excused(out, strikes=0, policy=POLICY, now=later(59))
    too_late = excused(out, strikes=0, policy=POLICY, now=later(61))
    suspect = excused(strike(Verdict(), 1), strikes=0, policy=POLICY, now=later(5))

    assert (at_once.health, at_once.rounds) == (Health.SUSPECT, 0)
    assert too_late == out
    assert suspect.health is Health.GOOD


def test_a_quarantine_may_end_in_a_proof() -> None:
    """It stays until the phone has passed a golden job; failing it once is the next round."""
    out = strike(Verdict(), 3)

    proving = expired(out, policy=POLICY, now=later(1200), proof=DAY)
    longer = expired(proving, policy=POLICY, now=later(1200 + DAY.total_seconds()), proof=DAY)
    failed = struck(proving, "adb_failed", strikes=1, policy=POLICY, now=later(1300), golden=True)
    by_hand = strike(proving, 1, 1300)
    passed = proved(proving, policy=POLICY, now=later(1300))
    unasked = expired(proving, policy=POLICY, now=later(1200 + DAY.total_seconds()))

    assert (proving.health, proving.proving, proving.until) == (
        Health.QUARANTINED,
        True,
        later(1200) + DAY,
    )
    assert not proving.needs_person
    assert longer == replace(proving, until=later(1200) + 2 * DAY, cooling_until=None)
    assert (failed.health, failed.proving, failed.rounds) == (Health.QUARANTINED, False, 2)
    assert failed.until == later(1300 + 2400)
    assert (passed.health, passed.until) == (Health.SUSPECT, later(1900))
    assert unasked.health is Health.SUSPECT
    assert by_hand == replace(proving, cooling_until=later(1330))
    assert [proved(each, policy=POLICY, now=NOW) for each in (out, Verdict())] == [out, Verdict()]


def test_a_day_of_proving_is_no_day_without_quarantine() -> None:
    """The next round is the next one, however long the phone was away."""
    proving = replace(
        expired(strike(Verdict(), 3), policy=POLICY, now=later(1200), proof=DAY), rounds=3
    )

    failed = struck(proving, "x", strikes=1, policy=POLICY, now=later(10**6), golden=True)

    assert failed.rounds == 4


@pytest.mark.parametrize("dirt", [False, True])
def test_what_was_the_hosts_leaves_a_phone_where_it_was(*, dirt: bool) -> None:
    """One that had a golden job to pass has it still, one that was well works; dirt or not."""

    def excused_after(verdict: Verdict) -> Verdict:
        if dirt:
            verdict = dirtied(verdict, "no answer")
        back = excused(verdict, strikes=0, policy=POLICY, now=later(1310))
        return cleaned(back, strikes=0, policy=POLICY, now=later(1320)) if dirt else back

    proving = expired(strike(Verdict(), 3), policy=POLICY, now=later(1200), proof=DAY)
    failed = struck(proving, "x", strikes=1, policy=POLICY, now=later(1300), golden=True)

    unproved = excused_after(failed)
    well = excused_after(strike(Verdict(), 3, 1300))

    assert (unproved.proving, unproved.rounds) == (True, 1)
    assert expired(unproved, policy=POLICY, now=later(1320), proof=DAY).proving
    assert well.health is (Health.GOOD if dirt else Health.SUSPECT)
    assert well.rounds == 0


def test_dirt_does_not_shorten_a_round() -> None:
    """Clean again, the phone serves what is left of it; one that needs a person waits for one."""
    dirty = dirtied(strike(Verdict(), 3), "no answer")
    fifth = dirtied(strike(Verdict(rounds=4, round_at=NOW), 3), "no answer")

    early = cleaned(dirty, strikes=0, policy=POLICY, now=later(1199))
    late = cleaned(dirtied(dirty, "still"), strikes=0, policy=POLICY, now=later(5000))
    never = cleaned(fifth, strikes=0, policy=POLICY, now=later(10**6))

    assert (early.health, early.rounds, early.until) == (Health.QUARANTINED, 1, later(1200))
    assert (late.health, late.rounds, late.until) == (Health.QUARANTINED, 1, later(5000))
    assert expired(late, policy=POLICY, now=later(5000)).health is Health.SUSPECT
    assert expired(late, policy=POLICY, now=later(5000), proof=DAY).proving
    assert never.needs_person


def test_a_phone_that_became_dirty_while_it_proved_itself_has_still_to_pass() -> None:
    """Its agent was lost in the golden job, say: nothing of that is the phone's, nor a proof."""
    proving = expired(strike(Verdict(), 3), policy=POLICY, now=later(1200), proof=DAY)

    clean = cleaned(dirtied(proving, "no answer"), strikes=0, policy=POLICY, now=later(1300))

    assert expired(clean, policy=POLICY, now=later(1300), proof=DAY).proving


def test_retired_is_the_operators_alone() -> None:
    """Neither failures nor dirt nor time move it; `return` does."""
    gone = retired(strike(Verdict(), 1), "sold")

    assert strike(gone, 3) == gone
    assert dirtied(gone, "x") == gone
    assert expired(gone, policy=POLICY, now=later(10**6)) == gone
    assert returned(gone) == Verdict()
    with pytest.raises(IllegalMoveError):
        check_health_move(Health.RETIRED, Health.SUSPECT)


@pytest.mark.parametrize(
    ("code", "failure_class", "theirs"),
    [
        *((code, FailureClass.INFRA, False) for code in sorted(NOT_THE_PHONES)),
        *((code, FailureClass.INFRA, True) for code in ("phone_lost", "adb_failed", "run_silent")),
        *((c, FailureClass.WORK, False) for c in ("selector_not_found", FailureCode.RUN_TIMEOUT)),
        ("account_logged_out", FailureClass.ACCOUNT, False),
    ],
)
def test_who_is_to_blame(code: str, failure_class: FailureClass, theirs: bool) -> None:
    """A failing plan, an account, the agent and the host quarantine no phone."""
    failure = Failure(code=code, message="", failure_class=failure_class)

    assert is_the_phones(failure) is theirs


@pytest.mark.parametrize(
    ("reason", "theirs"),
    [
        ("phone_silent", True),
        ("phone_failed:closed", True),
        ("phone_offline", True),
        ("phone_not_fit:battery 3 %", False),
        ("host_storage:no space", False),
        ("agent_restarted", False),
        ("phone_busy", False),
        ("adb_down", False),
    ],
)
def test_which_refusals_are_the_phones(reason: str, theirs: bool) -> None:
    """What a probe says is told on readiness; what the host lacks is the host's."""
    assert is_refused_for_the_phone(reason) is theirs


EVENTS = st.sampled_from(
    ["strike", "cool", "soil", "clean", "excuse", "expire", "prove", "pass", "return", "retire"]
)

PROOFS = {"expire", "pass", "return", "retire"}
"""What a phone that must pass a golden job may be done with it by; `expire` is without them."""


@given(st.lists(st.tuples(EVENTS, st.integers(1, 4), st.floats(0, 5000)), max_size=30))
def test_every_move_is_in_the_table(events: list[tuple[str, int, float]]) -> None:
    """Whatever happens in whatever order: no illegal move, and no endless end without a reason."""
    verdict, at = Verdict(), 0.0
    for event, strikes, passed in events:
        at += passed
        before = verdict
        verdict = _after(verdict, event, strikes, later(at))

        assert verdict.health is before.health or verdict.health in HEALTH_MOVES[before.health]
        assert (verdict.health is Health.GOOD) <= (verdict.reason == "")
        if before.owed in {Owed.PROOF, Owed.TIME_AGAIN} and event not in PROOFS:
            assert verdict.owed in {Owed.PROOF, Owed.TIME_AGAIN}, event
        if verdict.health is Health.QUARANTINED and verdict.until is None:
            assert verdict.dirty or verdict.rounds > POLICY.rounds


def _after(verdict: Verdict, event: str, strikes: int, now: datetime) -> Verdict:
    match event:
        case "strike":
            golden = strikes % 2 == 0
            return struck(verdict, "x", strikes=strikes, policy=POLICY, now=now, golden=golden)
        case "cool":
            return cooled(verdict, policy=POLICY, now=now)
        case "soil":
            return dirtied(verdict, "x")
        case "clean":
            return cleaned(verdict, strikes=strikes, policy=POLICY, now=now)
        case "excuse":
            return excused(verdict, strikes=strikes - 1, policy=POLICY, now=now)
        case "expire":
            return expired(verdict, policy=POLICY, now=now)
        case "prove":
            return expired(verdict, policy=POLICY, now=now, proof=DAY)
        case "pass":
            return proved(verdict, policy=POLICY, now=now)
        case "return":
            return returned(verdict)
        case _:
            return retired(verdict, "sold")
