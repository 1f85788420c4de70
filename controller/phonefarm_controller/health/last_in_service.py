"""Reads what a phone is the last of, before it is withheld."""

from phonefarm_controller.health.last_of_kind import last_of_its_kind
from phonefarm_controller.store import accounts, phones
from phonefarm_controller.store.database import Transaction


async def warnings_of(tx: Transaction, phone_id: str) -> tuple[str, ...]:
    """Return what nobody else in service could do without the phone."""
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
        groups={(group.kind, group.name): group.members for group in await phones.all_groups(tx)},
    )
