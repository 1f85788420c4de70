"""Finds the phones and accounts that an item may use, from the target of its request."""

from dataclasses import dataclass
from typing import Final

from phonefarm_common.reasons import FarmError, FieldProblem, Reason

from phonefarm_controller.model.errors import invalid, invalid_field
from phonefarm_controller.model.items import NO_APP
from phonefarm_controller.model.requests import AccountFact, Routing, Target, TargetFacts

MOST_IN_A_GROUP: Final = 1000


@dataclass(frozen=True, kw_only=True)
class Slot:
    """Where one item may run. Without phone and account, any fit phone of the group will do."""

    app: str
    phone_id: str | None = None
    account_id: str | None = None
    phone_group: str | None = None


def resolve(target: Target, *, app: str | None, facts: TargetFacts) -> tuple[Slot, ...]:
    """Return one slot per item; FarmError names the id or field that cannot be used."""
    _check_fields(target)
    match target.routing:
        case Routing.DIRECT:
            return (_direct(target, app, facts),)
        case Routing.QUEUE:
            return (_queue(target, app, facts),)
        case Routing.GROUP:
            return _group(target, app, facts)


def resolve_without_account(target: Target, *, facts: TargetFacts) -> tuple[Slot, ...]:
    """Return one slot per item of work that needs no app and no account.

    FarmError names the id or field that cannot be used; every field about accounts is one.
    """
    problems = [
        FieldProblem(
            field=f"target.{name}",
            message="is not allowed: the capability uses no account; name phones instead",
        )
        for name in ("account_id", "account_group", "account_ids")
        if getattr(target, name)
    ]
    if problems:
        raise invalid(*problems)
    _check_fields(target)
    match target.routing:
        case Routing.DIRECT:
            if target.phone_id is None:
                raise invalid_field("target.phone_id", "is required when routing is direct")
            _known_phone(target.phone_id, facts, field="target.phone_id")
            return (Slot(app=NO_APP, phone_id=target.phone_id),)
        case Routing.QUEUE:
            _check_phone_group(target, facts)
            return (Slot(app=NO_APP, phone_group=target.phone_group),)
        case Routing.GROUP:
            named = _phones_of_group(target, facts)
            for phone_id in named:
                _known_phone(phone_id, facts, field="target.phone_ids")
            return _distinct([Slot(app=NO_APP, phone_id=phone_id) for phone_id in named])


def _check_fields(target: Target) -> None:
    """Refuse what the routing would not look at: the caller would believe that it was heeded."""
    unheeded = {
        Routing.DIRECT: ("phone_group", "account_group", "phone_ids", "account_ids"),
        Routing.QUEUE: ("phone_id", "account_group", "phone_ids", "account_ids"),
        Routing.GROUP: (),
    }[target.routing]
    problems = [
        FieldProblem(
            field=f"target.{name}", message=f"is not allowed with routing {target.routing}"
        )
        for name in unheeded
        if getattr(target, name)
    ]
    if problems:
        raise invalid(*problems)


def _direct(target: Target, app: str | None, facts: TargetFacts) -> Slot:
    if target.account_id is not None:
        slot = _slot_of_account(target.account_id, app, facts, field="target.account_id")
        if target.phone_id is not None:
            _known_phone(target.phone_id, facts, field="target.phone_id")
            if slot.phone_id != target.phone_id:
                raise _not_on_phone(target.account_id, target.phone_id)
        return slot
    if target.phone_id is not None:
        return _slot_of_phone(target.phone_id, app, facts, field="target.phone_id")
    raise invalid_field("target", "must contain phone_id or account_id when routing is direct")


def _queue(target: Target, app: str | None, facts: TargetFacts) -> Slot:
    _check_phone_group(target, facts)
    if target.account_id is not None:
        slot = _slot_of_account(target.account_id, app, facts, field="target.account_id")
        members = facts.phone_groups.get(target.phone_group or "", ())
        if target.phone_group is not None and slot.phone_id not in members:
            raise _not_on_phone(target.account_id, f"a phone of {target.phone_group}")
        return slot
    return Slot(app=app or _only_app(facts), phone_group=target.phone_group)


def _group(target: Target, app: str | None, facts: TargetFacts) -> tuple[Slot, ...]:
    phones = _phones_of_group(target, facts)
    accounts = list(target.account_ids)
    if target.account_group is not None:
        if target.account_group not in facts.account_groups:
            raise _missing(Reason.UNKNOWN_GROUP, target.account_group, "target.account_group")
        accounts += facts.account_groups[target.account_group]
    if target.account_id is not None:
        accounts.append(target.account_id)
    slots = [_slot_of_phone(phone, app, facts, field="target.phone_ids") for phone in phones]
    slots += [_slot_of_account(name, app, facts, field="target.account_ids") for name in accounts]
    return _distinct(slots)


def _check_phone_group(target: Target, facts: TargetFacts) -> None:
    if target.phone_group is not None and target.phone_group not in facts.phone_groups:
        raise _missing(Reason.UNKNOWN_GROUP, target.phone_group, "target.phone_group")


def _phones_of_group(target: Target, facts: TargetFacts) -> list[str]:
    _check_phone_group(target, facts)
    phones = list(target.phone_ids)
    if target.phone_group is not None:
        phones += facts.phone_groups[target.phone_group]
    if target.phone_id is not None:
        phones.append(target.phone_id)
    return phones


def _distinct(slots: list[Slot]) -> tuple[Slot, ...]:
    """Return the slots without duplicates; FarmError when there are none, or too many."""
    distinct = tuple(dict.fromkeys(slots))
    if not distinct:
        raise FarmError(
            Reason.EMPTY_GROUP,
            "the group has no phones and no accounts",
            problems=(
                FieldProblem(field="target", message="must contain phone_ids or account_ids"),
            ),
        )
    if len(distinct) > MOST_IN_A_GROUP:
        raise FarmError(
            Reason.GROUP_TOO_LARGE,
            f"the group has {len(distinct)} members; one request can have at most "
            f"{MOST_IN_A_GROUP}",
            problems=(
                FieldProblem(field="target", message=f"has more than {MOST_IN_A_GROUP} members"),
            ),
        )
    return distinct


def _slot_of_account(account_id: str, app: str | None, facts: TargetFacts, *, field: str) -> Slot:
    account = facts.accounts.get(account_id)
    if account is None:
        raise _missing(Reason.UNKNOWN_ACCOUNT, account_id, field)
    if not account.active:
        raise _missing(Reason.INACTIVE_ACCOUNT, account_id, field)
    if account.phone_id is None:
        raise _not_on_phone(account_id, "any phone")
    phone = facts.phones.get(account.phone_id)
    if phone is not None and phone.retired:
        raise _missing(Reason.INACTIVE_PHONE, phone.phone_id, field)
    if app is not None and app != account.app:
        message = f"is {app!r}, but the account {account_id} belongs to {account.app!r}"
        raise invalid_field("inputs.app", message)
    return Slot(app=account.app, phone_id=account.phone_id, account_id=account_id)


def _slot_of_phone(phone_id: str, app: str | None, facts: TargetFacts, *, field: str) -> Slot:
    _known_phone(phone_id, facts, field=field)
    accounts = facts.accounts_on(phone_id, app)
    if not accounts:
        raise _account_problem(Reason.ACCOUNT_REQUIRED, phone_id, "has no active account", field)
    if len(accounts) > 1:
        message = "has several active accounts; name one of them"
        raise _account_problem(Reason.ACCOUNT_AMBIGUOUS, phone_id, message, field)
    account: AccountFact = accounts[0]
    return Slot(app=account.app, phone_id=phone_id, account_id=account.account_id)


def _known_phone(phone_id: str, facts: TargetFacts, *, field: str) -> None:
    phone = facts.phones.get(phone_id)
    if phone is None:
        raise _missing(Reason.UNKNOWN_PHONE, phone_id, field)
    if phone.retired:
        raise _missing(Reason.INACTIVE_PHONE, phone_id, field)


def _only_app(facts: TargetFacts) -> str:
    if len(facts.apps_in_use) == 1:
        return next(iter(facts.apps_in_use))
    if not facts.apps_in_use:
        raise invalid_field("inputs.app", "is required: no account is active yet")
    known = ", ".join(sorted(facts.apps_in_use))
    raise invalid_field("inputs.app", f"is required: the farm has several apps ({known})")


def _missing(reason: Reason, name: str, field: str) -> FarmError:
    words = str(reason).replace("_", " ")
    problem = FieldProblem(field=field, message=f"names {name!r}: {words}")
    return FarmError(reason, f"{words}: {name}", detail=name[:128], problems=(problem,))


def _not_on_phone(account_id: str, phone: str) -> FarmError:
    message = f"the account {account_id} is not bound to {phone}"
    problem = FieldProblem(field="target.account_id", message="is not bound to that phone")
    return FarmError(Reason.ACCOUNT_NOT_ON_PHONE, message, problems=(problem,))


def _account_problem(reason: Reason, phone_id: str, message: str, field: str) -> FarmError:
    problem = FieldProblem(field=field, message=f"the phone {phone_id} {message}")
    return FarmError(
        reason, f"the phone {phone_id} {message}", detail=phone_id, problems=(problem,)
    )
