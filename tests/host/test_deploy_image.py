"""deploy/compose.yaml runs whole, from the image that deploy/image.sh makes of this checkout.

The services share the network of one container, which has no other: the host's ports stay free.
"""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from shutil import which

import pytest
import pytest_asyncio
import yaml
from phonefarm_common.ids import new_id, new_secret, new_webhook_secret
from support.components import REQUIRE, insist_or_skip
from support.live_farm import eventually
from support.postgres_image import build_postgres_image
from support.systemd_host import IMAGE
from support.wheels import collect_wheels

DEPLOY = Path(__file__).resolve().parent.parent.parent / "deploy"
EXTRAS = frozenset({"controller", "postgres", "s3", "tracing", "gateway", "agent", "cli"})
SERVERS = ("controller-1", "controller-2", "gateway-1", "gateway-2")
FARM = "farm.example.com"
ASK = (
    "import sys, urllib.request as u; r = u.Request(f'http://127.0.0.1:{sys.argv[1]}/processes',"
    " headers={'Authorization': f'Bearer {sys.argv[2]}'});"
    " print(u.urlopen(r, timeout=60).read().decode())"
)

pytestmark = [
    pytest.mark.docker,
    pytest.mark.systemd,  # whose image is the base: no registry is needed
    pytest.mark.postgres,
    pytest.mark.long,
    pytest.mark.asyncio(loop_scope="module"),
]


def docker(*words: str) -> str:
    """Return what the command prints; its complaint fails the test."""
    done = subprocess.run(["docker", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Make the farm's image as its script does, and one of PostgreSQL; remove both afterwards."""
    if which("docker-compose") is None:
        missing = "no docker-compose: `scripts/provision.sh docker`"
        insist_or_skip("docker", missing, required=os.environ.get(REQUIRE, ""))
    scratch = tmp_path_factory.mktemp("images")
    made = {name: f"phonefarm-test:{name}-{new_id()}" for name in ("farm", "postgres")}
    wheels = scratch / "wheels"
    wheels.mkdir()
    collect_wheels(wheels, EXTRAS, "hatchling")
    without_index = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels)}
    try:
        subprocess.run(
            [DEPLOY / "image.sh", made["farm"], IMAGE],
            env=os.environ | without_index | {"PYTHON": sys.executable},
            stdin=subprocess.DEVNULL,
            check=True,
        )
        build_postgres_image(made["postgres"], IMAGE, scratch / "postgres")
        yield made
    finally:
        for name in made.values():
            subprocess.run(["docker", "rmi", "--force", name], capture_output=True, check=False)


@dataclass(frozen=True, kw_only=True)
class Composed:
    """A farm that docker-compose runs."""

    folder: Path
    name: str
    secrets: dict[str, str]

    def compose(self, *words: str) -> str:
        """Run docker-compose as an operator would, with the changes that the test needs."""
        files = [DEPLOY / "compose.yaml", DEPLOY / "compose-agent.yaml", self.folder / "test.yaml"]
        given = [word for file in files for word in ("-f", str(file))]
        done = subprocess.run(
            ["docker-compose", "--env-file", str(self.folder / ".env"), *given, *words],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def containers(self, *filters: str) -> dict[str, str]:
        """Return the containers that match, by their services."""
        chosen = [f"label=com.docker.compose.project={self.name}", *filters]
        form = '{{.Label "com.docker.compose.service"}} {{.ID}}'
        listed = docker("ps", f"--format={form}", *(f"--filter={each}" for each in chosen))
        return dict(line.split() for line in listed.splitlines())

    async def healthy(self, *services: str) -> None:
        """Return once all of them are healthy."""

        async def look() -> bool:
            found = await asyncio.to_thread(self.containers, "health=healthy")
            return set(services) <= set(found)

        try:
            await eventually(look, within=300, what=f"the health of {services}")
        except AssertionError as error:
            logs = self.compose("logs", "--no-color", "--tail=30", *services)
            raise AssertionError(f"{error}\n{logs}") from None

    async def ask(self, gateway: str, port: int) -> dict[str, object]:
        """Return the list of processes, as a gateway gives it to a caller on its network."""
        words = ["exec", self.containers()[gateway], "python3", "-c", ASK, str(port)]
        key = self.secrets["INGEST_SECRET"]
        answer: dict[str, object] = json.loads(await asyncio.to_thread(docker, *words, key))
        return answer


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def farm(
    tmp_path_factory: pytest.TempPathFactory, images: dict[str, str], executor_image: str
) -> AsyncIterator[Composed]:
    """Run all services of both files in one network; nothing of them stays."""
    folder = tmp_path_factory.mktemp("compose")
    name = f"pf-compose-{new_id()[:8]}"
    state = Path(f"/var/lib/{name}")
    secrets = {
        "INGEST_SECRET": new_secret(),
        "PHONEFARM_AGENT_TOKEN": new_secret(),
        "PHONEFARM_GATEWAY_TOKEN": new_secret(),
        "PHONE_FARM_WEBHOOK_SECRET": new_webhook_secret(),
        "POSTGRES_PASSWORD": new_secret(),
    }
    settings = secrets | {"COMPOSE_PROJECT_NAME": name, "FARM_HOST": FARM}
    settings |= {"PHONEFARM_IMAGE": images["farm"], "AGENT_STATE": str(state)}
    settings["AGENT_OPTIONS"] = "--controller 127.0.0.1:7070,127.0.0.1:7170 --name host-1"
    (folder / ".env").write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
    network = docker("run", "--detach", "--label=phonefarm.test=deploy", "--network=none",
                     IMAGE, "sleep", "infinity")  # fmt: skip
    services = {each: {"network_mode": f"container:{network}"} for each in (*SERVERS, "postgres")}
    services["postgres"]["image"] = images["postgres"]
    agent = {"network_mode": f"container:{network}", "environment": {}}
    agent["environment"] = {"PHONEFARM_AGENT_TOKEN": secrets["PHONEFARM_AGENT_TOKEN"]}
    (folder / "test.yaml").write_text(yaml.safe_dump({"services": services | {"agent": agent}}))
    it = Composed(folder=folder, name=name, secrets=secrets)
    try:
        await asyncio.to_thread(it.compose, "up", "--detach")
        yield it
    finally:
        await asyncio.to_thread(it.compose, "down", "--volumes", "--timeout", "60")
        docker("rm", "--force", network)
        await asyncio.to_thread(subprocess.run, ["rm", "-rf", str(state)], check=False)


async def test_the_farm_of_the_compose_file_serves(farm: Composed) -> None:
    """Every service becomes healthy by its own check, and both gateways answer."""
    await farm.healthy("postgres", *SERVERS, "agent")

    answers = [await farm.ask("gateway-1", 8080), await farm.ask("gateway-2", 8081)]
    listed = await asyncio.to_thread(
        farm.compose, "exec", "-T", "-e", f"PHONEFARM_KEY={farm.secrets['INGEST_SECRET']}",
        "controller-1", "phonefarm", "agents", "list", "--grpc", "127.0.0.1:7070",
    )  # fmt: skip
    user = await asyncio.to_thread(farm.compose, "exec", "-T", "controller-1", "id", "-u")

    assert [answer["processes"] for answer in answers] == [[], []]
    assert "host-1\tyes" in listed
    assert user.strip() == "65532"


async def test_the_farm_outlives_a_controller(farm: Composed) -> None:
    """Both gateways answer while one controller is stopped; it is healthy again afterwards."""
    await farm.healthy(*SERVERS)

    await asyncio.to_thread(farm.compose, "stop", "controller-1")
    answers = [await farm.ask("gateway-1", 8080), await farm.ask("gateway-2", 8081)]
    await asyncio.to_thread(farm.compose, "start", "controller-1")

    assert [answer["processes"] for answer in answers] == [[], []]
    await farm.healthy("controller-1")


async def test_a_controller_that_is_stuck_is_not_healthy(farm: Composed) -> None:
    """The check asks the program; a process that is there is not enough."""
    await farm.healthy("controller-2")
    container = farm.containers()["controller-2"]
    check = ["docker", "exec", container, "python3", "/opt/phonefarm/health.py"]

    docker("kill", "--signal=STOP", container)
    stuck = await asyncio.to_thread(subprocess.run, check, capture_output=True, check=False)
    docker("kill", "--signal=CONT", container)

    assert stuck.returncode == 1, stuck.stderr
    await asyncio.to_thread(subprocess.run, check, check=True)
