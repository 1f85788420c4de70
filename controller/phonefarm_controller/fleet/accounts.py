"""What operators do to accounts: list, put, clear, delete; each change is audited."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from phonefarm_common.ids import is_name, new_id
from phonefarm_common.reasons import FailureClass, FarmError, FieldProblem, Reason

from phonefarm_controller.concurrency.uninterrupted import uninterrupted
from phonefarm_controller.concurrency.wakeups import WakeUps
from phonefarm_controller.model.app_profiles import Profile
from phonefarm_controller.model.errors import check_reason, conflict, invalid, invalid_field
from phonefarm_controller.model.failures import Failure
from phonefarm_controller.model.states import Condition
from phonefarm_controller.model.transitions import by_operator
from phonefarm_controller.processes.cancel import end_waiting
from phonefarm_controller.store import (
    account_snapshots,
    accounts,
    audit,
    groups,
    phones,
    queue,
)
from phonefarm_controller.store.accounts import Account
from phonefarm_controller.store.database import Database, Transaction

MOST_ACCOUNTS: Final = 1000
"""The most accounts in one call."""


class AccountAdmin:
    """Lists and changes accounts."""

    def __init__(
        self, *, database: Database, wakeups: WakeUps, profiles: Mapping[str, Profile]
    ) -> None:
        self._database = database
        self._wakeups = wakeups
        self._profiles = profiles

    @uninterrupted
    async def all(self) -> Sequence[Account]:
        """Return every account, by id."""
        async with self._database.reading() as tx:
            return await accounts.all_of(tx)

    @uninterrupted
    async def put(
        self, given: Mapping[str, Account], *, actor: str, problems: Sequence[FieldProblem] = ()
    ) -> list[Account]:
        """Create or replace accounts, all or none; those made inactive end their waiting items.

        *given* maps what the caller calls each, such as `accounts[3]`, to the account; *problems*
        is what is known to be wrong with them already. FarmError names every wrong field.
        """
        if not 1 <= len(given) <= MOST_ACCOUNTS:
            raise invalid_field("accounts", f"must contain 1 to {MOST_ACCOUNTS} accounts")
        found = [*problems, *_problems(given, self._profiles)]
        if found:
            raise invalid(*found)
        asked = list(given.values())
        async with self._database.writing(actor=by_operator(actor)) as tx:
            await _check_phones(tx, given)
            await _end_waiting(tx, [account.account_id for account in asked if not account.active])
            await accounts.put(tx, asked)
            for account in asked:
                await _note(tx, actor, "put account", account.account_id, "")
        self._wakeups.fleet_changed()
        self._wakeups.deliveries()
        return asked

    @uninterrupted
    async def clear(self, account_id: str, *, actor: str, reason: str) -> Account:
        """End an account's `needs_attention`; FarmError `unknown_account`."""
        check_reason(reason)
        async with self._database.writing() as tx:
            known = await _lock_known(tx, account_id)
            after = replace(known, condition=Condition.OK, condition_reason="")
            await accounts.put(tx, [after])
            await _note(tx, actor, "clear account", account_id, reason)
        self._wakeups.fleet_changed()
        return after

    @uninterrupted
    async def delete(self, account_id: str, *, actor: str, reason: str) -> Account:
        """Remove an account, its persona and its places in groups; return it as it was.

        What it has done stays in the history.

        FarmError `unknown_account`, and `state_conflict` while work that has not ended names or
        uses it.
        """
        check_reason(reason)
        async with self._database.writing() as tx:
            known = await _lock_known(tx, account_id)
            if count := await queue.unfinished_of_account(tx, account_id):
                items = "1 item has" if count == 1 else f"{count} items have"
                message = (
                    f"{items} not ended that use the account {account_id}: cancel their processes, "
                    "or wait until they end"
                )
                raise conflict("account_id", "has_work", message)
            await account_snapshots.delete(tx, account_id)
            await groups.leave_all(tx, "account", account_id)
            await accounts.delete(tx, account_id)
            await _note(tx, actor, "delete account", account_id, reason)
        self._wakeups.fleet_changed()
        return known


def _problems(given: Mapping[str, Account], known: Mapping[str, Profile]) -> list[FieldProblem]:
    problems: list[FieldProblem] = []

    def wrong(where: str, field: str, message: str) -> None:
        problems.append(FieldProblem(field=f"{where}.{field}", message=message))

    seen: dict[str, str] = {}
    for where, account in given.items():
        if not is_name(account.account_id):
            wrong(where, "account_id", "must be 1 to 128 characters from A-Z a-z 0-9 . _ : -")
        elif account.account_id in seen:
            wrong(where, "account_id", f"is also the id of {seen[account.account_id]}")
        seen.setdefault(account.account_id, where)
        if account.phone_id is not None and not is_name(account.phone_id):
            wrong(where, "phone_id", "must be 1 to 128 characters from A-Z a-z 0-9 . _ : -")
        if account.app not in known:
            wrong(where, "app", f"must be one of: {', '.join(sorted(known))}")
    return problems


async def _check_phones(tx: Transaction, given: Mapping[str, Account]) -> None:
    named = {account.phone_id for account in given.values() if account.phone_id is not None}
    unknown = named - (await phones.get(tx, named)).keys()
    problems = tuple(
        FieldProblem(
            field=f"{where}.phone_id", message=f"is not the id of a phone: {account.phone_id}"
        )
        for where, account in given.items()
        if account.phone_id in unknown
    )
    if problems:
        first = min(unknown)
        message = f"there is no phone {first}; `phonefarm phones list` shows all phones"
        raise FarmError(Reason.UNKNOWN_PHONE, message, detail=first, problems=problems)


async def _end_waiting(tx: Transaction, account_ids: Sequence[str]) -> None:
    """End what waits for accounts that are being made inactive."""
    if not account_ids:
        return
    await end_waiting(
        tx,
        await queue.waiting_for_accounts(tx, account_ids),
        lambda item: Failure(
            code="account_inactive",
            message=f"the account {item.want_account_id} was made inactive",
            failure_class=FailureClass.ACCOUNT,
            final=True,
        ),
    )


async def _lock_known(tx: Transaction, account_id: str) -> Account:
    known = await accounts.lock(tx, {account_id})
    if account_id not in known:
        problem = FieldProblem(field="account_id", message="is not the id of an account")
        message = f"there is no account {account_id}; `phonefarm accounts list` shows all accounts"
        raise FarmError(
            Reason.UNKNOWN_ACCOUNT, message, detail=account_id[:128], problems=(problem,)
        )
    return known[account_id]


async def _note(tx: Transaction, actor: str, verb: str, subject: str, reason: str) -> None:
    await audit.note(tx, audit_id=new_id(), actor=actor, verb=verb, subject=subject, reason=reason)
