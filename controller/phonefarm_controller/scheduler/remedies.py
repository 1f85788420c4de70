"""Remedies: sentences that say which command, or which time, lets an item run."""

from collections.abc import Sequence
from typing import Final, assert_never

from phonefarm_controller.model.blockers import Blocker, BlockerKind
from phonefarm_controller.model.health import PROVING
from phonefarm_controller.model.times import moment_text

_K = BlockerKind
MOST_AT_ONCE: Final = 5
"""One command names at most this many phones."""


def remedy(blockers: Sequence[Blocker]) -> str:
    """Return what would remove these blockers, all of one kind; the first stands for them."""
    first = blockers[0]
    match first.kind:
        case _K.PAUSED:
            return (
                f"paused ({first.detail}); to resume the work, run `phonefarm resume "
                f"{first.subject}`"
            )
        case _K.NOT_DUE | _K.BACKING_OFF:
            return _of_time(blockers)
        case _K.OUTSIDE_WINDOW:
            return _of_window(first, blockers)
        case _K.LIMIT_REACHED:
            return _of_limit(first, blockers)
        case _K.PHONE_BUSY | _K.ACCOUNT_BUSY | _K.BEHIND_OTHERS | _K.NOT_OFFERED:
            return _of_turn(first, blockers)
        case (
            _K.ACCOUNT_INACTIVE
            | _K.ACCOUNT_ELSEWHERE
            | _K.ACCOUNT_AMBIGUOUS
            | _K.ACCOUNT_NEEDS_ATTENTION
            | _K.WRONG_APP
            | _K.NO_PHONE_WITH_APP
            | _K.NO_PHONE_IN_GROUP
        ):
            return _of_account(first)
        case (
            _K.PHONE_RETIRED
            | _K.PHONE_QUARANTINED
            | _K.PHONE_NOT_ADMITTED
            | _K.PHONE_IN_MAINTENANCE
            | _K.PHONE_DRAINING
            | _K.AGENT_DRAINING
            | _K.PHONE_COOLING_DOWN
            | _K.HOST_INCIDENT
            | _K.PHONE_NEEDS_HANDS
            | _K.AGENT_DISCONNECTED
            | _K.AGENT_TOO_OLD
            | _K.PHONE_OFFLINE
            | _K.PHONE_UNFIT
        ):
            return _of_phone(first, blockers)
        case _K.STORAGE_FULL:
            return (
                "free some space on the controller's data disk, or use a larger disk; the "
                "controller then claims work again by itself"
            )
        case _:
            assert_never(first.kind)


def _of_time(blockers: Sequence[Blocker]) -> str:
    moments = [blocker.moment for blocker in blockers if blocker.moment is not None]
    first = moment_text(min(moments))
    when = f"at {first}"
    if len(set(moments)) > 1:
        when = f"between {first} and {moment_text(max(moments))}"
    what = "the work may begin" if blockers[0].kind is _K.NOT_DUE else "the farm tries again"
    return f"nothing to do: {what} {when}"


def _of_window(first: Blocker, blockers: Sequence[Blocker]) -> str:
    moments = [blocker.moment for blocker in blockers if blocker.moment is not None]
    if not moments:
        return (
            "no window of the next five weeks is long enough for the run's time limit "
            f"({first.detail}); set a longer window, or set the window with --may-overrun: "
            "`phonefarm windows list` lists all windows"
        )
    return f"nothing to do: the work may begin at {moment_text(min(moments))} ({first.detail})"


def _of_limit(first: Blocker, blockers: Sequence[Blocker]) -> str:
    moments = [blocker.moment for blocker in blockers if blocker.moment is not None]
    if len(moments) == len(blockers):
        return f"nothing to do: the work may begin at {moment_text(min(moments))} ({first.detail})"
    return (
        f"wait until other runs end ({first.detail}); to allow more, change the limit: `phonefarm "
        "limits list` lists all limits"
    )


def _of_rest(blockers: Sequence[Blocker]) -> str:
    until = max(blocker.moment for blocker in blockers if blocker.moment is not None)
    return f"nothing to do: {_phones(blockers)} rests after a failure until {moment_text(until)}"


def _of_turn(first: Blocker, blockers: Sequence[Blocker]) -> str:
    if first.kind is _K.BEHIND_OTHERS:
        return "wait; work with a higher priority runs first"
    if first.kind is _K.NOT_OFFERED:
        return (
            f"wait for the next probe of {_phones(blockers)}; if nothing changes, "
            f"read the log of the agent {first.subject}"
        )
    if not first.subject:
        phones = _phones(blockers)
        return (
            f"wait until {phones} is clean; if nobody confirms it in time, the controller "
            "quarantines the phone"
        )
    return (
        f"wait until the process {first.subject} ends, or cancel it: `phonefarm "
        f"processes cancel {first.subject} --reason TEXT`"
    )


def _of_account(first: Blocker) -> str:
    account, phone = first.subject or "ACCOUNT", first.phone_id or "PHONE"
    put = f"`phonefarm accounts put {account} --app {first.app} --phone {phone}`"
    match first.kind:
        case _K.ACCOUNT_NEEDS_ATTENTION:
            clear = f"`phonefarm accounts clear {account} --reason TEXT`"
            return f"check {account} in the app on {phone}; if the account works, run {clear}"
        case _K.ACCOUNT_INACTIVE:
            return f"to make the account active, run {put}"
        case _K.ACCOUNT_ELSEWHERE:
            return (
                f"to bind the account to this phone again, run {put}; otherwise cancel this "
                "process, and send a new request for the account's current phone"
            )
        case _K.ACCOUNT_AMBIGUOUS:
            return (
                "name the account in target.account_id, or leave only one of the phone's accounts "
                f"active: for each other account, run {put[:-1]} --inactive`"
            )
        case _K.NO_PHONE_WITH_APP if not first.app:
            return "connect a phone: the farm knows none; `phonefarm phones list` shows all phones"
        case _K.NO_PHONE_IN_GROUP:
            return f"to give the group members, run `phonefarm groups put {account} --phones PHONE`"
        case _:
            return f"to bind an account of {first.app} to the phone, run {put}"


def _of_phone(first: Blocker, blockers: Sequence[Blocker]) -> str:
    phones = _phones(blockers)
    match first.kind:
        case _K.PHONE_QUARANTINED:
            back = f"`phonefarm phones return {first.phone_id} --reason TEXT`"
            if first.moment is None:
                return f"check {phones}, then run {back}"
            if first.detail.startswith(PROVING):
                return (
                    "nothing to do: the phone gets a golden job when its agent offers it; to "
                    f"skip the golden job, run {back}"
                )
            return (
                f"nothing to do: the phone gets work again at {moment_text(first.moment)}; to end "
                f"the quarantine now, run {back}"
            )
        case _K.PHONE_COOLING_DOWN:
            return f"nothing to do: {_of_rest(blockers)}"
        case _K.HOST_INCIDENT:
            return (
                f"repair the host of the agent {first.subject} ({first.detail}): `phonefarm-agent "
                "doctor` on that host explains how; the agent then offers its phones again by "
                "itself"
            )
        case _K.PHONE_NEEDS_HANDS:
            return f"go to {phones}: {first.detail}; `phonefarm phones needs-hands` lists all tasks"
        case _K.PHONE_RETIRED:
            return f"{phones} will not come back: cancel this process, and request another phone"
        case _K.PHONE_OFFLINE:
            return (
                f"check the cable, the power and the adb authorization of {phones}: `phonefarm "
                "phones list` shows how adb lists the phone"
            )
        case _K.PHONE_UNFIT:
            return (
                f"correct the problem on {phones} ({first.detail}); the agent then offers the "
                "phone again by itself"
            )
        case _K.AGENT_DRAINING:
            undrain = f"`phonefarm agents undrain {first.subject} --reason TEXT`"
            return (
                f"the phone's host is being drained ({first.detail}); to give the host work "
                f"again, run {undrain}"
            )
        case _K.AGENT_TOO_OLD:
            return f"upgrade the agent {first.subject}: it cannot do work without an app"
        case _K.AGENT_DISCONNECTED:
            return f"start the agent {first.subject}, or repair its connection to a controller"
        case _:
            several = " ".join(_names(blockers)[:MOST_AT_ONCE])
            return f"take {phones} into service: `phonefarm phones admit {several}`"


def _names(blockers: Sequence[Blocker]) -> list[str]:
    return list(dict.fromkeys(blocker.phone_id for blocker in blockers))


def _phones(blockers: Sequence[Blocker]) -> str:
    names = _names(blockers)
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
