"""docs/tutorial.md says what is so: its commands are read, and run against a farm."""

import asyncio
import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from phonefarm_cli.main import read_arguments
from support.live_farm import LiveFarm
from support.up_process import started_up

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "tutorial.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
COMMANDS = re.findall(r"phonefarm ([^|)\n]+)", "".join(BLOCKS).replace("\\\n", ""))
WAITS = {
    "phonefarm processes list\n": "processes list --request my-first-request | grep completed",
    "phonefarm sim fault SIM0001 unplug\n": "phones show SIM0001 --json | grep absent",
}
"""After a command of the page, what the reader waits for before the next one."""


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_page_is_one(command: str) -> None:
    """Its verb and options exist."""
    assert read_arguments(shlex.split(command)).perform


@pytest.fixture
def tutorial_farm(tmp_path: Path) -> Iterator[LiveFarm]:
    """Run the farm of the page's first step, in the folder `.farm`."""
    with started_up(tmp_path / ".farm", simulate=3) as up:
        yield up.ready()
        assert up.stop() == 0, up.said


@pytest.mark.long
async def test_the_page_works_from_top_to_bottom(tutorial_farm: LiveFarm) -> None:
    """Every block, in order; the work that waits for the absent phone is done on it in the end."""
    if shutil.which("curl") is None:
        pytest.skip("no curl found: `apt-get install curl` (scripts/provision.sh python)")
    folder = tutorial_farm.data.parent
    program = folder / ".venv" / "bin" / "phonefarm"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m phonefarm_cli "$@"\n')
    program.chmod(0o755)
    script = "set -euo pipefail\n" + "".join(f"{block}echo '=== '\n" for block in BLOCKS)
    for command, seen in WAITS.items():
        assert script.count(command) == 1
        script = script.replace(command, f"{command}until phonefarm {seen} >&2; do :; done\n")

    shell = await asyncio.create_subprocess_exec(
        "bash",
        "-xc",
        script,
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder)},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said, wrong = await shell.communicate()

    assert shell.returncode == 0, (said.decode(), wrong.decode())
    listed, first, shown, _, _, broken, _, waiting, mended, link, _ = said.decode().split("=== \n")
    assert listed.count("free") == 3
    assert ": completed" in first
    assert "sim-0" in shown
    assert "offline" in broken
    assert "phone_offline" in waiting
    assert "1 phone is absent: ph-sim0001" in waiting
    assert ": completed" in mended
    assert "/console#" in link
