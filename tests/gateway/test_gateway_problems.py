"""What callers get when something is wrong: one table per kind of trouble."""

import asyncio
import json
from typing import Any

import aiohttp
import grpc
import pytest
from gateway.support.caller import Answer
from gateway.support.farm import enqueue_body, farm, maintenance_body
from gateway.support.memory_controller import KEY, READ_ONLY_KEY
from phonefarm_common.reasons import Reason
from structlog.testing import capture_logs

ENQUEUE = "/capability-requests/enqueue"
MAINTENANCE = "/maintenance/requests"
A_PROCESS = "/processes/6f1c2f0e-8f0f-4c55-9d55-0f6a1a2b3c4d"


def assert_problem(answer: Answer, status: int, error: str) -> None:
    """Check the whole shape of a problem document, and that each 422 names its fields."""
    assert (answer.status, answer.body["error"]) == (status, error), answer.body
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    assert list(answer.body) == ["type", "title", "status", "detail", "error", "errors"]
    assert answer.body["status"] == status
    assert answer.body["type"] == f"urn:phonefarm:problem:{error.partition(':')[0]}"
    assert answer.body["title"]
    assert answer.body["detail"]
    for problem in answer.body["errors"]:
        assert problem["field"]
        assert problem["message"]
    if status == 422:
        assert answer.body["errors"]


def fields(answer: Answer) -> list[str]:
    """Return the fields a problem names."""
    return [problem["field"] for problem in answer.body["errors"]]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", ENQUEUE, enqueue_body()),
        ("POST", ENQUEUE, b"{not json"),
        ("POST", ENQUEUE, {}),
        ("POST", MAINTENANCE, maintenance_body()),
        ("POST", f"{A_PROCESS}/cancel", {"reason": "r", "requested_by": "x"}),
        ("POST", "/processes/nonsense/cancel", None),
        ("GET", A_PROCESS, None),
        ("GET", "/processes/nonsense", None),
        ("GET", "/processes", None),
        ("GET", "/processes?limit=none", None),
    ],
)
@pytest.mark.parametrize(
    "authorization",
    [None, "Bearer wrong", "Basic Y2FsbGVyLWtleQ==", "Bearer", "Bearer a b", "Bearer \u00fc", KEY],
)
async def test_the_key_is_looked_at_before_anything_else(
    method: str, path: str, body: Any, authorization: str | None
) -> None:
    """Without a good key the answer is 401 whatever else is wrong, and says how to authenticate."""
    async with farm() as it:
        headers = {} if authorization is None else {"Authorization": authorization}

        answer = await it.call(method, path, body, key=None, headers=headers)

        assert_problem(answer, 401, "unauthenticated")
        assert answer.headers["WWW-Authenticate"] == "Bearer"


async def test_a_key_that_was_valid_just_now_is_checked_by_the_call_that_uses_it() -> None:
    """One round trip less for each good body, for a minute."""
    async with farm() as it:
        answers = [await it.enqueue(request_id=f"req-{number}") for number in range(3)]

        assert [answer.status for answer in answers] == [202, 202, 202]
        assert it.controller.keys_checked == 1


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (enqueue_body(request_id="req-2"), 202),
        (b"{not json", 422),
        (b'"' + b"x" * 2000 + b'"', 413),
        ({}, 422),
        (enqueue_body(callback={"url": "http://10.0.0.1/hook"}), 422),
    ],
)
async def test_a_key_revoked_since_its_last_call_is_told_nothing_else(
    body: Any, status: int
) -> None:
    """Its next call is 401, whatever is wrong with it, and does nothing; a valid one is told."""
    async with farm(body_limit=1500) as it:
        await it.enqueue()
        told = await it.call("POST", ENQUEUE, body)
        done = len(it.controller.enqueued)
        del it.controller.keys[KEY]

        answers = [await it.call("POST", ENQUEUE, body) for _ in range(2)]

        assert told.status == status
        for answer in answers:
            assert_problem(answer, 401, "unauthenticated")
        assert len(it.controller.enqueued) == done


async def test_a_stranger_makes_the_gateway_read_no_body() -> None:
    """A wrong key is refused before its body has come, every time."""
    async with farm() as it, aiohttp.ClientSession() as session:

        async def never_ends() -> Any:
            yield b"{"
            await asyncio.Event().wait()

        for number in range(2):
            headers = {"Authorization": f"Bearer wrong-{number // 2}"}
            async with (
                asyncio.timeout(180),
                session.post(it.base + ENQUEUE, data=never_ends(), headers=headers) as response,
            ):
                assert response.status == 401


async def test_two_authorization_headers_are_none() -> None:
    """Of two keys neither is chosen."""
    async with farm() as it, aiohttp.ClientSession() as session:
        headers = [("Authorization", f"Bearer {KEY}"), ("Authorization", "Bearer wrong")]

        async with session.get(it.base + A_PROCESS, headers=headers) as response:
            status = response.status

        assert status == 401


@pytest.mark.parametrize("key", [None, KEY])
async def test_no_secret_configured_is_500_and_never_open(key: str | None) -> None:
    """A controller without any key refuses everybody and says why."""
    async with farm() as it:
        it.controller.keys.clear()

        answer = await it.call("POST", ENQUEUE, enqueue_body(), key=key)

        assert_problem(answer, 500, "no_secret_configured")
        assert not it.controller.enqueued


async def test_a_key_without_the_scope_is_403() -> None:
    """A key that may only read can neither submit nor cancel, and is told which scope it lacks."""
    async with farm() as it:
        cancel = {"reason": "r", "requested_by": "x"}

        submitted = await it.call("POST", ENQUEUE, enqueue_body(), key=READ_ONLY_KEY)
        cancelled = await it.call("POST", f"{A_PROCESS}/cancel", cancel, key=READ_ONLY_KEY)

        assert_problem(submitted, 403, "insufficient_scope:submit")
        assert_problem(cancelled, 403, "insufficient_scope:cancel")


@pytest.mark.parametrize(
    "path", ["nonsense", "6f1c2f0e8f0f4c559d550f6a1a2b3c4d", "%00", "%ff", "é", "1" * 99]
)
async def test_a_process_id_that_is_no_uuid_is_404(path: str) -> None:
    """What cannot be a process id is an unknown process."""
    async with farm() as it:
        read = await it.call("GET", f"/processes/{path}")
        cancelled = await it.call("POST", f"/processes/{path}/cancel", {})

        assert_problem(read, 404, "unknown_process")
        assert_problem(cancelled, 404, "unknown_process")


async def test_an_unknown_process_is_404() -> None:
    """A UUID nobody knows is 404 for reading and cancelling."""
    async with farm() as it:
        cancel = {"reason": "r", "requested_by": "x"}

        assert_problem(await it.call("GET", A_PROCESS), 404, "unknown_process")
        assert_problem(await it.call("POST", f"{A_PROCESS}/cancel", cancel), 404, "unknown_process")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", ENQUEUE, "POST"),
        ("DELETE", MAINTENANCE, "POST"),
        ("PUT", A_PROCESS, "GET,HEAD"),
        ("GET", f"{A_PROCESS}/cancel", "POST"),
        ("POST", "/healthz", "GET,HEAD"),
    ],
)
async def test_a_wrong_method_is_405(method: str, path: str, allowed: str) -> None:
    """A method an endpoint does not take is 405 and names those it takes."""
    async with farm() as it:
        answer = await it.call(method, path)

        assert_problem(answer, 405, "method_not_allowed")
        assert answer.headers["Allow"] == allowed


async def test_an_unknown_endpoint_is_404() -> None:
    """A path we do not serve is 404 in the same shape."""
    async with farm() as it:
        assert_problem(await it.call("GET", "/nothing/here"), 404, "not_found")


async def test_a_body_above_the_limit_is_413() -> None:
    """A body that is too large is refused by its declared length, and in chunks by what came."""
    async with farm(body_limit=1000) as it:

        async def chunks() -> Any:
            for _ in range(40):
                yield b" " * 100

        declared = await it.call("POST", ENQUEUE, b" " * 1001)
        async with (
            aiohttp.ClientSession() as session,
            session.post(
                it.base + ENQUEUE,
                data=chunks(),
                headers={"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"},
            ) as response,
        ):
            chunked = Answer(
                status=response.status,
                headers=response.headers,
                body=await response.json(content_type=None),
            )

        assert_problem(declared, 413, "body_too_large")
        assert_problem(chunked, 413, "body_too_large")


async def test_a_body_at_the_limit_is_read() -> None:
    """One MiB is accepted by default, one byte more is not."""
    async with farm() as it:
        body = json.dumps(enqueue_body()).encode()

        exact = await it.call("POST", ENQUEUE, body + b" " * (1024 * 1024 - len(body)))
        above = await it.call("POST", ENQUEUE, body + b" " * (1024 * 1024 - len(body) + 1))

        assert (exact.status, above.status) == (202, 413)


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "application/json; charset=utf-16"},
        {"Content-Type": "application/json; charset=nonsense"},
        {"Content-Type": "application/json", "Content-Encoding": "gzip"},
    ],
)
async def test_another_media_type_is_415(headers: dict[str, str]) -> None:
    """Only uncompressed JSON in UTF-8 is taken."""
    async with farm() as it:
        answer = await it.call("POST", ENQUEUE, enqueue_body(), headers=headers)

        assert_problem(answer, 415, "unsupported_media_type")


@pytest.mark.parametrize(
    "kind", ["application/json", "application/json; charset=UTF-8", "application/vnd.x+json"]
)
async def test_json_by_any_of_its_names_is_read(kind: str) -> None:
    """A charset of UTF-8 and structured suffixes are JSON as well."""
    async with farm() as it:
        answer = await it.call("POST", ENQUEUE, enqueue_body(), headers={"Content-Type": kind})

        assert answer.status == 202


def _without(name: str) -> dict[str, Any]:
    body = enqueue_body()
    del body[name]
    return body


SHAPES: list[tuple[str, Any, list[str]]] = [
    *[
        (ENQUEUE, _without(name), [name])
        for name in (
            "request_id",
            "capability",
            "mode",
            "target",
            "inputs",
            "callback",
            "requested_by",
        )
    ],
    (ENQUEUE, [], ["body"]),
    (ENQUEUE, None, ["body"]),
    (ENQUEUE, "text", ["body"]),
    (ENQUEUE, enqueue_body(request_id=""), ["request_id"]),
    (ENQUEUE, enqueue_body(request_id=7), ["request_id"]),
    (ENQUEUE, enqueue_body(request_id="x" * 257), ["request_id"]),
    (ENQUEUE, enqueue_body(mode="auto"), ["mode"]),
    (ENQUEUE, enqueue_body(target={}), ["target.routing"]),
    (ENQUEUE, enqueue_body(target="direct"), ["target"]),
    (ENQUEUE, enqueue_body(target={"routing": "nearest"}), ["target.routing"]),
    (ENQUEUE, enqueue_body(target={"routing": "direct", "phone_id": 1}), ["target.phone_id"]),
    (
        ENQUEUE,
        enqueue_body(target={"routing": "group", "phone_ids": ["a", 2]}),
        ["target.phone_ids[1]"],
    ),
    (
        ENQUEUE,
        enqueue_body(target={"routing": "group", "phone_ids": [1] * 200_000}),
        ["target.phone_ids[0]"],
    ),
    (ENQUEUE, enqueue_body(inputs=[]), ["inputs"]),
    (ENQUEUE, enqueue_body(callback={}), ["callback.url"]),
    (
        ENQUEUE,
        enqueue_body(callback={"url": "http://e.example", "metadata": []}),
        ["callback.metadata"],
    ),
    (ENQUEUE, enqueue_body(callback={"url": "ftp://e.example"}), ["callback.url"]),
    (ENQUEUE, enqueue_body(callback={"url": "e.example/x"}), ["callback.url"]),
    (ENQUEUE, enqueue_body(callback={"url": "http:///x"}), ["callback.url"]),
    (ENQUEUE, enqueue_body(callback={"url": "http://e.example:99999"}), ["callback.url"]),
    (ENQUEUE, enqueue_body(callback={"url": "http://e.example:0"}), ["callback.url"]),
    (ENQUEUE, enqueue_body(callback={"url": "http://e.example/a b\n"}), ["callback.url"]),
    (ENQUEUE, enqueue_body(requested_by={"user": "x"}), ["requested_by.system"]),
    (ENQUEUE, enqueue_body(requested_by={"system": "s", "user": 5}), ["requested_by.user"]),
    (ENQUEUE, enqueue_body(priority=10), ["priority"]),
    (ENQUEUE, enqueue_body(priority=-1), ["priority"]),
    (ENQUEUE, enqueue_body(priority="5"), ["priority"]),
    (ENQUEUE, enqueue_body(priority=True), ["priority"]),
    (ENQUEUE, enqueue_body(priority=5.0), ["priority"]),
    (ENQUEUE, enqueue_body(dry_run=1), ["dry_run"]),
    (ENQUEUE, enqueue_body(deadline=1_900_000_000), ["deadline"]),
    (ENQUEUE, enqueue_body(deadline="tomorrow"), ["deadline"]),
    (ENQUEUE, enqueue_body(deadline="2030-01-01"), ["deadline"]),
    (ENQUEUE, enqueue_body(deadline="0001-01-01T00:00:00+10:00"), ["deadline"]),
    (ENQUEUE, enqueue_body(not_before="2030-01-01T12:00:00"), ["not_before"]),
    (ENQUEUE, enqueue_body(priority=10, mode="x", inputs=1), ["mode", "inputs", "priority"]),
    (MAINTENANCE, maintenance_body(account_id=""), ["account_id"]),
    (MAINTENANCE, maintenance_body(inputs={}), ["inputs.steps"]),
    (MAINTENANCE, maintenance_body(inputs={"steps": []}), ["inputs.steps"]),
    (MAINTENANCE, maintenance_body(inputs={"steps": ["x"]}), ["inputs.steps[0]"]),
    (
        MAINTENANCE,
        maintenance_body(inputs={"steps": [{"action": "edit_profile", "params": 1}]}),
        ["inputs.steps[0].params"],
    ),
    (MAINTENANCE, maintenance_body(inputs={"steps": [{}]}), ["inputs.steps[0].action"]),
    (f"{A_PROCESS}/cancel", {"requested_by": "x"}, ["reason"]),
    (f"{A_PROCESS}/cancel", {"reason": "r"}, ["requested_by"]),
    (f"{A_PROCESS}/cancel", {"reason": "r", "requested_by": 5}, ["requested_by"]),
    (f"{A_PROCESS}/cancel", {"reason": "r", "requested_by": {}}, ["requested_by.system"]),
    (f"{A_PROCESS}/cancel", {"reason": "r", "requested_by": ""}, ["requested_by.system"]),
    (f"{A_PROCESS}/cancel", {"reason": "r", "requested_by": "x", "strategy": "now"}, ["strategy"]),
    (
        f"{A_PROCESS}/cancel",
        {"reason": "r", "requested_by": "x", "force_after_seconds": -1},
        ["force_after_seconds"],
    ),
    (
        f"{A_PROCESS}/cancel",
        {"reason": "r", "requested_by": "x", "force_after_seconds": 2**31},
        ["force_after_seconds"],
    ),
    (
        f"{A_PROCESS}/cancel",
        {"reason": "r", "requested_by": "x", "force_after_seconds": 1.5},
        ["force_after_seconds"],
    ),
]


async def test_a_wrong_shape_is_422_and_names_its_fields() -> None:
    """Every body that does not fit is refused by the dotted path of what is wrong with it."""
    async with farm() as it:
        for path, body, expected in SHAPES:
            raw = json.dumps(body).encode()

            answer = await it.call("POST", path, raw)

            assert_problem(answer, 422, "invalid_request")
            assert fields(answer) == expected, (body, answer.body)
        assert not it.controller.enqueued


async def test_the_remedy_of_a_naive_time_is_told() -> None:
    """A time without a zone is refused with what to append."""
    async with farm() as it:
        answer = await it.enqueue(not_before="2030-01-01T12:00:00")

        assert "append Z" in answer.body["errors"][0]["message"]


BODIES: list[tuple[bytes, str]] = [
    (b"", "body"),
    (b"{", "body"),
    (b"{'a': 1}", "body"),
    (b'{"a": 1,}', "body"),
    (b"\xff\xfe{}", "body"),
    (b"\xef\xbb\xbf{}", "body"),
    (b"\x00", "body"),
    (b'{"inputs": {"n": NaN}}', "inputs.n"),
    (b'{"inputs": {"n": [1, -Infinity]}}', "inputs.n[1]"),
    (b'{"inputs": {"n": 1e999}}', "inputs.n"),
    (b'{"inputs": {"n": ' + b"9" * 101 + b"}}", "inputs.n"),
    (b'{"inputs": {"n": ' + b"9" * 5000 + b"}}", "inputs.n"),
    (b'{"inputs": {"a": 1, "a": 2}}', "inputs.a"),
    (b'{"inputs": {"s": "\\u0000"}}', "inputs.s"),
    (b'{"inputs": {"s": ["\\ud800"]}}', "inputs.s[0]"),
    (b'{"inputs": {"a\\u0000": 1}}', "inputs.a\\x00"),
    (b'{"inputs": {"\\udfff": 1}}', "inputs.\\udfff"),
    (b'{"a":' * 70 + b"1" + b"}" * 70, ".".join("a" * 64)),
    (b"[" * 500_000, "body"),
    (b'{"a":' * 100_000, "body"),
]


async def test_hostile_json_is_422_and_names_the_place() -> None:
    """What no store could hold, or no reader would read the same way, is refused with its path."""
    async with farm() as it:
        for raw, field in BODIES:
            answer = await it.call("POST", ENQUEUE, raw)

            assert answer.status == 422, raw[:50]
            assert_problem(answer, 422, answer.body["error"])
            assert fields(answer)[0] == field, raw[:50]


async def test_values_at_the_edge_pass_unchanged() -> None:
    """Large integers, pairs of surrogates and 60 levels reach the controller as they were."""
    async with farm() as it:
        deep: Any = 1
        for _ in range(60):
            deep = [deep]
        inputs = {"big": 10**99, "emoji": "\U0001f600", "deep": deep, "order": {"z": 1, "a": 2}}

        answer = await it.enqueue(inputs=inputs)

        assert answer.status == 202
        assert it.controller.enqueued[0].inputs_json == json.dumps(inputs, separators=(",", ":"))


async def test_a_broken_upload_is_no_failure_of_ours() -> None:
    """A caller that hangs up in its body is logged as gone, not as a failure of the gateway."""
    with capture_logs() as logs:
        async with farm() as it:
            host, _, port = it.base.removeprefix("http://").partition(":")
            _, writer = await asyncio.open_connection(host, int(port))
            head = f"POST {ENQUEUE} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n"
            kind = "Content-Type: application/json\r\nContent-Length: 500\r\n\r\n"
            writer.write(f"{head}{kind}{{".encode())
            await it.controller.until(lambda: it.controller.metadata_seen)
            writer.close()
            await writer.wait_closed()

            answer = await it.enqueue()

    assert answer.status == 202
    statuses = [entry["status"] for entry in logs if entry["event"] == "request.answered"]
    assert len(statuses) == 2
    assert max(statuses) < 500


@pytest.mark.parametrize(
    ("header", "status", "error"),
    [
        ("Transfer-Encoding: gzip, chunked", 501, "transfer_encoding_not_supported"),
        ("Transfer-Encoding: chunked\r\nExpect: a miracle", 417, "expectation_failed"),
        ("Transfer-Encoding: chunked\r\nExpect: 100-continue", 100, ""),
        ("Transfer-Encoding: Chunked", 422, "invalid_request"),
    ],
)
async def test_what_the_gateway_cannot_undo_or_do_is_a_problem(
    header: str, status: int, error: str
) -> None:
    """Bodies in another coding are not read as if they had none."""
    async with farm() as it, asyncio.timeout(180):
        host, _, port = it.base.removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        head = f"POST {ENQUEUE} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n"
        kind = f"Content-Type: application/json\r\n{header}\r\n\r\n"
        writer.write(f"{head}{kind}2\r\n{{}}\r\n0\r\n\r\n".encode())
        said = await reader.readuntil(b"\r\n\r\n")
        body = b"" if status == 100 else await reader.readuntil(b"}")
        writer.close()
        await writer.wait_closed()

    assert said.startswith(f"HTTP/1.1 {status} ".encode())
    if status > 100:
        assert b"application/problem+json" in said
        assert error.encode() in body


REFUSALS: list[tuple[grpc.StatusCode, str, tuple[tuple[str, str], ...], int, list[str]]] = [
    (grpc.StatusCode.INVALID_ARGUMENT, "unknown_capability:x", (), 422, ["capability"]),
    (grpc.StatusCode.INVALID_ARGUMENT, "routing_not_supported:a:b", (), 422, ["target.routing"]),
    (grpc.StatusCode.FAILED_PRECONDITION, "capability_not_live_verified:x", (), 422, ["mode"]),
    (grpc.StatusCode.FAILED_PRECONDITION, "account_required:p", (), 422, ["target.account_id"]),
    (grpc.StatusCode.FAILED_PRECONDITION, "empty_group", (), 422, ["target"]),
    (grpc.StatusCode.INVALID_ARGUMENT, "unsupported_input:comment_plan", (), 422,
     ["inputs.comment_plan"]),
    (grpc.StatusCode.INVALID_ARGUMENT, "missing_fyp_judge_prompt", (), 422,
     ["inputs.judge_prompt"]),
    (grpc.StatusCode.INVALID_ARGUMENT, "missing_keyword_comment_plan_prompt",
     (("inputs.prompt", "is required"),), 422, ["inputs.prompt"]),
    (grpc.StatusCode.INVALID_ARGUMENT, "invalid_request",
     (("deadline", "is past"), ("inputs.keywords", "is empty")), 422,
     ["deadline", "inputs.keywords"]),
    (grpc.StatusCode.NOT_FOUND, "unknown_account:a", (("target.account_id", "unknown"),), 404,
     ["target.account_id"]),
    (grpc.StatusCode.NOT_FOUND, "inactive_account:a", (), 404, []),
    (grpc.StatusCode.NOT_FOUND, "unknown_phone:p", (), 404, []),
    (grpc.StatusCode.NOT_FOUND, "inactive_phone:p", (), 404, []),
    (grpc.StatusCode.NOT_FOUND, "unknown_group:g", (), 404, []),
    (grpc.StatusCode.NOT_FOUND, "some_newer_thing:g", (), 404, []),
    (grpc.StatusCode.ABORTED, "state_conflict:EXECUTING", (), 409, []),
    (grpc.StatusCode.RESOURCE_EXHAUSTED, "storage_full", (), 503, []),
    (grpc.StatusCode.RESOURCE_EXHAUSTED, "evidence_away", (), 503, []),
    (grpc.StatusCode.UNAVAILABLE, "controller_unavailable", (), 503, []),
    (grpc.StatusCode.INTERNAL, "internal", (), 500, []),
]  # fmt: skip


async def test_refusals_of_the_controller_keep_their_reason() -> None:
    """Each reason has its status; the string and the fields arrive as the controller said them."""
    async with farm() as it:
        it.checks_published = False  # no endpoint answers all of them
        for code, reason, violations, status, expected in REFUSALS:
            it.controller.next_refusal = (code, reason, "because of that", violations)

            answer = await it.enqueue()

            assert_problem(answer, status, reason)
            assert fields(answer) == expected
            assert answer.body["detail"] == "because of that"
            assert ("Retry-After" in answer.headers) == (status == 503)


async def test_every_reason_has_a_status_of_the_contract() -> None:
    """No reason of the vocabulary leads to a code the contract does not have."""
    async with farm() as it:
        it.checks_published = False  # no endpoint answers all of them
        for reason in Reason:
            code = grpc.StatusCode.FAILED_PRECONDITION
            it.controller.next_refusal = (code, str(reason), "because", ())

            answer = await it.enqueue()

            assert answer.status in {401, 403, 404, 409, 422, 429, 500, 503}
            assert_problem(answer, answer.status, str(reason))


async def test_maintenance_names_the_fields_its_caller_sent() -> None:
    """A refusal about the target is about `account_id` for a caller of maintenance."""
    async with farm() as it:
        unknown = maintenance_body(account_id="nobody")
        steps = {"steps": [{"action": "edit_profile", "params": {}}, {"action": "follow"}]}

        account = await it.call("POST", MAINTENANCE, unknown)
        action = await it.call("POST", MAINTENANCE, maintenance_body(inputs=steps))

        assert_problem(account, 404, "unknown_account:nobody")
        assert fields(account) == ["account_id"]
        assert_problem(action, 422, "unsupported_action:follow")
        assert fields(action) == ["inputs.steps[1].action"]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=501", "limit"),
        ("limit=-1", "limit"),
        ("limit=", "limit"),
        ("limit=٣", "limit"),
        ("status=done", "status"),
        ("status=queued&status=", "status"),
    ],
)
async def test_a_wrong_query_is_422(query: str, field: str) -> None:
    """Listing refuses what it cannot filter by."""
    async with farm() as it:
        answer = await it.call("GET", f"/processes?{query}")

        assert_problem(answer, 422, "invalid_request")
        assert fields(answer) == [field]


async def test_a_controller_that_is_away_is_503_until_it_is_back() -> None:
    """Callers are told to try again, and a controller that returns is used again."""
    async with farm() as it:
        await it.controller.stop()

        away = await it.enqueue()
        await it.controller.start()
        calls = it.controller.lease_calls
        await it.controller.until(lambda: it.controller.lease_calls > calls)
        answer = await it.enqueue()

        assert_problem(away, 503, "controller_unavailable")
        assert int(away.headers["Retry-After"]) > 0
        assert answer.status == 202


@pytest.mark.parametrize("given", ["proxy-7f.3", "no name", None])
async def test_a_response_names_its_request_and_no_software(given: str | None) -> None:
    """The id is the proxy's if it is a name, else a new one; the log line has it too."""
    headers = {} if given is None else {"X-Request-Id": given}
    with capture_logs() as logs:
        async with farm() as it:
            answers = [
                await it.call(method, path, headers=headers)
                for method, path in (("GET", A_PROCESS), ("POST", ENQUEUE), ("GET", "/nowhere"))
            ]

    ids = [answer.headers["X-Request-Id"] for answer in answers]
    logged = [entry for entry in logs if entry["event"] == "request.answered"]
    assert [entry["http_request_id"] for entry in logged] == ids
    assert ids == ["proxy-7f.3"] * 3 if given == "proxy-7f.3" else len(set(ids)) == 3
    assert not any("Server" in answer.headers for answer in answers)


async def test_an_unexpected_failure_leaks_nothing() -> None:
    """A failure nobody foresaw is 500, without the words of the inside."""
    async with farm() as it:
        it.controller.crash_next = True
        crashed = await it.enqueue()
        process_id = it.controller.add_process(url="http://e.example")
        it.controller.processes[process_id].result_json = "[secret-internal-detail"
        unreadable = await it.call("GET", f"/processes/{process_id}")

        for answer in (crashed, unreadable):
            assert_problem(answer, 500, "internal")
            assert "secret-internal-detail" not in json.dumps(answer.body)
        assert unreadable.headers["X-Request-Id"] in unreadable.body["detail"]


@pytest.mark.parametrize(
    "url",
    [
        "http://10.0.0.1/x",
        "http://169.254.169.254/latest/meta-data",
        "https://[::1]:8443/",
        "http://[::ffff:10.0.0.1]/",
        "http://[64:ff9b::7f00:1]/",
        "http://[2002:7f00:1::]/",
        "http://[fe80::1%25eth0]/",
        "http://2130706433/",
        "http://0x7f.1/",
        "http://017700000001/",
        "http://127.1/",
        "http://\uff11\uff10.0.0.1/",
        "http://0.0.0.0/",
        "http://255.255.255.255/",
        "http://user:pass@192.168.1.1:80/",
    ],
)
async def test_a_forbidden_literal_address_is_422_at_enqueue(url: str) -> None:
    """No way of writing an address that is not public gets past the gateway."""
    async with farm(allowed=()) as it:
        answers = [
            await it.enqueue(callback={"url": url}),
            await it.call("POST", MAINTENANCE, maintenance_body(callback={"url": url})),
        ]

        for answer in answers:
            assert_problem(answer, 422, "callback_url_not_allowed")
            assert fields(answer) == ["callback.url"]
        assert not it.controller.enqueued
