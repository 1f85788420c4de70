"""What the executor does when the app, the phone or the agent does not do its part."""

import asyncio
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from support.run_bench import executor, plan_of, run_bench, step

WATCHED_SECONDS = 120.0
"""A stop must not wait for them; how much sooner it comes is the machine's affair."""


async def test_a_missing_selector_is_named_with_its_screen(tmp_path: Path) -> None:
    """The failure says what was looked for and where; picture and UI dump show the same screen."""

    def break_profile(plan: dict[str, Any]) -> None:
        plan["profile"]["selectors"]["search"]["box"] = {"id": "gone_box"}

    async with (
        run_bench(tmp_path) as bench,
        bench.run(
            step("launch_app"), step("search", keyword="tiny houses"), change=break_profile
        ) as story,
    ):
        code, last = await story.ending()

        failed = story.lines[-2]
        assert code == 1
        assert failed["type"] == "action_failed"
        assert failed["failure"] == last["failure"]
        assert failed["failure"]["code"] == "selector_not_found"
        assert failed["failure"]["class"] == "work"
        assert failed["failure"]["final"] is True
        message = failed["failure"]["message"]
        assert message.startswith("search: ")
        assert "search.box (resource-id com.example.shortvideo:id/gone_box)" in message
        assert "on the screen search" in message
        assert failed["evidence"] == ["a1-screen.png", "a1-ui.xml"]
        assert bench.control.evidence("a1-screen.png").startswith(b"\x89PNG")
        assert b"search_box" in bench.control.evidence("a1-ui.xml")
        assert {frame["action"] for frame in bench.control.of("evidence")} == {1}


async def test_a_consent_dialog_is_dismissed(tmp_path: Path) -> None:
    """A dialog the profile lists is dismissed by its button, also in the middle of watching."""
    async with run_bench(tmp_path) as bench:
        await bench.phone.fault("consent_dialog")
        async with bench.run(
            step("launch_app"), step("open_feed"), step("watch", seconds=3.0)
        ) as story:
            await story.until("action_started", index=2)
            await bench.phone.clear("consent_dialog")
            await bench.phone.fault("consent_dialog")
            code, _ = await story.ending()

        assert code == 0
        assert len(bench.effects("dialog_dismissed")) == 2
        assert story.outputs()[2]["seconds"] >= 3.0


async def test_a_logged_out_account_ends_the_run(tmp_path: Path) -> None:
    """The log-in screen is never worked around: the run ends as the account's failure."""
    async with run_bench(tmp_path) as bench:
        await bench.phone.fault("logged_out")
        async with bench.run(step("launch_app"), step("open_feed")) as story:
            code, last = await story.ending()

        assert code == 1
        assert last["failure"]["code"] == "account_logged_out"
        assert last["failure"]["class"] == "account"
        assert "log-in screen" in last["failure"]["message"]
        assert story.lines[-2]["evidence"] == ["a0-screen.png", "a0-ui.xml"]


async def test_an_app_that_is_missing_fails_before_the_gate(tmp_path: Path) -> None:
    """An app that is not installed is found while the run is prepared."""

    def other_app(plan: dict[str, Any]) -> None:
        plan["profile"]["package"] = "com.example.other"

    async with (
        run_bench(tmp_path) as bench,
        bench.run(step("launch_app"), go=False, change=other_app) as story,
    ):
        code, last = await story.ending()

        assert code == 1
        assert last["failure"]["code"] == "app_not_installed"
        assert bench.control.of("ready") == []


@pytest.mark.parametrize("how", ["stop", "SIGTERM"])
async def test_a_stop_ends_a_long_action_in_the_middle(tmp_path: Path, how: str) -> None:
    """`stop` and SIGTERM end even a long watch in the middle, and nothing more is begun."""
    async with (
        run_bench(tmp_path) as bench,
        bench.run(
            step("launch_app"),
            step("watch", seconds=WATCHED_SECONDS, limit=300.0),
            step("stop_app"),
        ) as story,
    ):
        await story.until("action_started", index=1)
        begun = time.monotonic()
        if how == "stop":
            bench.control.say(type="stop", reason="cancelled")
        else:
            story.process.send_signal(signal.SIGTERM)
        code, last = await story.ending()

        assert time.monotonic() - begun < WATCHED_SECONDS / 2
        assert (code, last["outcome"], last["failure"]) == (3, "stopped", None)
        assert [line["type"] for line in story.lines] == [
            "action_started",
            "action_done",
            "action_started",
            "run_finished",
        ]


async def test_a_stop_at_the_gate_does_nothing(tmp_path: Path) -> None:
    """Stopped before `go`, the run ends and the phone has seen no effect."""
    async with (
        run_bench(tmp_path) as bench,
        bench.run(step("launch_app"), go=False) as story,
    ):
        await bench.control.until("ready")
        bench.control.say(type="stop", reason="too late")
        code, last = await story.ending()

        assert (code, last["outcome"]) == (3, "stopped")
        assert [entry for entry in bench.phone.ledger() if entry.effect] == []


async def test_ready_is_said_again_after_a_reconnect(tmp_path: Path) -> None:
    """When the agent listens anew at the gate it hears hello and ready again."""
    async with (
        run_bench(tmp_path) as bench,
        bench.run(step("launch_app"), go=False, scale=1.0) as story,
    ):
        await bench.control.until("ready")
        await bench.control.hang_up()
        await bench.control.listen()
        await bench.control.until("ready", count=2)
        kinds = [message["type"] for message in bench.control.messages]
        await bench.open_gate()
        code, _ = await story.ending()

        assert kinds == ["hello", "ready", "hello", "ready"]
        assert code == 0


@pytest.mark.long
async def test_a_lost_agent_is_waited_for(tmp_path: Path) -> None:
    """A safe action whose adb.sock vanished is done anew once the socket is back."""
    async with (
        run_bench(tmp_path) as bench,
        bench.run(
            step("launch_app"), step("watch", seconds=4.0), step("stop_app"), scale=1.0
        ) as story,
    ):
        await story.until("action_started", index=1)
        await bench.close_proxy()
        await bench.control.hang_up()
        await bench.control.listen()
        await bench.control.until("hello", count=2)
        await bench.open_proxy()
        code, last = await story.ending()

        assert (code, last["outcome"]) == (0, "done")
        assert story.outputs()[1]["seconds"] >= 4.0


async def test_an_agent_that_stays_away_is_given_up(tmp_path: Path) -> None:
    """adb.sock gone for 90 s (scaled): the last line says abandoned, the exit code is 75."""
    async with (
        run_bench(tmp_path) as bench,
        bench.run(
            step("launch_app"), step("watch", seconds=WATCHED_SECONDS, limit=300.0), scale=0.02
        ) as story,
    ):
        await story.until("action_started", index=1)
        await bench.close_proxy()
        code, last = await story.ending()

        assert (code, last["outcome"]) == (75, "abandoned")
        assert last["failure"]["code"] == "run_abandoned"
        assert last["failure"]["class"] == "infra"


async def test_an_agent_that_never_listens_is_given_up(tmp_path: Path) -> None:
    """Without any agent the executor ends by itself before the gate, and starts no adb server."""
    adb = tmp_path / "adb"
    adb.write_text(f"#!/bin/sh\ntouch {tmp_path}/adb-was-run\n")
    adb.chmod(0o755)
    plan = json.dumps(plan_of([step("launch_app")], serial="nowhere"))
    path = {"ADBUTILS_ADB_PATH": str(adb), "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    async with executor(tmp_path, plan, scale=0.01, environment=path) as story:
        code, last = await story.ending()

    assert (code, last["outcome"]) == (75, "abandoned")
    assert not (tmp_path / "adb-was-run").exists()


async def test_hostile_lines_of_the_agent_are_passed_over(tmp_path: Path) -> None:
    """Garbage on the control socket is ignored; an endless line only costs the connection."""
    garbage = b'[1\n\xff\xfe\n{}\n{"type": 5}\n{"type": "ack"}\n' + b"[" * 100_000 + b"\n"
    async with (
        run_bench(tmp_path) as bench,
        bench.run(step("launch_app"), go=False, scale=1.0) as story,
    ):
        await bench.control.until("ready")
        bench.control.say_bytes(garbage + b"x" * 2_000_000)
        await bench.control.until("ready", count=2)
        bench.control.say_bytes(garbage)
        await bench.open_gate()
        code, _ = await story.ending()

        assert code == 0


async def test_a_cut_lease_ends_a_run_that_goes_on(tmp_path: Path) -> None:
    """A fenced run gets nothing through any more and gives up."""
    async with (
        run_bench(tmp_path) as bench,
        bench.run(
            step("launch_app"), step("watch", seconds=WATCHED_SECONDS, limit=300.0), scale=0.02
        ) as story,
    ):
        await story.until("action_started", index=1)
        bench.gate.close("fenced")
        mark = bench.phone.ledger()[-1].sequence
        code, last = await story.ending()

        assert (code, last["outcome"]) == (75, "abandoned")
        later = [entry.kind for entry in bench.phone.ledger(mark) if entry.kind == "service_opened"]
        assert later == []


async def test_a_connection_dropped_in_a_command_is_infra(tmp_path: Path) -> None:
    """A phone that vanishes within a command fails the action as infra, never as work."""
    async with run_bench(tmp_path) as bench:
        await bench.phone.fault("drop_mid_command", match="input tap")
        async with bench.run(step("launch_app"), step("tap", x=360, y=1220)) as story:
            code, last = await story.ending()

        assert code == 1
        assert last["failure"]["code"] in {"phone_lost", "adb_failed"}
        assert last["failure"]["class"] == "infra"
        assert last["failure"]["final"] is False
        assert len(bench.effects("tapped")) == 1


async def test_an_unplugged_phone_is_lost(tmp_path: Path) -> None:
    """A phone that is gone fails the run as phone_lost; adb's own words are quoted."""
    async with (
        run_bench(tmp_path) as bench,
        bench.run(step("launch_app"), step("watch", seconds=WATCHED_SECONDS, limit=300.0)) as story,
    ):
        await story.until("action_started", index=1)
        await bench.phone.fault("unplug")
        await bench.adb.wait_for_state(bench.phone.address, "offline", "")
        code, last = await story.ending()

        assert code == 1
        assert last["failure"]["code"] in {"phone_lost", "adb_failed"}
        assert last["failure"]["class"] == "infra"


@pytest.mark.long
async def test_a_phone_that_hangs_is_told_from_a_slow_app(tmp_path: Path) -> None:
    """A phone that answers nothing any more is to blame: neither UI server nor shell shows it."""
    async with (
        run_bench(tmp_path) as bench,
        bench.run(step("launch_app"), step("watch", seconds=WATCHED_SECONDS, limit=300.0)) as story,
    ):
        await story.until("action_started", index=1)
        await bench.phone.fault("ui_server_hangs")
        await bench.phone.fault("shell_hangs")
        code, last = await story.ending()

        assert code == 1
        assert last["failure"]["code"] == "ui_server_failed"
        assert last["failure"]["class"] == "infra"
        assert "did not answer within" in last["failure"]["message"]


async def test_a_shell_that_hangs_fails_the_action_that_needs_it(tmp_path: Path) -> None:
    """A touch that is never answered fails as infra after its own limit."""
    async with (
        run_bench(tmp_path) as bench,
        bench.run(
            step("launch_app"), step("watch", seconds=2.0), step("press_key", key="BACK")
        ) as story,
    ):
        await story.until("action_started", index=1)
        await bench.phone.fault("shell_hangs")
        code, last = await story.ending()

        assert code == 1
        assert last["failure"]["code"] == "adb_failed"
        assert "did not answer within" in last["failure"]["message"]


async def test_a_hung_phone_does_not_hold_up_a_stop(tmp_path: Path) -> None:
    """While a command is not answered the wish to stop is still looked at."""
    async with (
        run_bench(tmp_path) as bench,
        bench.run(
            step("launch_app"), step("open_feed"), step("watch", seconds=WATCHED_SECONDS)
        ) as story,
    ):
        await story.until("action_started", index=2)
        await bench.phone.fault("shell_hangs")
        begun = time.monotonic()
        bench.control.say(type="stop", reason="cancelled")
        code, _ = await story.ending()

        assert code == 3
        assert time.monotonic() - begun < WATCHED_SECONDS / 2


async def test_each_actions_limit_is_kept(tmp_path: Path) -> None:
    """An action beyond its limit fails as work, named with the limit."""
    async with (
        run_bench(tmp_path) as bench,
        bench.run(step("launch_app"), step("watch", seconds=60.0, limit=1.0)) as story,
    ):
        code, last = await story.ending()

        assert code == 1
        assert last["failure"]["code"] == "action_timeout"
        assert last["failure"]["class"] == "work"
        assert "limit 1 s" in last["failure"]["message"]


async def test_the_runs_cap_is_kept(tmp_path: Path) -> None:
    """At the cap the run ends by itself."""

    def cap(plan: dict[str, Any]) -> None:
        plan["cap_seconds"] = 2.0

    async with (
        run_bench(tmp_path) as bench,
        bench.run(step("launch_app"), step("watch", seconds=60.0), change=cap) as story,
    ):
        code, last = await asyncio.wait_for(story.ending(), 60)

        assert code == 1
        assert last["failure"]["code"] == "run_timeout"
        assert bench.control.connections >= 1


async def test_a_once_action_cut_off_is_of_unknown_outcome(tmp_path: Path) -> None:
    """A once action that lost adb.sock on the way is not repeated; nobody knows what it did."""
    async with (
        run_bench(tmp_path) as bench,
        bench.run(
            step("launch_app"), step("watch", seconds=60.0, limit=90.0, repeat="once"), scale=1.0
        ) as story,
    ):
        started = await story.until("action_started", index=1)
        bench.control.say(type="ack", sequence=started["sequence"])
        await bench.close_proxy()
        code, last = await story.ending()

        assert code == 1
        assert last["failure"]["code"] == "outcome_unknown:watch"
        assert last["failure"]["final"] is True
