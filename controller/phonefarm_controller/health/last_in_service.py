"""Warns before a phone is taken out of service if some work can use only this phone."""

from collections.abc import Collection, Iterable, Mapping

from phonefarm_controller.store import accounts, groups, phones
from phonefarm_controller.store.database import Transaction


async def warnings_of(tx: Transaction, phone_id: str) -> tuple[str, ...]:
    """Return a sentence for each app and group that only this phone in service can work for."""
    known = await phones.all_of(tx)
    return last_of_its_kind(
        phone_id,
        # A phone that only cools down is in service.
        in_service=[phone.phone_id for phone in known if phone.in_service],
        bound=[
            (account.account_id, account.phone_id, account.app)
            for account in await accounts.all_of(tx)
            if account.active and account.phone_id is not None
        ],
        groups={(group.kind, group.name): group.members for group in await groups.all_of(tx)},
    )


def last_of_its_kind(
    phone_id: str,
    *,
    in_service: Collection[str],
    bound: Iterable[tuple[str, str, str]],
    groups: Mapping[tuple[str, str], Collection[str]],
) -> tuple[str, ...]:
    """Return the warnings; pure.

    *in_service* are the phones that may work, *bound* the active accounts as (account, phone, app),
    *groups* the members by (kind, name), kind being phone or account.
    """
    others = set(in_service) - {phone_id}
    where = [(account, phone, app) for account, phone, app in bound]
    here = {app for _, phone, app in where if phone == phone_id}
    elsewhere = {app for _, phone, app in where if phone in others}
    told = [
        f"{phone_id} is the last phone in service with an account of {app}"
        for app in sorted(here - elsewhere)
    ]
    phone_of = {account: phone for account, phone, _ in where}
    for (kind, name), members in sorted(groups.items()):
        usable = set(members) if kind == "phone" else {phone_of.get(each) for each in members}
        if phone_id in usable and not usable & others:
            told.append(f"{phone_id} is the last phone in service of the {kind} group {name}")
    return tuple(told)
