"""fyp_warmup under a judge: from the request over REST to the model and back into the outputs."""

from pathlib import Path

import pytest
from support.live_farm import hand
from support.model_server import model_server, verdict
from support.up_process import started_up


@pytest.mark.long
async def test_each_video_says_how_the_model_judged_it(tmp_path: Path) -> None:
    """The agent asks the model with the caller's wish; what it passes over is watched short."""
    async with model_server() as model:
        model.content = verdict("pass", 0.1)
        environment = {"PHONEFARM_JUDGE_URL": model.url, "PHONEFARM_JUDGE_MODEL": "tiny"}
        with started_up(tmp_path / "farm", simulate=1, environment=environment) as up:
            async with hand(up.ready()) as it:
                await it.made_whole()
                process_id = await it.accepted(
                    "/capability-requests/enqueue",
                    {
                        "request_id": "judged-1",
                        "capability": "fyp_warmup",
                        "mode": "manual",
                        "target": {"routing": "direct", "account_id": "sim-0001"},
                        "inputs": {"judge_prompt": "bread", "max_videos": 2, "watch_seconds": 8},
                        "callback": {"url": "http://127.0.0.1:9/"},
                        "requested_by": {"system": "test"},
                    },
                )
                record = await it.until(process_id, "completed", "failed_terminal")
            assert up.stop() == 0, up.said

    (item,) = record["result"]["items"].values()
    videos = item["videos"]
    assert [video["judged"]["by"] for video in videos] == ["model", "model"]
    assert [video["judged"]["verdict"] for video in videos] == ["pass", "pass"]
    assert all(2.0 <= video["seconds"] < 8.0 for video in videos)
    assert '"wish": "bread"' in model.asked[0]["messages"][1]["content"]
    assert model.asked[0]["model"] == "tiny"
