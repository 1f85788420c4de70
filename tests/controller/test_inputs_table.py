"""The inputs of each capability: what is taken, what is refused, and which fields are named."""

import json
from typing import Any

import pytest
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from phonefarm_common.reasons import FarmError
from phonefarm_controller.capabilities.catalog import CAPABILITIES, planned
from phonefarm_controller.capabilities.outputs import OUTPUTS
from phonefarm_controller.model.plans import MOST_CAP_SECONDS, Plan
from phonefarm_controller.model.requests import Mode, Routing, Target
from support.examples import given
from support.world import submission

K, F, M = "keyword_warmup", "fyp_warmup", "maintenance"
S, U, R = "take_screenshot", "open_url", "read_properties"
A, T = "install_apk", "run_steps"
SETTINGS = "com.android.settings/.Settings$WifiSettingsActivity"
APK = {"apk_url": "https://e.example/a.apk", "sha256": "0aF" + 61 * "9", "package": "com.a.b_1"}
HOSTILE_URLS = (
    "",
    "example.com",
    "HTTPS://example.com/",
    "https://",
    "https://?q=1",
    "https://exa mple.com/",
    "https://example.com/a b",
    'https://example.com/"x',
    "https://example.com/'; reboot '",
    "https://example.com/;reboot",
    "https://example.com/`id`",
    "https://example.com/a\\b",
    "https://example.com/a|b",
    "https://example.com/<b>",
    "https://example.com/\n",
    "https://example.com/\x00",
    "https://example.com/%zz",
    "https://ex\u00e4mple.com/",
    "https://example.com/\u6771\u4eac",
    "https://user:password@example.com/",
    "https://example.com:port/",
    "intent://example.com#Intent;scheme=https;end",
    "intent:#Intent;action=android.intent.action.CALL;end",
    "file:///sdcard/secret.txt",
    "content://sms",
    "javascript:alert(1)",
    "data:text/html,x",
    "market://details?id=x",
    "https://example.com/" + "x" * 2000,
)
"""What a phone's viewer must never get."""


def plan_of(capability: str, inputs: Any, *, dummy_allowed: bool = True, **changes: Any) -> Plan:
    """Return the plan for these inputs; a refusal is raised."""
    target = Target(routing=Routing.QUEUE, account_id="acc")
    wanted = submission(**{"capability": capability, "inputs": inputs, "target": target} | changes)
    return planned(wanted, dummy_allowed=dummy_allowed).plan


def edit(**params: Any) -> dict[str, Any]:
    """Return inputs of one edit_profile step."""
    return {"steps": [{"action": "edit_profile", "params": params}]}


def steps(*given: Any) -> dict[str, Any]:
    """Return the inputs of a script."""
    return {"steps": list(given)}


BAD: tuple[tuple[str, dict[str, Any], str, list[str]], ...] = (
    (K, {}, "invalid_request", ["keywords"]),
    (K, {"keywords": None}, "invalid_request", ["keywords"]),
    (K, {"keywords": "cats"}, "invalid_request", ["keywords"]),
    (K, {"keywords": []}, "invalid_request", ["keywords"]),
    (K, {"keywords": ["a"] * 21}, "invalid_request", ["keywords"]),
    (K, {"keywords": ["a", "", " ", 3]}, "invalid_request", [f"keywords[{n}]" for n in (1, 2, 3)]),
    (K, {"keywords": ["x" * 101]}, "invalid_request", ["keywords[0]"]),
    (K, {"keywords": ["bell\a", "a\ufffe"]}, "invalid_request", ["keywords[0]", "keywords[1]"]),
    (K, {"keywords": ["a"], "videos_per_keyword": 0}, "invalid_request", ["videos_per_keyword"]),
    (K, {"keywords": ["a"], "videos_per_keyword": 51}, "invalid_request", ["videos_per_keyword"]),
    (K, {"keywords": ["a"], "videos_per_keyword": 2.5}, "invalid_request", ["videos_per_keyword"]),
    (K, {"keywords": ["a"], "videos_per_keyword": True}, "invalid_request", ["videos_per_keyword"]),
    (K, {"keywords": ["a"], "watch_seconds": 121}, "invalid_request", ["watch_seconds"]),
    (K, {"keywords": ["a"], "watch_seconds": "8"}, "invalid_request", ["watch_seconds"]),
    (
        K,
        {"keywords": 1, "videos_per_keyword": -1, "watch_seconds": []},
        "invalid_request",
        ["keywords", "videos_per_keyword", "watch_seconds"],
    ),
    (K, {"keywords": ["a"], "app": ""}, "invalid_request", ["app"]),
    (K, {"keywords": ["a"], "app": 5}, "invalid_request", ["app"]),
    (K, {"keywords": ["a"], "app": "x" * 65}, "invalid_request", ["app"]),
    (
        K,
        {"keywords": ["a"], "comment_plan": {}},
        "unsupported_input:comment_plan",
        ["comment_plan"],
    ),
    (
        K,
        {"keywords": ["a"], "comment_plan_prompt": "p"},
        "unsupported_input:comment_plan_prompt",
        ["comment_plan_prompt"],
    ),
    (K, {"keywords": ["a"], "likes": 3}, "unsupported_input:likes", ["likes"]),
    (
        K,
        {"keywords": ["a"], "videos_per_keyword": "2", "watch_secs": 2, "likes": 3},
        "unsupported_input:likes",
        ["likes", "watch_secs", "videos_per_keyword"],
    ),
    (K, {"keywords": ["a"], "dummy": 3}, "invalid_request", ["dummy"]),
    (F, {}, "missing_fyp_judge_prompt", ["judge_prompt"]),
    (F, {"judge_prompt": ""}, "missing_fyp_judge_prompt", ["judge_prompt"]),
    (F, {"judge_prompt": None}, "missing_fyp_judge_prompt", ["judge_prompt"]),
    (F, {"judge_prompt": "  "}, "invalid_request", ["judge_prompt"]),
    (F, {"judge_prompt": 7}, "invalid_request", ["judge_prompt"]),
    (F, {"judge_prompt": "p", "max_videos": 201}, "invalid_request", ["max_videos"]),
    (F, {"judge_prompt": "p", "watch_seconds": 0}, "invalid_request", ["watch_seconds"]),
    (F, {"judge_prompt": "p", "keywords": ["a"]}, "unsupported_input:keywords", ["keywords"]),
    (M, {}, "invalid_request", ["steps"]),
    (M, {"steps": []}, "invalid_request", ["steps"]),
    (M, {"steps": {}}, "invalid_request", ["steps"]),
    (M, {"steps": [edit(bio="b")["steps"][0]] * 21}, "invalid_request", ["steps"]),
    (M, {"steps": ["edit_profile"]}, "invalid_request", ["steps[0]"]),
    (M, {"steps": [{"params": {"bio": "b"}}]}, "invalid_request", ["steps[0].action"]),
    (M, {"steps": [{"action": "follow"}]}, "unsupported_action:follow", ["steps[0].action"]),
    (M, {"steps": [{"action": "edit_profile"}]}, "invalid_request", ["steps[0].params"]),
    (M, edit(), "invalid_request", ["steps[0].params"]),
    (M, edit(avatar="x"), "invalid_request", ["steps[0].params", "steps[0].params.avatar"]),
    (M, edit(bio="b", avatar="x"), "invalid_request", ["steps[0].params.avatar"]),
    (M, edit(bio=""), "invalid_request", ["steps[0].params.bio"]),
    (M, edit(bio="esc\x1b[1m"), "invalid_request", ["steps[0].params.bio"]),
    (M, edit(bio="x" * 501), "invalid_request", ["steps[0].params.bio"]),
    (
        M,
        edit(bio=1, username=" "),
        "invalid_request",
        ["steps[0].params.bio", "steps[0].params.username"],
    ),
    (M, edit(bio="b") | {"metadata": []}, "invalid_request", ["metadata"]),
    (S, {"ui_dump": "yes"}, "invalid_request", ["ui_dump"]),
    (S, {"ui_dump": 1}, "invalid_request", ["ui_dump"]),
    (S, {"app": "shortvideo"}, "unsupported_input:app", ["app"]),
    (U, {}, "invalid_request", ["url"]),
    (U, {"url": 5}, "invalid_request", ["url"]),
    (U, {"url": "https://example.com/", "seconds": 121}, "invalid_request", ["seconds"]),
    (U, {"url": "ftp://x", "seconds": -1}, "invalid_request", ["url", "seconds"]),
    (A, {}, "invalid_request", ["apk_url", "sha256", "package"]),
    (A, APK | {"apk_url": "file:///a.apk"}, "invalid_request", ["apk_url"]),
    (A, APK | {"sha256": 63 * "0"}, "invalid_request", ["sha256"]),
    (A, APK | {"sha256": 64 * "g"}, "invalid_request", ["sha256"]),
    (A, APK | {"sha256": 64 * "0" + "\n"}, "invalid_request", ["sha256"]),
    (A, APK | {"package": "app"}, "invalid_request", ["package"]),
    (A, APK | {"package": "com.a; reboot"}, "invalid_request", ["package"]),
    (A, APK | {"package": "com.1a"}, "invalid_request", ["package"]),
    (R, {}, "invalid_request", ["names"]),
    (R, {"names": "ro.product.model"}, "invalid_request", ["names"]),
    (R, {"names": []}, "invalid_request", ["names"]),
    (R, {"names": ["a"] * 201}, "invalid_request", ["names"]),
    (
        R,
        {"names": ["ok.name", ".", "a..b", ".a", "a b", "a;reboot", "a\n", "$(id)"]},
        "invalid_request",
        [f"names[{n}]" for n in range(1, 8)],
    ),
    (T, {}, "invalid_request", ["steps"]),
    (T, {"steps": {}}, "invalid_request", ["steps"]),
    (T, steps(), "invalid_request", ["steps"]),
    (T, steps(*[{"wait": 1}] * 101), "invalid_request", ["steps"]),
    (T, steps("launch_app", None, []), "invalid_request", [f"steps[{n}]" for n in range(3)]),
    (T, steps({}), "invalid_request", ["steps[0]"]),
    (T, steps({"tap": {"x": 1, "y": 2}, "wait": 1}), "invalid_request", ["steps[0]"]),
    (T, steps({"wait": 1}, {"like": True}), "invalid_request", ["steps[1].like"]),
    (T, steps({"wait": 1, "seconds": 3}), "invalid_request", ["steps[0].seconds"]),
    (T, steps({"tap": None}), "invalid_request", ["steps[0].tap"]),
    (T, steps({"tap": "OK"}), "invalid_request", ["steps[0].tap"]),
    (T, steps({"tap": {}}), "invalid_request", ["steps[0].tap"]),
    (T, steps({"tap": {"index": 1}}), "invalid_request", ["steps[0].tap"]),
    (T, steps({"tap": {"x": 1}}), "invalid_request", ["steps[0].tap.y"]),
    (
        T,
        steps({"tap": {"x": -1, "y": 10_000}}),
        "invalid_request",
        ["steps[0].tap.x", "steps[0].tap.y"],
    ),
    (T, steps({"tap": {"x": 1, "y": 2, "text": "OK"}}), "invalid_request", ["steps[0].tap.text"]),
    (T, steps({"tap": {"text": "OK", "xpath": "//a"}}), "invalid_request", ["steps[0].tap.xpath"]),
    (
        T,
        steps({"tap": {"text": ["OK"], "id": None}}),
        "invalid_request",
        ["steps[0].tap.text", "steps[0].tap.id"],
    ),
    (
        T,
        steps({"tap": {"text": " ", "index": 1001}}),
        "invalid_request",
        ["steps[0].tap.text", "steps[0].tap.index"],
    ),
    (T, steps({"wait_for": {"seconds": 5}}), "invalid_request", ["steps[0].wait_for"]),
    (
        T,
        steps({"wait_for": {"text": "x", "seconds": 61}}),
        "invalid_request",
        ["steps[0].wait_for.seconds"],
    ),
    (T, steps({"type_text": "bell\a"}), "invalid_request", ["steps[0].type_text"]),
    (T, steps({"type_text": "x" * 1001}), "invalid_request", ["steps[0].type_text"]),
    *(
        (T, steps({"press_key": key}), "invalid_request", ["steps[0].press_key"])
        for key in ("POWER", "26", "KEYCODE_BACK", "back", "SLEEP", 4, "BACK\n", "", ["BACK"])
    ),
    (T, steps({"swipe": "north"}), "invalid_request", ["steps[0].swipe"]),
    *(
        (T, steps({"screenshot": name}), "invalid_request", ["steps[0].screenshot"])
        for name in ("", "../x", "a/b", "a b", "-x", "x" * 62, "x\n", 5)
    ),
    (T, steps({"open_url": "intent:#Intent;end"}), "invalid_request", ["steps[0].open_url"]),
    (T, steps({"wait": 0}, {"wait": 61}), "invalid_request", ["steps[0].wait", "steps[1].wait"]),
    (
        T,
        steps({"stop_app": False}) | {"component": SETTINGS},
        "invalid_request",
        ["steps[0].stop_app"],
    ),
    *(
        (T, steps({"launch_app": True}) | {"component": name}, "invalid_request", ["component"])
        for name in (
            "com.android.settings",
            "com.a/",
            "a/.B",
            "com.a/.B;reboot",
            "com.a/.B c",
            "com.a/.B\n",
            "/",
            5,
        )
    ),
    (T, steps({"wait": 1}) | {"app": "shortvideo"}, "unsupported_input:app", ["app"]),
    ("post_everything", {}, "unknown_capability:post_everything", []),
)
GOOD: tuple[tuple[str, dict[str, Any]], ...] = (
    (K, {"keywords": ["a"]}),
    (K, {"keywords": ["a"], "videos_per_keyword": 2.0, "watch_seconds": None, "app": None}),
    (
        K,
        {"keywords": ["caf\u00e9", "\u6771\u4eac", "\U0001f35c", "two\nlines", "\U0001fae8\uf8ff"]},
    ),
    (K, {"keywords": ["x" * 100] * 20, "app": "y" * 64, "dummy": {}}),
    (F, {"judge_prompt": "p", "max_videos": 200, "watch_seconds": 60}),
    (M, edit(bio="b", username=None) | {"metadata": {"why": "new"}}),
    (S, {}),
    (S, {"ui_dump": True}),
    (S, {"ui_dump": None, "dummy": {"seconds": 0}}),
    (U, {"url": "https://example.com"}),
    (U, {"url": "http://10.0.0.5:8080/a_(b)*,$!~?q=1&x=%3B%27#top", "seconds": 0}),
    (A, APK),
    (R, {"names": ["ro.build.version.release", "ro.product.", "persist.sys.a-b@1:c_d"]}),
    (T, steps(*[{"wait_for": {"text": "x", "seconds": 60}}] * 100)),
    (T, steps({"screenshot": "a"}, {"ui_dump": "a"}, {"type_text": "\u6771\u4eac\nx"})),
    (T, steps({"launch_app": True}, {"stop_app": True}) | {"component": SETTINGS}),
    (M, {"steps": [edit(bio="b")["steps"][0] | {"mutation_kind": "k", "randomized": True}]}),
)
TOO_LONG = {"keywords": ["a"] * 20, "videos_per_keyword": 50, "watch_seconds": 120}
NO_APP = steps({"wait": 1}, {"launch_app": True}, {"stop_app": True})
NAMED_TWICE = steps({"screenshot": "a"}, {"ui_dump": "a"}, {"screenshot": "a"})
BETWEEN_FIELDS: tuple[tuple[str, dict[str, Any], str, list[str]], ...] = (
    (K, TOO_LONG, "invalid_request", ["watch_seconds"]),
    (T, NO_APP, "invalid_request", ["steps[1].launch_app", "steps[2].stop_app"]),
    (T, NAMED_TWICE, "invalid_request", ["steps[2].screenshot"]),
)
"""Wrong by a rule between fields, which no schema can say."""


@pytest.mark.parametrize(
    ("capability", "inputs", "reason", "fields"), [*BAD, *BETWEEN_FIELDS], ids=str
)
def test_bad_inputs_are_refused_with_every_wrong_field(
    capability: str, inputs: dict[str, Any], reason: str, fields: list[str]
) -> None:
    """All that is wrong at once, in the caller's own words for it."""
    with pytest.raises(FarmError) as refused:
        plan_of(capability, inputs)

    named = [problem.field for problem in refused.value.problems]
    assert refused.value.text == reason
    assert named == ([f"inputs.{name}" for name in fields] or ["capability"])
    assert all(problem.message for problem in refused.value.problems)


@pytest.mark.parametrize("url", HOSTILE_URLS, ids=repr)
def test_a_hostile_url_is_refused_by_its_field(url: str) -> None:
    """The server and its schema agree, and the message says what to write."""
    with pytest.raises(FarmError) as refused:
        plan_of(U, {"url": url})

    (problem,) = refused.value.problems
    assert problem.field == "inputs.url"
    assert problem.message
    assert not validator(U).is_valid({"url": url})


def test_the_message_names_the_character_and_what_to_write_instead() -> None:
    """A caller needs no page to mend the URL."""
    with pytest.raises(FarmError) as refused:
        plan_of(U, {"url": "https://example.com/a;b"})

    (problem,) = refused.value.problems
    assert problem.message == ("must not contain ';': in the path and the query, write %3B instead")


def test_each_capability_says_what_its_caller_gets() -> None:
    """A new one cannot be forgotten."""
    assert CAPABILITIES.keys() <= OUTPUTS.keys()


@pytest.mark.parametrize(
    ("capability", "routing", "reason"),
    [
        (F, Routing.GROUP, "routing_not_supported:fyp_warmup:group"),
        (M, Routing.GROUP, "routing_not_supported:maintenance:group"),
    ],
)
def test_a_routing_that_a_capability_does_not_know_is_refused(
    capability: str, routing: Routing, reason: str
) -> None:
    """The answer names the ones it knows."""
    with pytest.raises(FarmError, match=r"direct, queue") as refused:
        plan_of(capability, {}, target=Target(routing=routing), mode=Mode.MANUAL)

    assert refused.value.text == reason


@pytest.mark.parametrize("routing", [Routing.DIRECT, Routing.QUEUE])
def test_maintenance_is_for_a_named_account(routing: Routing) -> None:
    """Whose profile is edited is never left to chance."""
    with pytest.raises(FarmError) as refused:
        plan_of(M, edit(bio="b"), target=Target(routing=routing, phone_id="p"))

    assert [problem.field for problem in refused.value.problems] == ["target.account_id"]


@pytest.mark.parametrize("routing", Routing)
@pytest.mark.parametrize("mode", Mode)
def test_a_post_is_not_asked_for_by_enqueue(routing: Routing, mode: Mode) -> None:
    """By no routing and in no mode; the answer names the endpoint that takes it."""
    with pytest.raises(FarmError, match="POST /ingest") as refused:
        plan_of("post_video", {}, target=Target(routing=routing), mode=mode)

    assert refused.value.text == f"routing_not_supported:post_video:{routing}"


@pytest.mark.parametrize(("capability", "inputs"), GOOD, ids=str)
def test_good_inputs_make_a_plan_and_satisfy_the_schema(
    capability: str, inputs: dict[str, Any]
) -> None:
    """What is published takes what is checked."""
    assert plan_of(capability, inputs).actions
    assert validator(capability).is_valid(inputs)


@pytest.mark.parametrize(
    ("capability", "inputs"),
    [row[:2] for row in BAD if row[0] in CAPABILITIES],
    ids=str,
)
def test_the_schema_refuses_what_is_refused(capability: str, inputs: dict[str, Any]) -> None:
    """Also by the words of a validator that knows nothing of us."""
    assert not validator(capability).is_valid(inputs)


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_every_published_schema_is_one(capability: str) -> None:
    """JSON Schema 2020-12, closed, each input described; the dummy only where there is one."""
    schema = CAPABILITIES[capability].schema(dummy_allowed=False)

    Draft202012Validator.check_schema(schema)
    assert schema["additionalProperties"] is False
    assert all(each["description"] for each in schema["properties"].values())
    assert "dummy" not in schema["properties"]


def validator(capability: str) -> Draft202012Validator:
    """Return what checks the capability's inputs by its published schema."""
    schema = json.loads(json.dumps(CAPABILITIES[capability].schema(dummy_allowed=True)))
    return Draft202012Validator(schema)


def test_a_production_farm_has_no_dummy() -> None:
    """What steers the dummy runtime is no input where there is none."""
    inputs = {"keywords": ["a"], "dummy": {"seconds": 1}}

    assert plan_of(K, inputs).dummy == {"seconds": 1}
    with pytest.raises(FarmError) as refused:
        plan_of(K, inputs, dummy_allowed=False)

    assert refused.value.text == "unsupported_input:dummy"


def test_the_plans_do_in_order_what_was_asked() -> None:
    """Each capability in one line: kinds of its actions, and the values that they carry."""
    keyword = plan_of(K, {"keywords": ["a", "b"], "videos_per_keyword": 2, "watch_seconds": 3})
    feed = plan_of(F, {"judge_prompt": "p", "max_videos": 4})
    edits = plan_of(M, edit(bio="b", display_name="d") | {"metadata": {"why": "new"}})

    watch = [("watch", {"index": n, "seconds": 3}) for n in (0, 1)]
    assert _story(keyword) == [
        ("launch_app", {}),
        ("search", {"keyword": "a"}),
        *watch,
        ("search", {"keyword": "b"}),
        *watch,
        ("stop_app", {}),
    ]
    assert [kind for kind, _ in _story(feed)] == [
        "launch_app",
        "open_feed",
        "scroll_feed",
        "stop_app",
    ]
    assert _story(feed)[2][1] == {"videos": 4, "watch_seconds": 8, "judge_prompt": "p"}
    assert _story(edits)[1:-1] == [
        ("edit_profile_field", {"field": "display_name", "value": "d"}),
        ("edit_profile_field", {"field": "bio", "value": "b"}),
    ]


def test_the_plans_without_an_app_start_and_stop_none() -> None:
    """Each in one line."""
    url = "https://example.com/"

    assert _story(plan_of(S, {"ui_dump": True})) == [
        ("screenshot", {"name": "screen"}),
        ("ui_dump", {"name": "screen"}),
    ]
    assert _story(plan_of(U, {"url": url})) == [
        ("open_url", {"url": url, "seconds": 5}),
        ("screenshot", {"name": "page"}),
    ]
    named = {"asset": "app", "url": APK["apk_url"], "type": "apk"}
    digest = APK["sha256"].lower()
    assert _story(plan_of(A, APK)) == [
        ("fetch_asset", named),
        ("install_apk", {"asset": "app", "sha256": digest, "package": "com.a.b_1"}),
    ]
    assert _story(plan_of(R, {"names": ["a.b"]})) == [("read_properties", {"names": ["a.b"]})]


SCRIPT = steps(
    {"launch_app": True},
    {"tap": {"text": "Network"}},
    {"tap": {"x": 100, "y": 200.0}},
    {"wait_for": {"id": "android:id/title", "index": 1}},
    {"wait_for": {"description_contains": "on", "seconds": 30}},
    {"type_text": "hello"},
    {"press_key": "BACK"},
    {"swipe": "up"},
    {"screenshot": "end"},
    {"ui_dump": "end"},
    {"open_url": "https://example.com/"},
    {"wait": 2},
    {"stop_app": True},
)


def test_a_script_becomes_one_action_for_each_step() -> None:
    """In its order, so that a step's place is its action's; the app is beside them."""
    plan = plan_of(T, SCRIPT | {"component": SETTINGS})

    assert _story(plan) == [
        ("launch_app", {}),
        ("tap", {"view": {"text": "Network"}}),
        ("tap", {"x": 100, "y": 200}),
        ("wait_for", {"view": {"id": "android:id/title", "index": 1}, "seconds": 10}),
        ("wait_for", {"view": {"description_contains": "on"}, "seconds": 30}),
        ("type_text", {"text": "hello"}),
        ("press_key", {"key": "BACK"}),
        ("swipe", {"direction": "up"}),
        ("screenshot", {"name": "end"}),
        ("ui_dump", {"name": "end"}),
        ("open_url", {"url": "https://example.com/"}),
        ("wait", {"seconds": 2}),
        ("stop_app", {}),
    ]
    assert plan.component == SETTINGS
    assert Plan.of_json(plan.to_json()) == plan


def _story(plan: Plan) -> list[tuple[str, Any]]:
    return [(action.kind, action.params) for action in plan.actions]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
NAMES = st.sampled_from(
    [
        "keywords",
        "videos_per_keyword",
        "watch_seconds",
        "app",
        "judge_prompt",
        "max_videos",
        "steps",
        "metadata",
        "dummy",
        "url",
        "seconds",
        "names",
        "ui_dump",
        "other",
    ]
)
LIKELY = st.one_of(
    JSON,
    st.text("aZ0.:/?#[]@!$&'()*+,;=%-_~ \n\u00e9").map("https://a".__add__),
    st.lists(st.text("aZ0._@:- \n;"), max_size=5),
    st.lists(st.text(max_size=9), max_size=22),
    st.integers(-1, 250),
    st.lists(
        st.fixed_dictionaries(
            {"action": st.just("edit_profile"), "params": st.dictionaries(st.text(), JSON)}
        ),
        max_size=3,
    ),
)


@given(
    capability=st.sampled_from([K, F, M, S, U, R]),
    inputs=st.dictionaries(NAMES, LIKELY, max_size=6),
)
def test_any_inputs_make_a_plan_that_fits_or_an_error_that_says_why(
    capability: str, inputs: dict[str, Any]
) -> None:
    """No value of any type is a surprise, and no plan is longer than its run's cap."""
    try:
        plan = plan_of(capability, inputs)
    except FarmError as error:
        refused = error
    else:
        ends = (plan.actions[0].kind == "launch_app", plan.actions[-1].kind == "stop_app")
        assert set(ends) == {CAPABILITIES[capability].needs_app}
        assert sum(action.limit_seconds for action in plan.actions) > 0
        assert plan.cap_seconds <= MOST_CAP_SECONDS
        assert validator(capability).is_valid(inputs)
        return
    assert refused.problems
    assert all(problem.field.startswith("inputs.") for problem in refused.problems)
    assert "makes one run watch for" in refused.message or not validator(capability).is_valid(
        inputs
    )


KINDS = (
    *("launch_app", "stop_app", "tap", "wait_for", "type_text", "press_key", "swipe"),
    *("screenshot", "ui_dump", "open_url", "wait", "like"),
)
VALUES = st.one_of(
    JSON,
    st.just(True),
    st.integers(-1, 70),
    st.text("aZ0._/-$ \n\x00'", max_size=9),
    st.sampled_from(["BACK", "POWER", "up", "https://a/", "https://a/;b"]),
    st.dictionaries(
        st.sampled_from(["x", "y", "text", "id", "index", "seconds", "xpath"]),
        JSON | st.integers(-1, 70) | st.text("aZ0._/-$ \n\x00'", min_size=1, max_size=9),
        max_size=4,
    ),
)


@given(
    script=JSON | st.lists(st.dictionaries(st.sampled_from(KINDS), VALUES, max_size=2), max_size=6),
    component=st.none() | st.just(SETTINGS) | JSON | st.text("aZ.$/; \n", max_size=9),
)
def test_any_script_makes_a_plan_that_fits_or_an_error_that_says_why(
    script: Any, component: Any
) -> None:
    """The check and the schema agree but for the rules between steps; each place is named."""
    inputs = {"steps": script, "component": component}
    try:
        plan = plan_of(T, inputs)
    except FarmError as error:
        refused = error
    else:
        assert len(plan.actions) == len(script)
        assert sum(action.limit_seconds for action in plan.actions) < MOST_CAP_SECONDS
        assert validator(T).is_valid(inputs)
        return
    assert refused.problems
    assert all(
        problem.field == "inputs.component" or problem.field.startswith("inputs.steps")
        for problem in refused.problems
    )
    between = [
        problem
        for problem in refused.problems
        if "needs the input component" in problem.message or "must differ from" in problem.message
    ]
    assert validator(T).is_valid(inputs) == bool(between)
