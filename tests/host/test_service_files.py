"""What `install` writes for controllers and gateways, without a host to install on."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import pytest
from phonefarm_agent.cli import build_parser
from phonefarm_cli.main import read_arguments
from phonefarm_common.config import ConfigError
from phonefarm_common.service.install import CannotInstallError, check_setting, settings
from phonefarm_common.service.paths import read_environment
from phonefarm_common.service.steps import perform
from phonefarm_controller import install as controller
from phonefarm_gateway import install as gateway

STATE = Path("/var/lib/phonefarm-controller")
DOCS = Path(__file__).resolve().parents[2] / "docs"
PARSERS: Final[Mapping[str, Callable[[list[str]], object]]] = {
    "phonefarm": read_arguments,
    "phonefarm-agent": lambda words: build_parser(words[0]).parse_args(words),
    "phonefarm-controller": lambda words: controller.parsers().parse_args(words),
    "phonefarm-gateway": lambda words: gateway.parsers().parse_args(words),
}


def commands(page: str) -> list[str]:
    """Return the commands of our programs in the blocks of a page, which a long test types."""
    blocks = re.findall(r"^```sh\n(.*?)^```", (DOCS / page).read_text(), re.MULTILINE | re.DOTALL)
    lines = [line.partition(" > ")[0] for block in blocks for line in block.splitlines()]
    return [
        re.sub(r"^[A-Z_]+=\S+ ", "", line)
        for line in lines
        if re.search(r"(^|\S=\S+ )phonefarm", line)
    ]


@pytest.mark.parametrize("command", [*commands("install.md"), *commands("upgrading.md")])
def test_a_command_of_the_pages_is_one(command: str) -> None:
    """Its program takes its verb and its options."""
    program, *words = shlex.split(command)

    assert PARSERS[program](words)


@pytest.mark.parametrize(
    ("options", "folders"),
    [
        ("", ()),
        ("--ca /srv/farm/ca --name c1", ("/srv/farm/ca",)),
        ("--evidence=/srv/evidence --ca /srv/ca", ("/srv/ca", "/srv/evidence")),
        ("--evidence s3://farm/one", ()),
    ],
)
def test_a_controller_may_write_where_its_options_say(
    options: str, folders: tuple[str, ...]
) -> None:
    """The directories outside its state, and nothing of a bucket."""
    found = controller.shared_folders(options)
    unit = controller.unit(command="controller", state=STATE, also_writable=found)

    assert found == tuple(Path(folder) for folder in folders)
    assert (
        f"\nReadWritePaths={' '.join([str(STATE), *(f'-{folder}' for folder in folders)])}\n"
        in unit
    )


@pytest.mark.parametrize("folder", ["ca", "/home/farm/ca", "/srv/a%b"])
def test_a_directory_that_the_unit_cannot_give_is_refused(folder: str) -> None:
    """A relative one, one that systemd hides, and one that means something else in a unit."""
    with pytest.raises(CannotInstallError, match=f"--ca {folder} must"):
        controller.shared_folders(f"--ca {folder}")


def test_options_that_do_not_end_are_refused() -> None:
    """The setting that is wrong is named."""
    with pytest.raises(ConfigError, match="PHONEFARM_CONTROLLER_OPTIONS: No closing quotation"):
        controller.shared_folders("--ca '/srv")


@pytest.mark.parametrize("text", ['a "b"', "$HOME", "`id`", "a\nb", "a\\b"])
def test_what_would_end_a_quoted_setting_is_refused(text: str) -> None:
    """The settings are read by systemd and by shells, and mean the same to both."""
    with pytest.raises(CannotInstallError, match="--options must be one line"):
        check_setting(text, name="--options")


def test_the_settings_mean_the_same_to_a_shell(tmp_path: Path) -> None:
    """docs/install.md has the operator's shell read them."""
    path = tmp_path / "controller.env"
    options = "--tls-listen 0.0.0.0:7071 --name c1"
    path.write_text(controller.environment(options=options, ingest_secret="s3cret"))

    shown = subprocess.run(
        ["sh", "-euc", f'. {path}; printf %s "$INGEST_SECRET|$PHONEFARM_CONTROLLER_OPTIONS"'],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": os.environ["PATH"]},
    ).stdout

    assert shown == f"s3cret|{options}"
    assert read_environment(path)["PHONEFARM_CONTROLLER_OPTIONS"] == options


def test_settings_are_written_once_for_their_owner_only(tmp_path: Path) -> None:
    """The second time the operator's text stays; a file that others can read is closed."""
    path = tmp_path / "etc" / "gateway.env"
    printed: list[str] = []

    first = perform(settings(path, lambda: "A=1\n"), dry_run=False, tell=printed.append)
    mode = path.stat().st_mode & 0o777
    path.write_text("A=2\n")
    path.chmod(0o644)
    second = perform(settings(path, lambda: "A=3\n"), dry_run=False, tell=printed.append)

    assert (first, second) == (1, 1)
    assert mode == path.stat().st_mode & 0o777 == 0o600
    assert path.read_text() == "A=2\n"
    assert printed == [f"write {path} (0600, for root only)", f"allow only root to read {path}"]


def test_every_option_of_a_gateway_is_kept(tmp_path: Path) -> None:
    """Controllers on this host and the file with their token are settings."""
    path = tmp_path / "gateway.env"
    path.write_text(
        gateway.environment(
            options="--listen 127.0.0.1:8080", controller="127.0.0.1:7070", token_file="/etc/token"
        )
    )

    assert read_environment(path) == {
        "PHONE_FARM_WEBHOOK_SECRET": "",
        "PHONEFARM_GATEWAY_CONTROLLER": "127.0.0.1:7070",
        "PHONEFARM_GATEWAY_TOKEN_FILE": "/etc/token",
        "PHONEFARM_GATEWAY_OPTIONS": "--listen 127.0.0.1:8080",
    }


@pytest.mark.parametrize("program", ["controller", "gateway"])
def test_the_verbs_are_in_the_help(program: str) -> None:
    """A stranger finds them in the first page of help."""
    shown = subprocess.run(
        [sys.executable, "-m", f"phonefarm_{program}", "--help"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    assert f"phonefarm-{program} install" in shown
    assert f"phonefarm-{program} uninstall" in shown
