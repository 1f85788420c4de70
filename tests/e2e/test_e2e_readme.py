"""The README's example works as it stands there."""

import json
import re
import shlex
from pathlib import Path

import pytest
from phonefarm_cli.main import main
from support.live_farm import Hand
from support.once import ONE_RUNTIME

README = (Path(__file__).resolve().parent.parent.parent / "README.md").read_text()


@ONE_RUNTIME
async def test_the_example_request_is_accepted_and_completes(at_work: Hand) -> None:
    """The body of the README's curl, sent to a farm, ends completed."""
    (body,) = re.findall(r"-d '(\{.*?\})'$", README, re.DOTALL | re.MULTILINE)

    process_id = await at_work.accepted("/capability-requests/enqueue", json.loads(body))
    record = await at_work.until(process_id, "completed", "failed_terminal")

    assert record["status"] == "completed"


def test_every_command_of_the_readme_can_be_said() -> None:
    """Each `phonefarm ...` line is understood, up to its --help."""
    lines = re.findall(r"^\.venv/bin/phonefarm (.*?)(?:#.*)?$", README, re.MULTILINE)

    assert len(lines) >= 4
    for line in lines:
        with pytest.raises(SystemExit) as ended:
            main([*shlex.split(line), "--help"])
        assert ended.value.code == 0
