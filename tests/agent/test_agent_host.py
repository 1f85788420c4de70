"""What hits the host as a whole: its phones are withheld, told once, and none is to blame."""

import asyncio
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
from phonefarm.v1 import agent_pb2 as pb
from phonefarm_agent.app.settings import Settings
from phonefarm_agent.runtimes.dummy import DummyRuntime
from phonefarm_agent.runtimes.interface import RuntimeFailedError
from phonefarm_common.disk_space import MIB
from phonefarm_simulator.farm import simulated_phones
from support.agents import PHONE_SCALE, assignment, running_agent
from support.controller_script import Heard, ScriptedController
from support.disk import LEAST, RESERVE, fill


def incident(heard: Heard, kind: str, *, ended: bool) -> pb.HostIncident | None:
    """Return the newest incident of that kind if it is over, or lasts, as asked."""
    of_kind = [one for one in heard.host().incidents if one.kind == kind]
    return of_kind[-1] if of_kind and of_kind[-1].HasField("ended_at") is ended else None


async def test_a_full_disk_withholds_the_host_and_ends_what_runs(
    controller: ScriptedController, settings: Settings, disk: Path
) -> None:
    """Nothing new begins, with the reason; what runs ends with its evidence; then all goes on."""
    changes = {"state": disk / "state", "least_free": LEAST, "reserve": RESERVE}
    async with running_agent(settings, **changes):
        heard = controller.heard
        await heard.until(lambda: len(heard.offered()) == 2)
        reserve = disk / "state" / "reserve"
        there = reserve.stat().st_blocks * 512
        running = assignment("DUMMY0001", actions=1, seconds=1.5)
        await controller.assign(running)
        await heard.until(lambda: "action_started" in heard.story(running.run.run_id))

        await asyncio.to_thread(fill, disk, leave=RESERVE + 8 * MIB)
        began = await heard.until(lambda: incident(heard, "storage_full", ended=False))
        await heard.until(lambda: not heard.offered())
        withheld = heard.host().withheld
        late = assignment("DUMMY0002")
        await controller.assign(late)
        refused = await heard.until(lambda: heard.refused(late.run.run_id))
        await asyncio.to_thread(fill, disk, leave=0)
        ended = await heard.until(lambda: heard.ended(running.run.run_id))
        (disk / "ballast").unlink()
        over = await heard.until(lambda: incident(heard, "storage_full", ended=True))
        await heard.until(lambda: len(heard.offered()) == 2)
        after = heard.host().withheld

    assert there >= RESERVE
    assert withheld.startswith("host_storage_full:")
    assert "MiB free, at least 24 MiB are needed" in withheld
    assert refused == withheld
    assert ended.outcome == pb.RUN_OUTCOME_DONE
    assert (began.incident_id, after) == (over.incident_id, "")


async def test_a_runtime_that_is_away_is_one_incident(
    controller: ScriptedController, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The host is withheld with what the engine said, until it answers again."""
    said = ["Cannot connect to the Docker daemon"]

    async def check(_: DummyRuntime) -> None:
        if said:
            raise RuntimeFailedError(said[0])

    async with running_agent(settings):
        heard = controller.heard
        await heard.until(lambda: len(heard.offered()) == 2)
        before = list(heard.host().incidents)
        monkeypatch.setattr(DummyRuntime, "check", check)
        began = await heard.until(lambda: incident(heard, "runtime_down", ended=False))
        withheld = heard.host().withheld
        await heard.until(lambda: not heard.offered())
        said.clear()
        over = await heard.until(lambda: incident(heard, "runtime_down", ended=True))
        await heard.until(lambda: len(heard.offered()) == 2)

    assert not before
    assert withheld == "runtime_failed:Cannot connect to the Docker daemon"
    assert (over.incident_id, over.error) == (began.incident_id, withheld)


async def test_a_killed_adb_server_is_one_incident_with_an_end(
    controller: ScriptedController, settings: Settings, tmp_path: Path
) -> None:
    """Its phones are named, withheld and not helped, and nothing is called lost."""
    async with simulated_phones(3, tmp_path / "phones") as farm:
        wanted = replace(
            settings,
            dummy_phones=0,
            connect=tuple(phone.address for phone in farm),
            time_scale=PHONE_SCALE,
            phone_limits=settings.phone_limits.scaled(PHONE_SCALE),
            timers=type(settings.timers)().scaled(PHONE_SCALE),
        )
        async with running_agent(wanted):
            heard = controller.heard
            await heard.until(lambda: len(heard.offered()) == 3)
            mark = len(heard.messages)

            os.kill(await asyncio.to_thread(adb_pid, wanted.state), signal.SIGKILL)
            over = await heard.until(lambda: incident(heard, "adb_down", ended=True))
            await heard.until(lambda: len(heard.offered()) == 3)

            told = [message.inventory.host for message in heard.messages[mark:]]
            assert "adb_server_down" in {host.withheld for host in told}
            assert over.error.startswith("exited with code")
            assert list(over.serialnos) == ["SIM0001", "SIM0002", "SIM0003"]
            assert [one.kind for one in heard.host().incidents] == ["adb_down"]
            assert heard.host().withheld == ""
            assert not heard.recovery()


def adb_pid(state: Path) -> int:
    """Return the adb server whose home lies in *state*."""
    home = f"HOME={state / 'adb'}".encode()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            nodaemon = b"nodaemon" in (entry / "cmdline").read_bytes()
            if nodaemon and home in (entry / "environ").read_bytes().split(b"\0"):
                return int(entry.name)
        except OSError:
            continue
    raise AssertionError("no adb server of this agent")
