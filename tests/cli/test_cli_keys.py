"""`phonefarm keys`: made once, listed without its text, ended at once."""

import asyncio
from argparse import ArgumentTypeError
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from phonefarm_cli.console.times import lifetime
from phonefarm_cli.main import main
from support.controller import KEY, Farm, farm_on


@pytest.fixture
async def farm(tmp_path: Path) -> AsyncIterator[Farm]:
    """Run a controller."""
    async with farm_on(f"sqlite:///{tmp_path / 'farm.db'}", tmp_path / "data") as it:
        yield it


async def run(farm: Farm, *words: str, key: str = KEY) -> int:
    """Perform a command in a thread, as a terminal would beside the controller."""
    where = ("--grpc", f"127.0.0.1:{farm.controller.port}", "--key", key)
    return await asyncio.to_thread(main, [*words, *where])


async def test_a_key_opens_what_it_may_until_it_is_revoked(
    farm: Farm, capsys: pytest.CaptureFixture[str]
) -> None:
    """The text is a line of stdout, for a script; the table never has it."""
    made = await run(farm, "keys", "create", "desk", "--scope", "read", "--expires", "90d")
    told = capsys.readouterr()
    (secret,) = [line for line in told.out.splitlines() if line.startswith("pf_")]
    used = await run(farm, "phones", "list", key=secret)
    beyond = await run(farm, "keys", "list", key=secret)
    refused = capsys.readouterr().err
    listed = await run(farm, "keys", "list")
    table = capsys.readouterr().out
    revoked = await run(farm, "keys", "revoke", "desk")
    after = await run(farm, "phones", "list", key=secret)
    stranger = capsys.readouterr().err

    assert (made, used, beyond, listed, revoked, after) == (0, 0, 1, 0, 0, 1)
    assert "desk may read, until 20" in told.err
    assert "insufficient_scope:admin" in refused
    (line,) = [line for line in table.splitlines() if line.startswith("desk\t")]
    name, scopes, _, by, expires, last_used, ended = line.split("\t")
    assert (name, scopes, by, ended) == ("desk", "read", "ingest_secret", "")
    assert expires
    assert last_used
    assert secret not in table
    assert "does not know this key" in stranger


async def test_what_cannot_be_made_or_ended_is_named(
    farm: Farm, capsys: pytest.CaptureFixture[str]
) -> None:
    """A taken name, a name that is none, a key that is not there."""
    await run(farm, "keys", "create", "desk", "--scope", "read")

    taken = await run(farm, "keys", "create", "desk", "--scope", "read")
    odd = await run(farm, "keys", "create", "the desk", "--scope", "read")
    nobody = await run(farm, "keys", "revoke", "crm")

    assert (taken, odd, nobody) == (1, 1, 1)
    told = capsys.readouterr().err
    assert "state_conflict:desk" in told
    assert "name: must be 1 to 64" in told
    assert "unknown_key:crm" in told


@pytest.mark.parametrize("wrong", [[], ["--scope", "write"], ["--scope", "read", "--expires", "x"]])
def test_a_wrong_command_line_is_refused_before_anything(wrong: list[str]) -> None:
    """No scope, one that is none, a duration that is none: exit code 2."""
    with pytest.raises(SystemExit) as caught:
        main(["keys", "create", "desk", *wrong])

    assert caught.value.code == 2


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("1h", timedelta(hours=1)),
        ("90d", timedelta(days=90)),
        ("8w", timedelta(weeks=8)),
        ("3650d", timedelta(days=3650)),
    ],
)
def test_lifetimes_are_hours_days_and_weeks(text: str, length: timedelta) -> None:
    """What people write for how long."""
    assert lifetime(text) == length


@pytest.mark.parametrize(
    "text", ["", "0d", "-1d", "1", "d", "1m", "1.5d", "3651d", "999999w", "٣d"]
)
def test_other_lifetimes_are_refused(text: str) -> None:
    """Nothing is guessed, and nothing over ten years is meant."""
    with pytest.raises(ArgumentTypeError, match="12h, 90d or 8w"):
        lifetime(text)


def test_help_teaches_the_scopes(capsys: pytest.CaptureFixture[str]) -> None:
    """Each scope with what it opens, an example, and that the text is shown once."""
    with pytest.raises(SystemExit) as caught:
        main(["keys", "create", "--help"])

    assert caught.value.code == 0
    told = capsys.readouterr().out
    for word in ("submit", "read", "cancel", "operate", "admin", "--expires 90d", "once"):
        assert word in told
