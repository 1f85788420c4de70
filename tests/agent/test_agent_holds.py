"""Holds: a person drives a phone by the real adb, through a proxy of their own, for their time."""

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from phonefarm.v1 import fleet_pb2
from phonefarm_agent.phones.adb.server import adb_binary
from phonefarm_cli.errors import CommandError
from phonefarm_common.channel import bearer
from phonefarm_simulator.farm import Farm as Phones
from phonefarm_simulator.farm import simulated_phones
from sqlalchemy import text
from support.agents import PHONE_SCALE, agent_of, running_agent
from support.commanding import Operator, Told
from support.controller import KEY, PATIENCE, Farm, farm_on, request

APP = "com.example.shortvideo"


@asynccontextmanager
async def farm_with_phones(place: Path, count: int = 1) -> AsyncIterator[tuple[Farm, Phones]]:
    """Run a controller and an agent with simulated phones, admitted; one of them has an account."""
    async with (
        simulated_phones(count, place / "phones") as phones,
        farm_on(f"sqlite:///{place / 'farm.db'}", place / "data", scale=PHONE_SCALE) as farm,
        running_agent(agent_of(farm, place / "agent", phones)),
    ):
        await when(lambda: known_count(farm, count))
        await farm.admit(["SIM0001"])
        for phone in (await farm.known_phones())[1:]:
            await farm.fleet.AdmitPhone(
                fleet_pb2.AdmitPhoneRequest(phone_id=phone.phone_id), metadata=bearer(KEY)
            )
        yield farm, phones
        # What a run leaves is on its way up; whoever ends the farm now would cut it off.
        await when(lambda: all_kept(farm, place))


async def when(holds: Callable[[], Awaitable[bool]]) -> None:
    """Wait until it is so."""
    async with asyncio.timeout(PATIENCE):
        while not await holds():  # noqa: ASYNC110 - only asking tells
            await asyncio.sleep(0.02)


async def known_count(farm: Farm, count: int) -> bool:
    """Tell whether so many phones are known."""
    return len(await farm.known_phones()) == count


async def all_kept(farm: Farm, place: Path) -> bool:
    """Tell whether each run that ended has its manifest, which comes last."""
    async with farm.controller.database.reading() as tx:
        query = text("SELECT count(*) FROM runs WHERE state = 'ENDED'")
        ended = (await tx.connection.execute(query)).scalar_one()
    found = await asyncio.to_thread(lambda: list((place / "data").rglob("*manifest.json")))
    return len(found) >= int(ended)


async def all_free(farm: Farm) -> bool:
    """Tell whether no lease keeps a phone."""
    return all(phone.lease == "free" for phone in await farm.known_phones())


async def cut(reader: asyncio.StreamReader) -> bool:
    """Read to the end; tell whether the connection was reset."""
    try:
        async with asyncio.timeout(PATIENCE):
            while await reader.read(4096):
                pass
    except ConnectionResetError:
        return True
    return False


def port_of(told: Told) -> int:
    """Return the port that the command names."""
    return int(told.out.partition("adb -P ")[2].split()[0])


async def adb(port: int, *words: str, stdin: bytes | None = None) -> tuple[int, str]:
    """Give the real adb a command at this port; return its exit code and all it said."""
    process = await asyncio.create_subprocess_exec(
        adb_binary(),
        *words,
        env=os.environ | {"ANDROID_ADB_SERVER_PORT": str(port)},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(PATIENCE):
        out, _ = await process.communicate(stdin)
    return process.returncode or 0, out.decode()


async def test_a_person_works_with_the_real_adb_and_reaches_no_more_than_the_phone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Shell, push, pull and devices work; what ends, moves or leaves the phone is refused."""
    (tmp_path / "here").write_bytes(b"x" * 100_000)
    async with farm_with_phones(tmp_path, 2) as (farm, phones):
        operator = Operator.of(farm, capsys)
        held = await operator.command("phones", "hold", "SIM0001", "--reason", "it looks odd")
        port, other = port_of(held), phones["SIM0002"].address

        serial = await adb(port, "shell", "getprop", "ro.serialno")
        typed = await adb(port, "shell", stdin=b"echo by hand\nexit\n")
        pushed = await adb(port, "push", str(tmp_path / "here"), "/sdcard/there")
        pulled = await adb(port, "pull", "/sdcard/there", str(tmp_path / "back"))
        devices = await adb(port, "devices")
        named = await adb(port, "-s", phones["SIM0001"].address, "get-state")
        refused = [
            await adb(port, *words)
            for words in (
                ("reboot",),
                ("root",),
                ("tcpip", "5555"),
                ("forward", "tcp:0", "tcp:1"),
                ("reverse", "tcp:7000", "tcp:7000"),
                ("shell", "reboot"),
                ("-s", other, "shell", "getprop", "ro.serialno"),
                ("connect", "127.0.0.1:1"),
                ("kill-server",),
            )
        ]
        alive = await adb(port, "shell", "getprop", "ro.serialno")
        listed = await operator.command("phones", "list")
        process_id = held.out.partition("process ")[2].split()[0]
        await operator.command("phones", "unhold", "SIM0001", "--reason", "seen enough")
        ended = await farm.until(process_id, "cancelled")
        await when(lambda: all_free(farm))

        await when(lambda: all_kept(farm, tmp_path))
        (log,) = (tmp_path / "data").rglob("*run.log")

    assert (serial[0], serial[1].strip()) == (0, "SIM0001")
    assert "by hand" in typed[1]
    assert (pushed[0], pulled[0]) == (0, 0), (pushed, pulled)
    assert (tmp_path / "back").read_bytes() == b"x" * 100_000
    assert devices[1].splitlines()[1:2] == [f"{phones['SIM0001'].address}\tdevice"]
    assert named == (0, "device\n")
    assert all(code for code, _ in refused), refused
    assert (alive[0], alive[1].strip()) == (0, "SIM0001")
    assert any(process_id == row[listed.rows[0].index("PROCESS")] for row in listed.rows)
    assert ended.process_type == "hold"
    assert "by hand: " in log.read_text()
    rebooted = [e for e in phones["SIM0001"].ledger() if e.kind == "rebooted"]
    assert rebooted == []


@pytest.mark.parametrize("how", ["unhold", "cancel", "release"])
async def test_an_open_shell_is_cut_when_the_hold_is_ended(
    how: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By its own verb, by a cancel of its process, by a release of the phone; then it is free."""
    async with farm_with_phones(tmp_path) as (farm, phones):
        operator = Operator.of(farm, capsys)
        held = await operator.command("phones", "hold", "SIM0001", "--reason", "it looks odd")
        process_id = held.out.partition("process ")[2].split()[0]
        reader, writer = await _shell(port_of(held), phones["SIM0001"].address)
        writer.write(b"echo typed\n")
        async with asyncio.timeout(PATIENCE):
            await reader.readuntil(b"typed")

        reason = ("--reason", "seen enough")
        if how == "cancel":
            words = ("processes", "cancel", process_id, "--strategy", "hard")
            await operator.command(*words, *reason)
        elif how == "release":
            await operator.command("phones", "release", "SIM0001", "--epoch", "1", *reason)
        else:
            await operator.command("phones", "unhold", "SIM0001", *reason)
        was_cut = await cut(reader)
        writer.close()
        await when(lambda: all_free(farm))
        accepted = await farm.enqueue(request())
        await farm.until(accepted.process_id, "completed")

    assert was_cut


async def _shell(port: int, serial: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open an interactive shell by the adb protocol itself, to see how it is cut."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for asked in (f"host:transport:{serial}", "shell:"):
        writer.write(f"{len(asked):04x}{asked}".encode())
        async with asyncio.timeout(PATIENCE):
            assert await reader.readexactly(4) == b"OKAY"
    return reader, writer


async def test_a_hold_ends_at_its_time_and_its_connections_with_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process is completed, nobody listens any more, and the phone is free."""
    monkeypatch.setattr("phonefarm_controller.capabilities.planners.hold.SHORTEST_SECONDS", 1)
    monkeypatch.setattr("phonefarm_cli.console.times._UNIT_SECONDS", {"m": 2, "h": 3600})
    async with farm_with_phones(tmp_path) as (farm, phones):
        operator = Operator.of(farm, capsys)
        words = ("phones", "hold", "SIM0001", "--for", "1m", "--wait", "1h", "--reason", "r")
        held = await operator.command(*words)
        process_id = held.out.partition("process ")[2].split()[0]
        reader, writer = await _shell(port_of(held), phones["SIM0001"].address)

        was_cut, at = await cut(reader), time.time()
        record = await farm.until(process_id, "completed")
        writer.close()
        await when(lambda: all_free(farm))
        with socket.socket() as gone:
            refused = gone.connect_ex(("127.0.0.1", port_of(held)))

    began = record.timestamps.executing_at.ToMilliseconds() / 1000
    assert was_cut
    assert 1.9 < at - began < PATIENCE
    assert refused != 0


async def test_a_phone_without_an_account_in_maintenance_is_held_while_all_is_paused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A person may look at what gets no work; a second hold is refused, and says who holds it."""
    async with farm_with_phones(tmp_path, 2) as (farm, _):
        operator = Operator.of(farm, capsys)
        await operator.command("phones", "maintain", "SIM0002", "--reason", "a look")
        await operator.command("pause", "--all", "--reason", "a look")

        held = await operator.command("phones", "hold", "SIM0002", "--reason", "a look")
        with pytest.raises(CommandError, match="state_conflict:held"):
            await operator.command("phones", "hold", "SIM0002", "--reason", "me too")
        serial = await adb(port_of(held), "shell", "getprop", "ro.serialno")
        await operator.command("phones", "unhold", "SIM0002", "--reason", "seen")
        await when(lambda: all_free(farm))
        with pytest.raises(CommandError, match="state_conflict:not_held"):
            await operator.command("phones", "unhold", "SIM0002", "--reason", "again")
        (phone,) = [phone for phone in await farm.known_phones() if phone.serialno == "SIM0002"]

    assert serial[1].strip() == "SIM0002"
    assert (phone.intent, phone.health) == ("maintenance", "good")
