"""What would unblock an item, in a sentence that names the command or the moment."""

from collections.abc import Sequence
from typing import assert_never

from phonefarm_controller.model.blockers import Blocker, BlockerKind
from phonefarm_controller.model.health import PROVING
from phonefarm_controller.model.times import moment_text

_K = BlockerKind


def remedy(blockers: Sequence[Blocker]) -> str:
    """Return what would remove these blockers, all of one kind; the first stands for them."""
    first = blockers[0]
    match first.kind:
        case _K.PAUSED:
            return f"paused ({first.detail}); let it go on: `phonefarm resume {first.subject}`"
        case _K.NOT_DUE | _K.BACKING_OFF:
            return _of_time(blockers)
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
            | _K.PHONE_OFFLINE
            | _K.PHONE_UNFIT
        ):
            return _of_phone(first, blockers)
        case _K.STORAGE_FULL:
            return (
                "free some of the controller's data disk, or give it a larger one; claims go on by "
                "themselves"
            )
        case _:
            assert_never(first.kind)


def _of_time(blockers: Sequence[Blocker]) -> str:
    moments = [blocker.moment for blocker in blockers if blocker.moment is not None]
    first = moment_text(min(moments))
    when = f"from {first} on"
    if len(set(moments)) > 1:
        when = f"the first from {first}, the last from {moment_text(max(moments))} on"
    verb = "claimable" if blockers[0].kind is _K.NOT_DUE else "tried again"
    return f"nothing to do: {verb} {when}"


def _of_rest(blockers: Sequence[Blocker]) -> str:
    until = max(blocker.moment for blocker in blockers if blocker.moment is not None)
    return f"{_phones(blockers)} rests after a failure, until {moment_text(until)}"


def _of_turn(first: Blocker, blockers: Sequence[Blocker]) -> str:
    if first.kind is _K.BEHIND_OTHERS:
        return "wait for its turn; work asked for with a higher priority goes first"
    if first.kind is _K.NOT_OFFERED:
        return (
            f"wait for the next probe of {_phones(blockers)}; if it stays so, look into the log of "
            f"the agent {first.subject}"
        )
    if not first.subject:
        phones = _phones(blockers)
        return f"wait until {phones} is clean; when nobody says so in time it is quarantined"
    return (
        f"wait until the process {first.subject} gives it back, or end that one: "
        f"`phonefarm processes cancel {first.subject} --reason TEXT`"
    )


def _of_account(first: Blocker) -> str:
    account, phone = first.subject or "ACCOUNT", first.phone_id or "PHONE"
    put = f"`phonefarm accounts put {account} --app {first.app} --phone {phone}`"
    match first.kind:
        case _K.ACCOUNT_NEEDS_ATTENTION:
            clear = f"`phonefarm accounts clear {account} --reason TEXT`"
            return f"look at {account} in the app on {phone}, then say that it is well: {clear}"
        case _K.ACCOUNT_INACTIVE:
            return f"make it active: {put}"
        case _K.ACCOUNT_ELSEWHERE:
            return f"bind it to this phone again: {put}; or cancel, and ask for where it is now"
        case _K.ACCOUNT_AMBIGUOUS:
            return f"name target.account_id, or leave one of them active: {put[:-1]} --inactive`"
        case _K.NO_PHONE_IN_GROUP:
            return f"give the group members: `phonefarm groups put {account} --phones PHONE`"
        case _:
            return f"bind an account of {first.app} to it: {put}"


def _of_phone(first: Blocker, blockers: Sequence[Blocker]) -> str:
    phones = _phones(blockers)
    match first.kind:
        case _K.PHONE_QUARANTINED:
            back = f"`phonefarm phones return {first.phone_id} --reason TEXT`"
            if first.moment is None:
                return f"look at {phones}, then {back}"
            if first.detail.startswith(PROVING):
                return f"nothing to do: once offered it does its golden job; sooner by {back}"
            return f"it is given work again from {moment_text(first.moment)} on; sooner by {back}"
        case _K.PHONE_COOLING_DOWN:
            return f"nothing to do: {_of_rest(blockers)}"
        case _K.HOST_INCIDENT:
            return (
                f"mend the host of the agent {first.subject} ({first.detail}): `phonefarm-agent "
                "doctor` there says what and how; its phones are offered again by themselves"
            )
        case _K.PHONE_NEEDS_HANDS:
            return f"go to {phones}: {first.detail}; `phonefarm phones needs-hands` lists them all"
        case _K.PHONE_RETIRED:
            return f"{phones} does not come back: cancel, and ask for another phone"
        case _K.PHONE_OFFLINE:
            return (
                f"look at cable, power and adb authorization of {phones}: "
                "`phonefarm phones list` shows what adb says"
            )
        case _K.PHONE_UNFIT:
            return f"mend what {phones} lacks ({first.detail}); its agent offers it again by itself"
        case _K.AGENT_DRAINING:
            undrain = f"`phonefarm agents undrain {first.subject} --reason TEXT`"
            return f"its host is being emptied ({first.detail}); let it go on: {undrain}"
        case _K.AGENT_DISCONNECTED:
            return f"start the agent {first.subject}, or mend its way to the controller"
        case _:
            return f"take {phones} into service: `phonefarm phones admit {first.phone_id}`"


def _phones(blockers: Sequence[Blocker]) -> str:
    names = list(dict.fromkeys(blocker.phone_id for blocker in blockers))
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
