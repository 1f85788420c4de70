"""docs/app-profiles.md: its way from a dump to a profile that works, as it stands there."""

import asyncio
import os
import re
import sys
from pathlib import Path

import adbutils
import pytest
from support.live_farm import LiveFarm, bare_environment, hand
from support.up_process import started_up

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "app-profiles.md").read_text()
_LATER = "accounts put"
"""In the block that comes after the restart of the farm."""


def blocks(kind: str) -> list[str]:
    """Return the page's blocks of a kind."""
    return re.findall(rf"^```{kind}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def prepare(folder: Path) -> None:
    """Put there what the page takes for given: both programs, and the profile it shows."""
    (folder / "phonefarm").write_text(f'#!/bin/sh\nexec {sys.executable} -m phonefarm_cli "$@"\n')
    (folder / "phonefarm").chmod(0o755)
    (folder / "adb").symlink_to(adbutils.adb_path())
    (profile,) = (block for block in blocks("toml") if "com.example.shop" in block)
    (folder / "shop.toml").write_text(profile)


async def typed(folder: Path, script: str) -> str:
    """Return what a shell printed that was given the lines; each must succeed."""
    shell = await asyncio.create_subprocess_exec(
        *("bash", "-euo", "pipefail", "-c", script),
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=bare_environment() | {"PATH": f"{folder}:{os.environ['PATH']}"},
    )
    async with asyncio.timeout(240):
        said, _ = await shell.communicate()
    assert shell.returncode == 0, said.decode()
    return said.decode()


@pytest.mark.long
@pytest.mark.timeout(1200)  # two whole farms, one after the other
async def test_the_way_to_a_profile_works_as_the_page_says(tmp_path: Path) -> None:
    """Hold, dumps, taps by their bounds, check, restart, a live verification."""
    prepare(tmp_path)
    data = tmp_path / ".farm"
    before = [block for block in blocks("sh") if _LATER not in block]
    (after,) = (block for block in blocks("sh") if _LATER in block)
    take, *rest = before[0].splitlines()

    with started_up(data, simulate=1) as up:
        await whole(up.ready())
        held = await typed(tmp_path, take)
        (port,) = set(re.findall(r"adb -P (\d+)", held))
        by_hand = re.sub(r"(ADB_SERVER_PORT)=\d+", rf"\1={port}", "\n".join(rest + before[1:2]))
        seen = await typed(tmp_path, by_hand)
        checked = await typed(tmp_path, "".join(before[2:]))
        assert up.stop() == 0, up.said
    with started_up(data, simulate=1) as up:
        await whole(up.ready())
        verified = await typed(tmp_path, after)
        assert up.stop() == 0, up.said

    assert "package:com.example.shop" in seen
    for text in ("com.example.shop/com.example.shop.MainActivity", "Accept all", "Later", "Find"):
        assert text in seen
    assert "the run found everything that it looked for" in checked
    assert "1 of 3: content-desc Account; also 3" in checked
    assert "live verified" in verified


async def whole(farm: LiveFarm) -> None:
    """Wait until the farm's phone is on offer."""
    async with hand(farm) as it:
        await it.made_whole()
