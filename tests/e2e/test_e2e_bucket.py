"""A whole farm whose evidence is in a bucket: what a run leaves is read back by REST."""

import hashlib
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import aiohttp
import pytest
from support.live_farm import Hand, eventually, hand
from support.programs import programs
from support.s3 import S3Bucket


async def kept_whole(it: Hand, process_id: str) -> list[dict[str, Any]]:
    """Return the lines of a process's evidence once its run's is complete."""

    async def look() -> list[dict[str, Any]] | None:
        status, listed = await it.call("GET", f"/processes/{process_id}/evidence")
        assert status == 200, listed
        done = listed["runs"] and all(run["complete"] for run in listed["runs"])
        return listed["evidence"] if done else None

    return await eventually(look, what="the manifest")


@pytest.mark.long
async def test_what_a_run_leaves_is_read_back_from_the_bucket(
    tmp_path: Path, bucket: S3Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every byte, although the controller was killed in between; its disk has none of it."""
    for name, value in bucket.environment.items():
        monkeypatch.setenv(name, value)
    options = {"controller": ["--evidence", bucket.url]}
    async with programs(tmp_path, options=options) as made:
        await made.simulator(1)
        await made.controller()
        await made.gateway()
        await made.agent("agent-1", ["SIM0001"])
        farm = await made.live(["SIM0001"])
        async with hand(farm) as it:
            process_id = await it.warm_up({"routing": "queue"})
            await it.on_screen("SIM0001")
            await made.kill("controller")
            await made.controller()
            await it.until(process_id, "completed", within=180)
            lines = await kept_whole(it, process_id)
            read = {}
            headers = {"Authorization": f"Bearer {farm.api_key}"}
            async with aiohttp.ClientSession(f"http://{farm.rest}", headers=headers) as session:
                for line in lines:
                    url = urljoin(f"/processes/{process_id}/evidence", line["url"])
                    async with session.get(url) as answer:
                        read[line["name"]] = await answer.read()

    objects = bucket.objects()
    assert {"run.log", "logcat.txt", "manifest.json"} <= read.keys()
    assert {line["name"]: line["sha256"] for line in lines} == {
        name: hashlib.sha256(data).hexdigest() for name, data in read.items()
    }
    assert objects.pop("evidence/.farm") == b"farm\n"
    assert sorted(objects.values()) == sorted(read.values())
    assert all(key.startswith(f"evidence/{process_id}/") for key in objects)
    assert not (tmp_path / "controller" / "evidence").exists()
