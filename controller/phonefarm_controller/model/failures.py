"""Why runs and items fail; whether that means another attempt is for model/retry_policy."""

from dataclasses import dataclass

from phonefarm_common.reasons import FailureClass, FailureCode


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a run or an item failed. `final`: the same plan must fail the same way again."""

    code: str
    message: str
    failure_class: FailureClass
    final: bool = False
    action: str | None = None


def outcome_unknown(action: str) -> Failure:
    """Return the ending of a run that stopped between `started` and `done` of a `once` action."""
    return Failure(
        code=f"{FailureCode.OUTCOME_UNKNOWN}:{action}",
        message=(
            f"the run ended during {action}, and nobody knows whether the phone did the action; "
            "the farm does not repeat it, because it could then take effect twice"
        ),
        failure_class=FailureClass.WORK,
        final=True,
        action=action,
    )


def cancelled(reason: str) -> Failure:
    """Return the ending of an item that a caller cancelled."""
    return Failure(
        code=FailureCode.CANCELLED,
        message=f"cancelled: {reason}",
        failure_class=FailureClass.CANCELLED,
    )


def cancel_unconfirmed(reason: str) -> Failure:
    """Return the ending of a cancelled item whose agent never said that the run ended."""
    return Failure(
        code=FailureCode.CANCEL_UNCONFIRMED,
        message=f"cancelled: {reason}; the agent did not answer before the lease expired",
        failure_class=FailureClass.CANCELLED,
    )


def expired(*, deadline: bool, last: Failure | None) -> Failure:
    """Return the ending of an item that waited too long; *deadline*: the caller set the limit."""
    before = f"; the last attempt ended with {last.code}" if last else ""
    if deadline:
        return Failure(
            code=FailureCode.DEADLINE_PASSED,
            message=f"the deadline passed before the first action{before}",
            failure_class=FailureClass.EXPIRED,
        )
    return Failure(
        code=FailureCode.PHONE_UNAVAILABLE,
        message=(
            "no suitable phone was free in time: the work reached the farm's own limit on waiting "
            f"(phonefarm-controller --max-wait){before}"
        ),
        failure_class=FailureClass.EXPIRED,
    )


def phone_retired(phone_id: str, reason: str) -> Failure:
    """Return the ending of an item that waited for a phone an operator took out of the farm."""
    return Failure(
        code=FailureCode.PHONE_UNAVAILABLE,
        message=f"the phone {phone_id} was retired: {reason}"[:500],
        failure_class=FailureClass.EXPIRED,
        final=True,
    )


def plan_invalid(message: str) -> Failure:
    """Return the ending of an item whose plan or frozen profile nobody can follow."""
    return Failure(
        code=FailureCode.PLAN_INVALID,
        message=message,
        failure_class=FailureClass.WORK,
        final=True,
    )


def infra(code: FailureCode, message: str) -> Failure:
    """Return a failure of phone, host or agent."""
    return Failure(code=code, message=message, failure_class=FailureClass.INFRA)
