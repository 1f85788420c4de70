"""`phonefarm console` prints a link that logs in, or says why there is none."""

import asyncio
from pathlib import Path

import pytest
from gateway.support.farm import farm
from gateway.support.memory_controller import KEY
from phonefarm_cli.client.console_link import console_link
from phonefarm_cli.errors import CommandError
from phonefarm_cli.main import main


async def test_the_link_is_printed_and_logs_in(capsys: pytest.CaptureFixture[str]) -> None:
    """One line on stdout, for `xdg-open $(phonefarm console)`, without the key."""
    async with farm() as it:
        rest = it.base.removeprefix("http://")

        code = await asyncio.to_thread(main, ["console", "--rest", rest, "--key", KEY])

        (link,) = capsys.readouterr().out.splitlines()
        page, _, ticket = link.partition("#ticket=")
        headers = {"Origin": it.base}
        answer = await it.call(
            "POST", "/console/session", {"ticket": ticket}, key=None, headers=headers
        )
        assert (code, page, answer.status) == (0, f"{it.base}/console", 200)
        assert KEY not in link


async def test_a_gateway_that_listens_everywhere_is_called_on_loopback() -> None:
    """A link for this machine cannot have the address 0.0.0.0."""
    async with farm() as it:
        link = await console_link(f"0.0.0.0:{it.base.rpartition(':')[2]}", KEY)

        assert link.startswith(f"{it.base}/console#ticket=")


async def test_why_there_is_no_link_is_said() -> None:
    """A key that does not count, and a gateway that is not there."""
    async with farm() as it:
        rest = it.base.removeprefix("http://")

        with pytest.raises(CommandError, match="did not create a link"):
            await console_link(rest, "wrong")
    with pytest.raises(CommandError, match="does not answer"):
        await console_link(rest, KEY)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [([], "no farm runs"), (["--rest", "somewhere", "--key", "k"], "HOST:PORT")],
)
def test_what_is_missing_is_named(
    arguments: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With the remedy."""
    monkeypatch.chdir(tmp_path)

    code = main(["console", *arguments])

    assert code in {1, 2}
    assert said in capsys.readouterr().err
