"""Facts: what a request's targets name of the farm, as of one transaction."""

from collections.abc import Sequence

from phonefarm_controller.model.requests import AccountFact, Facts, PhoneFact, Routing, Target
from phonefarm_controller.model.states import Health
from phonefarm_controller.store import accounts, groups, phones
from phonefarm_controller.store.database import Transaction


async def facts_of(tx: Transaction, targets: Sequence[Target]) -> Facts:
    """Read what the targets name, and what hangs on it."""
    phone_groups = await groups.members_of(
        tx, "phone", {t.phone_group for t in targets if t.phone_group is not None}
    )
    account_groups = await groups.members_of(
        tx, "account", {t.account_group for t in targets if t.account_group is not None}
    )
    phone_ids = {p for t in targets for p in (*t.phone_ids, t.phone_id) if p is not None}
    phone_ids |= {member for members in phone_groups.values() for member in members}
    account_ids = {a for t in targets for a in (*t.account_ids, t.account_id) if a is not None}
    account_ids |= {member for members in account_groups.values() for member in members}
    hang = bool(account_ids or phone_ids)
    named = await accounts.named_or_on(tx, account_ids, phone_ids) if hang else []
    phone_ids |= {account.phone_id for account in named if account.phone_id is not None}
    known = await phones.get(tx, phone_ids) if phone_ids else {}
    anywhere = any(t.routing is Routing.QUEUE and t.account_id is None for t in targets)
    return Facts(
        phones={
            phone.phone_id: PhoneFact(
                phone_id=phone.phone_id, retired=phone.health is Health.RETIRED
            )
            for phone in known.values()
        },
        accounts={
            account.account_id: AccountFact(
                account_id=account.account_id,
                phone_id=account.phone_id,
                app=account.app,
                active=account.active,
            )
            for account in named
        },
        phone_groups=phone_groups,
        account_groups=account_groups,
        apps_in_use=await accounts.apps_in_use(tx) if anywhere else frozenset(),
    )
