"""Two unmodified public clients of scrcpy drive a simulated phone: what they show works here."""

import asyncio
import base64
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from phonefarm_simulator.farm import SimulatedPhone
from phonefarm_simulator.ledger import Kind
from support.adb import AdbServer
from support.registry_install import installed
from support.screen_server import real_jar

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

CLIENTS = Path(__file__).parent / "clients"
MUTI = "muti-scrcpy-client==0.9.0"
# What it imports. Its own list has the OpenCV with windows, which needs libraries of a desktop.
MUTI_NEEDS = (
    "adbutils>=2.12,<3",
    "av>=12,<18",
    "loguru>=0.6,<1",
    "numpy",
    "opencv-python-headless<5",
)
YUME = ("@yume-chan/adb-scrcpy@2.3.2", "@yume-chan/adb-server-node-tcp@2.5.2")
RUN_SECONDS = 120


@pytest.fixture(scope="session")
def muti(pytestconfig: pytest.Config) -> Path:
    """Return the Python of an environment that has muti-scrcpy-client and nothing of ours."""
    python = "venv/bin/python"
    pip = [sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check"]
    pip += ["install", "--quiet", "--no-compile"]  # a third of the time with pip of its own
    steps = (
        [sys.executable, "-m", "venv", "--without-pip", "venv"],
        [*pip, "--no-deps", MUTI],
        [*pip, *MUTI_NEEDS],
    )
    return installed(pytestconfig, "muti-scrcpy-client-0.9.0", steps) / python


@pytest.fixture(scope="session")
def yume(pytestconfig: pytest.Config) -> Path:
    """Return a folder that has the packages of @yume-chan and our script."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("no node and npm found")
    steps = (
        ["npm", "init", "--yes"],
        ["npm", "install", "--no-audit", "--no-fund", "--save-exact", *YUME],
    )
    folder = installed(pytestconfig, "yume-chan-adb-scrcpy-2.3.2", steps)
    shutil.copy(CLIENTS / "yume.mjs", folder)
    return folder


class Driving:
    """A client that runs as a program of its own and ends by printing what it saw."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def begun(cls, *command: str, cwd: Path | None = None) -> "Driving":
        """Start the program; it sees nothing of our environment that could change it."""
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        pipe = asyncio.subprocess.PIPE
        return cls(
            await asyncio.create_subprocess_exec(
                *command, cwd=cwd, env=kept, stdout=pipe, stderr=pipe
            )
        )

    async def told(self) -> dict[str, Any]:
        """Return what it printed last, once it has ended well."""
        try:
            async with asyncio.timeout(RUN_SECONDS):
                out, error = await self._process.communicate()
        finally:
            if self._process.returncode is None:
                self._process.kill()
                await self._process.wait()
        assert self._process.returncode == 0, (out.decode(), error.decode())
        told: dict[str, Any] = json.loads(out.decode().splitlines()[-1])
        return told


async def test_muti_scrcpy_client(adb: AdbServer, phone: SimulatedPhone, muti: Path) -> None:
    """A raw stream by a forward: it sees, touches, swipes, types, pastes, reads, and joins late."""
    client = await Driving.begun(str(muti), str(CLIENTS / "muti.py"), str(adb.port), phone.address)

    told = await client.told()

    searched = await phone.wait_for(Kind.SEARCHED, timeout=180)
    tapped = [entry for entry in phone.ledger() if entry.kind is Kind.TAPPED]
    assert (told["name"], told["size"]) == ("Simulated Phone", [720, 1280])
    assert told["moved"] >= 15
    assert told["clipboard"] == "\u5bff\u53f8"
    assert told["late"] == [720, 1280, True]
    assert searched.detail["query"] == "ramen \u5bff\u53f8"
    assert [entry.detail["target"] for entry in tapped] == ["icon", "nav_search", "search_box"]
    assert [entry for entry in phone.ledger() if entry.kind is Kind.SWIPED]
    assert phone.state()["app"]["screen"] == "search"


@pytest.mark.parametrize("way", ["reverse", "forward"])
async def test_yume_chan_adb_scrcpy(
    adb: AdbServer, phone: SimulatedPhone, yume: Path, tmp_path: Path, way: str
) -> None:
    """Parsed packets by `adb reverse` and by a forward: it sees, touches, types, pastes, turns."""
    video = tmp_path / "video.json"
    client = await Driving.begun(
        *["node", "yume.mjs", str(adb.port), phone.address, str(real_jar()), str(video), way],
        cwd=yume,
    )

    telling = asyncio.create_task(client.told())
    searching = asyncio.create_task(phone.wait_for(Kind.SEARCHED, timeout=RUN_SECONDS))
    await asyncio.wait({telling, searching}, return_when=asyncio.FIRST_COMPLETED)
    phone.phone.clipboard.put("copied on the phone")
    told = await telling
    searched = await searching

    pictures = await asyncio.to_thread(decoded, video)
    drawn = told["drawn"] - 1  # the first packet is the configuration
    assert (told["name"], told["size"]) == ("Simulated Phone", [360, 640])
    assert told["audio"] == "disabled"
    assert told["firstIsKey"]
    assert told["lateIsKey"]
    assert told["turned"] == [640, 360]
    assert told["clipboard"] == "copied on the phone"
    assert searched.detail["query"] == "ramen \u5bff\u53f8"
    assert {size for size, _ in pictures[:drawn]} == {(360, 640)}
    assert pictures[-1][0] == (640, 360)
    assert len({pixels for _, pixels in pictures[:drawn]}) >= 15


def decoded(video: Path) -> list[tuple[tuple[int, int], bytes]]:
    """Return size and pixels of all pictures in the packets that the client wrote."""
    import av  # noqa: PLC0415 -- only this test pays for it

    codec = av.CodecContext.create("h264", "r")
    found = []
    head = b""
    for packet in json.loads(video.read_text()):
        data = base64.b64decode(packet["data"])
        if packet["type"] == "configuration":
            head = data
            continue
        for picture in codec.decode(av.Packet(head + data)):
            image = picture.to_image()  # type: ignore[no-untyped-call]
            found.append((image.size, image.tobytes()))
        head = b""
    return found
