"""Reading what happened, happens, and why not yet."""

from http import HTTPStatus
from typing import Final

from aiohttp import web

from phonefarm_gateway.rest.endpoint import Call, Endpoint, Link, NoBody, Says, reply
from phonefarm_gateway.schemas import responses
from phonefarm_gateway.schemas.process_record import ProcessRecord
from phonefarm_gateway.schemas.queries import NoQuery, ProcessFilter


async def list_processes(call: Call[ProcessFilter, NoBody]) -> web.StreamResponse:
    """Return a page of processes."""
    return reply(await call.controller.processes.page(call.key, call.query))


async def get_process(call: Call[NoQuery, NoBody]) -> web.StreamResponse:
    """Return the record."""
    return reply(await call.controller.processes.read(call.key, call.process_id))


async def get_timeline(call: Call[NoQuery, NoBody]) -> web.StreamResponse:
    """Return every transition."""
    return reply(await call.controller.inspection.timeline(call.key, call.process_id))


async def explain(call: Call[NoQuery, NoBody]) -> web.StreamResponse:
    """Return why it waits."""
    return reply(await call.controller.inspection.explain(call.key, call.process_id))


async def get_queue_item(call: Call[NoQuery, NoBody]) -> web.StreamResponse:
    """Return one queue item."""
    item = await call.controller.inspection.queue_item(call.key, call.path["queue_item_id"])
    return reply(item)


ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/processes",
        name="listProcesses",
        tag="Processes",
        summary="List processes, the newest first",
        about=(
            "Filters are joined by and. Give `next_cursor` back as `cursor`, with the same "
            "filters, for the next page; a page may be shorter than `limit` and not the last."
        ),
        scope="read",
        query=ProcessFilter,
        body=NoBody,
        answers={
            HTTPStatus.OK: Says(
                about="A page.",
                models=(responses.ProcessList,),
                links=(
                    Link(
                        operation_id="listProcesses",
                        parameters={"cursor": "$response.body#/next_cursor"},
                    ),
                ),
            )
        },
        act=list_processes,
    ),
    Endpoint(
        method="GET",
        path="/processes/{process_id}",
        name="getProcess",
        tag="Processes",
        summary="Read a process",
        about="The authority on what became of a request.",
        scope="read",
        query=NoQuery,
        body=NoBody,
        answers={
            HTTPStatus.OK: Says(
                about="The record.",
                models=(ProcessRecord,),
                links=(
                    Link(
                        operation_id="getQueueItem",
                        parameters={"queue_item_id": "$response.body#/linked_ids/queue_item_ids/0"},
                    ),
                ),
            )
        },
        act=get_process,
    ),
    Endpoint(
        method="GET",
        path="/processes/{process_id}/timeline",
        name="getTimeline",
        tag="Processes",
        summary="Read every transition, with its time, actor and reason",
        scope="read",
        query=NoQuery,
        body=NoBody,
        answers={HTTPStatus.OK: Says(about="The oldest first.", models=(responses.Timeline,))},
        act=get_timeline,
    ),
    Endpoint(
        method="GET",
        path="/processes/{process_id}/explain",
        name="explainProcess",
        tag="Processes",
        summary="Read why a process waits, and what would unblock it",
        scope="read",
        query=NoQuery,
        body=NoBody,
        answers={HTTPStatus.OK: Says(about="As of now.", models=(responses.Explanation,))},
        act=explain,
    ),
    Endpoint(
        method="GET",
        path="/queue-items/{queue_item_id}",
        name="getQueueItem",
        tag="Processes",
        summary="Read one queue item: its plan, its attempts, what came of it",
        scope="read",
        query=NoQuery,
        body=NoBody,
        answers={HTTPStatus.OK: Says(about="The item.", models=(responses.QueueItem,))},
        act=get_queue_item,
    ),
)
