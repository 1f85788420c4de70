"""What would unblock an item, in a sentence that names the command or the moment."""

from collections.abc import Sequence
from typing import assert_never

from phonefarm_controller.model.blockers import Hindrance, Why
from phonefarm_controller.model.health import PROVING
from phonefarm_controller.model.times import moment_of

_H = Hindrance


def remedy(whys: Sequence[Why]) -> str:
    """Return what would end these hindrances, all of one kind; the first stands for them."""
    first = whys[0]
    match first.hindrance:
        case _H.PAUSED:
            return f"paused ({first.detail}); let it go on: `phonefarm resume {first.subject}`"
        case _H.NOT_DUE | _H.BACKING_OFF:
            return _of_time(whys)
        case _H.PHONE_BUSY | _H.ACCOUNT_BUSY | _H.BEHIND_OTHERS | _H.NOT_OFFERED:
            return _of_turn(first, whys)
        case (
            _H.ACCOUNT_INACTIVE
            | _H.ACCOUNT_ELSEWHERE
            | _H.ACCOUNT_AMBIGUOUS
            | _H.ACCOUNT_NEEDS_ATTENTION
            | _H.WRONG_APP
            | _H.NO_PHONE_WITH_APP
            | _H.NO_PHONE_IN_GROUP
        ):
            return _of_account(first)
        case (
            _H.PHONE_RETIRED
            | _H.PHONE_QUARANTINED
            | _H.PHONE_NOT_ADMITTED
            | _H.PHONE_IN_MAINTENANCE
            | _H.PHONE_DRAINING
            | _H.AGENT_DRAINING
            | _H.PHONE_COOLING_DOWN
            | _H.HOST_INCIDENT
            | _H.PHONE_NEEDS_HANDS
            | _H.AGENT_DISCONNECTED
            | _H.PHONE_OFFLINE
            | _H.PHONE_UNFIT
        ):
            return _of_phone(first, whys)
        case _H.STORAGE_FULL:
            return (
                "free some of the controller's data disk, or give it a larger one; claims go on by "
                "themselves"
            )
        case _:
            assert_never(first.hindrance)


def _of_time(whys: Sequence[Why]) -> str:
    moments = [why.moment for why in whys if why.moment is not None]
    first = moment_of(min(moments))
    when = f"from {first} on"
    if len(set(moments)) > 1:
        when = f"the first from {first}, the last from {moment_of(max(moments))} on"
    verb = "claimable" if whys[0].hindrance is _H.NOT_DUE else "tried again"
    return f"nothing to do: {verb} {when}"


def _of_rest(whys: Sequence[Why]) -> str:
    until = max(why.moment for why in whys if why.moment is not None)
    return f"{_phones(whys)} rests after a failure, until {moment_of(until)}"


def _of_turn(first: Why, whys: Sequence[Why]) -> str:
    if first.hindrance is _H.BEHIND_OTHERS:
        return "wait for its turn; work asked for with a higher priority goes first"
    if first.hindrance is _H.NOT_OFFERED:
        return (
            f"wait for the next probe of {_phones(whys)}; if it stays so, look into the log of "
            f"the agent {first.subject}"
        )
    if not first.subject:
        return f"wait until {_phones(whys)} is clean; when nobody says so in time it is quarantined"
    return (
        f"wait until the process {first.subject} gives it back, or end that one: "
        f"`phonefarm processes cancel {first.subject} --reason TEXT`"
    )


def _of_account(first: Why) -> str:
    account, phone = first.subject or "ACCOUNT", first.phone_id or "PHONE"
    put = f"`phonefarm accounts put {account} --app {first.app} --phone {phone}`"
    match first.hindrance:
        case _H.ACCOUNT_NEEDS_ATTENTION:
            clear = f"`phonefarm accounts clear {account} --reason TEXT`"
            return f"look at {account} in the app on {phone}, then say that it is well: {clear}"
        case _H.ACCOUNT_INACTIVE:
            return f"make it active: {put}"
        case _H.ACCOUNT_ELSEWHERE:
            return f"bind it to this phone again: {put}; or cancel, and ask for where it is now"
        case _H.ACCOUNT_AMBIGUOUS:
            return f"name target.account_id, or leave one of them active: {put[:-1]} --inactive`"
        case _H.NO_PHONE_IN_GROUP:
            return f"give the group members: `phonefarm groups put {account} --phones PHONE`"
        case _:
            return f"bind an account of {first.app} to it: {put}"


def _of_phone(first: Why, whys: Sequence[Why]) -> str:
    phones = _phones(whys)
    match first.hindrance:
        case _H.PHONE_QUARANTINED:
            back = f"`phonefarm phones return {first.phone_id} --reason TEXT`"
            if first.moment is None:
                return f"look at {phones}, then {back}"
            if first.detail.startswith(PROVING):
                return f"nothing to do: once offered it does its golden job; sooner by {back}"
            return f"it is given work again from {moment_of(first.moment)} on; sooner by {back}"
        case _H.PHONE_COOLING_DOWN:
            return f"nothing to do: {_of_rest(whys)}"
        case _H.HOST_INCIDENT:
            return (
                f"mend the host of the agent {first.subject} ({first.detail}): `phonefarm-agent "
                "doctor` there says what and how; its phones are offered again by themselves"
            )
        case _H.PHONE_NEEDS_HANDS:
            return f"go to {phones}: {first.detail}; `phonefarm phones needs-hands` lists them all"
        case _H.PHONE_RETIRED:
            return f"{phones} does not come back: cancel, and ask for another phone"
        case _H.PHONE_OFFLINE:
            return (
                f"look at cable, power and adb authorization of {phones}: "
                "`phonefarm phones list` shows what adb says"
            )
        case _H.PHONE_UNFIT:
            return f"mend what {phones} lacks ({first.detail}); its agent offers it again by itself"
        case _H.AGENT_DRAINING:
            undrain = f"`phonefarm agents undrain {first.subject} --reason TEXT`"
            return f"its host is being emptied ({first.detail}); let it go on: {undrain}"
        case _H.AGENT_DISCONNECTED:
            return f"start the agent {first.subject}, or mend its way to the controller"
        case _:
            return f"take {phones} into service: `phonefarm phones admit {first.phone_id}`"


def _phones(whys: Sequence[Why]) -> str:
    names = list(dict.fromkeys(why.phone_id for why in whys))
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
