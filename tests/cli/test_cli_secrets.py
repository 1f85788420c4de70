"""The secrets of a farm: given, kept or made, and never half of each."""

import base64
import json
import stat
from pathlib import Path

import pytest
from phonefarm_cli.errors import CommandError, ExitCode
from phonefarm_cli.up.programs import controllers
from phonefarm_cli.up.secrets import (
    AGENT_TOKEN,
    API_KEY,
    DATABASE,
    GATEWAY_TOKEN,
    WEBHOOK_SECRET,
    load_secrets,
    without_secrets,
)
from phonefarm_cli.up.settings import Settings
from phonefarm_common.ids import new_secret

NAMES = (API_KEY, AGENT_TOKEN, GATEWAY_TOKEN, WEBHOOK_SECRET)


def test_secrets_are_made_once_and_kept_for_the_owner(tmp_path: Path) -> None:
    """A second start has the first one's secrets and farm name; only the owner can read them."""
    first = load_secrets(tmp_path, {})
    second = load_secrets(tmp_path, {})

    assert second == first
    assert len({first[name] for name in NAMES}) == len(NAMES)
    assert all(len(first[name]) >= 43 for name in NAMES)
    assert stat.S_IMODE((tmp_path / "secrets.json").stat().st_mode) == 0o600
    assert not any(first[name] in repr(first) for name in NAMES)


def test_no_secret_looks_like_an_option(monkeypatch: pytest.MonkeyPatch) -> None:
    """`--key -x9...` would be refused by every command; such a secret is drawn again."""
    drawn = iter(["-looks-like-an-option", "good"])
    monkeypatch.setattr("secrets.token_urlsafe", lambda _: next(drawn))

    assert new_secret() == "good"


def test_the_webhook_secret_is_one_that_libraries_take(tmp_path: Path) -> None:
    """A secret of Standard Webhooks: `whsec_` and the base64 of 24 to 64 bytes."""
    secret = load_secrets(tmp_path, {})[WEBHOOK_SECRET]

    assert secret.startswith("whsec_")
    assert len(base64.b64decode(secret.removeprefix("whsec_"), validate=True)) == 32


def test_two_folders_are_two_farms(tmp_path: Path) -> None:
    """The farm's name labels its containers, so it must differ."""
    names = {
        load_secrets(folder, {}).farm for folder in (_made(tmp_path, "a"), _made(tmp_path, "b"))
    }

    assert len(names) == 2


def test_what_is_given_wins_and_is_not_written_down(tmp_path: Path) -> None:
    """A secret of the environment, or of the file it names, is used and stays where it was."""
    made = load_secrets(tmp_path, {})
    file = tmp_path / "hook"
    file.write_text("from a file\n")
    given = {API_KEY: "given-key", f"{WEBHOOK_SECRET}_FILE": str(file)}

    secrets = load_secrets(tmp_path, given)

    assert secrets[API_KEY] == "given-key"
    assert secrets[WEBHOOK_SECRET] == "from a file"
    assert secrets[AGENT_TOKEN] == made[AGENT_TOKEN]
    assert secrets.given == {API_KEY, WEBHOOK_SECRET}
    assert json.loads((tmp_path / "secrets.json").read_text())[API_KEY] == made[API_KEY]
    assert load_secrets(tmp_path, {}) == made


@pytest.mark.parametrize("key", ["two words", "schlüssel", "line\nbreak"])
def test_a_key_that_no_header_can_carry_is_refused(tmp_path: Path, key: str) -> None:
    """It would start a farm that lets nobody in."""
    with pytest.raises(CommandError, match=API_KEY) as caught:
        load_secrets(tmp_path, {API_KEY: key})

    assert caught.value.code is ExitCode.MISUSED
    assert key not in str(caught.value)


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"farm": 7}', '"text"'])
def test_a_broken_file_is_named(tmp_path: Path, content: str) -> None:
    """What is not a file of ours is left alone and named."""
    path = tmp_path / "secrets.json"
    path.write_text(content)

    with pytest.raises(CommandError, match=r"secrets\.json"):
        load_secrets(tmp_path, {})

    assert path.read_text() == content


def test_no_secret_is_left_for_programs_that_need_none() -> None:
    """Names and files alike are taken out of the environment; the rest stays."""
    names = (*NAMES, DATABASE)
    environment = dict.fromkeys(names, "x") | {f"{name}_FILE": "/x" for name in names}

    assert without_secrets(environment | {"PATH": "/bin"}) == {"PATH": "/bin"}


def test_the_databases_password_is_not_among_a_controllers_arguments(tmp_path: Path) -> None:
    """Every user of the host may read those, but not the environment."""
    url = "postgresql://u:geheim@h/f"
    settings = Settings(
        data=tmp_path,
        simulate=0,
        personalities=(),
        rest="127.0.0.1:0",
        grpc="[::1]:0",
        database=url,
        controllers=2,
        runtime="dummy",
        connect=(),
        environment={},
    )

    started = controllers(settings, load_secrets(tmp_path, {}))

    assert [program.environment[DATABASE] for program in started] == [url, url]
    assert not any("geheim" in word for program in started for word in program.arguments)
    assert [program.arguments[1] for program in started] == ["[::1]:0", "[::1]:0"]


def _made(parent: Path, name: str) -> Path:
    folder = parent / name
    folder.mkdir()
    return folder
