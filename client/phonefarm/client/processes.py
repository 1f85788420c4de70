"""Submits work, and follows processes to their end."""

import asyncio
import uuid
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime
from typing import Any, Final, Literal, TypeAlias

from phonefarm.client.event_stream import follow
from phonefarm.client.pagination import every_page
from phonefarm.client.transport import Parameter, Transport, given, place, understood
from phonefarm.schemas import acknowledgements, farm_requests, operation, requests, responses
from phonefarm.schemas.fields import TERMINAL_STATUSES, PublicStatus, RequestModel
from phonefarm.schemas.process_record import ProcessRecord
from pydantic import TypeAdapter

Enqueued: TypeAlias = acknowledgements.Accepted | acknowledgements.Duplicate
_ENQUEUE: Final = "/capability-requests/enqueue"
_ENQUEUED: Final[TypeAdapter[Enqueued]] = TypeAdapter(Enqueued)
_EVENT: Final = TypeAdapter(responses.ProcessEvent)


class AsyncProcesses:
    """Work, as a caller sees it."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def enqueue(
        self,
        capability: str,
        *,
        target: requests.Target,
        inputs: Mapping[str, Any],
        callback: requests.Callback,
        requested_by: requests.RequestedBy,
        request_id: str | None = None,
        mode: Literal["manual", "unattended"] = "manual",
        priority: int | None = None,
        not_before: datetime | None = None,
        deadline: datetime | None = None,
    ) -> Enqueued:
        """Submit work for a capability (scope submit).

        The farm knows a request by its capability, `requested_by.system` and *request_id*, so it
        is safe to call this again with the same *request_id*; without one, each call makes its
        own. Return Accepted, or Duplicate if the farm has accepted the request before.
        InvalidRequestError and NotFoundError say what is wrong; ValueError for values of a wrong
        type or length.
        """
        body = requests.Enqueue(
            request_id=request_id or str(uuid.uuid4()),
            capability=capability,
            mode=mode,
            target=target,
            inputs=dict(inputs),
            callback=callback,
            requested_by=requested_by,
            **given(priority=priority, not_before=not_before, deadline=deadline),
        )
        return await self._enqueued(_ENQUEUE, body)

    async def dry_run(
        self,
        capability: str,
        *,
        target: requests.Target,
        inputs: Mapping[str, Any],
        callback: requests.Callback,
        requested_by: requests.RequestedBy,
        mode: Literal["manual", "unattended"] = "manual",
    ) -> acknowledgements.DryRun:
        """Check what `enqueue` would do with the same arguments, and create nothing (scope submit).

        Return how many items there would be. It raises what `enqueue` raises.
        """
        body = requests.Enqueue(
            request_id=str(uuid.uuid4()),
            capability=capability,
            mode=mode,
            target=target,
            inputs=dict(inputs),
            callback=callback,
            requested_by=requested_by,
            dry_run=True,
        )
        return await self._transport.send("POST", _ENQUEUE, acknowledgements.DryRun, body=body)

    async def enqueue_maintenance(
        self,
        account_id: str,
        *,
        steps: Sequence[requests.Step],
        callback: requests.Callback,
        requested_by: requests.RequestedBy,
        request_id: str | None = None,
    ) -> Enqueued:
        """Edit an account's profile on its phone (scope submit); otherwise as `enqueue`."""
        body = requests.Maintenance(
            request_id=request_id or str(uuid.uuid4()),
            account_id=account_id,
            inputs=requests.MaintenanceInputs(steps=list(steps)),
            callback=callback,
            requested_by=requested_by,
        )
        return await self._enqueued("/maintenance/requests", body)

    async def get(self, process_id: str) -> ProcessRecord:
        """Return the record of a process; NotFoundError if there is none."""
        return await self._transport.send("GET", _at(process_id), ProcessRecord)

    async def page(
        self,
        *,
        status: Sequence[PublicStatus] = (),
        type: Sequence[str] = (),  # noqa: A002 - the parameter's name in REST
        system: str | None = None,
        request_id: str | None = None,
        account_id: str | None = None,
        phone_id: str | None = None,
        created_from: datetime | None = None,
        created_before: datetime | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> responses.ProcessList:
        """Return one page of the processes that match every filter, the newest first.

        To get the next page, give `next_cursor` as *cursor*, with the same filters; it is None on
        the last page. *limit* is 1 to 500, and 50 if it is not given.
        """
        query: dict[str, Parameter] = {
            "status": status,
            "type": type,
            "system": system,
            "request_id": request_id,
            "account_id": account_id,
            "phone_id": phone_id,
            "created_from": created_from,
            "created_before": created_before,
            "limit": limit,
            "cursor": cursor,
        }
        return await self._transport.send("GET", "/processes", responses.ProcessList, query=query)

    async def list(
        self,
        *,
        status: Sequence[PublicStatus] = (),
        type: Sequence[str] = (),  # noqa: A002 - the parameter's name in REST
        system: str | None = None,
        request_id: str | None = None,
        account_id: str | None = None,
        phone_id: str | None = None,
        created_from: datetime | None = None,
        created_before: datetime | None = None,
        limit: int | None = None,
    ) -> AsyncGenerator[ProcessRecord, None]:
        """Yield all processes that match every filter, the newest first, page by page.

        *limit* is how many are in a page, 1 to 500.
        """

        async def page(cursor: str | None) -> responses.ProcessList:
            return await self.page(
                status=status,
                type=type,
                system=system,
                request_id=request_id,
                account_id=account_id,
                phone_id=phone_id,
                created_from=created_from,
                created_before=created_before,
                limit=limit,
                cursor=cursor,
            )

        async for found in every_page(page):
            for record in found.processes:
                yield record

    async def events(
        self, process_id: str, *, after: int = 0
    ) -> AsyncGenerator[responses.ProcessEvent, None]:
        """Yield the record now and after every transition, until the process has ended.

        After a break the stream goes on where it was. *after* is the `number` of the last
        transition that the caller knows. PhonefarmError if the gateway cannot be reached for long.
        """
        path = f"{_at(process_id)}/events"
        async with aclosing(
            follow(self._transport, path, after=str(after) if after else "")
        ) as events:
            async for event in events:
                if event.name == "process.updated":
                    yield understood(_EVENT, event.data)

    async def wait(self, process_id: str, *, timeout_seconds: float | None = None) -> ProcessRecord:
        """Return the record once the process has ended, whether it succeeded or not.

        TimeoutError if it has not ended within *timeout_seconds*.
        """
        async with asyncio.timeout(timeout_seconds), aclosing(self.events(process_id)) as events:
            async for event in events:
                if event.process.status in TERMINAL_STATUSES:
                    return event.process
        return await self.get(process_id)

    async def cancel(
        self,
        process_id: str,
        *,
        reason: str,
        requested_by: requests.RequestedBy,
        strategy: Literal["soft", "hard", "soft_then_force"] = "soft_then_force",
        force_after_seconds: int = 10,
    ) -> acknowledgements.Cancelled:
        """Record that a process is to end (scope cancel); the call does not wait for the phone.

        soft: the run stops between two actions; hard: the farm kills its container at once;
        soft_then_force: soft, then hard after *force_after_seconds*.
        """
        body = requests.Cancel(
            reason=reason,
            requested_by=requested_by,
            strategy=strategy,
            force_after_seconds=force_after_seconds,
        )
        path = f"{_at(process_id)}/cancel"
        return await self._transport.send("POST", path, acknowledgements.Cancelled, body=body)

    async def rerun(
        self, process_id: str, *, reason: str, failed_only: bool = False, not_posted: bool = False
    ) -> operation.Rerun:
        """Repeat the request of a process that has ended (scope operate).

        *failed_only* leaves out the items that are completed. *not_posted* confirms that somebody
        has looked, and that posts with an unknown outcome are not there. ConflictError if the
        process has not ended, or a rerun could post twice.
        """
        body = farm_requests.RerunProcess(
            reason=reason, failed_only=failed_only, not_posted=not_posted
        )
        path = f"{_at(process_id)}/rerun"
        return await self._transport.send("POST", path, operation.Rerun, body=body)

    async def timeline(self, process_id: str) -> responses.Timeline:
        """Return every transition of a process, the oldest first."""
        path = f"{_at(process_id)}/timeline"
        return await self._transport.send("GET", path, responses.Timeline)

    async def explain(self, process_id: str) -> responses.Explanation:
        """Return why a process waits now, and what would end that."""
        path = f"{_at(process_id)}/explain"
        return await self._transport.send("GET", path, responses.Explanation)

    async def queue_item(self, queue_item_id: str) -> responses.QueueItem:
        """Return one queue item, with its plan, its attempts and its outputs."""
        path = place("/queue-items/{item}", item=queue_item_id)
        return await self._transport.send("GET", path, responses.QueueItem)

    async def evidence(self, process_id: str) -> responses.EvidenceList:
        """Return the list of the files that the runs of a process have left."""
        path = f"{_at(process_id)}/evidence"
        return await self._transport.send("GET", path, responses.EvidenceList)

    async def evidence_file(self, process_id: str, evidence_id: str) -> bytes:
        """Return the contents of one file of the evidence; NotFoundError once it is removed."""
        path = place("/processes/{of}/evidence/{file}", of=process_id, file=evidence_id)
        return await self._transport.read("GET", path)

    async def deliveries(self, process_id: str) -> responses.DeliveryList:
        """Return the callbacks of a process, and how each was received."""
        path = f"{_at(process_id)}/deliveries"
        return await self._transport.send("GET", path, responses.DeliveryList)

    async def replay_deliveries(
        self, process_id: str, *, sequences: Sequence[int] = ()
    ) -> responses.Replayed:
        """Send callbacks of a process again (scope operate).

        *sequences* says which; without it, all that were not delivered. ConflictError if there is
        nothing to send.
        """
        body = requests.Replay(**given(sequences=list(sequences) or None))
        path = f"{_at(process_id)}/deliveries/replay"
        return await self._transport.send("POST", path, responses.Replayed, body=body)

    async def _enqueued(self, path: str, body: RequestModel) -> Enqueued:
        return understood(_ENQUEUED, await self._transport.read("POST", path, body=body))


def _at(process_id: str) -> str:
    return place("/processes/{of}", of=process_id)
