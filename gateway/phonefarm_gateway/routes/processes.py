"""Endpoints of processes and queue items: enqueue, cancel, list, read, explain."""

from collections.abc import Mapping
from dataclasses import replace
from http import HTTPStatus
from typing import Any, Final

from aiohttp import web
from phonefarm.schemas import examples, operation, requests, responses
from phonefarm.schemas.acknowledgements import Accepted, Cancelled, DryRun, Duplicate
from phonefarm.schemas.farm_requests import RerunProcess
from phonefarm.schemas.process_record import ProcessRecord
from phonefarm.schemas.queries import NoQuery, ProcessFilter
from phonefarm_common.address_policy import check_url
from phonefarm_common.reasons import FieldProblem

from phonefarm_gateway.client import ControllerClient, RefusedError
from phonefarm_gateway.rest.app_keys import POLICY, PROCESS_ID
from phonefarm_gateway.rest.endpoint import Call, Endpoint, Link, NoBody, ResponseSpec, reply

_OF_PROCESS: Final = {"process_id": "$response.body#/process_id"}
FOLLOWING: Final = (
    Link(operation_id="getProcess", parameters=_OF_PROCESS),
    Link(operation_id="getTimeline", parameters=_OF_PROCESS),
    Link(operation_id="explainProcess", parameters=_OF_PROCESS),
    Link(operation_id="listDeliveries", parameters=_OF_PROCESS),
    Link(operation_id="listEvidence", parameters=_OF_PROCESS),
    Link(operation_id="replayDeliveries", parameters=_OF_PROCESS),
    Link(operation_id="cancelProcess", parameters=_OF_PROCESS),
)
"""The links from a response to requests about its process."""

_ACCEPTED: Final = {
    HTTPStatus.ACCEPTED: ResponseSpec(
        about="The farm has created and stored the process.",
        models=(Accepted,),
        example=examples.ACCEPTED,
        links=FOLLOWING,
    ),
    HTTPStatus.OK: ResponseSpec(
        about="The request repeats an accepted request, or is a dry run.",
        models=(Duplicate, DryRun),
        example=examples.DUPLICATE,
    ),
}
REFUSALS: Final = (
    "`invalid_request` and `invalid_request:malformed_json`, `unknown_capability:<name>`, "
    "`routing_not_supported:<capability>:<routing>`, `capability_not_live_verified:<capability>`, "
    "`account_required:<phone>`, `account_ambiguous:<phone>`, `account_not_on_phone`, "
    "`empty_group`, `group_too_large`, `unknown_app`, `unsupported_input:<field>`, "
    "`unsupported_action:<action>`, `missing_fyp_judge_prompt`, `callback_url_not_allowed`"
)
UNKNOWN: Final = (
    "`unknown_account:<id>`, `inactive_account:<id>`, `unknown_phone:<id>`, "
    "`inactive_phone:<id>`, `unknown_group:<name>`"
)


async def enqueue(call: Call[NoQuery, requests.Enqueue]) -> web.StreamResponse:
    """Submit work."""
    check_url(call.body.callback.url, call.request.app[POLICY])
    return _accepted(call, await call.controller.processes.enqueue(call.key, call.body))


async def inputs_problems(
    controller: ControllerClient, key: str | None, body: Mapping[str, Any]
) -> tuple[FieldProblem, ...]:
    """Return what is wrong with the inputs of a request whose other fields are wrong."""
    capability, inputs = body.get("capability"), body.get("inputs")
    if not isinstance(capability, str) or not isinstance(inputs, dict):
        return ()
    return await controller.processes.input_problems(key, capability, inputs)


async def request_maintenance(call: Call[NoQuery, requests.Maintenance]) -> web.StreamResponse:
    """Submit maintenance: an enqueue of `maintenance` for one account's phone."""
    shape = call.body
    check_url(shape.callback.url, call.request.app[POLICY])
    body = requests.Enqueue(
        request_id=shape.request_id,
        capability="maintenance",
        mode="manual",
        target=requests.Target(routing="direct", account_id=shape.account_id),
        # As it was sent: the model holds only the fields that it validates.
        inputs=call.raw["inputs"],
        callback=shape.callback,
        requested_by=shape.requested_by,
    )
    try:
        answer = await call.controller.processes.enqueue(call.key, body)
    except RefusedError as refused:
        problems = tuple(
            replace(p, field="account_id") if p.field.startswith("target") else p
            for p in refused.problems
        )
        raise RefusedError(refused.reason, refused.text, refused.message, problems) from refused
    return _accepted(call, answer)


async def cancel(call: Call[NoQuery, requests.Cancel]) -> web.StreamResponse:
    """Record that a process is to end."""
    return reply(await call.controller.processes.cancel(call.key, call.process_id, call.body))


async def list_processes(call: Call[ProcessFilter, NoBody]) -> web.StreamResponse:
    """Return a page of processes."""
    return reply(await call.controller.processes.page(call.key, call.query))


async def get_process(call: Call[NoQuery, NoBody]) -> web.StreamResponse:
    """Return the process record."""
    return reply(await call.controller.processes.get(call.key, call.process_id))


async def get_timeline(call: Call[NoQuery, NoBody]) -> web.StreamResponse:
    """Return every transition."""
    return reply(await call.controller.inspection.timeline(call.key, call.process_id))


async def explain(call: Call[NoQuery, NoBody]) -> web.StreamResponse:
    """Return why a process waits."""
    return reply(await call.controller.inspection.explain(call.key, call.process_id))


async def get_queue_item(call: Call[NoQuery, NoBody]) -> web.StreamResponse:
    """Return one queue item."""
    item = await call.controller.inspection.queue_item(call.key, call.path["queue_item_id"])
    return reply(item)


async def rerun(call: Call[NoQuery, RerunProcess]) -> web.StreamResponse:
    """Repeat the request of a process that has ended."""
    answer = await call.controller.operator.rerun(call.key, call.process_id, call.body)
    status = HTTPStatus.OK if answer.already else HTTPStatus.ACCEPTED
    return reply(answer, status=status)


def _accepted(call: Call[Any, Any], answer: Accepted | Duplicate | DryRun) -> web.StreamResponse:
    if answer.process_id is not None:
        call.request[PROCESS_ID] = answer.process_id
    is_new = isinstance(answer, Accepted)
    return reply(answer, status=HTTPStatus.ACCEPTED if is_new else HTTPStatus.OK)


ENDPOINTS: Final = (
    Endpoint(
        method="POST",
        path="/capability-requests/enqueue",
        name="enqueue",
        tag="Work",
        summary="Enqueue work for a capability",
        about=(
            "You can safely repeat the request: `(capability, requested_by.system, request_id)` "
            "identifies it, and a repeated request returns 200 with the first process. GET "
            "/capabilities lists the capabilities; its `inputs_schema` field describes each "
            "capability's `inputs`. The farm sends events to `callback.url`."
        ),
        scope="submit",
        query=NoQuery,
        body=requests.Enqueue,
        example=examples.ENQUEUE,
        answers=_ACCEPTED,
        problems={
            HTTPStatus.NOT_FOUND: UNKNOWN,
            HTTPStatus.UNPROCESSABLE_ENTITY: REFUSALS,
        },
        further_problems=inputs_problems,
        handler=enqueue,
    ),
    Endpoint(
        method="POST",
        path="/maintenance/requests",
        name="requestMaintenance",
        tag="Work",
        summary="Edit an account's profile on its phone",
        about=(
            "One run performs the steps in order. The responses are the same as those of POST "
            "/capability-requests/enqueue."
        ),
        scope="submit",
        query=NoQuery,
        body=requests.Maintenance,
        example=examples.MAINTENANCE,
        answers=_ACCEPTED,
        problems={
            HTTPStatus.NOT_FOUND: UNKNOWN,
            HTTPStatus.UNPROCESSABLE_ENTITY: REFUSALS,
        },
        handler=request_maintenance,
    ),
    Endpoint(
        method="POST",
        path="/processes/{process_id}/cancel",
        name="cancelProcess",
        tag="Work",
        summary="Cancel a process",
        about=(
            "The controller cancels waiting items at once; active items end in the way that "
            "`strategy` sets. The call never waits for a phone. After a weaker strategy, you can "
            "send a stronger one."
        ),
        scope="cancel",
        query=NoQuery,
        body=requests.Cancel,
        example=examples.CANCEL,
        answers={
            HTTPStatus.OK: ResponseSpec(
                about=(
                    "The controller has recorded the cancellation, or the process had already "
                    "ended (`ignored_terminal`)."
                ),
                models=(Cancelled,),
            )
        },
        handler=cancel,
    ),
    Endpoint(
        method="POST",
        path="/processes/{process_id}/rerun",
        name="rerunProcess",
        tag="Work",
        summary="Repeat the request of a process that has ended",
        about=(
            "The new process has the old process's plan, target and callback. You can rerun a "
            "process only once: if you repeat the request, the gateway returns 200 with the same "
            "new process. A rerun never repeats an item that has already posted."
        ),
        scope="operate",
        query=NoQuery,
        body=RerunProcess,
        answers={
            code: ResponseSpec(about=about, models=(operation.Rerun,))
            for code, about in (
                (HTTPStatus.ACCEPTED, "The new process."),
                (HTTPStatus.OK, "The process that an earlier request created."),
            )
        },
        problems={
            HTTPStatus.CONFLICT: "`state_conflict:` followed by the state of the process, "
            "made_by_hand, nothing_failed, already_posted or outcome_unknown"
        },
        handler=rerun,
    ),
    Endpoint(
        method="GET",
        path="/processes",
        name="listProcesses",
        tag="Processes",
        summary="List processes, newest first",
        about=(
            "The list contains only processes that match every filter. To get the next page, send "
            "`next_cursor` as `cursor`, with the same filters. A page shorter than `limit` is not "
            "always the last page."
        ),
        scope="read",
        query=ProcessFilter,
        body=NoBody,
        answers={
            HTTPStatus.OK: ResponseSpec(
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
        handler=list_processes,
    ),
    Endpoint(
        method="GET",
        path="/processes/{process_id}",
        name="getProcess",
        tag="Processes",
        summary="Read a process",
        about="If other sources show a different state for the process, trust this record.",
        scope="read",
        query=NoQuery,
        body=NoBody,
        answers={
            HTTPStatus.OK: ResponseSpec(
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
        handler=get_process,
    ),
    Endpoint(
        method="GET",
        path="/processes/{process_id}/timeline",
        name="getTimeline",
        tag="Processes",
        summary="Read every transition of a process, with time, actor and reason",
        scope="read",
        query=NoQuery,
        body=NoBody,
        answers={
            HTTPStatus.OK: ResponseSpec(
                about="The transitions, oldest first.", models=(responses.Timeline,)
            )
        },
        handler=get_timeline,
    ),
    Endpoint(
        method="GET",
        path="/processes/{process_id}/explain",
        name="explainProcess",
        tag="Processes",
        summary="Explain why a process waits, and how to unblock it",
        scope="read",
        query=NoQuery,
        body=NoBody,
        answers={
            HTTPStatus.OK: ResponseSpec(
                about="The explanation as of now.", models=(responses.Explanation,)
            )
        },
        handler=explain,
    ),
    Endpoint(
        method="GET",
        path="/queue-items/{queue_item_id}",
        name="getQueueItem",
        tag="Processes",
        summary="Read one queue item with its plan, attempts and outputs",
        scope="read",
        query=NoQuery,
        body=NoBody,
        answers={HTTPStatus.OK: ResponseSpec(about="The item.", models=(responses.QueueItem,))},
        handler=get_queue_item,
    ),
)
