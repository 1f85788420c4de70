"""Last of its kind: what nobody else in service could do when a phone is withheld."""

from collections.abc import Collection, Iterable, Mapping


def last_of_its_kind(
    phone_id: str,
    *,
    in_service: Collection[str],
    bound: Iterable[tuple[str, str, str]],
    groups: Mapping[tuple[str, str], Collection[str]],
) -> tuple[str, ...]:
    """Return a sentence for each app and group that only this phone in service can work for.

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
        phones = set(members) if kind == "phone" else {phone_of.get(each) for each in members}
        if phone_id in phones and not phones & others:
            told.append(f"{phone_id} is the last phone in service of the {kind} group {name}")
    return tuple(told)
