"""Real adb and simulated phones: what is found, what is offered, and why the rest is not."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from phonefarm.v1 import agent_pb2 as pb
from phonefarm_agent.app.settings import Settings
from phonefarm_common.timers import Timers
from phonefarm_simulator.farm import Farm, simulated_phones
from support.agents import PHONE_SCALE, RunningAgent, assignment, phone_work, running_agent
from support.controller_script import ScriptedController

LEASE_FILE = "/data/local/tmp/phonefarm-lease"


@pytest.fixture
def timers() -> Timers:
    """Return the table, five times as fast."""
    return Timers().scaled(PHONE_SCALE)


@pytest.fixture
async def farm(tmp_path: Path) -> AsyncIterator[Farm]:
    """Run two simulated phones."""
    async with simulated_phones(2, tmp_path / "phones") as phones:
        yield phones


@asynccontextmanager
async def phone_agent(
    settings: Settings, farm: Farm, **changes: Any
) -> AsyncIterator[RunningAgent]:
    """Run an agent that was told of the farm's phones."""
    wanted = replace(
        settings,
        dummy_phones=0,
        connect=tuple(phone.address for phone in farm),
        time_scale=PHONE_SCALE,
        ready_file=settings.state.parent / "ready.json",
    )
    async with running_agent(wanted, **changes) as running:
        yield running


def lease_on(farm: Farm, serial: str) -> dict[str, Any]:
    """Return what the lease file of a phone says."""
    document: dict[str, Any] = json.loads(farm[serial].phone.files.read(LEASE_FILE))
    return document


async def test_phones_are_found_identified_and_offered(
    controller: ScriptedController, settings: Settings, farm: Farm
) -> None:
    """Both phones are offered by their ro.serialno, with what they are."""
    async with phone_agent(settings, farm):
        heard = controller.heard
        await heard.until(lambda: sorted(heard.offered()) == ["SIM0001", "SIM0002"])

        report = heard.phones()[farm["SIM0001"].address]

        assert report.serialno == "SIM0001"
        assert report.transport == pb.TRANSPORT_ONLINE
        assert report.readiness == pb.READINESS_READY
        assert report.android_release == "15"
        assert settings.state.parent.joinpath("ready.json").exists()


@pytest.mark.long
async def test_a_phone_whose_shell_hangs_is_not_offered(
    controller: ScriptedController, settings: Settings, farm: Farm
) -> None:
    """Listed as online is no evidence; the phone is back on offer once its shell answers."""
    async with phone_agent(settings, farm):
        heard = controller.heard
        await heard.until(lambda: len(heard.offered()) == 2)

        await farm["SIM0001"].fault("shell_hangs")
        await heard.until(lambda: heard.offered() == ["SIM0002"])
        address = farm["SIM0001"].address
        silent = await heard.until(lambda: heard.phone(address, reason="shell_silent"))
        await farm["SIM0001"].clear("shell_hangs")
        await heard.until(lambda: len(heard.offered()) == 2)

        assert silent.transport == pb.TRANSPORT_ONLINE
        assert silent.readiness == pb.READINESS_UNKNOWN


@pytest.mark.parametrize(
    "case",
    [
        ("battery_low", {"level": 5}, pb.READINESS_UNFIT, "battery_low:5"),
        ("battery_hot", {"celsius": 48.0}, pb.READINESS_COOLING, "battery_hot:48"),
        ("duplicate_serial", {"as_serial": ""}, pb.READINESS_UNFIT, "empty_serial"),
        (
            "duplicate_serial",
            {"as_serial": "0123456789ABCDEF"},
            pb.READINESS_UNFIT,
            "placeholder_serial",
        ),
    ],
)
async def test_an_unfit_phone_is_reported_with_its_reason(
    controller: ScriptedController,
    settings: Settings,
    farm: Farm,
    case: tuple[str, dict[str, Any], int, str],
) -> None:
    """A phone found unfit is told of, not offered; its neighbour is."""
    fault, params, readiness, reason = case
    await farm["SIM0001"].fault(fault, **params)
    async with phone_agent(settings, farm):
        heard = controller.heard
        await heard.until(lambda: heard.offered() == ["SIM0002"])

        address = farm["SIM0001"].address
        report = await heard.until(lambda: heard.phone(address, reason=reason))

        assert report.readiness == readiness


async def test_two_phones_of_one_serial_are_both_refused(
    controller: ScriptedController, settings: Settings, farm: Farm
) -> None:
    """Nobody can tell which of the two is meant; one alone is fine again."""
    await farm["SIM0001"].fault("duplicate_serial", as_serial="SIM0002")
    async with phone_agent(settings, farm):
        heard = controller.heard
        await heard.until(
            lambda: [phone.reason for phone in heard.phones().values()] == ["duplicate_serial"] * 2
        )
        # An offer from before the second one was identified is replaced.
        await heard.until(lambda: not heard.offered())
        refused = heard.offered()

        await farm["SIM0001"].fault("unplug")
        await heard.until(lambda: heard.offered() == ["SIM0002"])

        assert refused == []


async def test_an_unauthorized_phone_is_reported_and_left_alone(
    controller: ScriptedController, settings: Settings, farm: Farm
) -> None:
    """Trying again makes no difference and hides the phone: it is shown as it is."""
    await farm["SIM0001"].fault("unauthorized")
    async with phone_agent(settings, farm):
        heard = controller.heard
        address = farm["SIM0001"].address
        await heard.until(lambda: heard.offered() == ["SIM0002"])

        await heard.until(
            lambda: (
                address in heard.phones()
                and heard.phones()[address].transport == pb.TRANSPORT_UNAUTHORIZED
            )
        )


async def test_an_unplugged_phone_vanishes_and_comes_back(
    controller: ScriptedController, settings: Settings, farm: Farm
) -> None:
    """It leaves the offer at once and is connected again by itself."""
    async with phone_agent(settings, farm):
        heard = controller.heard
        await heard.until(lambda: len(heard.offered()) == 2)

        await farm["SIM0001"].fault("unplug")
        await heard.until(lambda: heard.offered() == ["SIM0002"])
        await farm["SIM0001"].clear("unplug")
        await heard.until(lambda: len(heard.offered()) == 2)


async def test_a_killed_adb_server_is_an_incident_of_the_host(
    controller: ScriptedController, settings: Settings, farm: Farm
) -> None:
    """Every phone is withheld until the server is back; none is called unfit."""
    async with phone_agent(settings, farm):
        heard = controller.heard
        await heard.until(lambda: len(heard.offered()) == 2)
        mark = len(heard.messages)

        os.kill(await _adb_pid(settings), signal.SIGKILL)
        await heard.until(lambda: heard.offered() == [])
        await heard.until(lambda: len(heard.offered()) == 2)

        later = [phone for message in heard.messages[mark:] for phone in message.inventory.phones]
        assert later
        assert all(
            phone.readiness not in {pb.READINESS_UNFIT, pb.READINESS_COOLING} for phone in later
        )


async def test_a_run_leaves_its_lease_and_a_clean_phone(
    controller: ScriptedController, settings: Settings, farm: Farm
) -> None:
    """The epoch is on the phone before the run acts, and the agent reads it back later."""
    async with phone_agent(settings, farm):
        heard = controller.heard
        await heard.until(lambda: len(heard.offered()) == 2)
        work = assignment("SIM0001", epoch=7)

        await controller.assign(work)
        ended = await heard.until(lambda: heard.ended(work.run.run_id))

        released = heard.released(work.run.run_id)
        assert ended.outcome == pb.RUN_OUTCOME_DONE
        assert released == pb.PhoneReleased(clean=True)
        assert lease_on(farm, "SIM0001") == {
            "epoch": 7,
            "run": work.run.run_id,
            "agent": "agent-1",
        }
        await heard.until(lambda: len(heard.offered()) == 2)


async def test_a_phone_that_saw_a_higher_epoch_refuses_an_older_run(
    controller: ScriptedController, settings: Settings, farm: Farm
) -> None:
    """An epoch never goes back: the run is refused and the file is left as it is."""
    async with phone_agent(settings, farm):
        heard = controller.heard
        await heard.until(lambda: len(heard.offered()) == 2)
        farm["SIM0001"].phone.write_file(LEASE_FILE, b'{"epoch": 9, "run": "r", "agent": "a"}\n')
        old = assignment("SIM0001", epoch=8)

        await controller.assign(old)
        reason = await heard.until(lambda: heard.refused(old.run.run_id))

        assert reason == "epoch_too_old:9"
        assert lease_on(farm, "SIM0001")["epoch"] == 9


async def test_a_phone_that_falls_silent_at_the_claim_is_refused(
    controller: ScriptedController, settings: Settings, farm: Farm
) -> None:
    """The probe at the claim finds what the offer could not know yet."""
    async with phone_agent(settings, farm):
        heard = controller.heard
        await heard.until(lambda: len(heard.offered()) == 2)
        work = assignment("SIM0001")
        await farm["SIM0001"].fault("shell_hangs")

        await controller.assign(work)
        reason = await heard.until(lambda: heard.refused(work.run.run_id))

        assert reason == "phone_silent"


async def test_the_executor_drives_a_phone_under_the_process_runtime(
    controller: ScriptedController, settings: Settings, farm: Farm
) -> None:
    """Agent, proxy, executor and phone together: effects under the run's epoch, a clean phone."""
    async with phone_agent(settings, farm, runtime="process"):
        heard = controller.heard
        await heard.until(lambda: len(heard.offered()) == 2)
        work = phone_work(
            "SIM0001",
            ("launch_app", {}),
            ("search", {"keyword": "night trains"}),
            ("screenshot", {"name": "seen"}),
            epoch=3,
        )

        await controller.assign(work)
        ended = await heard.until(lambda: heard.ended(work.run.run_id), seconds=60)
        await heard.until(lambda: len(heard.evidence) == 4)

        assert ended.outcome == pb.RUN_OUTCOME_DONE, ended
        names = [file.head.name for file in heard.evidence]
        assert names == ["seen.png", "run.log", "logcat.txt", "manifest.json"]
        searched = [entry for entry in farm["SIM0001"].ledger() if entry.kind == "searched"]
        assert [entry.epoch for entry in searched] == [3]
        assert heard.released(work.run.run_id) == pb.PhoneReleased(clean=True)
        state = farm["SIM0001"].state()
        assert not state["app"]["running"]
        assert not farm["SIM0001"].phone.files.exists(
            f"/data/local/tmp/phonefarm/{work.run.run_id}"
        )


@pytest.mark.long
async def test_clean_up_that_never_answers_makes_the_phone_dirty(
    controller: ScriptedController, settings: Settings, farm: Farm
) -> None:
    """A phone that cannot be cleaned in time is given back as not clean, with the reason."""
    timers = replace(settings.timers, clean_up=3.0)
    async with phone_agent(settings, farm, timers=timers):
        heard = controller.heard
        await heard.until(lambda: len(heard.offered()) == 2)
        work = assignment("SIM0001", actions=1, seconds=1.0)
        await controller.assign(work)
        await heard.until(lambda: "action_started" in heard.story(work.run.run_id))

        await farm["SIM0001"].fault("shell_hangs")
        ended = await heard.until(lambda: heard.ended(work.run.run_id), seconds=40)

        released = heard.released(work.run.run_id)
        assert ended.outcome == pb.RUN_OUTCOME_DONE
        assert released is not None
        assert not released.clean
        assert released.reason.startswith("clean_up_failed")


async def test_what_a_clean_up_leaves_is_reported(
    controller: ScriptedController, settings: Settings, farm: Farm
) -> None:
    """A phone on which something of the run stays is dirty, and the reason says what stays."""
    timers = replace(settings.timers, clean_up=2.0)
    async with phone_agent(settings, farm, runtime="process", timers=timers):
        heard = controller.heard
        await heard.until(lambda: len(heard.offered()) == 2)
        await farm["SIM0001"].fault("files_stay")
        await farm["SIM0001"].fault("app_stays")
        work = phone_work("SIM0001", ("launch_app", {}), ("search", {"keyword": "ramen"}))
        await controller.assign(work)
        ended = await heard.until(lambda: heard.ended(work.run.run_id), seconds=60)

        released = heard.released(work.run.run_id)
        assert ended.outcome == pb.RUN_OUTCOME_DONE, ended
        assert released is not None
        folder = f"folder /data/local/tmp/phonefarm/{work.run.run_id}"
        assert list(released.residue) == [folder, "process com.example.shortvideo"]
        assert not released.clean
        assert released.reason.startswith(f"clean_up_failed: left: {folder}")


async def test_a_phone_left_unclean_is_cleaned_later_also_by_the_next_start(
    controller: ScriptedController, settings: Settings, farm: Farm
) -> None:
    """Its agent goes on trying; a new one reads it in the journal. No run begins meanwhile."""
    timers = replace(settings.timers, clean_up=2.0)
    async with phone_agent(settings, farm, runtime="process", timers=timers):
        heard = controller.heard
        await heard.until(lambda: len(heard.offered()) == 2)
        await farm["SIM0001"].fault("files_stay")
        work = phone_work("SIM0001", ("launch_app", {}))
        await controller.assign(work)
        await heard.until(lambda: heard.ended(work.run.run_id), seconds=60)
        first = heard.releases(work.run.run_id)
    async with phone_agent(settings, farm, runtime="process", timers=timers):
        await farm["SIM0001"].clear("files_stay")
        await heard.until(lambda: heard.releases(work.run.run_id)[-1].clean)

    assert [released.clean for released in first] == [False]
    assert [each.clean for each in heard.releases(work.run.run_id)] == [False, True]
    assert heard.starts(work.run.run_id) == 1
    folder = f"/data/local/tmp/phonefarm/{work.run.run_id}"
    assert not farm["SIM0001"].phone.files.exists(folder)


async def test_a_phone_that_does_not_come_home_is_dirty(
    controller: ScriptedController, settings: Settings, farm: Farm
) -> None:
    """The key was pressed; what is in front afterwards is looked at, and named."""
    timers = replace(settings.timers, clean_up=2.0)
    async with phone_agent(settings, farm, runtime="process", timers=timers):
        heard = controller.heard
        await heard.until(lambda: len(heard.offered()) == 2)
        await farm["SIM0001"].fault("ignores_home")
        work = phone_work("SIM0001", ("launch_app", {}), clean_up=["remove_added", "home"])
        await controller.assign(work)
        released = await heard.until(lambda: heard.released(work.run.run_id), seconds=60)

        assert list(released.residue) == ["foreground com.example.shortvideo"]
        assert not released.clean
        assert farm["SIM0001"].state()["app"]["running"]


async def test_a_pool_may_leave_its_app_running(
    controller: ScriptedController, settings: Settings, farm: Farm
) -> None:
    """What the policy leaves out is not done, and not missed."""
    async with phone_agent(settings, farm, runtime="process"):
        heard = controller.heard
        await heard.until(lambda: len(heard.offered()) == 2)
        work = phone_work("SIM0001", ("launch_app", {}), clean_up=["remove_added", "home"])
        await controller.assign(work)
        released = await heard.until(lambda: heard.released(work.run.run_id), seconds=60)

        assert released == pb.PhoneReleased(clean=True)
        assert farm["SIM0001"].state()["app"]["running"]


async def test_a_clean_up_goes_on_until_nothing_is_left(
    controller: ScriptedController, settings: Settings, farm: Farm
) -> None:
    """What could not be removed at first is tried again, and the phone is given back clean."""
    async with phone_agent(settings, farm, runtime="process"):
        heard = controller.heard
        await heard.until(lambda: len(heard.offered()) == 2)
        phone = farm["SIM0001"]
        await phone.fault("app_stays")
        work = phone_work("SIM0001", ("launch_app", {}))
        await controller.assign(work)
        await heard.until(lambda: "run_ended" in heard.story(work.run.run_id), seconds=60)

        await phone.clear("app_stays")
        await heard.until(lambda: heard.released(work.run.run_id), seconds=60)

        assert heard.released(work.run.run_id) == pb.PhoneReleased(clean=True)
        assert not phone.state()["app"]["running"]


async def _adb_pid(settings: Settings) -> int:
    """Return the process that listens where the agent's ready file says."""
    ready = json.loads(settings.state.parent.joinpath("ready.json").read_text())
    return await asyncio.to_thread(_listener, ready["adb"].rpartition(":")[2])


def _listener(port: str) -> int:
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().split(b"\0")
        except OSError:
            continue
        if f"tcp:localhost:{port}".encode() in words and b"nodaemon" in words:
            return int(entry.parent.name)
    raise AssertionError("no adb server of this agent")
