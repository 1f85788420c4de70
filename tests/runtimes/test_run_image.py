"""The image of the run container: built only when needed, from what is installed."""

import argparse
import json
import uuid
import zipfile
from pathlib import Path

import pytest
from phonefarm_agent.runtimes import image, wheels
from phonefarm_agent.runtimes.docker import EXECUTOR_USER, DockerRuntime
from phonefarm_agent.runtimes.docker_engine import Engine
from phonefarm_agent.runtimes.interface import RuntimeFailedError
from phonefarm_agent.runtimes.wheels import Target
from support.runtime_bench import RuntimeBench, all_lines

TARGET = Target(python="3.12", machine="aarch64", glibc="2.36")


@pytest.mark.docker
def test_an_image_that_is_up_to_date_is_not_built_again(executor_image: str) -> None:
    """The second build says so and does nothing."""
    told: list[str] = []

    built = image.build(executor_image, progress=told.append)

    assert not built
    assert told == [f"{executor_image} is up to date"]


@pytest.mark.docker
def test_the_image_holds_the_executor_that_is_installed_here(
    executor_image: str, engine: Engine
) -> None:
    """Byte for byte the same main module, and a label that tells the contents."""
    path = "/opt/phonefarm/lib/phonefarm_executor/__init__.py"

    inside = engine.run_once(executor_image, ["cat", path])

    files = image._executor()
    assert inside.encode() == files["lib/phonefarm_executor/__init__.py"]
    assert set(engine.image_labels(executor_image)) >= {image.CONTENTS_LABEL, image.BASE_LABEL}


def test_the_tag_of_an_image_tells_its_contents(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two checkouts of one version that differ have images of their own."""
    ours, files = image.default_name(), image._executor()
    monkeypatch.setattr(image, "_executor", lambda: files | {"lib/other.py": b"pass"})

    other = image.default_name()

    assert ours != other
    assert ours.rpartition("-")[0] == other.rpartition("-")[0]


@pytest.mark.docker
def test_a_new_image_replaces_the_older_ones_of_the_same_folder(
    executor_image: str, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And no other: another checkout's image stays."""
    name = f"phonefarm-executor-of-a-test:{uuid.uuid4().hex[:8]}"
    base = engine.image_labels(executor_image)[image.BASE_LABEL]
    ours = image._executor()
    monkeypatch.setattr(image, "_executor_root", lambda: Path("/a/test") / name)
    try:
        for more in (b"1", b"2"):
            files = ours | {"lib/more.py": more}
            with monkeypatch.context() as changed:
                changed.setattr(image, "_executor", lambda files=files: files)
                image.build(f"{name}-{more.decode()}", base, progress=lambda _: None)

        assert engine.image_id(f"{name}-1") is None
        assert engine.image_id(f"{name}-2") is not None
        assert engine.image_id(executor_image) is not None
    finally:
        for tag in ("1", "2"):
            engine.drop_image(f"{name}-{tag}")


@pytest.mark.docker
def test_the_executor_is_started_as_its_own_user(executor_image: str, engine: Engine) -> None:
    """The image names the user that the runtime names too, and it is not root."""
    told = engine.run_once(executor_image, ["id", "-u"]).strip()

    assert f"{told}:{told}" == EXECUTOR_USER
    assert told != "0"


@pytest.mark.docker
async def test_the_image_starts_the_executor_on_the_run_directory(
    executor_image: str, farm_name: str, tmp_path: Path
) -> None:
    """With no command of the test's own the real entry reads the plan and refuses it."""
    bench = RuntimeBench(kind="docker", life=DockerRuntime, folder=tmp_path)
    runtime = DockerRuntime(farm=farm_name, agent="a", image=executor_image)

    handle = await runtime.start(bench.spec())
    last = json.loads((await all_lines(runtime, handle))[-1])

    assert (last["type"], last["outcome"]) == ("run_finished", "failed")
    assert last["failure"]["code"] == "plan_invalid"
    assert (await runtime.wait(handle)).code == 1


@pytest.mark.docker
async def test_a_missing_image_is_named_with_its_remedy(farm_name: str) -> None:
    """`check` tells what to run."""
    runtime = DockerRuntime(farm=farm_name, agent="a", image="phonefarm-none:0")

    with pytest.raises(RuntimeFailedError, match="phonefarm-agent image build"):
        await runtime.check()


async def test_an_engine_that_is_away_is_named_with_its_remedy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`check` tells that nothing answered and what to do."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    runtime = DockerRuntime(farm="f", agent="a", image="phonefarm-none:0")

    with pytest.raises(RuntimeFailedError, match="DOCKER_HOST"):
        await runtime.check()


async def test_an_engine_that_keeps_no_limits_is_refused() -> None:
    """Where the kernel offers no memory limit, no run is started; the text says what to do."""

    class Unlimited(Engine):
        def cannot_limit(self) -> list[str]:
            return ["memory", "processes"]

    runtime = DockerRuntime(farm="f", agent="a", image="phonefarm-none:0", engine=Unlimited())

    with pytest.raises(RuntimeFailedError, match="cannot limit memory, processes"):
        await runtime.check()


def test_the_command_reports_failure_on_stderr(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`image build` without an engine ends with 1 and the remedy, not with a traceback."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    parser = argparse.ArgumentParser()
    image.add_commands(parser.add_subparsers())
    arguments = parser.parse_args(["image", "build", "--name", "phonefarm-none:0"])

    code = arguments.perform(arguments)

    assert code == 1
    assert "no container engine answered" in capsys.readouterr().err


def test_the_contents_decide_whether_an_image_is_up_to_date() -> None:
    """A changed executor, a changed recipe or a changed pin is another image; order is not."""
    sources = {"Dockerfile": b"FROM a", "lib/x.py": b"1"}
    pins = {"adbutils": "1", "pillow": "2"}

    digest = image._digest(sources, pins)

    assert digest == image._digest(dict(reversed(sources.items())), dict(reversed(pins.items())))
    assert digest != image._digest({**sources, "lib/x.py": b"2"}, pins)
    assert digest != image._digest({**sources, "Dockerfile": b"FROM b"}, pins)
    assert digest != image._digest(sources, {**pins, "pillow": "3"})


def test_a_context_is_the_same_bytes_for_the_same_files() -> None:
    """No clock, no order of a directory and no user id gets into it."""
    files = {"b": b"2", "a": b"1"}

    assert image._context(files).read() == image._context(dict(reversed(files.items()))).read()


def test_pins_are_all_that_adbutils_needs_as_installed_here() -> None:
    """Its own requirements and theirs, with exact versions, and nothing of ours."""
    pins = wheels.pins("adbutils")

    assert {"adbutils", "pillow", "requests", "retry2", "urllib3"} <= set(pins)
    assert not {"phonefarm", "pytest", "docker"} & set(pins)


def test_a_target_takes_wheels_for_its_libc_and_older() -> None:
    """Newest first; never one made for a newer libc; adbutils has only x86 ones, of pure Python."""
    tags = TARGET.platforms

    assert tags[0] == "manylinux_2_36_aarch64"
    assert "manylinux_2_17_aarch64" in tags
    assert "manylinux2014_aarch64" in tags
    assert "manylinux_2_37_aarch64" not in tags
    assert tags[-1] == "manylinux1_x86_64"


def test_wheels_that_are_kept_need_no_download(tmp_path: Path) -> None:
    """With every pin in the cache pip is not asked."""
    folder = tmp_path / "cp312-aarch64-glibc2.36"
    folder.mkdir()
    for name in ("adbutils-2.12.0-py3-none-any.whl", "charset_normalizer-3.5.2-cp312-x.whl"):
        (folder / name).touch()
    told: list[str] = []

    found = wheels.fetch(
        {"adbutils": "2.12.0", "charset-normalizer": "3.5.2"},
        target=TARGET,
        cache=tmp_path,
        progress=told.append,
    )

    assert [path.name.partition("-")[0] for path in found] == ["adbutils", "charset_normalizer"]
    assert told == [f"2 wheels from {folder}"]


def test_no_adb_gets_into_the_image(tmp_path: Path) -> None:
    """Of a wheel the image gets packages and metadata; no adb, no scripts."""
    wheel = tmp_path / "adbutils-2.12.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path in (
            "adbutils/__init__.py",
            "adbutils/binaries/__init__.py",
            "adbutils/binaries/adb",
            "adbutils/binaries/adb.exe",
            "adbutils-2.12.0.data/scripts/adb",
            "adbutils-2.12.0.dist-info/METADATA",
            "adbutils-2.12.0.dist-info/RECORD",
        ):
            archive.writestr(path, b"x")

    taken = [path for path, _ in wheels.contents(wheel)]

    assert taken == [
        "adbutils/__init__.py",
        "adbutils/binaries/__init__.py",
        "adbutils-2.12.0.dist-info/METADATA",
    ]
