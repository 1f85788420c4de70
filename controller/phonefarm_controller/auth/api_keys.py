"""API keys: make, list and revoke them; find the one a caller shows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import structlog
from phonefarm_common.ids import new_id, new_secret
from phonefarm_common.reasons import FarmError, FieldProblem, Reason

from phonefarm_controller.concurrency.uninterrupted import uninterrupted
from phonefarm_controller.model.errors import invalid_field
from phonefarm_controller.model.scopes import (
    Scope,
    digest_of,
    in_order,
    is_key,
    is_key_name,
    key_of,
)
from phonefarm_controller.store import api_keys, audit
from phonefarm_controller.store.api_keys import ApiKey
from phonefarm_controller.store.database import Database

log = structlog.get_logger()

USE_NOTED_EVERY: Final = timedelta(minutes=1)
MOST_LISTED: Final = 1000


@dataclass(frozen=True, kw_only=True)
class NewApiKey:
    """A new key with its text, which is shown only now."""

    key: ApiKey
    text: str


class ApiKeys:
    """The keys of this farm. Nothing is remembered between calls: a revocation counts at once."""

    def __init__(self, *, database: Database, monotonic: Callable[[], float]) -> None:
        self._database = database
        self._monotonic = monotonic
        self._noted: dict[str, float] = {}  # by key_id, when this controller last wrote its use

    @uninterrupted
    async def create(
        self, name: str, scopes: Sequence[Scope], *, expires_at: datetime | None, actor: str
    ) -> NewApiKey:
        """Make a key; FarmError names the field that is wrong, `state_conflict` a taken name."""
        if not is_key_name(name):
            raise invalid_field("name", "must be 1 to 64 characters from A-Z a-z 0-9 . _ -")
        if not scopes:
            raise invalid_field("scopes", f"must name at least one of: {', '.join(Scope)}")
        text = key_of(new_secret())
        async with self._database.writing() as tx:
            if expires_at is not None and expires_at <= tx.now:
                raise invalid_field("expires_at", "must be in the future")
            key = ApiKey(
                key_id=new_id(),
                name=name,
                scopes=in_order(scopes),
                created_at=tx.now,
                created_by=actor,
                expires_at=expires_at,
            )
            if not await api_keys.insert_if_free(tx, key, digest=digest_of(text)):
                problem = FieldProblem(field="name", message="is already the name of another key")
                message = f"the key {name} already exists; revoke it first, or choose another name"
                raise FarmError(Reason.STATE_CONFLICT, message, detail=name, problems=(problem,))
            await audit.note(
                tx,
                audit_id=new_id(),
                actor=actor,
                verb="create key",
                subject=name,
                reason=" ".join(key.scopes),
            )
        log.info("key.created", name=name, scopes=list(key.scopes), by=actor)
        return NewApiKey(key=key, text=text)

    @uninterrupted
    async def all(self) -> list[ApiKey]:
        """Return the unrevoked keys by name, then revoked ones, the newest first."""
        async with self._database.reading() as tx:
            return await api_keys.all_of(tx, limit=MOST_LISTED)

    @uninterrupted
    async def revoke(self, name: str, *, actor: str) -> ApiKey:
        """End the key of this name for good; FarmError `unknown_key` when there is none."""
        async with self._database.writing() as tx:
            revoked = await api_keys.revoke_if_live(tx, name)
            if revoked is None:
                problem = FieldProblem(field="name", message="is not the name of a valid key")
                message = f"there is no key {name[:64]}; `phonefarm keys list` shows all keys"
                raise FarmError(Reason.UNKNOWN_KEY, message, detail=name[:64], problems=(problem,))
            await audit.note(
                tx, audit_id=new_id(), actor=actor, verb="revoke key", subject=name, reason=""
            )
        self._noted.pop(revoked.key_id, None)
        log.info("key.revoked", name=name, by=actor)
        return revoked

    @uninterrupted
    async def find(self, text: str) -> ApiKey | None:
        """Return the key that *text* is if it is good now; note its use once a minute."""
        if not is_key(text):
            return None
        async with self._database.reading() as tx:
            key = await api_keys.with_digest(tx, digest_of(text))
            now = tx.now
        if key is None or key.revoked_at is not None:
            return None
        if key.expires_at is not None and key.expires_at <= now:
            return None
        if key.last_used_at is None or key.last_used_at <= now - USE_NOTED_EVERY:
            await self._note_use(key)
        return key

    @uninterrupted
    async def any(self) -> bool:
        """Tell whether there is a key that was not revoked."""
        async with self._database.reading() as tx:
            return await api_keys.any_unrevoked(tx)

    async def _note_use(self, key: ApiKey) -> None:
        noted = self._noted.get(key.key_id)
        if noted is not None and self._monotonic() - noted < USE_NOTED_EVERY.total_seconds():
            return  # another call is about to write it, or could not
        self._noted[key.key_id] = self._monotonic()
        try:
            async with self._database.writing() as tx:
                await api_keys.note_use_if_older(tx, key.key_id, than=USE_NOTED_EVERY)
        except Exception as error:  # noqa: BLE001 - a full disk must not lock every reader out
            log.warning("key.use_not_noted", name=key.name, error=str(error))
