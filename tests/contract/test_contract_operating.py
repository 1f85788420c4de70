"""What operators may do over REST, against the real system: each verb, its refusals, its trace."""

import base64
import hashlib
import json
import re
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from gateway.support.caller import Answer
from phonefarm_gateway.rest.endpoint import Endpoint
from phonefarm_gateway.routes.table import ENDPOINTS
from support.rest_farm import RestFarm

NOBODY = "6f1c2f0e-8f0f-4c55-9d55-0f6a1a2b3c4d"
WHY = {"reason": "a test"}
CHANGES = [endpoint for endpoint in ENDPOINTS if endpoint.scope in {"operate", "admin"}]


def placed(path: str) -> str:
    """Return the path with ids that nobody has."""
    return re.sub(r"\{(\w+)\}", lambda name: NOBODY if name[1].endswith("s_id") else "x", path)


async def key_with(farm: RestFarm, name: str, *scopes: str) -> str:
    """Return the text of a new key."""
    made = await farm.post("/keys", {"name": name, "scopes": list(scopes)})
    assert made.status == 200, made.body
    return str(made.body["secret"])


async def change(farm: RestFarm, verb: str, phone: str = "ph-sim1", **body: Any) -> Answer:
    """Change a phone by a verb."""
    return await farm.post(f"/phones/{phone}/{verb}", WHY | body)


async def changed(farm: RestFarm, verb: str, phone: str = "ph-sim1", **body: Any) -> Any:
    """Change a phone by a verb, which must succeed; return the answer."""
    answer = await change(farm, verb, phone, **body)
    assert answer.status == 200, answer.body
    return answer.body


def reasons(phone: dict[str, Any]) -> list[str]:
    """Return what keeps work from the phone."""
    return [reason["reason"] for reason in phone["reasons"]]


async def test_every_change_asks_for_its_scope(moving: RestFarm) -> None:
    """No key is 401; a key with every other scope is 403 and names the one it lacks."""
    others = await key_with(moving, "others", "submit", "read", "cancel")
    operator = await key_with(moving, "operator", "operate")
    for endpoint in CHANGES:
        path = placed(endpoint.path)
        weaker = operator if endpoint.scope == "admin" else others

        nobody = await moving.caller.call(endpoint.method, path, b"{", key=None)
        refused = await moving.caller.call(endpoint.method, path, b"{", key=weaker)

        assert nobody.status == 401, path
        assert (refused.status, refused.body["error"]) == (
            403,
            f"insufficient_scope:{endpoint.scope}",
        ), path


LONG = "x" * 501
BAD: list[tuple[str, str, Any, list[str]]] = [
    (
        "POST",
        "/phones/-/hold",
        {"seconds": "9", "wait_seconds": 0},
        ["phone_id", "seconds", "wait_seconds", "reason"],
    ),
    (
        "POST",
        "/phones/x/hold",
        {"seconds": 59, "wait_seconds": 86401, "reason": LONG},
        ["seconds", "wait_seconds", "reason"],
    ),
    ("POST", "/phones/x/release", {"epoch": 0, "reason": " "}, ["epoch", "reason"]),
    ("POST", "/phones/x/maintain", {"reason": 7}, ["reason"]),
    ("POST", "/phones/-/admit", {"reason": LONG}, ["phone_id", "reason"]),
    ("POST", "/pause", {"scope": "app", "stop": 1}, ["name", "reason", "stop"]),
    ("POST", "/pause", {"scope": "all", "name": "x", "reason": ""}, ["name", "reason"]),
    ("POST", "/pause", {"scope": "farm"}, ["scope", "reason"]),
    ("POST", "/resume", {"scope": "account"}, ["name"]),
    (
        "POST",
        "/windows",
        {"scope": "app", "name": "", "zone": 1, "hours": [], "may_overrun": 1},
        ["scope", "name", "zone", "hours", "may_overrun", "reason"],
    ),
    (
        "POST",
        "/windows",
        {"scope": "phone", "name": "x", "zone": "Mars", "hours": ["mon"], "reason": "r"},
        ["zone", "hours[0]"],
    ),
    ("POST", "/windows/remove", {"scope": "group", "reason": LONG}, ["name", "reason"]),
    (
        "POST",
        "/schedules",
        {"name": "a b", "cron": "", "zone": 1, "jitter_seconds": -1, "catch_up": "x"},
        [
            *("name", "cron", "zone", "jitter_seconds", "catch_up", "reason", "request"),
        ],
    ),
    (
        "POST",
        "/schedules",
        {
            "name": "x",
            "cron": "61 * * * *",
            "zone": "Mars",
            "reason": "r",
            "request": {
                "capability": "keyword_warmup",
                "mode": "manual",
                "target": {"routing": "queue"},
                "inputs": {"keywords": []},
                "requested_by": {"system": "contract"},
            },
        },
        ["cron", "zone", "request.inputs.keywords"],
    ),
    (
        "POST",
        "/schedules",
        {
            "name": "x",
            "cron": "1 * * * *",
            "zone": "UTC",
            "overlap": "never",
            "start_within_seconds": 0,
            "reason": "r",
            "request": {"capability": "keyword_warmup", "mode": "x", "inputs": {"keywords": []}},
        },
        [
            *("overlap", "start_within_seconds", "request.mode", "request.target"),
            *("request.requested_by", "request.inputs.keywords"),
        ],
    ),
    ("GET", "/schedules/x?next=0&last=1", None, ["next", "last"]),
    ("POST", "/schedules/x/pause", {}, ["reason"]),
    ("POST", "/backup", {"reason": " "}, ["reason"]),
    ("PUT", "/groups/phone/-", {"member_ids": "ph-sim1"}, ["group", "member_ids"]),
    ("PUT", "/groups/phone/x/clean-up", {"steps": ["home", "wash"]}, ["steps[1]"]),
    ("POST", "/groups/phone/-/members", {"add_ids": "x"}, ["group", "add_ids"]),
    ("POST", "/groups/account/x/members", {"reason": "none"}, ["add_ids"]),
    (
        "POST",
        "/groups/account/x/members",
        {"add_ids": ["a"], "remove_ids": ["a"]},
        ["remove_ids"],
    ),
    ("POST", "/accounts/-/delete", {}, ["account_id", "reason"]),
    ("POST", "/alerts/replay", {"sequence": 0}, ["sequence"]),
    (
        "PUT",
        "/accounts",
        {
            "accounts": [
                {"account_id": 1, "phone_id": None, "app": "shortvideo"},
                {"account_id": "b", "app": ""},
            ]
        },
        ["accounts[0].account_id", "accounts[1].phone_id", "accounts[1].app"],
    ),
    (
        "POST",
        "/keys",
        {"name": "no name", "scopes": ["all"], "expires_at": "soon"},
        ["name", "scopes[0]", "expires_at"],
    ),
    (
        "POST",
        "/invitations",
        {"role": "phone", "good_for_seconds": 59},
        ["role", "good_for_seconds"],
    ),
    ("POST", f"/processes/{NOBODY}/rerun", {"failed_only": "yes"}, ["failed_only", "reason"]),
    (
        "POST",
        "/capabilities/-/verify",
        {"inputs": []},
        ["capability", "phone_id", "requested_by", "inputs"],
    ),
    (
        "POST",
        "/profiles/check",
        {"name": "a b", "profile_toml": ""},
        ["phone_id", "requested_by", "name", "profile_toml"],
    ),
    ("GET", "/audit?limit=0&since=today&subjekt=x", None, ["limit", "since", "subjekt"]),
]


@pytest.mark.parametrize(("method", "path", "body", "fields"), BAD)
@pytest.mark.asyncio(loop_scope="module")
async def test_a_request_that_is_wrong_is_told_everything_at_once(
    still: RestFarm, method: str, path: str, body: Any, fields: list[str]
) -> None:
    """One 422 names every wrong field of path, query and body."""
    answer = await still.caller.call(method, path, body)

    assert (answer.status, sorted(answer.fields)) == (422, sorted(fields))


@pytest.mark.asyncio(loop_scope="module")
async def test_what_nobody_knows_is_404(still: RestFarm) -> None:
    """Each kind of id by its own reason."""
    asked: list[tuple[str, str, Any, str]] = [
        ("GET", "/phones/nobody", None, "unknown_phone:nobody"),
        ("POST", "/phones/nobody/hold", WHY, "unknown_phone:nobody"),
        ("POST", "/phones/nobody/retire", WHY, "unknown_phone:nobody"),
        ("GET", f"/holds/{NOBODY}", None, "unknown_process"),
        ("GET", "/holds/nonsense", None, "unknown_process"),
        ("POST", "/accounts/nobody/clear", WHY, "unknown_account:nobody"),
        ("POST", "/accounts/nobody/delete", WHY, "unknown_account:nobody"),
        ("POST", "/groups/phone/new/members", {"add_ids": ["nobody"]}, "unknown_phone:nobody"),
        ("POST", "/groups/account/n/members", {"add_ids": ["nobody"]}, "unknown_account:nobody"),
        ("PUT", "/groups/phone/new", {"member_ids": ["nobody"]}, "unknown_phone:nobody"),
        ("PUT", "/groups/phone/none/clean-up", {"steps": []}, "unknown_group:none"),
        ("GET", "/schedules/nobody", None, "unknown_schedule:nobody"),
        ("POST", "/schedules/nobody/pause", WHY, "unknown_schedule:nobody"),
        ("POST", "/schedules/nobody/resume", WHY, "unknown_schedule:nobody"),
        ("POST", "/schedules/nobody/delete", WHY, "unknown_schedule:nobody"),
        ("POST", "/agents/nobody/drain", WHY, "unknown_member:nobody"),
        ("POST", "/agents/nobody/revoke", None, "unknown_member:nobody"),
        ("POST", "/gateways/nobody/revoke", None, "unknown_member:nobody"),
        ("POST", "/keys/nobody/revoke", None, "unknown_key:nobody"),
        ("POST", f"/processes/{NOBODY}/rerun", WHY, "unknown_process"),
        ("POST", f"/processes/{NOBODY}/verification", None, "unknown_process"),
    ]
    for method, path, body, error in asked:
        answer = await still.caller.call(method, path, body)

        assert (answer.status, answer.body["error"]) == (404, error), path


async def test_phones_are_listed_with_what_drives_them(moving: RestFarm) -> None:
    """State, reason, host, run, since when, and how many there are of each kind."""
    before = await moving.get("/phones")
    process_id = await moving.enqueue()
    await moving.begun("SIM1")
    after = await moving.get("/phones")

    assert before["counts"] == {
        "total": 3, "offered": 0, "at_work": 0, "withheld": 3, "needs_hands": 0,
    }  # fmt: skip
    assert after["counts"]["at_work"] == 1
    phone = next(one for one in after["phones"] if one["phone_id"] == "ph-sim1")
    assert (phone["process_id"], phone["process_type"]) == (process_id, "keyword_warmup")
    assert (phone["account_id"], phone["agent_id"], phone["agent_connected"]) == (
        "acc-SIM1",
        "agent-1",
        True,
    )
    assert phone["lease"] == "leased"
    assert phone["lease_epoch"] >= 1
    assert phone["since"] > next(
        one["since"] for one in before["phones"] if one["phone_id"] == "ph-sim1"
    )
    assert reasons(phone) == ["phone_busy"]


async def test_a_phone_leaves_service_and_comes_back(moving: RestFarm) -> None:
    """Each answer is the phone as it is then, with what it means; the audit has every step."""
    maintained = await changed(moving, "maintain")
    admitted = await changed(moving, "admit")
    drained = await changed(moving, "drain")
    again = await change(moving, "drain", "ph-sim2")
    retired = await changed(moving, "retire")
    refused = await change(moving, "drain")
    returned = await changed(moving, "return")
    without = await moving.caller.call("POST", "/phones/ph-sim1/admit")
    details = await moving.get("/phones/ph-sim1")
    entries = (await moving.get("/audit?subject=ph-sim1"))["entries"]

    assert (maintained["intent"], reasons(maintained)) == (
        "maintenance",
        ["phone_in_maintenance", "not_offered"],
    )
    assert admitted["intent"] == "in_service"
    assert (drained["intent"], again.status) == ("draining", 200)
    assert retired["health"] == "retired"
    assert "phone_retired" in reasons(retired)
    assert (refused.status, refused.body["error"]) == (409, "state_conflict:retired")
    assert returned["health"] != "retired"
    assert without.status == 200
    assert {axis["axis"] for axis in details["axes"]} == {
        "transport", "readiness", "health", "lease", "intent",
    }  # fmt: skip
    verbs = [entry["verb"] for entry in entries]
    assert verbs[:6] == ["admit", "return", "retire", "drain", "admit", "maintain"]
    assert entries[1] | {"at": None} == {
        "at": None,
        "actor": "ingest_secret",
        "verb": "return",
        "subject": "ph-sim1",
        "reason": "a test",
    }


async def test_a_person_holds_a_phone_and_gives_it_back(moving: RestFarm) -> None:
    """It waits, it is held with an address, nobody else gets it, it ends."""
    waiting = await changed(moving, "hold", seconds=60, wait_seconds=60)
    other = await change(moving, "hold")
    await moving.begun("SIM1")
    held = await moving.get(f"/holds/{waiting['process_id']}")
    phone = (await moving.get("/phones/ph-sim1"))["phone"]
    ending = await changed(moving, "unhold")
    (stop,) = (await moving.agent.hear("stops")).stops
    nobody = await moving.caller.call("POST", "/phones/ph-sim2/unhold", None)

    assert (waiting["state"], waiting["address"]) == ("QUEUED", None)
    assert (other.status, other.body["error"]) == (409, "state_conflict:held")
    assert (held["state"], held["agent_id"]) == ("EXECUTING", "agent-1")
    assert held["until"] is not None
    assert (phone["process_type"], phone["process_id"]) == ("hold", waiting["process_id"])
    assert ending["process_id"] == waiting["process_id"]
    assert stop.run.item_id
    assert (nobody.status, nobody.body["error"]) == (409, "state_conflict:not_held")


async def test_a_stuck_phone_is_released_by_its_epoch_alone(moving: RestFarm) -> None:
    """Another epoch changes nothing; a free phone has nothing to release."""
    await moving.enqueue()
    await moving.begun("SIM1")
    epoch = (await moving.get("/phones/ph-sim1"))["phone"]["lease_epoch"]

    wrong = await change(moving, "release", epoch=epoch + 1)
    right = await changed(moving, "release", epoch=epoch)
    free = await change(moving, "release", "ph-sim2", epoch=1)

    assert (wrong.status, wrong.body["error"]) == (409, f"state_conflict:epoch_{epoch}")
    assert reasons(right) == ["phone_busy"]
    assert (free.status, free.body["error"]) == (409, "state_conflict:free")


async def test_accounts_are_put_together_or_not_at_all(moving: RestFarm) -> None:
    """One wrong account keeps all out; each is named by its place."""
    good = {"account_id": "acc-new", "phone_id": None, "app": "shortvideo"}
    lost = {"account_id": "acc-lost", "phone_id": "ph-nobody", "app": "shortvideo"}
    tired = good | {"account_id": "acc-tired", "condition": "needs_attention"}

    refused = await moving.caller.call("PUT", "/accounts", {"accounts": [good, lost]})
    twice = await moving.caller.call("PUT", "/accounts", {"accounts": [good, good]})
    between = {one["account_id"] for one in (await moving.get("/accounts"))["accounts"]}
    put = await moving.caller.call("PUT", "/accounts", {"accounts": [good, tired]})
    cleared = await moving.post("/accounts/acc-tired/clear", WHY)

    assert (refused.status, refused.fields) == (404, ["accounts[1].phone_id"])
    assert (twice.status, twice.fields) == (422, ["accounts[1].account_id"])
    assert "acc-new" not in between
    assert [one["condition"] for one in put.body["accounts"]] == ["ok", "needs_attention"]
    assert (cleared.status, cleared.body["condition"]) == (200, "ok")


async def test_an_account_without_work_is_removed(moving: RestFarm) -> None:
    """While an item names it, it stays; its groups go with it, and its history stays."""
    body = {"phone_id": "ph-sim1", "app": "shortvideo"}
    assert (await moving.caller.call("PUT", "/accounts/acc-gone", body)).status == 200
    members = {"add_ids": ["acc-gone", "acc-SIM1"]}
    assert (await moving.post("/groups/account/leaving/members", members)).status == 200
    target = {"routing": "direct", "account_id": "acc-gone"}
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    request = moving.body(target=target, not_before=later)
    work = await moving.post("/capability-requests/enqueue", request)
    assert work.status == 202, work.body

    busy = await moving.post("/accounts/acc-gone/delete", WHY)
    process = f"/processes/{work.body['process_id']}"
    await moving.post(f"{process}/cancel", {"requested_by": {"system": "t"}, "reason": "r"})
    gone = await moving.post("/accounts/acc-gone/delete", WHY)
    again = await moving.post("/accounts/acc-gone/delete", WHY)

    assert (busy.status, busy.body["error"]) == (409, "state_conflict:has_work")
    assert (gone.status, gone.body["account_id"]) == (200, "acc-gone")
    assert again.status == 404
    assert (await moving.get(process))["status"] == "cancelled"
    groups = {one["name"]: one["member_ids"] for one in (await moving.get("/groups"))["groups"]}
    assert groups["leaving"] == ["acc-SIM1"]
    await moving.post("/groups/account/leaving/members", {"remove_ids": ["acc-SIM1"]})


async def test_members_come_and_go_one_by_one(moving: RestFarm) -> None:
    """Who is in it stays; the last to leave ends the group and its clean-up steps."""
    path = "/groups/phone/bench"
    first = await moving.post(f"{path}/members", {"add_ids": ["ph-sim1"]})
    more = await moving.post(f"{path}/members", {"add_ids": ["ph-sim1", "ph-sim2"]})
    await moving.caller.call("PUT", f"{path}/clean-up", {"steps": ["home"]})
    less = await moving.post(f"{path}/members", {"remove_ids": ["ph-sim1", "ph-nobody"]})
    none = await moving.post(f"{path}/members", {"remove_ids": ["ph-sim2"]})
    names = [one["name"] for one in (await moving.get("/groups"))["groups"]]

    assert first.body["member_ids"] == ["ph-sim1"]
    assert more.body["member_ids"] == ["ph-sim1", "ph-sim2"]
    assert (less.body["member_ids"], less.body["clean_up"]) == (["ph-sim2"], ["home"])
    assert (none.body["member_ids"], none.body["clean_up"]) == ([], None)
    assert "bench" not in names


async def test_alerts_without_an_alert_url(moving: RestFarm) -> None:
    """There are none to list, to test or to send again; each answer says so."""
    listed = await moving.get("/alerts")
    test = await moving.post("/alerts/test", {})
    again = await moving.post("/alerts/replay", {"sequence": 1})

    assert listed == {"receiver": None, "events": []}
    assert [each.body["error"] for each in (test, again)] == ["state_conflict:no_alert_url"] * 2
    assert "PHONEFARM_ALERT_URL" in test.body["detail"]


async def test_groups_are_put_and_cleaned_up_after(moving: RestFarm) -> None:
    """Members, the steps after each run, and no group without members."""
    put = moving.caller.call
    shelf = await put("PUT", "/groups/phone/shelf", {"member_ids": ["ph-sim1", "ph-sim2"]})
    launch = await put("PUT", "/groups/account/launch", {"member_ids": ["acc-SIM1"]})
    steps = await put("PUT", "/groups/phone/shelf/clean-up", {"steps": ["home", "stop_apps"]})
    listed = (await moving.get("/groups"))["groups"]
    silent = await put("PUT", "/groups/phone/shelf/clean-up", {"steps": None})
    await put("PUT", "/groups/account/launch", {"member_ids": []})
    left = (await moving.get("/groups"))["groups"]

    assert shelf.body == {
        "kind": "phone", "name": "shelf", "member_ids": ["ph-sim1", "ph-sim2"], "clean_up": None,
    }  # fmt: skip
    assert (launch.body["kind"], launch.body["member_ids"]) == ("account", ["acc-SIM1"])
    assert sorted(steps.body["clean_up"]) == ["home", "stop_apps"]
    assert [(one["kind"], one["name"]) for one in listed] == [
        ("account", "launch"),
        ("phone", "shelf"),
    ]
    assert silent.body["clean_up"] is None
    assert [one["name"] for one in left] == ["shelf"]


async def test_work_is_paused_and_resumed(moving: RestFarm) -> None:
    """By scope, with a reason that who waits is shown; a name nobody knows is refused."""
    process_id = await moving.enqueue()
    body = {"scope": "account", "name": "acc-SIM1", "reason": "its owner asked"}

    paused = await moving.post("/pause", body)
    everything = await moving.post("/pause", {"scope": "all", "reason": "a fire", "stop": True})
    listed = (await moving.get("/pauses"))["pauses"]
    explained = await moving.get(f"/processes/{process_id}/explain")
    unknown = await moving.post("/pause", body | {"name": "nobody"})
    resumed = [await moving.post("/resume", {"scope": "all"}) for _ in range(2)]

    assert paused.body["stopped"] == 0
    assert (everything.body["scope"], everything.body["name"]) == ("all", None)
    assert [(one["scope"], one["name"], one["reason"]) for one in listed] == [
        ("account", "acc-SIM1", "its owner asked"),
        ("all", None, "a fire"),
    ]
    assert "paused" in {reason["reason"] for reason in explained["reasons"]}
    assert (unknown.status, unknown.fields) == (422, ["name"])
    assert [answer.body["resumed"] for answer in resumed] == [True, False]


async def test_a_window_holds_work_back_until_it_is_removed(moving: RestFarm) -> None:
    """Who waits is shown the window; a name nobody knows is refused; it is removed once."""
    closed = "sun" if datetime.now(UTC).weekday() < 5 else "wed"
    about = {"scope": "account", "name": "acc-SIM1"}
    body = about | {"reason": "its owner sleeps", "zone": "UTC", "hours": [f"{closed} 10:00-16:00"]}
    put = await moving.post("/windows", body)
    process_id = await moving.enqueue()

    listed = (await moving.get("/windows"))["windows"]
    shown = await moving.get("/phones/ph-sim1")
    explained = await moving.get(f"/processes/{process_id}/explain")
    unknown = await moving.post("/windows", body | {"name": "nobody"})
    removed = [await moving.post("/windows/remove", about) for _ in range(2)]

    assert put.status == 200, put.body
    assert (put.body["open"], put.body["by"]) == (False, "ingest_secret")
    assert put.body["hours"] == body["hours"]
    assert listed == shown["windows"] == [put.body]
    (reason,) = explained["reasons"]
    assert reason["reason"] == "outside_window"
    assert put.body["changes_at"] in reason["remedy"]
    assert (unknown.status, unknown.fields) == (422, ["name"])
    assert [answer.body["removed"] for answer in removed] == [True, False]


async def test_work_recurs_until_its_schedule_is_paused_and_deleted(moving: RestFarm) -> None:
    """The schedule is shown as it was added, with its next instants and its process."""
    work = moving.body(request_id=None, callback=None, priority=7)
    body = WHY | {
        "name": "each-minute",
        "cron": "* * * * *",
        "zone": "Europe/Berlin",
        "request": work,
    }
    added = await moving.post("/schedules", body)
    again = await moving.post("/schedules", body)
    unknown = await moving.post(
        "/schedules", body | {"name": "x", "request": work | {"capability": "nothing"}}
    )
    listed = (await moving.get("/schedules"))["schedules"]
    paused = await moving.post("/schedules/each-minute/pause", WHY)
    resumed = await moving.post("/schedules/each-minute/resume", WHY)
    shown = await moving.get("/schedules/each-minute?next=3")
    deleted = await moving.post("/schedules/each-minute/delete", WHY)
    audited = (await moving.get("/audit?subject=schedule%20each-minute"))["entries"]

    assert added.status == 200, added.body
    assert added.body["request"] == {
        "capability": "keyword_warmup",
        "mode": "manual",
        "target": work["target"],
        "inputs": work["inputs"],
        "callback": None,
        "requested_by": {"system": "contract", "user": None, "metadata": {}},
        "priority": 7,
    }
    assert (added.body["catch_up"], added.body["overlap"]) == ("once", "skip")
    assert (again.status, again.body["error"]) == (409, "state_conflict:name_taken")
    assert (unknown.status, unknown.body["error"]) == (422, "unknown_capability:nothing")
    assert unknown.fields == ["request.capability"]
    assert [one["name"] for one in listed] == ["each-minute"]
    assert (paused.body["paused"], paused.body["next_at"]) == (True, None)
    assert resumed.body["next_at"] is not None
    assert len(shown["next_runs"]) == 3
    assert deleted.body == {"name": "each-minute"}
    assert (await moving.get("/schedules"))["schedules"] == []
    assert [entry["verb"] for entry in audited] == [
        f"{verb} schedule" for verb in ("delete", "resume", "pause", "add")
    ]


async def test_a_limit_is_put_listed_and_removed(moving: RestFarm) -> None:
    """Every wrong field is named; what is listed is what was put."""
    about = {"kind": "runs_per_day", "scope": "account", "name": "acc-SIM1", "reason": "agreed"}
    body = about | {"value": 3, "zone": "Europe/Berlin"}

    put = await moving.post("/limits", body)
    listed = (await moving.get("/limits"))["limits"]
    wrong = [
        await moving.post("/limits", body | changes)
        for changes in (
            {"name": "nobody"},
            {"scope": "every_account"},
            {"scope": "app", "name": "shortvideo"},
            {"zone": None},
            {"value": 0},
        )
    ]
    removed = [await moving.post("/limits/remove", about) for _ in range(2)]

    assert put.status == 200, put.body
    assert (put.body["value"], put.body["zone"], put.body["by"]) == (
        3,
        "Europe/Berlin",
        "ingest_secret",
    )
    assert listed == [put.body]
    assert [answer.status for answer in wrong] == [422] * 5
    assert [answer.fields for answer in wrong] == [
        ["name"],
        ["name"],
        ["scope"],
        ["zone"],
        ["value"],
    ]
    assert [answer.body["removed"] for answer in removed] == [True, False]


async def test_a_pause_says_which_deadlines_come_and_the_record_who_gave_them(
    moving: RestFarm,
) -> None:
    """The caller's go on; the farm's own limit, a day, is shown as the farm's."""
    deadline = (datetime.now(UTC) + timedelta(hours=5)).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    await moving.post(
        "/pause", {"scope": "app", "name": "shortvideo", "reason": "so that it waits"}
    )
    given = await moving.enqueue(request_id="given", deadline=deadline)
    own = await moving.enqueue(request_id="own")

    paused = await moving.post("/pause", {"scope": "all", "reason": "a fire"})
    shown = {}
    for process_id in (given, own):
        record = await moving.get(f"/processes/{process_id}")
        (line,) = record["partial_progress"]["items"]
        item = await moving.get(f"/queue-items/{line['queue_item_id']}")
        (waits,) = (await moving.get(f"/processes/{process_id}/explain"))["items"]
        places = (line, item, waits)
        shown[process_id] = [(one["deadline_at"], one["deadline_given"]) for one in places]

    assert (paused.body["waiting"], paused.body["deadlines_soon"]) == (2, 1)
    assert paused.body["first_deadline_at"] == deadline
    assert shown[given] == [(deadline, True)] * 3
    assert {given_by for _, given_by in shown[own]} == {False}
    (limit,) = {at for at, _ in shown[own]}
    assert limit > deadline


async def test_a_host_is_drained_and_used_again(moving: RestFarm) -> None:
    """Its phones say why they get no work; a host of this farm joins by no invitation."""
    drained = await moving.post("/agents/agent-1/drain", WHY)
    (agent,) = (await moving.get("/agents"))["agents"]
    phone = (await moving.get("/phones/ph-sim1"))["phone"]
    back = [await moving.caller.call("POST", "/agents/agent-1/undrain", why) for why in (WHY, None)]
    invited = await moving.post("/invitations", {"member_id": "host-2"})

    assert drained.body["drain_reason"] == "a test"
    assert (agent["agent_id"], agent["connected"], agent["phones"]) == ("agent-1", True, 3)
    assert (agent["drain_by"], agent["drain_reason"]) == ("ingest_secret", "a test")
    assert "agent_draining" in reasons(phone)
    assert phone["agent_drain"]
    assert [answer.body["undrained"] for answer in back] == [True, False]
    assert (invited.status, invited.body["error"]) == (409, "joining_closed")


async def test_a_key_is_made_used_and_revoked(moving: RestFarm) -> None:
    """Its text is shown once; it counts until it is revoked, and not a moment longer."""
    made = await moving.post("/keys", {"name": "reader", "scopes": ["read"]})
    twice = await moving.post("/keys", {"name": "reader", "scopes": ["read"]})
    past = await moving.post(
        "/keys", {"name": "old", "scopes": ["read"], "expires_at": "2020-01-01T00:00:00Z"}
    )
    key = made.body["secret"]
    used = await moving.caller.call("GET", "/phones", key=key)
    listed = (await moving.get("/keys"))["keys"]
    revoked = await moving.caller.call("POST", "/keys/reader/revoke")
    after = await moving.caller.call("GET", "/phones", key=key)

    assert (made.headers["Cache-Control"], made.body["scopes"]) == ("no-store", ["read"])
    assert (twice.status, twice.body["error"]) == (409, "state_conflict:reader")
    assert (past.status, past.fields) == (422, ["expires_at"])
    assert used.status == 200
    assert "secret" not in listed[0]
    assert key not in json.dumps(listed)
    assert revoked.body["revoked_at"] is not None
    assert after.status == 401


async def test_the_farm_is_examined(moving: RestFarm) -> None:
    """Findings with remedies, the worst verdict, nothing to do by hand, no incident."""
    examined = await moving.get("/doctor")
    needed = await moving.get("/needs-hands")
    incidents = await moving.get("/incidents")
    failing = await moving.get("/failing-receivers")

    verdicts = [finding["verdict"] for finding in examined["findings"]]
    assert {"controller", "database", "phones"} <= {each["check"] for each in examined["findings"]}
    assert examined["verdict"] == max(verdicts, key=["ok", "warn", "fail"].index)
    assert "1 of 1 host connected" in examined["summary"]
    assert needed == {"needed": []}
    assert incidents == {"incidents": []}
    assert failing == {"receivers": []}


async def test_the_audit_comes_in_pages(moving: RestFarm) -> None:
    """Each entry once, the newest first, to the end; a cursor of ours alone is taken."""
    for number in range(5):
        await changed(moving, "maintain", reason=f"the {number}. time")
    whole = (await moving.get("/audit?subject=ph-sim1"))["entries"]

    found, cursor = [], ""
    while True:
        page = await moving.get(f"/audit?subject=ph-sim1&limit=2{cursor}")
        found += page["entries"]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    wrong = await moving.caller.call("GET", "/audit?cursor=W10=")

    assert found == whole
    assert len(whole) >= 6
    assert (wrong.status, wrong.fields) == (422, ["cursor"])


async def test_a_process_is_rerun_once(moving: RestFarm) -> None:
    """After its end; a repeat answers with the same process."""
    process_id = await moving.enqueue()
    early = await moving.post(f"/processes/{process_id}/rerun", WHY)
    await moving.cancel(process_id)

    first = await moving.post(f"/processes/{process_id}/rerun", WHY)
    again = await moving.post(f"/processes/{process_id}/rerun", WHY)

    assert (early.status, early.body["error"]) == (409, "state_conflict:PLANNED")
    assert (first.status, first.body["already"], first.body["items"]) == (202, False, 1)
    assert again.status == 200
    assert again.body == first.body | {"already": True}
    assert (await moving.record(first.body["process_id"]))["status"] == "queued"


async def test_a_capability_is_proved_on_a_phone(moving: RestFarm) -> None:
    """The run is a process; it counts once it is completed and not before."""
    body = {"phone_id": "ph-sim1", "requested_by": "ada"}
    started = await moving.post("/capabilities/keyword_warmup/verify", body)
    early = await moving.post(f"/processes/{started.body['process_id']}/verification", None)
    unknown = await moving.post("/capabilities/dancing/verify", body)
    profile = {"name": "shortvideo", "profile_toml": "no profile = ["}
    unread = await moving.post("/profiles/check", body | profile)

    assert started.status == 202
    record = await moving.record(started.body["process_id"])
    assert (record["process_type"], record["status"]) == ("keyword_warmup", "queued")
    assert (early.status, early.body["error"].partition(":")[0]) == (409, "state_conflict")
    assert (unknown.status, unknown.body["error"]) == (422, "unknown_capability:dancing")
    assert (unread.status, unread.fields) == (422, ["profile_toml"])


def test_every_change_takes_a_reason_or_says_why_not() -> None:
    """What operators do is audited with a reason, except where the change is its own reason."""
    silent = {
        "putAccount", "putAccounts", "replayDeliveries", "createKey", "revokeKey",
        "verifyCapability", "checkProfile", "recordVerification", "sendTestAlert",
        "replayAlertEvent",
    }  # fmt: skip

    def takes_reason(endpoint: Endpoint[Any, Any]) -> bool:
        return "reason" in endpoint.body.model_fields

    found = {one.name for one in CHANGES if one.method != "GET" and not takes_reason(one)}
    assert found == silent


async def test_a_backup_is_the_database_with_all_work_paused(
    moving: RestFarm, tmp_path: Path
) -> None:
    """Whole, with its digest and a name for the file; the audit has who took it, and why."""
    answer = await moving.post("/backup", WHY)

    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/vnd.sqlite3")
    digest = base64.b64encode(hashlib.sha256(answer.body).digest()).decode()
    assert answer.headers["Repr-Digest"] == f"sha-256=:{digest}:"
    assert int(answer.headers["Content-Length"]) == len(answer.body)
    assert re.search(r'filename="farm-\d{8}T\d{6}Z\.db"', answer.headers["Content-Disposition"])
    copy = tmp_path / "copy.db"
    copy.write_bytes(answer.body)
    with closing(sqlite3.connect(copy)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert database.execute("SELECT count(*) FROM phones").fetchone()[0] > 0
        assert [row[0] for row in database.execute("SELECT scope FROM pauses")] == ["all"]
    (entry, *_) = (await moving.get("/audit?subject=database"))["entries"]
    assert (entry["verb"], entry["reason"]) == ("backup", WHY["reason"])
