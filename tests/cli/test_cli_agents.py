"""`phonefarm agents`, and the programs that join: the words an operator types, on real ports."""

import asyncio
import json
import sys
from pathlib import Path

import pytest
from phonefarm_cli.main import read_arguments
from support.controller import KEY, PATIENCE, farm_on


async def _said(*words: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *[sys.executable, "-m", *words],
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(2 * PATIENCE):
        out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


async def test_a_host_is_invited_joins_and_is_revoked_by_commands(tmp_path: Path) -> None:
    """From afar, with the farm's ca.pem: each command says what it did, or what to do."""
    url = f"sqlite:///{tmp_path / 'farm.db'}"
    async with farm_on(url, tmp_path, tls=("127.0.0.1", 0), mtls=("127.0.0.1", 0)) as farm:
        reach = ["--grpc", f"127.0.0.1:{farm.controller.tls_port}", "--key", KEY]
        reach += ["--ca", str(tmp_path / "ca" / "ca.pem")]
        state = ["--state", str(tmp_path / "agent")]
        why = ["--reason", "a new rack"]

        invited = await _said(
            "phonefarm_cli", "agents", "invite", "--agent-id", "host-1", *why, *reach
        )
        joined = await _said("phonefarm_agent", "join", invited[1].strip(), *state)
        again = await _said("phonefarm_agent", "join", invited[1].strip(), *state)
        revoked = await _said("phonefarm_cli", "agents", "revoke", "host-1", *why, *reach)
        audit = await _said("phonefarm_cli", "audit", "--json", *reach)
        unknown, listed, gateway = await asyncio.gather(
            _said("phonefarm_cli", "agents", "revoke", "host-2", *reach),
            _said("phonefarm_cli", "agents", "list", *reach),
            _said("phonefarm_cli", "agents", "invite", "--gateway", *reach),
        )
        place = ["--state", str(tmp_path / "gateway"), "--name", "gw-1"]
        entered = await _said("phonefarm_gateway", "join", gateway[1].strip(), *place)

    assert invited[0] == 0, invited[2]
    assert "phonefarm-agent join TOKEN" in invited[2]
    assert joined[0] == 0, joined[2]
    assert joined[1].startswith("joined as host-1 at 127.0.0.1:")
    assert again[0] == 1
    assert "to get another" in again[2]
    assert revoked[0] == 0, revoked[2]
    assert "revoked (1 certificate)" in revoked[1]
    noted = {entry["verb"]: entry["reason"] for entry in json.loads(audit[1])}
    assert (noted["invite agent"], noted["revoke agent"]) == ("a new rack", "a new rack")
    assert unknown[0] == 1
    assert "host-2 has never had a certificate" in unknown[2]
    assert listed[0] == 0, listed[2]
    assert entered[0] == 0, entered[2]
    assert entered[1].startswith("joined as gw-1 at 127.0.0.1:")


@pytest.mark.parametrize("words", ["--for 0m", "--for 25h", "--for soon"])
def test_a_span_that_is_none_is_refused(words: str) -> None:
    """An invitation is for a day at the most."""
    with pytest.raises(SystemExit):
        read_arguments(["agents", "invite", *words.split()])
