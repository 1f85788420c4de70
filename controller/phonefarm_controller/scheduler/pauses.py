"""Pause and resume: an operator's word on what may begin."""

from collections.abc import Sequence
from typing import assert_never

from phonefarm_common.ids import new_id

from phonefarm_controller.capabilities.catalog import CAPABILITIES
from phonefarm_controller.concurrency.uninterrupted import whole
from phonefarm_controller.concurrency.wakeups import Hints
from phonefarm_controller.model.app_profiles import Profile
from phonefarm_controller.model.errors import invalid_field
from phonefarm_controller.model.items import GOLDEN
from phonefarm_controller.model.pauses import Pause, PauseScope
from phonefarm_controller.store import accounts, audit, pauses
from phonefarm_controller.store.database import Database, Transaction

LONGEST_REASON = 500


class Pausing:
    """Pauses work, and lets it go on."""

    def __init__(
        self, *, database: Database, hints: Hints, known_profiles: dict[str, Profile]
    ) -> None:
        self._database = database
        self._hints = hints
        self._profiles = known_profiles

    @whole
    async def all(self) -> list[Pause]:
        """Return every pause, by scope and name."""
        async with self._database.reading() as tx:
            return await pauses.all_of(tx)

    @whole
    async def pause(self, scope: PauseScope, name: str, *, actor: str, reason: str) -> Pause:
        """Let nothing in the scope begin, until it is resumed; repeating it renews its reason.

        What is claimed and has not passed the start gate goes back to the queue; what runs goes on.
        FarmError for a name nobody knows, or a missing reason.
        """
        if not 0 < len(reason.strip()) <= LONGEST_REASON:
            message = f"must be 1 to {LONGEST_REASON} characters: it is shown to who asks why"
            raise invalid_field("reason", message)
        async with self._database.writing() as tx:
            await self._check_name(tx, scope, name)
            pause = Pause(scope=scope, name=name, since=tx.now, by=actor, reason=reason.strip())
            await pauses.put(tx, [pause])
            await _note(tx, actor, "pause", _what(scope, name), reason)
        self._hints.fleet_changed()
        return pause

    @whole
    async def resume(self, scope: PauseScope, name: str, *, actor: str, reason: str = "") -> bool:
        """End a pause; tell whether there was one. Other pauses stay."""
        async with self._database.writing() as tx:
            ended = await pauses.drop(tx, [(scope, name)]) > 0
            if ended:
                await _note(tx, actor, "resume", _what(scope, name), reason)
        if ended:
            self._hints.fleet_changed()
        return ended

    async def _check_name(self, tx: Transaction, scope: PauseScope, name: str) -> None:
        known: Sequence[str]
        match scope:
            case PauseScope.ALL:
                known = [""]
            case PauseScope.APP:
                known = sorted(self._profiles)
            case PauseScope.CAPABILITY:
                known = sorted([*CAPABILITIES, GOLDEN])
            case PauseScope.ACCOUNT:
                found = await accounts.named_or_on(tx, {name}, set())
                known = [account.account_id for account in found]
            case _:
                assert_never(scope)
        if name not in known:
            which = f"; known: {', '.join(known)}" if any(known) else ""
            raise invalid_field("name", f"names no known {scope}{which}")


async def _note(tx: Transaction, actor: str, verb: str, what: str, reason: str) -> None:
    await audit.note(
        tx, audit_id=new_id(), actor=actor, verb=verb, subject=what, reason=reason.strip()
    )


def _what(scope: PauseScope, name: str) -> str:
    return f"{scope} {name}".strip()
