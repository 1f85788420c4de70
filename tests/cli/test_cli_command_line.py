"""The command line itself: quick help, the version, completion, and typing errors."""

import argparse
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from phonefarm_cli.main import COMMANDS, build_parser, main, read_arguments

HEAVY = ("aiohttp", "google", "grpc", "phonefarm", "phonefarm_cli.demo", "pydantic")


def _modules_after(*words: str) -> set[str]:
    """Return the modules that a command line has loaded when its help is printed."""
    program = (
        "import sys\nfrom phonefarm_cli.main import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        "print('\\n'.join(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *words], capture_output=True, text=True, check=True
    )
    return set(done.stderr.split())


def test_help_loads_no_command() -> None:
    """`phonefarm --help` prints its list without the libraries that commands need."""
    loaded = _modules_after("--help")

    assert "phonefarm_cli.main" in loaded
    assert loaded.isdisjoint(HEAVY)
    assert not [name for name in loaded if name.startswith("phonefarm_cli.commands")]


def test_a_command_loads_no_other_command() -> None:
    """`phonefarm phones` needs gRPC, and neither the demo nor aiohttp."""
    loaded = _modules_after("phones", "list", "--help")

    assert "phonefarm_cli.commands.phones" in loaded
    assert loaded.isdisjoint({"aiohttp", "phonefarm_cli.demo", "phonefarm_cli.commands.agents"})


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_says_of_itself_what_the_list_says(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The table of commands and the command's own module do not drift apart."""
    listed = build_parser(None).format_help().split()
    own = build_parser(command).format_help().split()

    assert own == listed
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    assert f"usage: phonefarm {command} " in capsys.readouterr().out


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """The version of the installed distribution."""
    with pytest.raises(SystemExit) as caught:
        main(["--version"])

    assert caught.value.code == 0
    name, version = capsys.readouterr().out.split()
    assert name == "phonefarm"
    assert version[0].isdigit()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["phone", "list"], "there is no command phone: did you mean phones?"),
        (["zzz"], "there is no command zzz: `phonefarm --help` lists the commands"),
        (["phones", "list", "--hots", "x"], "unknown arguments: --hots x; `phonefarm phones"),
        (["phones", "drain"], "usage: phonefarm phones drain"),
    ],
)
def test_a_typing_error_names_the_way_out(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, and the usage of the verb that was typed."""
    with pytest.raises(SystemExit) as caught:
        read_arguments(words)

    assert caught.value.code == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("phonefarm dem", {"demo"}),
        ("phonefarm phones ret", {"retire", "return"}),
        ("phonefarm phones list --js", {"--json"}),
        ("phonefarm phones show ph-", {"ph-a", "ph-b"}),
    ],
)
def test_bash_completes_what_is_typed(typed: str, offered: set[str], tmp_path: Path) -> None:
    """A real bash loads the printed script and asks the program."""
    phones = ", ".join(
        f'{{"phone_id": "ph-{one}", "serialno": "", "serial": "", "account_id": ""}}'
        for one in "ab"
    )
    (tmp_path / ".farm").mkdir()
    (tmp_path / ".farm" / "up.json").write_text(
        '{"rest": "", "grpc": "", "adb": "", "api_key": "", "webhook_secret": "", "runtime": "",'
        f' "pids": {{}}, "simulator_control": "", "phones": [{phones}]}}'
    )
    program = tmp_path / "phonefarm"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m phonefarm_cli "$@"\n')
    program.chmod(0o755)
    script = (
        'eval "$(phonefarm completion bash)"\n'
        f'COMP_LINE="{typed}"; COMP_POINT=${{#COMP_LINE}}; COMP_TYPE=9; COMP_WORDS=($COMP_LINE)\n'
        "COMP_CWORD=$((${#COMP_WORDS[@]} - 1))\n"
        '_python_argcomplete phonefarm; printf "%s\\n" "${COMPREPLY[@]}"'
    )

    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env=os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )

    assert {word.strip() for word in done.stdout.split()} == offered


@pytest.mark.parametrize(("shell", "sign"), [("zsh", "#compdef phonefarm"), ("fish", "complete")])
def test_the_other_shells_get_scripts_of_their_own(
    shell: str, sign: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Zsh loads a file of `fpath` that begins with #compdef; fish knows `complete`."""
    assert main(["completion", shell]) == 0
    assert sign in capsys.readouterr().out


NEEDS_A_REASON = {
    *("accounts clear", "accounts delete", "agents drain", "processes cancel", "processes rerun"),
    *("phones drain", "phones hold", "phones maintain", "phones release", "phones retire"),
    *("phones return", "windows put", "limits put"),
    *("schedules add", "schedules delete", "schedules pause"),
}
MAY_HAVE_A_REASON = {
    *("agents invite", "agents revoke", "agents undrain", "gateways invite", "gateways revoke"),
    *("groups add", "groups clean-up", "groups delete", "groups put", "groups remove"),
    *("phones admit", "phones unhold", "windows remove", "limits remove", "schedules resume"),
}


def test_who_takes_gives_a_reason_and_who_gives_back_may() -> None:
    """One rule for --reason, as docs/operating.md gives it, holds for the verbs of every noun."""
    needs: set[str] = set()
    may: set[str] = set()
    for command in COMMANDS:
        (nouns,) = _verbs_of(build_parser(command))
        for verbs in _verbs_of(nouns.choices[command]):
            for verb, parser in verbs.choices.items():
                for option in parser._actions:
                    if "--reason" in option.option_strings:
                        (needs if option.required else may).add(f"{command} {verb}")

    assert needs == NEEDS_A_REASON
    assert may == MAY_HAVE_A_REASON


def _verbs_of(parser: argparse.ArgumentParser) -> list[Any]:
    return [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
