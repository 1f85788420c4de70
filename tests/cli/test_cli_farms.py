"""Which farm a command means: options, variables, contexts, up.json; and `env` for shells."""

import argparse
import json
import shlex
import stat
import subprocess
from pathlib import Path

import pytest
from phonefarm_cli.console.farm_address import FarmAddress, add_farm_options, farm_address
from phonefarm_cli.main import main

UP = {
    "rest": "127.0.0.1:1",
    "grpc": "127.0.0.1:2",
    "adb": "",
    "api_key": "up-key",
    "webhook_secret": "whsec_x y",
    "runtime": "dummy",
    "phones": [],
    "pids": {},
    "simulator_control": "",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in a folder with a farm that runs, and have a file of contexts."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PHONEFARM_CONTEXTS", str(tmp_path / "own" / "contexts.json"))
    for name in ("PHONEFARM_GRPC", "PHONEFARM_KEY", "PHONEFARM_CA", "PHONEFARM_CONTEXT"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / ".farm").mkdir()
    (tmp_path / ".farm" / "up.json").write_text(json.dumps(UP))
    return tmp_path


def _put(name: str, grpc: str, *words: str) -> None:
    assert main(["contexts", "put", name, "--grpc", grpc, "--key", f"{name}-key", *words]) == 0


def _meant(*words: str) -> FarmAddress:
    parser = argparse.ArgumentParser()
    add_farm_options(parser)
    return farm_address(parser.parse_args(words))


def test_what_is_typed_wins_over_variables_and_these_over_the_current_context(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order that --help gives, from the last to the first."""
    assert _meant().key == "up-key"

    _put("berlin", "10.0.0.5:7443", "--ca", "ca.pem")
    _put("paris", "10.0.0.6:7443")
    assert main(["contexts", "use", "paris"]) == 0
    assert _meant() == FarmAddress(grpc="10.0.0.6:7443", key="paris-key")
    monkeypatch.setenv("PHONEFARM_CONTEXT", "berlin")
    assert _meant() == FarmAddress(grpc="10.0.0.5:7443", key="berlin-key", ca=folder / "ca.pem")
    monkeypatch.setenv("PHONEFARM_GRPC", "10.0.0.7:7443")
    monkeypatch.setenv("PHONEFARM_KEY", "variable")
    assert _meant() == FarmAddress(grpc="10.0.0.7:7443", key="variable")
    assert _meant("--data", ".farm").key == "up-key"
    assert _meant("--context", "paris").key == "paris-key"
    assert _meant("--grpc", "10.0.0.8:1", "--key", "typed", "--context", "paris").key == "typed"


def test_a_context_is_private_and_its_key_is_not_shown(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file is readable by its owner only; no verb prints a key."""
    (folder / "key").write_text("secret-key\n")
    place = ("--grpc", "10.0.0.5:7443", "--key-file", "key")
    assert main(["contexts", "put", "berlin", *place, "--json"]) == 0
    assert main(["contexts", "use", "berlin"]) == 0
    assert main(["contexts", "list", "--json"]) == 0
    assert main(["contexts", "list"]) == 0
    assert main(["contexts", "delete", "berlin"]) == 0

    kept = folder / "own" / "contexts.json"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert "secret-key" not in capsys.readouterr().out
    assert json.loads(kept.read_text()) == {"current": "", "contexts": {}}


@pytest.mark.parametrize(
    ("words", "content", "told"),
    [
        (["contexts", "use", "rome"], None, "there is no context rome in"),
        (["phones", "list", "--context", "rome"], None, "there is no context rome in"),
        (["phones", "list"], "{", "contexts.json cannot be used"),
        (["phones", "list"], '{"contexts": {"x": {"y": 1}}}', "contexts.json cannot be used"),
        (["contexts", "put", "x", "--grpc", "h:1", "--key-file", "no"], None, "--key-file no"),
    ],
)
def test_a_wrong_context_is_named_with_the_file(
    folder: Path,
    words: list[str],
    content: str | None,
    told: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Exit code 2, one line."""
    if content is not None:
        (folder / "own").mkdir()
        (folder / "own" / "contexts.json").write_text(content)

    assert main(words) == 2
    assert told in capsys.readouterr().err


def test_a_shell_takes_the_variables_of_env(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever characters a secret has; a command that needs the secret finds it among them."""
    assert main(["env"]) == 0
    script = capsys.readouterr().out + 'printf "%s|%s|%s" "$FARM" "$KEY" "$WEBHOOK_SECRET"'
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    assert main(["env", "--json"]) == 0

    assert done.stdout == "http://127.0.0.1:1|up-key|whsec_x y"
    for variable in json.loads(told := capsys.readouterr().out):
        monkeypatch.setenv(variable, json.loads(told)[variable])
    assert main(["callbacks", "listen", "nowhere"]) == 2
    assert "HOST:PORT" in capsys.readouterr().err
    assert json.loads(told)["FARM"] == "http://127.0.0.1:1"
    assert shlex.split(script)[0] == "export"


def test_logs_are_merged_filtered_and_printed(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By time across programs; a line of a library stands after the line before it."""
    logs = folder / ".farm" / "logs"
    logs.mkdir()
    lines = [
        {"timestamp": f"2026-01-01T00:00:0{second}.5Z", "program": program, "level": level}
        | {"event": f"event.{second}", "run_id": f"run-{second}"}
        for second, program, level in (
            (1, "agent", "info"),
            (2, "gateway", "warning"),
            (3, "agent", "debug"),
            (4, "agent", "error"),
        )
    ]
    for program in ("agent", "gateway"):
        own = [json.dumps(line) for line in lines if line["program"] == program]
        (logs / f"{program}.log").write_text("\n".join([*own, "a library says", "cut"]))

    assert main(["logs"]) == 0
    every = capsys.readouterr().out.splitlines()
    assert main(["logs", "agent", "--level", "error"]) == 0
    severe = capsys.readouterr().out
    assert main(["logs", "--about", "run-2", "--json"]) == 0
    about = json.loads(capsys.readouterr().out)
    assert main(["logs", "phone"]) == 2

    events = [line.split()[3] for line in every if "event." in line]
    assert events == ["event.1", "event.2", "event.4"]
    assert every[0] == "00:00:01.5Z  agent       info     event.1  run_id=run-1".replace("Z", "Z")
    assert every.index(next(line for line in every if "gateway     info" in line)) == 2
    assert severe.count("\n") == 1
    assert about["event"] == "event.2"
    assert "there are no logs of phone; known: agent, gateway" in capsys.readouterr().err
