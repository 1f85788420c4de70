"""How failures, time and people change a phone's health. Values in, values out.

Only failures that the phone itself may be to blame for are counted: a failing plan quarantines no
phone, and a failure of agent or host is charged to none of its phones.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from phonefarm_common.reasons import FailureClass, FailureCode
from phonefarm_common.wire_enums import Transport

from phonefarm_controller.model.failures import Failure
from phonefarm_controller.model.health import DIRTY, PROVING, HealthPolicy, Owed, Verdict
from phonefarm_controller.model.replace import replaced
from phonefarm_controller.model.states import Health, check_health_move

NOT_THE_PHONES: Final = frozenset(
    {
        FailureCode.AGENT_FENCED,
        FailureCode.LEASE_EXPIRED,
        FailureCode.RUN_ABANDONED,
        FailureCode.RUNTIME_FAILED,
        FailureCode.EPOCH_TOO_OLD,
        FailureCode.ASSET_UNREACHABLE,
        FailureCode.HOST_STORAGE_FULL,
    }
)
"""Infra failures that the agent, the host or another server caused."""

_REFUSALS: Final = frozenset(
    {"phone_silent", "phone_failed"}
    | {f"phone_{each}" for each in Transport if each is not Transport.ONLINE}
)
"""Why an agent does not begin, where it is for the phone's sake: a word, or `word:detail`.

A phone that is not fit any more (its battery, its storage) is told so on its readiness instead.
"""


def is_the_phones(failure: Failure) -> bool:
    """Tell whether the phone may be to blame for how its run ended."""
    return (
        failure.failure_class is FailureClass.INFRA
        and failure.code.partition(":")[0] not in NOT_THE_PHONES
    )


def is_refused_for_the_phone(reason: str) -> bool:
    """Tell whether an agent did not begin for the phone's sake."""
    return reason.partition(":")[0] in _REFUSALS


def struck(
    verdict: Verdict,
    code: str,
    *,
    strikes: int,
    policy: HealthPolicy,
    now: datetime,
    golden: bool = False,
) -> Verdict:
    """Return the verdict after one more failure; *strikes* of the window count, with this one.

    A *golden* one is a golden job's: it is the next round of a phone that must pass one.
    """
    cooling = now + timedelta(seconds=policy.cool_down)
    match verdict.health:
        case Health.RETIRED:
            return verdict
        case Health.QUARANTINED if verdict.proving and golden:
            failed = replace(verdict, cooling_until=cooling)
            return _quarantined(failed, code, strikes=strikes, policy=policy, now=now)
        case Health.QUARANTINED:
            return replace(verdict, cooling_until=cooling)
        case _ if strikes >= policy.failures:
            failed = replace(verdict, cooling_until=cooling)
            return _quarantined(failed, code, strikes=strikes, policy=policy, now=now)
        case _:
            said = f"{_times(strikes)} recently, the last time with {code}"
            return _moved(
                verdict,
                Health.SUSPECT,
                reason=f"infra_failure: {said}",
                until=now + timedelta(seconds=policy.window),
                cooling_until=cooling,
            )


def cooled(verdict: Verdict, *, policy: HealthPolicy, now: datetime) -> Verdict:
    """Return the verdict after a failure that counts against nobody: it only rests."""
    return replace(verdict, cooling_until=now + timedelta(seconds=policy.cool_down))


def dirtied(verdict: Verdict, why: str) -> Verdict:
    """Return the verdict on a phone that is not known clean."""
    if verdict.health is Health.RETIRED:
        return verdict
    owed = verdict.owed if verdict.health is Health.QUARANTINED else Owed.NOTHING
    return _moved(verdict, Health.QUARANTINED, reason=f"{DIRTY}{why}", until=None, owed=owed)


def cleaned(verdict: Verdict, *, strikes: int, policy: HealthPolicy, now: datetime) -> Verdict:
    """Return the verdict on a dirty phone whose agent proved it clean."""
    if not verdict.dirty:
        return verdict
    if verdict.owed is not Owed.NOTHING:
        return _went_on(verdict, policy=policy, now=now)
    if strikes >= policy.failures:
        return _quarantined(verdict, "clean_up", strikes=strikes, policy=policy, now=now)
    if strikes:
        said = f"infra_failure: {_times(strikes)} recently; it is clean again"
        until = now + timedelta(seconds=policy.window)
        return _moved(verdict, Health.SUSPECT, reason=said, until=until)
    return _moved(verdict, Health.GOOD, reason="", until=None)


def excused(verdict: Verdict, *, strikes: int, policy: HealthPolicy, now: datetime) -> Verdict:
    """Return the verdict when failures of a moment ago turn out to be the host's.

    *strikes* are those of the window that still count.
    """
    just_now = now - timedelta(seconds=policy.host_window)
    rounds = {Owed.TIME, Owed.TIME_AGAIN}
    if verdict.health is Health.QUARANTINED and verdict.owed in rounds:
        if verdict.round_at is None or verdict.round_at < just_now:
            return verdict
        again = verdict.owed is Owed.TIME_AGAIN
        back = replaced(
            verdict, rounds=verdict.rounds - 1, owed=Owed.PROOF if again else Owed.NOTHING
        )
        if back.dirty:
            return back
        if again:
            return _went_on(back, policy=policy, now=now)
        return _moved(
            back,
            Health.SUSPECT,
            reason="host_incident: it failed together with other phones of its host",
            until=now + timedelta(seconds=policy.window),
        )
    if verdict.health is Health.SUSPECT and not strikes:
        return _moved(verdict, Health.GOOD, reason="", until=None)
    return verdict


def expired(
    verdict: Verdict, *, policy: HealthPolicy, now: datetime, proof: timedelta | None = None
) -> Verdict:
    """Return the verdict when time has passed: rests, suspicions and quarantines end.

    With *proof* it must pass a golden job behind a quarantine; the next one comes after so long.
    """
    if verdict.cooling_until is not None and verdict.cooling_until <= now:
        verdict = replace(verdict, cooling_until=None)
    if verdict.until is None or verdict.until > now:
        return verdict
    match verdict.health:
        case Health.QUARANTINED if proof is not None:
            told = f"round {verdict.rounds} of its quarantine has ended"
            return _moved(
                verdict,
                Health.QUARANTINED,
                reason=f"{PROVING}{told}; it gets work again when it has passed a golden job",
                until=now + proof,
                owed=Owed.PROOF,
            )
        case Health.QUARANTINED:
            return _moved(
                verdict,
                Health.SUSPECT,
                reason=(
                    f"quarantine_over: round {verdict.rounds} has ended, and the controller "
                    "watches the phone from now on"
                ),
                until=now + timedelta(seconds=policy.window),
                owed=Owed.NOTHING,
            )
        case Health.SUSPECT:
            return _moved(verdict, Health.GOOD, reason="", until=None)
        case _:
            return replace(verdict, until=None)


def proved(verdict: Verdict, *, policy: HealthPolicy, now: datetime) -> Verdict:
    """Return the verdict on a phone that has passed a golden job."""
    if not verdict.proving:
        return verdict
    told = (
        f"round {verdict.rounds} has ended, and the phone passed its golden job; the controller "
        "watches it from now on"
    )
    return _moved(
        verdict,
        Health.SUSPECT,
        reason=f"quarantine_over: {told}",
        until=now + timedelta(seconds=policy.window),
        owed=Owed.NOTHING,
    )


def returned(verdict: Verdict) -> Verdict:
    """Return the verdict after a person has checked the phone; its failures no longer count."""
    if verdict.health is not Health.GOOD:
        check_health_move(verdict.health, Health.GOOD)
    return Verdict()


def retired(verdict: Verdict, reason: str) -> Verdict:
    """Return the verdict on a phone that an operator removed from the farm."""
    return _moved(verdict, Health.RETIRED, reason=reason, until=None, cooling_until=None)


def _went_on(verdict: Verdict, *, policy: HealthPolicy, now: datetime) -> Verdict:
    """Return the verdict on a phone that goes on with its quarantine where it was.

    How that ends is for `expired` to say, also when nothing of it is left.
    """
    if verdict.owed is Owed.PROOF:
        told = f"{PROVING}the next quarantine is round {verdict.rounds}"
        return _moved(verdict, Health.QUARANTINED, reason=told, until=now)
    lasts = policy.quarantine(verdict.rounds)
    until = None if lasts is None else max(now, (verdict.round_at or now) + lasts)
    told = f"infra_failures: it is clean again, and continues with round {verdict.rounds}"
    return _moved(verdict, Health.QUARANTINED, reason=told, until=until)


def _quarantined(
    verdict: Verdict, code: str, *, strikes: int, policy: HealthPolicy, now: datetime
) -> Verdict:
    forgotten = now - timedelta(seconds=policy.forget_rounds)
    lately = verdict.round_at is None or verdict.round_at >= forgotten or verdict.proving
    rounds = verdict.rounds + 1 if lately else 1
    lasts = policy.quarantine(rounds)
    said = f"infra_failures: {_times(strikes)} within {policy.window:g} s, the last time {code}"
    if lasts is None:
        said += (
            f"; this is round {rounds}: the phone does not recover by itself, so somebody must "
            "check it"
        )
    return _moved(
        verdict,
        Health.QUARANTINED,
        reason=said,
        until=None if lasts is None else now + lasts,
        rounds=rounds,
        round_at=now,
        owed=Owed.TIME_AGAIN if verdict.proving else Owed.TIME,
    )


def _moved(verdict: Verdict, to: Health, **changes: object) -> Verdict:
    check_health_move(verdict.health, to)
    return replaced(verdict, health=to, **changes)


def _times(count: int) -> str:
    return "it failed once" if count == 1 else f"it failed {count} times"
