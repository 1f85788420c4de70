"""The contract's rules about single requests, one row each, over HTTP against the real system."""

import itertools
from dataclasses import dataclass, field
from typing import Any, Final

import pytest
from support.rest_farm import RestFarm

pytestmark = pytest.mark.asyncio(loop_scope="module")

ENQUEUE: Final = "/capability-requests/enqueue"
MAINTENANCE: Final = "/maintenance/requests"
_NUMBERS = itertools.count()


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A sentence of the contract, a request that meets it, and what must be answered."""

    says: str
    path: str = ENQUEUE
    body: dict[str, Any] = field(default_factory=dict)
    """Replaces keys of a body that is accepted; None removes one."""
    status: int = 422
    error: str | None = None
    fields: tuple[str, ...] | None = None
    named: str | None = None
    """A field that must be among those that are named."""
    answer: dict[str, Any] = field(default_factory=dict)
    """Keys the answer must have."""


def direct(**target: Any) -> dict[str, Any]:
    """Return a change of the target to a direct one."""
    return {"target": {"routing": "direct", **target}}


def queue(**target: Any) -> dict[str, Any]:
    """Return a change of the target to a queued one."""
    return {"target": {"routing": "queue", **target}}


def group(**target: Any) -> dict[str, Any]:
    """Return a change of the target to a group."""
    return {"target": {"routing": "group", **target}}


def of(capability: str, **inputs: Any) -> dict[str, Any]:
    """Return a change of capability and inputs."""
    return {"capability": capability, "inputs": inputs}


WARMUP: Final = {"keywords": ["tea"]}
STEP: Final = {"action": "edit_profile", "params": {"bio": "tea"}}
PLANS_ONE: Final[dict[str, Any]] = {"status": "dry_run", "items_planned": 1, "process_id": None}
DRY: Final = {"dry_run": True}

ENQUEUE_RULES: Final = (
    *(
        Rule(says=f"enqueue requires {name}", body={name: None}, fields=(name,))
        for name in (
            "request_id",
            "capability",
            "mode",
            "target",
            "inputs",
            "callback",
            "requested_by",
        )
    ),
    Rule(says="target.routing is required", body={"target": {}}, fields=("target.routing",)),
    Rule(says="callback.url is required", body={"callback": {}}, fields=("callback.url",)),
    Rule(
        says="requested_by.system is required",
        body={"requested_by": {}},
        fields=("requested_by.system",),
    ),
    Rule(
        says="one answer names what is wrong with the envelope and with the inputs",
        body={
            "requested_by": "me",
            "mode": "auto",
            "inputs": {"keywords": [], "videos_per_keyword": "2"},
        },
        error="invalid_request",
        fields=("mode", "requested_by", "inputs.keywords", "inputs.videos_per_keyword"),
    ),
    Rule(
        says="an input that nobody knows is named beside a wrong envelope",
        body={"requested_by": "me", "inputs": {"keywords": ["tea"], "watch_secs": 2}},
        fields=("requested_by", "inputs.watch_secs"),
    ),
    Rule(
        says="an unknown capability is named beside a wrong envelope",
        body={"capability": "dancing", "requested_by": "me"},
        fields=("requested_by", "capability"),
    ),
    Rule(
        says="callback.url is http or https",
        body={"callback": {"url": "ftp://e.example/x"}},
        fields=("callback.url",),
    ),
    Rule(
        says="a forbidden literal address is refused at enqueue",
        body={"callback": {"url": "http://10.0.0.1/x"}},
        error="callback_url_not_allowed",
        fields=("callback.url",),
    ),
    Rule(says="mode is manual or unattended", body={"mode": "auto"}, fields=("mode",)),
    Rule(
        says="an unknown capability is named",
        body=of("dancing"),
        error="unknown_capability:dancing",
        fields=("capability",),
    ),
    Rule(
        says="fyp_warmup takes no group",
        body=of("fyp_warmup", judge_prompt="p") | group(phone_ids=["ph-sim1"]),
        error="routing_not_supported:fyp_warmup:group",
        fields=("target.routing",),
    ),
    Rule(
        says="maintenance takes no group",
        body=of("maintenance", steps=[STEP]) | group(phone_ids=["ph-sim1"]),
        error="routing_not_supported:maintenance:group",
    ),
    Rule(
        says="post_video is asked for by ingest",
        body=of("post_video", caption="c"),
        error="routing_not_supported:post_video:direct",
        fields=("capability",),
    ),
    *(
        Rule(
            says=f"{name} is not live verified",
            body=of(name, **inputs) | {"mode": "unattended"},
            error=f"capability_not_live_verified:{name}",
            fields=("mode",),
        )
        for name, inputs in (
            ("keyword_warmup", WARMUP),
            ("fyp_warmup", {"judge_prompt": "p"}),
            ("maintenance", {"steps": [STEP]}),
        )
    ),
    *(
        Rule(
            says=f"work without an app refuses the URL {url!r}",
            body=of("open_url", url=url) | direct(phone_id="ph-sim4"),
            error="invalid_request",
            fields=("inputs.url",),
        )
        for url in (
            "https://e.example/a b",
            'https://e.example/"',
            "https://e.example/';reboot",
            "https://e.example/;reboot",
            "intent:#Intent;end",
            "file:///sdcard/x",
            "javascript:alert(1)",
        )
    ),
    *(
        Rule(
            says=f"{name} needs no account and no verification",
            body=of(name, **inputs) | direct(phone_id="ph-sim4") | {"mode": "unattended"} | DRY,
            status=200,
            answer=PLANS_ONE,
        )
        for name, inputs in (
            ("take_screenshot", {}),
            ("open_url", {"url": "https://e.example/"}),
            ("read_properties", {"names": ["ro.product."]}),
            (
                "install_apk",
                {"apk_url": "https://e.example/a", "sha256": 64 * "0", "package": "com.e.app"},
            ),
            ("run_steps", {"steps": [{"tap": {"text": "OK"}}, {"screenshot": "end"}]}),
        )
    ),
    Rule(
        says="a script names each wrong place",
        body=of(
            "run_steps", steps=[{"wait": 1}, {"tap": {"x": "1", "y": 2}}, {"press_key": "POWER"}]
        )
        | direct(phone_id="ph-sim4"),
        error="invalid_request",
        fields=("inputs.steps[1].tap.x", "inputs.steps[2].press_key"),
    ),
    Rule(
        says="work without an app refuses an account",
        body=of("take_screenshot") | direct(phone_id="ph-sim1", account_id="acc-SIM1"),
        error="invalid_request",
        fields=("target.account_id",),
    ),
    Rule(
        says="work without an app has no app",
        body=of("take_screenshot", app="shortvideo") | direct(phone_id="ph-sim1"),
        error="unsupported_input:app",
        fields=("inputs.app",),
    ),
    Rule(
        says="direct needs a phone or an account",
        body=direct(),
        error="invalid_request",
        fields=("target",),
    ),
    Rule(says="direct by account", body=direct(account_id="acc-SIM1") | DRY, status=200),
    Rule(says="direct by phone", body=direct(phone_id="ph-sim1") | DRY, status=200),
    Rule(
        says="direct by both, null for what is not given",
        body=direct(phone_id="ph-sim1", account_id="acc-SIM1", phone_group=None) | DRY,
        status=200,
    ),
    Rule(
        says="an account bound to another phone is refused",
        body=direct(phone_id="ph-sim2", account_id="acc-SIM1"),
        error="account_not_on_phone",
        fields=("target.account_id",),
    ),
    Rule(
        says="an account on no phone is refused",
        body=direct(account_id="acc-nowhere"),
        error="account_not_on_phone",
    ),
    Rule(
        says="a phone without an active account needs one",
        body=direct(phone_id="ph-sim4"),
        error="account_required:ph-sim4",
    ),
    Rule(
        says="a phone with several accounts needs one named",
        body=direct(phone_id="ph-sim3"),
        error="account_ambiguous:ph-sim3",
    ),
    Rule(
        says="one of several is named",
        body=direct(phone_id="ph-sim3", account_id="acc-second") | DRY,
        status=200,
    ),
    Rule(
        says="an unknown account is 404",
        body=direct(account_id="nobody"),
        status=404,
        error="unknown_account:nobody",
    ),
    Rule(
        says="an inactive account is 404",
        body=direct(account_id="acc-off"),
        status=404,
        error="inactive_account:acc-off",
    ),
    Rule(
        says="an unknown phone is 404",
        body=direct(phone_id="ph-x"),
        status=404,
        error="unknown_phone:ph-x",
    ),
    Rule(says="queue takes any phone", body=queue() | DRY, status=200, answer=PLANS_ONE),
    Rule(says="queue within a group", body=queue(phone_group="pair") | DRY, status=200),
    Rule(
        says="queue for an account takes its phone",
        body=queue(account_id="acc-SIM1") | DRY,
        status=200,
    ),
    Rule(
        says="queue names no phone",
        body=queue(phone_id="ph-sim1"),
        fields=("target.phone_id",),
    ),
    Rule(
        says="an unknown group is 404",
        body=queue(phone_group="none"),
        status=404,
        error="unknown_group:none",
    ),
    Rule(
        says="group: one item per phone and account of the union, duplicates removed",
        body=group(
            phone_ids=["ph-sim1", "ph-sim1"],
            account_ids=["acc-SIM1", "acc-second"],
            phone_group="pair",
            account_group="authors",
        )
        | DRY,
        status=200,
        answer={"items_planned": 3},
    ),
    Rule(
        says="group: an unknown id is 404 for the whole request and named",
        body=group(phone_ids=["ph-sim1", "ph-x"]),
        status=404,
        error="unknown_phone:ph-x",
    ),
    Rule(
        says="group: an inactive account is 404 for the whole request",
        body=group(account_ids=["acc-SIM1", "acc-off"]),
        status=404,
        error="inactive_account:acc-off",
    ),
    Rule(
        says="group: a phone with several accounts is ambiguous",
        body=group(phone_group="mixed"),
        error="account_ambiguous:ph-sim3",
    ),
    Rule(says="an empty group is refused", body=group(), error="empty_group"),
    Rule(
        says="a group that has no members any more is unknown",
        body=group(phone_group="nobody"),
        status=404,
        error="unknown_group:nobody",
    ),
    Rule(
        says="a group has at most 1,000 ids",
        body=group(phone_ids=["ph-sim1"] * 1001),
        fields=("target.phone_ids",),
    ),
    Rule(
        says="an app there is none of is refused",
        body=of("keyword_warmup", **WARMUP, app="other"),
        error="unknown_app:other",
        fields=("inputs.app",),
    ),
    *(
        Rule(says=f"priority {value!r}", body={"priority": value}, fields=("priority",))
        for value in (-1, 10, "5", 1.5, True)
    ),
    *(
        Rule(says=f"priority {value}", body={"priority": value} | DRY, status=200)
        for value in (0, 9)
    ),
    Rule(
        says="a deadline in the past is refused",
        body={"deadline": "2001-01-01T00:00:00Z"},
        fields=("deadline",),
    ),
    Rule(
        says="a deadline before not_before is refused",
        body={"deadline": "2100-01-01T00:00:00Z", "not_before": "2100-01-02T00:00:00Z"},
        fields=("deadline",),
    ),
    Rule(
        says="a time without a zone is refused",
        body={"not_before": "2100-01-01T00:00:00"},
        fields=("not_before",),
    ),
    Rule(
        says="a dry run creates nothing and plans",
        body=DRY,
        status=200,
        answer=PLANS_ONE | {"process_type": "keyword_warmup"},
    ),
    *(
        Rule(
            says=f"keyword_warmup refuses {name} {value!r:.40}",
            body=of("keyword_warmup", **(WARMUP | {name: value})),
            fields=(shown,),
        )
        for name, value, shown in (
            ("keywords", None, "inputs.keywords"),
            ("keywords", [], "inputs.keywords"),
            ("keywords", ["x"] * 21, "inputs.keywords"),
            ("keywords", "tea", "inputs.keywords"),
            ("keywords", [""], "inputs.keywords[0]"),
            ("keywords", ["tea", "bell\a"], "inputs.keywords[1]"),
            ("videos_per_keyword", 0, "inputs.videos_per_keyword"),
            ("videos_per_keyword", 51, "inputs.videos_per_keyword"),
            ("watch_seconds", 0, "inputs.watch_seconds"),
            ("watch_seconds", 121, "inputs.watch_seconds"),
        )
    ),
    Rule(
        says="keyword_warmup takes its bounds",
        body=of("keyword_warmup", keywords=["x"] * 20, videos_per_keyword=50, watch_seconds=1)
        | DRY,
        status=200,
    ),
    Rule(
        says="watch_seconds takes its bound",
        body=of("keyword_warmup", **WARMUP, watch_seconds=120) | DRY,
        status=200,
    ),
    Rule(
        says="fyp_warmup needs judge_prompt",
        body=of("fyp_warmup"),
        error="missing_fyp_judge_prompt",
        fields=("inputs.judge_prompt",),
    ),
    *(
        Rule(
            says=f"fyp_warmup refuses {name} {value}",
            body=of("fyp_warmup", judge_prompt="p", **{name: value}),
            fields=(f"inputs.{name}",),
        )
        for name, value in (("max_videos", 0), ("max_videos", 201), ("watch_seconds", 0))
    ),
    Rule(
        says="fyp_warmup is manual",
        body=of("fyp_warmup", judge_prompt="p", max_videos=200) | DRY,
        status=200,
    ),
    *(
        Rule(
            says=f"{name} is no input: the warm-ups browse only",
            body=of("keyword_warmup", **WARMUP, **{name: {}}),
            error=f"unsupported_input:{name}",
            fields=(f"inputs.{name}",),
        )
        for name in ("comment_plan", "comment_plans", "comment_plan_keys")
    ),
)

STEPS: Final = {"inputs": {"steps": [STEP]}}
MAINTENANCE_RULES: Final = (
    *(
        Rule(
            says=f"maintenance requires {name}", path=MAINTENANCE, body={name: None}, fields=(name,)
        )
        for name in ("request_id", "account_id", "inputs", "callback", "requested_by")
    ),
    Rule(
        says="maintenance requires an active account",
        path=MAINTENANCE,
        body={"account_id": "acc-off"},
        status=404,
        error="inactive_account:acc-off",
    ),
    Rule(
        says="maintenance requires a known account",
        path=MAINTENANCE,
        body={"account_id": "nobody"},
        status=404,
        error="unknown_account:nobody",
    ),
    Rule(
        says="another action is not supported",
        path=MAINTENANCE,
        body={"inputs": {"steps": [STEP, {"action": "follow", "params": {"bio": "x"}}]}},
        error="unsupported_action:follow",
        fields=("inputs.steps[1].action",),
    ),
    *(
        Rule(
            says=f"steps {steps!r:.50} are refused",
            path=MAINTENANCE,
            body={"inputs": {"steps": steps}},
            named=shown,
        )
        for steps, shown in (
            ([], "inputs.steps"),
            ("edit", "inputs.steps"),
            ([{"action": "edit_profile"}], "inputs.steps[0].params"),
            ([{"action": "edit_profile", "params": {}}], "inputs.steps[0].params"),
            (
                [{"action": "edit_profile", "params": {"name": "x"}}],
                "inputs.steps[0].params.name",
            ),
            (
                [{"action": "edit_profile", "params": {"bio": "esc\x1b[1m"}}],
                "inputs.steps[0].params.bio",
            ),
            ([{"params": {"bio": "x"}}], "inputs.steps[0].action"),
        )
    ),
    Rule(
        says="a step may have mutation_kind and randomized",
        path=MAINTENANCE,
        body={
            "inputs": {
                "steps": [STEP | {"mutation_kind": "bio", "randomized": True}],
                "metadata": {"n": 1},
            }
        },
        status=202,
        answer={"process_type": "maintenance", "status": "accepted"},
    ),
)


def changed(body: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return *body* with *changes*; None removes a key."""
    return {name: value for name, value in (body | changes).items() if value is not None}


def maintenance(farm: RestFarm) -> dict[str, Any]:
    """Return a maintenance body that is accepted."""
    return {
        "request_id": "m-1",
        "account_id": "acc-SIM1",
        "inputs": {"steps": [STEP]},
        "callback": {"url": farm.receiver.url()},
        "requested_by": {"system": "contract"},
    }


@pytest.mark.parametrize(
    "rule", [*ENQUEUE_RULES, *MAINTENANCE_RULES], ids=lambda rule: str(rule.says)
)
async def test_a_request_is_answered_as_the_contract_says(still: RestFarm, rule: Rule) -> None:
    """The code, the string, the fields, and the keys of the answer."""
    body = still.body() if rule.path == ENQUEUE else maintenance(still)
    body["request_id"] = f"rule-{next(_NUMBERS)}"

    answer = await still.post(rule.path, changed(body, rule.body))

    assert answer.status == rule.status, answer.body
    if rule.error is not None:
        assert answer.body["error"] == rule.error
    if rule.fields is not None:
        assert answer.fields == list(rule.fields)
    if rule.named is not None:
        assert rule.named in answer.fields
    if rule.status == 422:
        assert answer.fields
    assert rule.answer.items() <= answer.body.items()


async def test_accepted_is_202_with_exactly_these_keys(still: RestFarm) -> None:
    """Status, process, request, type."""
    answer = await still.post(ENQUEUE, still.body(request_id="keys"))

    assert answer.status == 202
    assert answer.body == {
        "status": "accepted",
        "process_id": answer.body["process_id"],
        "request_id": "keys",
        "process_type": "keyword_warmup",
    }


async def test_a_repeat_is_200_with_the_first_process(still: RestFarm) -> None:
    """The same keys plus two; a body that differs is told, and the first stands."""
    first = await still.post(ENQUEUE, still.body(request_id="again"))
    same = await still.post(ENQUEUE, still.body(request_id="again"))
    other = await still.post(ENQUEUE, still.body(request_id="again", priority=9))

    assert same.status == other.status == 200
    assert same.body == first.body | {"duplicate": True, "process_status": "queued"}
    assert other.body == same.body | {"request_differs": True}


async def test_the_key_is_type_system_and_request_id(still: RestFarm) -> None:
    """Another system or another capability with the same request_id is another process."""
    bodies = [
        still.body(request_id="key"),
        still.body(request_id="key", requested_by={"system": "other"}),
        still.body(request_id="key", **of("fyp_warmup", judge_prompt="p")),
    ]

    answers = [await still.post(ENQUEUE, body) for body in bodies]

    assert [answer.status for answer in answers] == [202] * 3
    assert len({answer.body["process_id"] for answer in answers}) == 3


async def test_a_record_has_exactly_the_keys_of_the_contract(still: RestFarm) -> None:
    """In their order; callers' objects as they came; times null until reached."""
    metadata = {"z": 2**70, "a": [1.50, None, {"ü": "\u2028"}], "": ""}
    process_id = await still.enqueue(
        request_id="record",
        requested_by={"system": "s", "user": "ann", "metadata": metadata},
        callback={"url": still.receiver.url(), "metadata": metadata},
    )

    record = await still.record(process_id)

    assert list(record) == [
        "process_id",
        "process_type",
        "request_id",
        "status",
        "target",
        "requested_by",
        "callback",
        "result",
        "error",
        "timestamps",
        "linked_ids",
        "partial_progress",
        "trace_id",
        "outcome",
    ]
    assert record["status"] == "queued"
    assert record["target"] == {"account_id": "acc-SIM1", "phone_id": "ph-sim1"}
    assert record["requested_by"] == {"system": "s", "user": "ann", "metadata": metadata}
    assert list(record["requested_by"]["metadata"]) == list(metadata)
    assert record["callback"]["metadata"] == metadata
    assert record["error"] is None
    times = record["timestamps"]
    assert list(times) == [
        "created_at",
        "accepted_at",
        "queued_at",
        "executing_at",
        "retrying_at",
        "cancel_requested_at",
        "finished_at",
    ]
    reached = {name for name, moment in times.items() if moment is not None}
    assert reached == {"created_at", "accepted_at", "queued_at"}
    assert record["linked_ids"]["completed_queue_item_ids"] == []
    assert record["partial_progress"]["items_total"] == 1


async def test_the_target_of_a_group_is_null_unless_it_has_one_item(still: RestFarm) -> None:
    """One item shows where; several show null twice; a queue shows no account before its claim."""
    several = await still.enqueue(request_id="g2", **group(phone_group="pair"))
    one = await still.enqueue(request_id="g1", **group(phone_ids=["ph-sim1"]))
    queued = await still.enqueue(request_id="q1", **queue())

    assert (await still.record(several))["target"] == {"account_id": None, "phone_id": None}
    assert (await still.record(one))["target"] == {
        "account_id": "acc-SIM1",
        "phone_id": "ph-sim1",
    }
    assert (await still.record(queued))["target"] == {"account_id": None, "phone_id": None}


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"reason": None}, ["reason"]),
        ({"requested_by": None}, ["requested_by"]),
        ({"strategy": "gentle"}, ["strategy"]),
        ({"force_after_seconds": -1}, ["force_after_seconds"]),
        ({"force_after_seconds": 1.5}, ["force_after_seconds"]),
        ({"force_after_seconds": "10"}, ["force_after_seconds"]),
    ],
)
async def test_a_wrong_cancel_is_422(
    still: RestFarm, changes: dict[str, Any], fields: list[str]
) -> None:
    """Reason and requested_by are required, strategy and window are checked."""
    process_id = await still.enqueue(request_id=f"cancel-{next(_NUMBERS)}")
    body = changed({"reason": "r", "requested_by": {"system": "s"}}, changes)

    answer = await still.post(f"/processes/{process_id}/cancel", body)

    assert (answer.status, answer.fields) == (422, fields)
    assert (await still.record(process_id))["status"] == "queued"


async def test_what_waits_is_cancelled_in_the_answer(still: RestFarm) -> None:
    """QUEUED and SCHEDULED items at once; nothing ran, so nothing is terminated."""
    for changes in ({}, {"not_before": "2100-01-01T00:00:00Z"}):
        process_id = await still.enqueue(request_id=f"c-{next(_NUMBERS)}", **changes)
        item = (await still.record(process_id))["linked_ids"]["queue_item_ids"]

        answer = await still.cancel(process_id)
        again = await still.cancel(process_id, strategy="hard")

        assert answer == {
            "status": "cancel_requested",
            "cancelled_queue_item_ids": item,
            "active_queue_item_ids": [],
            "active_target": {
                "process_id": process_id,
                "phone_id": None,
                "account_id": None,
                "queue_item_id": None,
                "capability_request_id": process_id,
            },
            "termination": {
                "process_id": process_id,
                "status": "not_needed",
                "terminate_issued": False,
                "container": None,
            },
            "process": {"process_id": process_id, "status": "cancelled"},
        }
        assert again["status"] == "ignored_terminal"
        assert list(again) == list(answer)
        assert again["process"]["status"] == "cancelled"


async def test_keys_are_asked_for_everywhere(still: RestFarm) -> None:
    """401 with WWW-Authenticate, without a key and with a wrong one."""
    for key in (None, "wrong"):
        answer = await still.caller.call("POST", ENQUEUE, b"{", key=key)

        assert (answer.status, answer.body["error"]) == (401, "unauthenticated")
        assert answer.headers["WWW-Authenticate"] == "Bearer"


async def test_malformed_json_is_422(still: RestFarm) -> None:
    """There is no 400 in this contract."""
    answer = await still.caller.call("POST", ENQUEUE, b"{")

    assert (answer.status, answer.body["error"]) == (422, "invalid_request:malformed_json")
