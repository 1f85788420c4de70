"""Tables on a terminal: what fits, what is whole, what is coloured; and what other programs get."""

import io
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from phonefarm_cli.console.tables import Cell, rendered, tabbed
from phonefarm_cli.console.times import age_text
from rich.console import Console

NOW = datetime(2026, 1, 2, tzinfo=UTC)
IDS = ("a988e034-7c92-4edb-90d7-13fdfd8ea25b", "b1c2d3e4-7c92-4edb-90d7-13fdfd8ea25b")
COLUMNS = ("PHONE", "HOST", "STATE", "SINCE", "PROCESS", "MODEL", "WHY NOT")
OPTIONAL = ("MODEL", "SINCE")
WHY = f"phone_offline: absent; account_busy: the process {IDS[1]} uses its account now"


def _moment(age: timedelta) -> Timestamp:
    moment = Timestamp()
    moment.FromDatetime(NOW - age)
    return moment


ROWS: Sequence[Sequence[Cell]] = (
    ("ph-sim0001", "host-1", "busy", _moment(timedelta(minutes=4)), IDS[0], "Pixel 8 Pro", ""),
    ("ph-sim0002", "host-2", "offline", _moment(timedelta(days=3)), IDS[1], "Galaxy S23", WHY),
)


def _lines(width: int, rows: Sequence[Sequence[Cell]] = ROWS) -> tuple[list[str], tuple[str, ...]]:
    """Return the lines of the table on a terminal of this width, and the columns left out."""
    shown = rendered(COLUMNS, rows, optional=OPTIONAL, width=width, now=NOW)
    out = io.StringIO()
    Console(file=out, width=width, soft_wrap=True, color_system=None).print(shown.table)
    return [line.rstrip() for line in out.getvalue().splitlines()], shown.left_out


@pytest.mark.parametrize("width", [80, 100, 140])
def test_a_table_fits_the_terminal_and_cuts_no_id(width: int) -> None:
    """Phones, states and ids stay whole in one line; text wraps between words."""
    lines, _ = _lines(width)

    text = "\n".join(lines)
    assert max(map(len, lines)) <= width
    assert "ph-sim0001  host-1  busy" in text
    assert IDS[1] in text, "the id in the sentence is whole"
    assert all(one[:8] in text for one in IDS)


def test_a_wide_terminal_shows_everything_whole() -> None:
    """No id is shortened and no column left out where there is room for them."""
    lines, left_out = _lines(220)

    assert left_out == ()
    assert len(lines) == 1 + len(ROWS)
    assert IDS[0] in lines[1]
    assert lines[1].split()[3:6] == ["4", "min", "ago"]
    assert "3 d ago" in lines[2]


def test_a_narrow_terminal_leaves_out_optional_columns_in_their_order() -> None:
    """The caller is told which; what is not optional stays."""
    told = [_lines(width) for width in range(140, 70, -1)]

    assert list(dict.fromkeys(left_out for _, left_out in told)) == [(), OPTIONAL[:1], OPTIONAL]
    heads = [lines[0].split() for lines, left_out in told if left_out == OPTIONAL[:1]]
    assert heads[0] == ["PHONE", "HOST", "STATE", "SINCE", "PROCESS", "WHY", "NOT"]


def test_shortened_ids_still_tell_rows_apart() -> None:
    """Ids that begin alike keep as many characters as they need."""
    twins = [f"a988e034-7c92-{end}" for end in ("1edb", "2edb")]
    rows = [[*row[:4], twin, *row[5:]] for row, twin in zip(ROWS, twins, strict=True)]

    text = "\n".join(_lines(80, rows)[0])

    assert "a988e034-7c92-1" in text
    assert "a988e034-7c92-2" in text
    assert "a988e034-7c92-1e" not in text


def test_states_are_coloured_and_no_color_switches_that_off() -> None:
    """https://no-color.org: a variable that is not empty."""
    shown = rendered(COLUMNS, ROWS, optional=(), width=200, now=NOW).table
    coloured, plain = io.StringIO(), io.StringIO()
    Console(file=coloured, width=200, force_terminal=True, _environ={}).print(shown)
    bare = {"NO_COLOR": "1"}
    Console(file=plain, width=200, force_terminal=True, _environ=bare).print(shown)

    assert "\x1b[31moffline" in coloured.getvalue()
    assert "\x1b[36mbusy" in coloured.getvalue()
    assert "\x1b[31m" not in plain.getvalue()


def test_other_programs_get_absolute_times_and_one_line_a_row() -> None:
    """No cell breaks the line or the columns."""
    assert tabbed(["a\tb\nc", _moment(timedelta(0))]) == "a b c\t2026-01-02 00:00:00Z"


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0.9, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "119 min"), (7200, "2 h"), (2e5, "2 d")],
)
def test_an_age_is_told_in_the_largest_unit_of_which_there_are_two(
    seconds: float, told: str
) -> None:
    """So that `1 h` never hides 59 minutes."""
    assert age_text(seconds) == told
