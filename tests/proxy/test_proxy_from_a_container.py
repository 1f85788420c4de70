"""What a run container can ask of adb, tried from inside: its own phone and nothing else."""

import asyncio
import json
import os
from pathlib import Path

import pytest
from phonefarm_agent.phones.proxy.proxy import Gate, run_proxy
from phonefarm_agent.runtimes.docker import DockerRuntime
from phonefarm_agent.runtimes.interface import RunSpec
from phonefarm_common.clock import SystemClock
from phonefarm_common.ids import new_id
from phonefarm_simulator.farm import simulated_phones
from support.adb import adb_server

pytestmark = pytest.mark.docker

ASK = """
import json, socket, sys

def ask(*requests):
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(60)
        line.connect("/run/phonefarm/adb.sock")
        for request in requests:
            line.sendall(f"{len(request):04x}{request}".encode())
            answer = line.recv(4)
            if answer != b"OKAY":
                return answer.decode() or "closed"
        return "OKAY " + line.recv(200).decode(errors="replace")

for name, requests in json.loads(sys.argv[1]).items():
    print(json.dumps({name: ask(*requests)}), flush=True)
"""


async def test_a_container_reaches_its_own_phone_and_nothing_else(
    tmp_path: Path, executor_image: str, farm_name: str
) -> None:
    """Its phone answers; the other phone, the server's own services and stray commands do not."""
    directory = tmp_path / "run"
    directory.mkdir(mode=0o755)
    run_id = new_id()
    clock = SystemClock()
    async with simulated_phones(2, tmp_path / "phones") as farm, adb_server(tmp_path) as adb:
        mine, other = (phone.address for phone in list(farm.phones)[:2])
        await adb.connect(mine)
        await adb.connect(other)
        transport = f"host:transport:{mine}"
        asked = {
            "own": [transport, "shell,v2,raw:getprop ro.serialno"],
            "devices": ["host:devices"],
            "other": [f"host:transport:{other}"],
            "other by tport": [f"host:tport:serial:{other}"],
            "any": ["host:transport-any"],
            "kill": ["host:kill"],
            "connect": ["host:connect:127.0.0.1:1"],
            "disconnect": [f"host:disconnect:{mine}"],
            "forward": [f"host-serial:{mine}:forward:tcp:1;tcp:2"],
            "reboot": [transport, "reboot:"],
            "root": [transport, "root:"],
            "interactive": [transport, "shell,v2,raw:"],
            "stray word": [transport, "shell,v2,raw:reboot"],
            "two commands": [transport, "shell,v2,raw:getprop; reboot"],
            "other files": [transport, "shell,v2,raw:rm -rf /sdcard"],
        }
        runtime = DockerRuntime(
            farm=farm_name,
            agent=f"agent-{os.getpid()}",
            image=executor_image,
            command=["python3", "-c", ASK, json.dumps(asked)],
        )
        spec = RunSpec(run_id=run_id, epoch=1, directory=directory, cap_seconds=60)
        gate = Gate(deadline=clock.monotonic() + 60, clock=clock, going=True)
        found: dict[str, str] = {}
        async with run_proxy(
            path=directory / "adb.sock",
            upstream=("localhost", adb.port),
            serial=mine,
            phone_folder=f"/data/local/tmp/phonefarm/{run_id}",
            package="com.example.shortvideo",
            gate=gate,
        ):
            handle = await runtime.start(spec)
            try:
                async with asyncio.timeout(180):
                    async for line in runtime.lines(handle):
                        found |= json.loads(line)
            finally:
                await runtime.remove(handle)

        assert "SIM0001" in found.pop("own")
        devices = found.pop("devices")
        assert mine in devices
        assert other not in devices
        assert found == dict.fromkeys(asked.keys() - {"own", "devices"}, "FAIL")
        assert await adb.state_of(mine) == "device"  # the server lives
