"""The statements of the floor (scripts/bench_floor.py): the rows of one lifecycle."""

from typing import Final


def _insert(table: str, columns: str) -> str:
    marks = ", ".join("?" * len(columns.split(",")))
    return f"INSERT INTO {table} ({columns}) VALUES ({marks})"  # noqa: S608 - constants below


PROCESS: Final = _insert(
    "capability_requests",
    "process_id, process_type, request_id, system, requested_by_metadata, mode, digest, target,"
    " inputs, callback_url, callback_metadata, verification, single_target, state, created_at,"
    " sequence",
)
ITEM: Final = _insert(
    "queue_items",
    "item_id, process_id, ordinal, capability, app, state, priority, created_at, ready_at, ready,"
    " deadline_at, deadline_given, plan, actions_total, once_actions, cap_seconds,"
    " profile_version, attempt, work_failures, infra_failures, executed, epoch, once_done,"
    " actions_done",
)
RUN: Final = _insert(
    "runs",
    "run_id, item_id, attempt, phone_id, account_id, agent_id, lease_id, epoch, state,"
    " last_sequence, created_at, runtime",
)
LEASE: Final = _insert(
    "leases",
    "lease_id, run_id, item_id, process_id, phone_id, account_id, agent_id, epoch, state,"
    " phone_held, account_held, renewals, cap_at, granted_at",
)
DELIVERY: Final = _insert(
    "deliveries",
    "delivery_id, process_id, sequence, milestone, emitted_at, url, receiver, record, state,"
    " attempts, due_at",
)
TRANSITION: Final = _insert(
    "transitions",
    "process_id, item_id, at, from_state, to_state, actor, reason, attempt, phone_id, account_id",
)
RESULT: Final = _insert("action_results", "run_id, epoch, sequence, kind, body, late, received_at")
PHONE: Final = _insert(
    "phones",
    "phone_id, serialno, agent_id, adb_serial, transport, readiness, readiness_reason, health,"
    " health_reason, intent, epoch, model, android_release",
)
FIT: Final = ("online", "ready", "", "good", "", "in_service", 0, "", "")
EPOCH: Final = "UPDATE phones SET epoch = ? WHERE phone_id = ? AND epoch = ?"
CLAIM_ITEM: Final = (
    "UPDATE queue_items SET state = 'CLAIMED', phone_id = ?, account_id = ?, attempt = 1,"
    " run_id = ?, lease_id = ?, epoch = ? WHERE item_id = ? AND state = 'QUEUED'"
)
CLAIM_PROCESS: Final = "UPDATE capability_requests SET state = 'CLAIMED' WHERE process_id = ?"
START_ITEM: Final = "UPDATE queue_items SET state = 'EXECUTING', executed = 1 WHERE item_id = ?"
START_RUN: Final = (
    "UPDATE runs SET state = 'EXECUTING', container = ?, started_at = ? WHERE run_id = ?"
)
START_PROCESS: Final = (
    "UPDATE capability_requests SET state = 'EXECUTING', executing_at = ?, sequence = 2"
    " WHERE process_id = ?"
)
END_ITEM: Final = (
    "UPDATE queue_items SET state = 'DONE', actions_done = ?, outputs = ?, finished_at = ?"
    " WHERE item_id = ?"
)
END_RUN: Final = (
    "UPDATE runs SET state = 'ENDED', last_sequence = ?, outcome = 'done', ended_at = ?"
    " WHERE run_id = ?"
)
END_LEASE: Final = (
    "UPDATE leases SET state = 'ended', phone_held = 0, account_held = 0, ended_at = ?,"
    " reason = 'clean' WHERE lease_id = ?"
)
END_PROCESS: Final = (
    "UPDATE capability_requests SET state = 'DONE', finished_at = ?, sequence = 3"
    " WHERE process_id = ?"
)
RENEW: Final = "UPDATE leases SET renewals = renewals + 1 WHERE lease_id = ?"
# In an order in which every row finds what it refers to.
STATEMENTS: Final = (
    *(PHONE, EPOCH, PROCESS, ITEM, RUN, LEASE, DELIVERY, TRANSITION, RESULT),
    *(CLAIM_ITEM, CLAIM_PROCESS, START_ITEM, START_RUN, START_PROCESS),
    *(END_ITEM, END_RUN, END_LEASE, END_PROCESS, RENEW),
)


def record_json(
    *, process_id: str, request_id: str, item_id: str, url: str, phone: str, state: str, now: int
) -> str:
    """Return a record of the shape and the size of the controller's."""
    return (
        f'{{"process_id": "{process_id}", "process_type": "keyword_warmup", "request_id": '
        f'"{request_id}", "status": "executing", "state": "{state}", "target": '
        f'{{"account_id": "{phone}", "phone_id": "{phone}"}}, "requested_by": {{"system":'
        f' "bench", "user": null, "metadata_json": "{{}}"}}, "callback": {{"url": "{url}", '
        f'"metadata_json": "{{}}"}}, "result_json": "{{\\"items\\": {{\\"{item_id}\\": '
        f'{{}}}}}}", '
        f'"error": null, "timestamps": {{"created_at": {now}, "accepted_at": {now}, "queued_at": '
        f'{now}, "executing_at": {now}, "retrying_at": null, "cancel_requested_at": null, '
        f'"finished_at": {now}}}, "queue_item_ids": ["{item_id}"], '
        f'"completed_queue_item_ids": ["{item_id}"], "partial_progress": {{"items_total": 1, '
        f'"items_completed": 1, "items_failed": 0, "items_cancelled": 0, "items": '
        f'[{{"queue_item_id": "{item_id}", "phone_id": "{phone}", "account_id": '
        f'"{phone}", "status": "{state}", "actions_done": 4, "actions_total": 4, '
        f'"deadline_at": {now}, "deadline_given": false}}]}}}}'
    )
