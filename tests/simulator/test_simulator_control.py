"""The command and its control API, as another program uses them."""

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck
from hypothesis import strategies as st
from phonefarm_simulator.cli import main
from phonefarm_simulator.control import Control, ControlError
from phonefarm_simulator.control_server import answer_line, control_served
from phonefarm_simulator.farm import Farm, simulated_phones
from support.adb import AdbServer, adb_server
from support.examples import at_most, given


@asynccontextmanager
async def simulator(directory: Path, *words: str) -> AsyncIterator[dict[str, Any]]:
    """Run the command until its ready-file is there; end it with SIGTERM and expect a clean end."""
    ready = directory / "ready.json"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "phonefarm_simulator", "--data", str(directory / "data")),
        *("--ready-file", str(ready), "--log-level", "warning", *words),
        stdin=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(180):
            while not ready.exists():
                assert process.returncode is None
                await asyncio.sleep(0.02)  # a file's coming is nothing one can await
        yield {"pid": process.pid, **json.loads(ready.read_text())}
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 10) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_the_command_serves_phones_and_control(tmp_path: Path) -> None:
    """The ready-file names phones that adb can drive and a control API that tells what they did."""
    async with (
        simulator(tmp_path, "--phones", "2", "--personality", "ideal") as ready,
        adb_server(tmp_path) as adb,
        Control.connected(ready["control"]) as control,
    ):
        first, second = ready["phones"]
        await adb.connect(first["address"])
        before = (await control.state(first["serial"]))["last_sequence"]
        await adb.shell(first["address"], "am start -n com.example.shortvideo/.MainActivity")

        started = await control.wait_for(first["serial"], "app_started", since=before)
        state = await control.state(first["serial"])

        assert [phone["serial"] for phone in await control.phones()] == ["SIM0001", "SIM0002"]
        assert (started["connection"], started["effect"]) == (1, True)
        assert state["foreground"]["package"] == "com.example.shortvideo"
        assert state["app"]["screen"] == "feed"
        assert await control.ledger(second["serial"]) == []
        on_file = (tmp_path / "data" / "SIM0001.ledger.jsonl").read_text().splitlines()
        assert [json.loads(line) for line in on_file] == await control.ledger("SIM0001")


async def test_faults_battery_and_account_by_control(tmp_path: Path) -> None:
    """What the API sets is what the state shows, and clear ends every fault."""
    async with (
        simulated_phones(1, tmp_path) as farm,
        control_served(farm, host="127.0.0.1", port=0) as address,
        Control.connected(address) as control,
    ):
        await control.fault("SIM0001", "battery_low", level=4)
        await control.fault("SIM0001", "slow", milliseconds=5)
        await control.account("SIM0001", display_name="Zoe")
        faulty = await control.state("SIM0001")
        await control.fault("SIM0001", "slow", on=False)
        less = await control.state("SIM0001")
        await control.clear("SIM0001")
        await control.battery("SIM0001", level=55)
        well = await control.state("SIM0001")

    assert faulty["faults"] == ["battery_low", "slow"]
    assert faulty["battery"]["level"] == 4
    assert faulty["account"]["display_name"] == "Zoe"
    assert less["faults"] == ["battery_low"]
    assert well["faults"] == []
    battery = {"level": 55, "celsius": 27.5, "charging": True, "present": True}
    assert well["battery"] == battery


@pytest.mark.parametrize(
    ("op", "values", "error"),
    [
        ("state", {"serial": "SIM9999"}, "no phone SIM9999"),
        ("fault", {"serial": "SIM0001", "fault": "rain"}, "'rain' is not a valid Fault"),
        ("fault", {"serial": "SIM0001", "fault": "slow", "colour": 1}, "colour"),
        ("fault", {"serial": "SIM0001", "fault": "slow", "milliseconds": "soon"}, "milliseconds"),
        ("fault", {"serial": "SIM0001", "fault": "reboot", "seconds": -1}, "seconds"),
        ("battery", {"serial": "SIM0001", "level": 400}, "level"),
        ("account", {"serial": "SIM0001", "password": "x"}, "an account has no field password"),
        ("wait", {"serial": "SIM0001", "kind": "posted", "timeout": 0.05}, "in time"),
        ("dance", {"serial": "SIM0001"}, "there is no op 'dance'"),
    ],
)
async def test_refusals_say_why(
    tmp_path: Path, op: str, values: dict[str, Any], error: str
) -> None:
    """A request that makes no sense is refused by name and changes nothing."""
    async with (
        simulated_phones(1, tmp_path) as farm,
        control_served(farm, host="127.0.0.1", port=0) as address,
        Control.connected(address) as control,
    ):
        with pytest.raises(ControlError, match=error):
            await control.call(op, **values)

        state = await control.state("SIM0001")

    assert state["faults"] == []
    assert state["battery"]["level"] == 82


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)
REQUESTS = st.dictionaries(
    st.sampled_from(["op", "serial", "fault", "on", "level", "since", "kind", "seconds", "bio"]),
    st.one_of(
        st.sampled_from(["fault", "battery", "ledger", "account", "SIM0001", "slow"]),
        JSON,
    ),
)


@at_most(150, suppress_health_check=list(HealthCheck))
@given(line=st.one_of(st.binary(max_size=80), REQUESTS.map(lambda r: json.dumps(r).encode())))
def test_any_line_gets_an_answer(tmp_path: Path, line: bytes) -> None:
    """No request breaks the server, and the state can be told afterwards."""

    async def scene() -> None:
        async with simulated_phones(1, tmp_path) as farm:
            answer = await answer_line(farm, line)
            after = await answer_line(farm, b'{"op": "state", "serial": "SIM0001"}')
        assert isinstance(answer["ok"], bool)
        assert after["ok"]
        json.dumps(after)

    asyncio.run(scene())


async def test_a_taken_port_is_told_and_exits_1(tmp_path: Path) -> None:
    """When a phone's port is taken the command ends with 1 and the reason."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "phonefarm_simulator", "--data", str(tmp_path), "--listen-base", str(port)),
            stderr=asyncio.subprocess.PIPE,
        )
        _out, error = await asyncio.wait_for(process.communicate(), 60)

    assert process.returncode == 1
    assert b"cannot start" in error


async def test_help_teaches_the_faults(tmp_path: Path) -> None:
    """--help shows how to connect, the control API, and every fault."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "phonefarm_simulator", "--help"),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "COLUMNS": "120"},
    )
    out, _error = await asyncio.wait_for(process.communicate(), 60)

    assert process.returncode == 0
    for word in (b"adb connect", b"drop_mid_command", b"--ready-file", b'"op": "ledger"'):
        assert word in out


async def test_a_stopped_farm_leaves_no_port_open(tmp_path: Path) -> None:
    """Leaving the farm closes its ports and cuts who is connected."""
    async with simulated_phones(1, tmp_path) as farm:
        address = farm["SIM0001"].address
        host, _colon, port = address.partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))

    assert await asyncio.wait_for(_ended(reader), 60)
    writer.transport.abort()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(host, int(port))


async def _ended(reader: asyncio.StreamReader) -> bool:
    try:
        return await reader.read() == b""
    except ConnectionError:
        return True


async def test_a_farm_of_fifty_phones(tmp_path: Path) -> None:
    """Fifty phones start, answer adb at the same time and stop."""

    async def ask(adb: AdbServer, farm: Farm, serial: str) -> str:
        await adb.connect(farm[serial].address)
        return (await adb.shell(farm[serial].address, "getprop ro.serialno")).text

    async with simulated_phones(50, tmp_path / "sim") as farm, adb_server(tmp_path) as adb:
        serials = [phone.serial for phone in farm]

        answers = await asyncio.gather(*(ask(adb, farm, serial) for serial in serials))

    assert answers == serials


async def test_two_simulators_have_different_phones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--first` says where the serials begin, so that each can play a host of one farm."""
    async with (
        simulated_phones(2, tmp_path / "one") as one,
        simulated_phones(2, tmp_path / "two", first=101) as two,
    ):
        found = [phone.serial for farm in (one, two) for phone in farm]
    with pytest.raises(SystemExit) as refused:
        main(["--data", str(tmp_path), "--first", "0"])

    assert found == ["SIM0001", "SIM0002", "SIM0101", "SIM0102"]
    assert refused.value.code == 2
    assert "--first must be 1 to 9000" in capsys.readouterr().err
