"""`phonefarm demo` as a visitor runs it."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.live_farm import bare_environment, containers, eventually, lives, processes_that_name

pytestmark = pytest.mark.fresh_start


def _demo(folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "phonefarm_cli", "demo", *arguments],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=bare_environment(),
    )


@pytest.mark.parametrize("runtime", ["process", pytest.param("docker", marks=pytest.mark.docker)])
def test_the_demo_proves_itself(tmp_path: Path, runtime: str) -> None:
    """Exit code 0, six signed callbacks, four looks at phones, its files where it says.

    In processes its phones are of three kinds, as told; in containers, of the usual one.
    """
    if runtime == "docker":
        command = [sys.executable, "-m", "phonefarm_agent", "image", "build"]
        subprocess.run(command, check=True, capture_output=True)

    kinds = ["--personality", "samsung,xiaomi,foldable"] if runtime == "process" else []
    models = ["SM-S921-like", "2201123G-like", "Simulated Pixel 9 Pro Fold"]
    demo = _demo(tmp_path, "--runtime", runtime, *kinds)
    said, _ = demo.communicate(timeout=250)

    assert demo.returncode == 0, said
    assert said.count("signature ok") == 6
    assert said.count("its ledger contains searches for 'tiny houses', 'street food'") == 3
    assert said.count("the profile in its app has") == 1
    assert "nothing is left running" in said
    for number, model in enumerate(models if kinds else ["Simulated Pixel 9"] * 3, start=1):
        assert f"admitted ph-sim000{number}: {model} 127.0.0.1:" in said
    (folder,) = (tmp_path / ".farm").glob("demo-*")
    assert len(list((folder / "simulator").glob("*.ledger.jsonl"))) == 3
    assert not (folder / "up.json").exists()


@pytest.mark.long
def test_an_interrupted_demo_leaves_nothing(tmp_path: Path) -> None:
    """Ctrl-C in the middle: a reason, exit code 1, every program ended."""
    demo = _demo(tmp_path, "--runtime", "process")
    assert demo.stdout is not None
    said = ""
    while "accepted" not in said:
        line = demo.stdout.readline()
        assert line, said
        said += line

    demo.send_signal(signal.SIGINT)
    rest, _ = demo.communicate(timeout=120)

    assert demo.returncode == 1
    assert "interrupted; nothing is left running" in rest
    (folder,) = (tmp_path / ".farm").glob("demo-*")
    assert processes_that_name(str(folder)) == []


@pytest.mark.parametrize(
    "runtime", ["process", pytest.param("docker", marks=[pytest.mark.docker, pytest.mark.long])]
)
async def test_a_killed_demo_leaves_nothing(tmp_path: Path, runtime: str) -> None:
    """Kill -9 in the middle of the runs: its farm stops in order though nobody reads its words."""
    demo = _demo(tmp_path, "--runtime", runtime)
    assert demo.stdout is not None
    said = ""
    while "EXECUTING" not in said:
        line = demo.stdout.readline()
        assert line, said
        said += line
    (folder,) = (tmp_path / ".farm").glob("demo-*")
    report = json.loads((folder / "up.json").read_text())
    farm = json.loads((folder / "secrets.json").read_text())["farm"]

    demo.kill()
    demo.communicate()

    async def gone() -> bool:
        return not any(lives(pid) for pid in report["pids"].values())

    await eventually(gone, what="the end of every program")
    assert processes_that_name(str(folder)) == []
    assert not (folder / "up.json").exists()
    if runtime == "docker":
        assert not await containers(label=f"phonefarm.farm={farm}")
