"""The image of deploy/compose.yaml, made from this checkout, serves as the compose file has it."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from phonefarm_agent.runtimes import base_image
from phonefarm_agent.runtimes.docker_engine import Engine
from phonefarm_common.ids import new_id
from support.controller import AGENT_TOKEN, GATEWAY_TOKEN, KEY
from support.live_farm import eventually

DEPLOY = Path(__file__).resolve().parent.parent.parent / "deploy"
SECRETS = {
    "INGEST_SECRET": KEY,
    "PHONEFARM_AGENT_TOKEN": AGENT_TOKEN,
    "PHONEFARM_GATEWAY_TOKEN": GATEWAY_TOKEN,
}
ASK = (
    "import urllib.request as u; r = u.Request('http://127.0.0.1:8080/processes',"
    f" headers={{'Authorization': 'Bearer {KEY}'}}); print(u.urlopen(r, timeout=9).read().decode())"
)

pytestmark = [pytest.mark.docker, pytest.mark.long]


def docker(*words: str) -> str:
    """Return what the command says; its complaint fails the test."""
    done = subprocess.run(["docker", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def image(engine: Engine) -> Iterator[str]:
    """Make the image, and take it away again."""
    name = f"phonefarm-test:{new_id()}"
    base = base_image.choose(engine, None, print)
    subprocess.run(
        [DEPLOY / "image.sh", name, base],
        env=os.environ | {"PYTHON": sys.executable},
        stdin=subprocess.DEVNULL,
        check=True,
    )
    yield name
    docker("rmi", "--force", name)


@pytest.fixture
def container(image: str) -> Iterator[str]:
    """Yield a container that has what a service of the compose file has, and no network."""
    farm = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["x-farm"]
    volume = f"phonefarm-test-{new_id()}"
    options = ["--label", "phonefarm.test=deploy", "--network", "none"]
    options += ["--volume", f"{volume}:/var/lib/phonefarm", *(["--read-only"] * farm["read_only"])]
    options += [f"--cap-drop={name}" for name in farm["cap_drop"]]
    options += [f"--security-opt={option}" for option in farm["security_opt"]]
    options += [f"--tmpfs={place}" for place in farm["tmpfs"]]
    for name, value in SECRETS.items():
        options += ["--env", f"{name}={value}"]
    program = ["phonefarm-controller", "--data", "/var/lib/phonefarm", "--listen", "127.0.0.1:7070"]
    started = docker("run", "--detach", *options, image, *program)
    yield started
    docker("rm", "--force", "--volumes", started)
    docker("volume", "rm", "--force", volume)


def _told(container: str) -> str:
    command = ["docker", "exec", container, "python3", "-c", ASK]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


async def test_controller_and_gateway_serve_from_it(container: str) -> None:
    """As nobody in particular, on a root that cannot be written, with nothing fetched."""
    gateway = ["phonefarm-gateway", "--listen", "127.0.0.1:8080", "--controller", "127.0.0.1:7070"]
    docker("exec", "--detach", container, *gateway)

    async def asked() -> str:
        return await asyncio.to_thread(_told, container)

    answer = await eventually(asked, within=180, what="an answer to REST")

    assert json.loads(answer)["processes"] == []
    assert docker("exec", container, "id", "-u") == "65532"
