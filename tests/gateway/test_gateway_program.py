"""The program as an operator starts it: settings, ready file, a clean stop."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from gateway.support.memory_controller import KEY, TOKEN, MemoryController
from gateway.support.receiver import Receiver
from phonefarm_common.config import ConfigError
from phonefarm_gateway.settings import parse

pytestmark = pytest.mark.fresh_start

REQUIRED = ("--controller", "127.0.0.1:9")
ENVIRONMENT = {"PHONEFARM_GATEWAY_TOKEN": TOKEN}


@asynccontextmanager
async def gateway(
    *arguments: str, environment: dict[str, str] | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Yield the program as a process of its own, killed afterwards if it still runs."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "phonefarm_gateway",
        *arguments,
        env={"PATH": os.environ["PATH"], **(environment or {})},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def _ready(path: Path, process: asyncio.subprocess.Process) -> str:
    """Return HOST:PORT from the ready file, waiting for the line that follows it."""
    assert process.stderr is not None
    async with asyncio.timeout(180):
        async for line in process.stderr:
            if b"gateway.started" in line:
                facts = json.loads(await asyncio.to_thread(path.read_text))
                assert facts["pid"] == process.pid
                return str(facts["rest"])
    raise AssertionError("the gateway ended before it was ready")


async def test_the_program_serves_until_told_to_stop(tmp_path: Path) -> None:
    """Secrets from files, any free port, a callback sent, exit code 0 on SIGTERM."""
    token, secret = tmp_path / "token", tmp_path / "secret"
    token.write_text(f"{TOKEN}\n")
    secret.write_text("s3cret\n")
    environment = {
        "PHONEFARM_GATEWAY_TOKEN_FILE": str(token),
        "PHONE_FARM_WEBHOOK_SECRET_FILE": str(secret),
    }
    ready = tmp_path / "run" / "ready.json"
    async with MemoryController.serving() as controller, Receiver.serving() as receiver:
        arguments = ["--listen", "127.0.0.1:0", "--controller", controller.address]
        arguments += ["--ready-file", str(ready), "--allow-callback-cidr", "127.0.0.0/8"]
        async with gateway(*arguments, environment=environment) as process:
            rest = await _ready(ready, process)
            process_id = controller.add_process(url=receiver.url())
            await controller.owe(process_id, "accepted")
            await controller.settled(1)
            async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as caller:
                answer = await caller.get(f"http://{rest}/processes/{process_id}")
                status = answer.status
                await answer.read()
            process.send_signal(signal.SIGTERM)
            _, log = await asyncio.wait_for(process.communicate(), 60)

        assert status == 200
        assert "X-PhoneFarm-Signature" in receiver.received[0].headers
        assert process.returncode == 0
        lines = [json.loads(line) for line in log.splitlines()]
        (line,) = [line for line in lines if line["event"] == "request.answered"]
        assert line["process_id"] == process_id
        assert line["path"] == "/processes/{process_id}"
        assert line["status"] == 200
        text = log.decode()
        assert KEY not in text
        assert TOKEN not in text
        assert "s3cret" not in text


@pytest.mark.parametrize(
    ("arguments", "environment", "named"),
    [
        (REQUIRED, {}, "PHONEFARM_GATEWAY_TOKEN"),
        (
            REQUIRED,
            {"PHONEFARM_GATEWAY_TOKEN_FILE": "/nonexistent"},
            "PHONEFARM_GATEWAY_TOKEN_FILE",
        ),
        ((*REQUIRED, "--listen", "here"), ENVIRONMENT, "--listen"),
        (("--controller", "there"), ENVIRONMENT, "--controller"),
        ((*REQUIRED, "--allow-callback-cidr", "10.0.0.1/8"), ENVIRONMENT, "--allow-callback-cidr"),
        ((*REQUIRED, "--body-limit", "0"), ENVIRONMENT, "--body-limit"),
    ],
)
def test_a_setting_that_cannot_work_is_named(
    arguments: tuple[str, ...], environment: dict[str, str], named: str
) -> None:
    """Each wrong setting is refused by its own name."""
    with pytest.raises(ConfigError, match=named):
        parse(arguments, environment)


async def test_the_program_refuses_a_secret_no_receiver_could_hold() -> None:
    """A whsec_ secret that is no base64 ends the program with exit code 2 and a sentence."""
    environment = ENVIRONMENT | {"PHONE_FARM_WEBHOOK_SECRET": "whsec_***"}
    arguments = (*REQUIRED, "--listen", "127.0.0.1:0")
    async with gateway(*arguments, environment=environment) as process:
        _, log = await asyncio.wait_for(process.communicate(), 60)

    assert process.returncode == 2
    assert b"PHONE_FARM_WEBHOOK_SECRET" in log
    assert b"Traceback" not in log


async def test_the_program_refuses_a_taken_address() -> None:
    """A port someone else has ends the program with exit code 2 and no stack trace."""
    async with Receiver.serving() as taken:
        arguments = (*REQUIRED, "--listen", f"127.0.0.1:{taken.port}")
        async with gateway(*arguments, environment=ENVIRONMENT) as process:
            _, log = await asyncio.wait_for(process.communicate(), 60)

    assert process.returncode == 2
    assert b"address already in use" in log
    assert b"Traceback" not in log


async def test_the_program_refuses_a_controller_off_this_machine() -> None:
    """Plaintext to another host is refused at start."""
    arguments = ("--controller", "192.0.2.1:9", "--listen", "127.0.0.1:0")
    async with gateway(*arguments, environment=ENVIRONMENT) as process:
        _, log = await asyncio.wait_for(process.communicate(), 60)

    assert process.returncode == 2
    assert b"loopback" in log


def test_help_names_the_environment(capsys: pytest.CaptureFixture[str]) -> None:
    """--help tells every name that is read from the environment."""
    with pytest.raises(SystemExit):
        parse(["--help"], {})

    told = capsys.readouterr().out
    assert "PHONEFARM_GATEWAY_TOKEN" in told
    assert "PHONE_FARM_WEBHOOK_SECRET" in told


def test_secrets_are_not_in_the_settings_repr() -> None:
    """Settings may be logged without telling secrets."""
    settings = parse(REQUIRED, ENVIRONMENT | {"PHONE_FARM_WEBHOOK_SECRET": "s3cret"})

    assert settings.webhook_secret == "s3cret"
    assert TOKEN not in repr(settings)
    assert "s3cret" not in repr(settings)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--rate-limit", "-1"), "--rate-limit"),
        (("--rate-limit", "nan"), "--rate-limit"),
        (("--rate-burst", "0"), "--rate-burst"),
        (("--connections", "0"), "--connections"),
        (("--allow-asset-cidr", "10.0.0.1/8"), "--allow-asset-cidr"),
    ],
)
def test_a_limit_that_cannot_work_is_named(arguments: tuple[str, ...], named: str) -> None:
    """Each is refused by its own name."""
    with pytest.raises(ConfigError, match=named):
        parse((*REQUIRED, *arguments), ENVIRONMENT)


def test_limits_are_generous_unless_told() -> None:
    """The defaults, and what an operator sets."""
    usual = parse(REQUIRED, ENVIRONMENT)
    told = parse(
        (*REQUIRED, "--rate-limit", "0", "--connections", "7", "--open-metrics"), ENVIRONMENT
    )

    assert (usual.rate_limit, usual.rate_burst, usual.connections) == (500, 1000, 1000)
    assert not usual.open_metrics
    assert (told.rate_limit, told.connections, told.open_metrics) == (0, 7, True)
