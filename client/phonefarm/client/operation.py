"""Looks after a farm: pauses, windows, limits, keys, health, audit, verifications, events."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import Any, BinaryIO, Final, Literal, TypeAlias

from phonefarm.client.event_stream import follow
from phonefarm.client.pagination import every_page
from phonefarm.client.transport import Parameter, Transport, given, place, understood
from phonefarm.schemas import farm, farm_requests, operation, requests, responses
from phonefarm.schemas.limits import Limit, LimitList, LimitRemoved
from phonefarm.schemas.windows import Window, WindowList, WindowRemoved
from pydantic import TypeAdapter

PauseScope: TypeAlias = Literal["all", "app", "account", "capability"]
WindowScope: TypeAlias = Literal["account", "phone", "group", "capability"]
LimitKind: TypeAlias = Literal["runs_per_day", "seconds_between_runs", "runs_at_once"]
LimitScope: TypeAlias = Literal["account", "every_account", "group", "app", "agent"]
FarmEventData: TypeAlias = farm.FarmReset | farm.Phone | farm.ProcessMoved | farm.Incident
_EVENTS: Final[dict[str, TypeAdapter[Any]]] = {
    "farm.reset": TypeAdapter(farm.FarmReset),
    "phone.updated": TypeAdapter(farm.Phone),
    "process.moved": TypeAdapter(farm.ProcessMoved),
    "incident.updated": TypeAdapter(farm.Incident),
}


@dataclass(frozen=True, kw_only=True)
class FarmEvent:
    """Something in the farm has changed; `id` is what to go on after."""

    id: str
    name: str
    data: FarmEventData


class AsyncOperation:
    """The farm as a whole."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def capabilities(self) -> responses.CapabilityList:
        """Return the kinds of work, each with a JSON Schema of its inputs."""
        return await self._transport.send("GET", "/capabilities", responses.CapabilityList)

    async def examine(self) -> operation.Examination:
        """Return how the farm is: findings, each with a remedy."""
        return await self._transport.send("GET", "/doctor", operation.Examination)

    async def failing_receivers(self) -> responses.FailingReceiverList:
        """Return the addresses that do not take their callbacks."""
        path = "/failing-receivers"
        return await self._transport.send("GET", path, responses.FailingReceiverList)

    async def alert_events(self) -> operation.AlertEventList:
        """Return the newest events that report alerts."""
        return await self._transport.send("GET", "/alerts", operation.AlertEventList)

    async def send_test_alert(self) -> operation.AlertEvent:
        """Send an event that reports no change to the farm's alert URL."""
        path = "/alerts/test"
        return await self._transport.send("POST", path, operation.AlertEvent, repeatable=False)

    async def replay_alert_event(self, sequence: int) -> operation.AlertEvent:
        """Make a settled alert event due again."""
        body = farm_requests.ReplayAlertEvent(sequence=sequence)
        return await self._transport.send("POST", "/alerts/replay", operation.AlertEvent, body=body)

    async def events(self, *, after: str = "") -> AsyncGenerator[FarmEvent, None]:
        """Yield what changes of phones, processes and incidents, without end.

        The first event is `farm.reset`: read the lists when it comes. It comes again when events
        were lost. After a break the stream goes on where it was; some events may come twice.
        *after* is the `id` of the last event that the caller knows.
        """
        async with aclosing(follow(self._transport, "/events", after=after)) as events:
            async for event in events:
                kind = _EVENTS.get(event.name)
                if kind is not None:
                    data = understood(kind, event.data)
                    yield FarmEvent(id=event.id, name=event.name, data=data)

    async def audit_page(
        self,
        *,
        subject: str | None = None,
        since: datetime | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> farm.AuditList:
        """Return a page of who did what, the newest first (scope operate).

        *subject* is the id of a phone, an account, an agent or another subject; *limit* is 1 to
        1,000.
        """
        query: dict[str, Parameter] = {
            "subject": subject,
            "since": since,
            "limit": limit,
            "cursor": cursor,
        }
        return await self._transport.send("GET", "/audit", farm.AuditList, query=query)

    async def audit(
        self,
        *,
        subject: str | None = None,
        since: datetime | None = None,
        limit: int | None = None,
    ) -> AsyncGenerator[farm.AuditEntry, None]:
        """Yield who did what, the newest first, page by page (scope operate)."""

        async def page(cursor: str | None) -> farm.AuditList:
            return await self.audit_page(subject=subject, since=since, limit=limit, cursor=cursor)

        async for found in every_page(page):
            for entry in found.entries:
                yield entry

    async def pauses(self) -> operation.PauseList:
        """Return every pause."""
        return await self._transport.send("GET", "/pauses", operation.PauseList)

    async def pause(
        self, scope: PauseScope, name: str | None = None, *, reason: str, stop: bool = False
    ) -> operation.Paused:
        """Let no work begin in a scope (scope operate).

        *name* is that of the app, account or capability. *stop* also stops runs in progress; their
        items wait again.
        """
        body = farm_requests.PauseWork(scope=scope, reason=reason, stop=stop, **given(name=name))
        return await self._transport.send("POST", "/pause", operation.Paused, body=body)

    async def resume(
        self, scope: PauseScope, name: str | None = None, *, reason: str = ""
    ) -> operation.Resumed:
        """End a pause (scope operate)."""
        body = farm_requests.Resume(scope=scope, reason=reason, **given(name=name))
        return await self._transport.send("POST", "/resume", operation.Resumed, body=body)

    async def windows(self) -> WindowList:
        """Return every window: the weekly hours in which work may begin."""
        return await self._transport.send("GET", "/windows", WindowList)

    async def put_window(
        self,
        scope: WindowScope,
        name: str,
        *,
        zone: str,
        hours: Sequence[str],
        reason: str,
        may_overrun: bool = False,
    ) -> Window:
        """Let work of a scope begin in weekly hours only (scope operate).

        *zone* is a time zone of the IANA database, *hours* are texts such as
        `mon-fri 09:00-17:00`. A run begins only if its time limit ends before the hours do, unless
        it *may_overrun*. An earlier window of the scope is replaced.
        """
        body = farm_requests.PutWindow(
            scope=scope,
            name=name,
            zone=zone,
            hours=list(hours),
            reason=reason,
            may_overrun=may_overrun,
        )
        return await self._transport.send("POST", "/windows", Window, body=body)

    async def remove_window(
        self, scope: WindowScope, name: str, *, reason: str = ""
    ) -> WindowRemoved:
        """Remove a window (scope operate)."""
        body = farm_requests.RemoveWindow(scope=scope, name=name, reason=reason)
        path = "/windows/remove"
        return await self._transport.send("POST", path, WindowRemoved, body=body)

    async def limits(self) -> LimitList:
        """Return every limit: how many runs a day, how far apart, how many at once."""
        return await self._transport.send("GET", "/limits", LimitList)

    async def put_limit(
        self,
        kind: LimitKind,
        scope: LimitScope,
        name: str | None = None,
        *,
        value: int,
        reason: str,
        zone: str | None = None,
    ) -> Limit:
        """Limit the runs of a scope (scope operate); an earlier limit of its kind is replaced.

        *zone* is a time zone of the IANA database, whose days count: for `runs_per_day` only.
        """
        body = farm_requests.PutLimit(
            kind=kind, scope=scope, value=value, reason=reason, **given(name=name, zone=zone)
        )
        return await self._transport.send("POST", "/limits", Limit, body=body)

    async def remove_limit(
        self, kind: LimitKind, scope: LimitScope, name: str | None = None, *, reason: str = ""
    ) -> LimitRemoved:
        """Remove a limit (scope operate)."""
        body = farm_requests.RemoveLimit(kind=kind, scope=scope, reason=reason, **given(name=name))
        return await self._transport.send("POST", "/limits/remove", LimitRemoved, body=body)

    async def backup(self, file: BinaryIO, *, reason: str) -> None:
        """Write a consistent copy of the farm's SQLite database to *file* (scope admin).

        This request is not repeated by itself. UnexpectedResponseError if the copy did not arrive
        as it was sent; ConflictError if the farm uses PostgreSQL, or another backup is under way.
        """
        body = farm_requests.Because(reason=reason)
        await self._transport.download("/backup", file, body=body)

    async def keys(self) -> operation.ApiKeyList:
        """Return the API keys, without their secrets (scope admin)."""
        return await self._transport.send("GET", "/keys", operation.ApiKeyList)

    async def create_key(
        self,
        name: str,
        *,
        scopes: Sequence[Literal["submit", "read", "watch", "cancel", "operate", "admin"]],
        expires_at: datetime | None = None,
    ) -> operation.NewApiKey:
        """Create an API key (scope admin); only this response has its secret.

        This request is not repeated by itself.
        """
        body = farm_requests.CreateKey(
            name=name, scopes=list(scopes), **given(expires_at=expires_at)
        )
        return await self._transport.send(
            "POST", "/keys", operation.NewApiKey, body=body, repeatable=False
        )

    async def revoke_key(self, name: str) -> operation.ApiKey:
        """End an API key at once (scope admin)."""
        path = place("/keys/{name}/revoke", name=name)
        return await self._transport.send("POST", path, operation.ApiKey)

    async def verify_capability(
        self,
        capability: str,
        *,
        phone_id: str,
        requested_by: requests.RequestedBy,
        account_id: str | None = None,
        inputs: Mapping[str, Any] | None = None,
    ) -> operation.VerificationStarted:
        """Start a run that proves a capability on a real phone (scope operate).

        This request is not repeated by itself. When the process has completed and somebody has
        looked at its evidence, call `record_verification`.
        """
        body = farm_requests.Verify(
            phone_id=phone_id,
            requested_by=requested_by,
            **given(account_id=account_id, inputs=None if inputs is None else dict(inputs)),
        )
        path = place("/capabilities/{capability}/verify", capability=capability)
        return await self._transport.send(
            "POST", path, operation.VerificationStarted, body=body, repeatable=False
        )

    async def record_verification(self, process_id: str) -> operation.Verification:
        """Record that the run of a verification did what it should (scope operate)."""
        path = place("/processes/{of}/verification", of=process_id)
        return await self._transport.send("POST", path, operation.Verification)

    async def check_profile(
        self,
        name: str,
        profile_toml: str,
        *,
        phone_id: str,
        requested_by: requests.RequestedBy,
        account_id: str | None = None,
    ) -> operation.VerificationStarted:
        """Start a run that looks for what an app profile names (scope operate).

        This request is not repeated by itself.
        """
        body = farm_requests.CheckProfile(
            name=name,
            profile_toml=profile_toml,
            phone_id=phone_id,
            requested_by=requested_by,
            **given(account_id=account_id),
        )
        return await self._transport.send(
            "POST", "/profiles/check", operation.VerificationStarted, body=body, repeatable=False
        )
