"""docs/operating.md and docs/scheduling.md: their commands are read, and run against a farm."""

import asyncio
import os
import re
import shlex
import sys
from collections.abc import AsyncIterator, Iterator
from importlib import resources
from pathlib import Path

import pytest
from gateway.support.receiver import Receiver
from phonefarm_cli.main import read_arguments
from support.live_farm import LiveFarm, hand
from support.up_process import started_up

DOCS = Path(__file__).resolve().parents[2] / "docs"
OPERATING, SCHEDULING = "operating.md", "scheduling.md"


def blocks(kind: str, page: str) -> list[str]:
    """Return the page's blocks of a kind."""
    text = (DOCS / page).read_text()
    return re.findall(rf"^```{kind}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


COMMANDS = [
    line
    for page in (OPERATING, SCHEDULING)
    for block in blocks("sh", page)
    for line in block.replace("\\\n", "").splitlines()
]


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_of_the_page_is_one(line: str) -> None:
    """Its verb and options exist."""
    program, *words = shlex.split(line.partition(">")[0])

    assert program == "phonefarm"
    assert read_arguments(words).perform


@pytest.fixture
def page_farm(tmp_path: Path) -> Iterator[LiveFarm]:
    """Run a farm of two phones in the folder `.farm`."""
    with started_up(tmp_path / ".farm", simulate=2) as up:
        yield up.ready()
        assert up.stop() == 0, up.said


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """Yield a receiver of callbacks."""
    async with Receiver.serving() as it:
        yield it


def prepare(folder: Path) -> None:
    """Put there what the page takes for given: the command, the files it names."""
    (folder / "phonefarm").write_text(f'#!/bin/sh\nexec {sys.executable} -m phonefarm_cli "$@"\n')
    (folder / "phonefarm").chmod(0o755)
    (table,) = blocks("csv", OPERATING)
    (folder / "accounts.csv").write_text(table)
    profile = resources.files("phonefarm_controller").joinpath("profiles", "shortvideo.toml")
    lines = profile.read_text().splitlines(keepends=True)
    # Nobody has posted yet: there is no post to be found.
    (folder / "newapp.toml").write_text("".join(x for x in lines if not x.startswith("post = ")))


@pytest.mark.long
async def test_the_page_works_from_top_to_bottom(
    page_farm: LiveFarm, receiver: Receiver, tmp_path: Path
) -> None:
    """Every block, in order, as an operator would type it, with a process to look into."""
    folder = page_farm.data.parent
    prepare(folder)
    async with hand(page_farm) as it:
        target = {"routing": "direct", "account_id": "sim-0001"}
        process_id = await it.warm_up(target, url=receiver.url())
        await it.until(process_id, "completed")
        await receiver.wait(3)

    said = await type_in(page_farm, OPERATING, process_id)

    assert f"{process_id}: completed" in said


@pytest.mark.long
async def test_the_page_of_windows_works_from_top_to_bottom(page_farm: LiveFarm) -> None:
    """In order, as an operator would type it; no window, schedule or limit is left."""
    prepare(page_farm.data.parent)

    said = await type_in(page_farm, SCHEDULING, "none")

    assert said.count("the window is removed") == 4
    assert said.count("the schedule is deleted") == 2
    assert said.count("the limit of") == said.count("is removed") - 4 == 5
    assert "account sim-0001" in said


async def type_in(farm: LiveFarm, page: str, process_id: str) -> str:
    """Type the page's commands, which must all succeed; return what they say."""
    folder = farm.data.parent
    script = "\n".join(["set -eu", *blocks("sh", page)])
    shell = await asyncio.create_subprocess_exec(
        "bash",
        "-xc",
        script,
        cwd=folder,
        env=os.environ | {"PATH": f"{folder}:{os.environ['PATH']}", "PROCESS": process_id},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await shell.communicate()
    assert shell.returncode == 0, said.decode()
    return said.decode()
