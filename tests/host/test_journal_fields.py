"""Events as journald gets them."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from logging_journald import JournaldTransport
from phonefarm_common.journald import JournaldLogger, fields_of


@pytest.fixture
def journald(tmp_path: Path) -> Iterator[socket.socket]:
    """Listen where journald would."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as it:
        it.bind(str(tmp_path / "socket"))
        it.settimeout(60)
        yield it


def test_values_become_fields_that_can_be_searched() -> None:
    """RUN_ID and PROCESS_ID are fields; the text has all of it for people."""
    event = {"event": "run.go_received", "level": "warning", "run_id": "r-1", "process_id": "p-1"}

    fields = fields_of(event)

    assert fields["RUN_ID"] == "r-1"
    assert fields["PROCESS_ID"] == "p-1"
    assert fields["PRIORITY"] == "4"
    assert fields["MESSAGE"] == "run.go_received run_id=r-1 process_id=p-1"


@pytest.mark.parametrize(
    ("key", "name"),
    [("message", "F_MESSAGE"), ("_pid", "F__PID"), ("2nd", "F_2ND"), ("a-b.c", "A_B_C")],
)
def test_no_value_takes_a_field_of_journald(key: str, name: str) -> None:
    """What journald would drop, or take for its own, gets another name."""
    assert fields_of({"event": "e", key: "v"})[name] == "v"
    assert len(next(iter(fields_of({"event": "e", "x" * 100: 1})))) == 64


def test_many_lines_are_one_entry(journald: socket.socket, tmp_path: Path) -> None:
    """A traceback travels with its length, so that no line of it can pose as a field."""
    logger = JournaldLogger("agent", JournaldTransport(tmp_path / "socket", connected=False))

    logger.msg(event="broke", level="error", exception="one\nPRIORITY=0")
    logger._transport.socket.close()
    data = journald.recv(65536)

    assert b"SYSLOG_IDENTIFIER=phonefarm-agent\n" in data
    text = b"broke\none\nPRIORITY=0"
    assert b"MESSAGE\n" + len(text).to_bytes(8, "little") + text in data


def test_a_journald_that_takes_nothing_holds_up_nobody(
    journald: socket.socket, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With its queue full the event goes to stderr at once."""
    logger = JournaldLogger("agent", JournaldTransport(tmp_path / "socket", connected=False))

    for number in range(2000):
        logger.msg(event="told", number=number)
    logger._transport.socket.close()

    assert "journald refused an event" in capsys.readouterr().err
