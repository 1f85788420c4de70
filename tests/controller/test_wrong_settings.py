"""A controller that cannot start says why in one line, and ends with the documented exit code.

Most tests call the program's `main`: to start Python and import it takes a second each time.
"""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest
from phonefarm_common import logs
from phonefarm_common.config import address
from phonefarm_controller.cli import main
from support.ipv6 import needs_ipv6

pytestmark = pytest.mark.fresh_start

KEY = {"INGEST_SECRET": "s"}


class Ended(NamedTuple):
    """How the controller's `main` ended, and what it wrote to stderr."""

    code: str | int | None
    said: str


@pytest.fixture(scope="module")
def taken() -> Iterator[str]:
    """Return an address at which another program listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def started(
    folder: Path, *arguments: str, environment: Mapping[str, str] = KEY
) -> "subprocess.CompletedProcess[str]":
    """Return how the controller ended; TimeoutExpired when it starts."""
    command = [sys.executable, "-m", "phonefarm_controller", "--data", "data", *arguments]
    free = [] if "--listen" in arguments else ["--listen", "127.0.0.1:0"]
    return subprocess.run(
        [*command, *free],
        cwd=folder,
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., Ended]:
    """Return what calls the controller's `main`, which must end before it serves."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "setswitchinterval", lambda _: None)
    monkeypatch.setattr(logs, "configure_logs", lambda **_: None)  # the tests' logs: also to stderr
    for name, value in KEY.items():
        monkeypatch.setenv(name, value)

    def call(*arguments: str) -> Ended:
        free = [] if "--listen" in arguments else ["--listen", "127.0.0.1:0"]
        command = ["phonefarm-controller", "--data", "data", *arguments, *free]
        monkeypatch.setattr(sys, "argv", command)
        with pytest.raises(SystemExit) as ended:
            main()
        return Ended(ended.value.code, capfd.readouterr().err)

    return call


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--listen", "0.0.0.0:7170"], 2, "--listen: 0.0.0.0 is not a loopback address"),
        (["--listen", "nonsense"], 2, "--listen must be HOST:PORT, not 'nonsense'"),
        (["--listen", "::1:7070"], 2, "--listen: write an IPv6 address in brackets, [::1]:7070"),
        (["--database-file", "/no"], 2, "--database-file: cannot read /no: No such file"),
        (["--database", "mysql://a/b"], 2, "--database must be sqlite:///FILE or postgresql://"),
        (
            ["--database", "postgresql://u:geheim@127.0.0.1:1/farm"],
            3,
            "cannot use the database postgresql://u:***@127.0.0.1:1/farm: ",
        ),
        (
            ["--database", "postgresql://u:geheim@127.0.0.1:1/farm?ssl=require"],
            2,
            "the URL of the database: ssl is not a parameter of PostgreSQL's URLs: use sslmode",
        ),
        (
            ["--database", "sqlite:////proc/no/farm.db"],
            3,
            "cannot use the database sqlite:////proc",
        ),
        (["--name", "c1"], 2, "--name is for other hosts: give --mtls-listen too"),
        (["--ca", "ca"], 2, "--ca is for other hosts: give --mtls-listen too"),
        (["--tls-listen", "127.0.0.1:0"], 2, "--tls-listen and --mtls-listen require each other"),
        (["--controllers", "a:1"], 2, "--controllers is for hosts that join: give --mtls-listen"),
        (["--metrics-for-all"], 2, "--metrics-for-all requires --metrics: give both"),
        (["--metrics", "0.0.0.0:0"], 2, "--metrics: 0.0.0.0 is not a loopback address"),
        (["--farm", "a farm"], 2, "--farm must be 1 to 128 characters"),
        (["--evidence", "ftp://a"], 2, "--evidence must be a directory or have the form s3://"),
        (["--evidence", "/proc/no"], 3, "/proc/no does not answer"),
        (["--keep-processes", "soon"], 2, "--keep-processes"),
        (["--golden-every", "soon"], 2, "--golden-every"),
        (
            ["--max-wait", "soon"],
            2,
            "--max-wait: 'soon' must be a time such as 30d or 12h, or forever",
        ),
    ],
)
def test_a_wrong_setting_is_one_line(
    called: Callable[..., Ended], arguments: list[str], code: int, said: str
) -> None:
    """It names the option or the thing, never a traceback, never a password."""
    ended = called(*arguments)

    assert ended.code == code, ended.said
    (line,) = ended.said.splitlines()
    assert line.startswith("phonefarm-controller: ")
    assert said in line
    assert "geheim" not in line


@pytest.mark.parametrize("option", ["--listen", "--metrics"])
def test_an_address_that_is_taken_is_one_line(
    called: Callable[..., Ended], taken: str, option: str
) -> None:
    """Another program listens there."""
    ended = called(option, taken)

    assert ended.code == 2, ended.said
    assert ended.said == (
        f"phonefarm-controller: cannot listen on {taken}: Address already in use\n"
    )


def test_a_controller_that_nobody_could_call_does_not_start(tmp_path: Path) -> None:
    """Neither INGEST_SECRET nor a key in the database."""
    ended = started(tmp_path, environment={})

    assert ended.returncode == 2
    assert ended.stderr.startswith("phonefarm-controller: nobody could call this controller")
    assert len(ended.stderr.splitlines()) == 1


def test_a_file_that_is_no_database_is_one_line(tmp_path: Path) -> None:
    """SQLite says so; the file stays as it is."""
    (tmp_path / "farm.db").write_text("no database at all, but some text of a person" * 100)

    ended = started(tmp_path, "--database", f"sqlite:///{tmp_path / 'farm.db'}")

    assert ended.returncode == 3, ended.stderr
    assert ended.stderr.splitlines()[-1].endswith("file is not a database")
    assert len(ended.stderr.splitlines()) == 1


@needs_ipv6
def test_a_controller_takes_its_database_from_a_file_and_listens_on_ipv6(tmp_path: Path) -> None:
    """The ready file has an address that clients can call."""
    (tmp_path / "url").write_text(f"sqlite:///{tmp_path}/named.db\n")
    command = [sys.executable, "-m", "phonefarm_controller", "--listen", "[::1]:0"]
    with subprocess.Popen(
        [*command, "--ready-file", "ready.json"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PHONEFARM_DATABASE_FILE": str(tmp_path / "url"), **KEY},
        stderr=subprocess.PIPE,
        text=True,
    ) as controller:
        assert controller.stderr is not None
        said = next((line for line in controller.stderr if "controller.ready" in line), "")
        controller.terminate()
    grpc = json.loads((tmp_path / "ready.json").read_text())["grpc"]

    assert said
    assert (tmp_path / "named.db").exists()
    host, port = address(grpc, name="grpc")
    assert (host, port > 0) == ("::1", True)


def test_a_wrong_variable_of_tracing_is_named(
    called: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the database is opened; docs/tracing.md has the variables."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "127.0.0.1:4318")

    ended = called()

    assert ended.code == 2
    assert "OTEL_EXPORTER_OTLP_ENDPOINT must be http://HOST:PORT" in ended.said
    assert not Path("data", "farm.db").exists()
