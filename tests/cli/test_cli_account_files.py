"""Files of accounts: what is right is read, what is wrong is named with its line."""

import csv
import io
import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import strategies as st
from phonefarm_cli.console.account_file import COLUMNS, AccountLine, file_format, read_accounts
from phonefarm_cli.console.input_file import LARGEST_BYTES, InputFileError
from support.examples import given

CSV = b"""\
account_id,phone,app,active
acc-1,SIM0001,shortvideo,yes

acc-2,,shortvideo,no
"acc-3","SIM0003",shortvideo,
"""


def wrong(content: bytes, form: str = "csv") -> list[tuple[int, str]]:
    """Return what is wrong with the file, as line and text; it must not be right."""
    with pytest.raises(InputFileError) as caught:
        read_accounts(content, form)
    return [(one.line, one.text) for one in caught.value.wrong]


def test_a_csv_is_read_with_the_lines_its_accounts_stand_on() -> None:
    """Empty lines count and say nothing; an empty phone is none, an empty active is yes."""
    found = read_accounts(CSV, "csv")

    told = [(one.line, one.account_id, one.phone, one.active) for one in found]
    assert told == [
        (2, "acc-1", "SIM0001", True),
        (4, "acc-2", "", False),
        (5, "acc-3", "SIM0003", True),
    ]


def test_a_cell_of_two_lines_does_not_shift_the_numbers() -> None:
    """A quoted cell may hold a line break: the number is where the row begins."""
    content = b'account_id,app,condition_reason,condition\na,s,"x",\nb,s,"1\n2",\nc!,s,,\n'

    assert [line for line, _ in wrong(content)] == [3, 5]


def test_a_json_list_is_read_with_the_lines_its_accounts_begin_on() -> None:
    """Also what `accounts list --json` prints."""
    content = b"""\xef\xbb\xbf
[
  {"account_id": "acc-1", "phone": "ph-1", "app": "shortvideo", "active": false,
   "condition": "needs_attention", "condition_reason": "logged out"},
  {"account_id": "acc-2", "app": "shortvideo", "phone": null}, {"account_id": "acc-3", "app": "s"}
]
"""

    found = read_accounts(content, "json")

    assert [(one.line, one.account_id) for one in found] == [
        (3, "acc-1"),
        (5, "acc-2"),
        (5, "acc-3"),
    ]
    assert (found[0].condition, found[0].condition_reason) == ("needs_attention", "logged out")
    assert not found[0].active
    assert found[1].active


@pytest.mark.parametrize(
    ("content", "line", "told"),
    [
        (b"", 0, "the file is empty"),
        (b"\n \n", 0, "the file is empty"),
        (b"account_id,app\n", 0, "no accounts"),
        (b"account_id;app\na;s\n", 1, "separated by commas"),
        (b"app,phone\ns,p\n", 1, "the column account_id is missing"),
        (b"account_id,app,app\na,s,s\n", 1, "the column app occurs twice"),
        (b"account_id,app,phone,phone_id\na,s,p,p\n", 1, "the column phone occurs twice"),
        (b"account_id,app,colour\na,s,red\n", 1, "'colour' is not a known column"),
        (b"account_id,app\na,s\nb\n", 3, "has 1 values, but the header has 2 columns"),
        (b"account_id,app\na,s\nb,s,x\n", 3, "has 3 values"),
        (b"account_id,app\n,s\n", 2, "account_id is missing"),
        (b"account_id,app\na,\n", 2, "app is missing"),
        (b"account_id,app\na b,s\n", 2, "account_id 'a b' must be 1 to 128"),
        (b"account_id,app,active\na,s,maybe\n", 2, "active must be yes or no, not 'maybe'"),
        (b"account_id,app,condition\na,s,ill\n", 2, "condition must be ok or needs_attention"),
        (b"account_id,app\na,s\nb,s\na,s\n", 4, "the account a is already on line 2"),
        (b"account_id,app\na,s\n\xff,s\n", 3, "is not UTF-8"),
        (b'account_id,app\na,s\n"b,s\n', 3, "is not CSV"),
        (b"account_id,app,phone\na,s,x\x00y\n", 2, "phone must be printable text"),
        pytest.param(b"x" * (LARGEST_BYTES + 1), 0, "is larger than 16 MiB", id="large"),
    ],
)
def test_a_wrong_csv_is_named_by_line(content: bytes, line: int, told: str) -> None:
    """The number is the one an editor shows; the text says what must be there."""
    found = wrong(content)

    assert found[0][0] == line
    assert told in found[0][1]


@pytest.mark.parametrize(
    ("content", "line", "told"),
    [
        (b"", 1, "is not JSON"),
        (b"{}", 1, "is not a JSON list"),
        (b"[]", 0, "no accounts"),
        (b"[\n{,}]", 2, "is not JSON"),
        (b'[{"account_id": "a", "app": "s"}\n,3]', 2, "is not an object"),
        (b'[{"account_id": "a", "app": "s"},\n["a"]]', 2, "is not an object"),
        (b'[\n{"account_id": "a", "app": "s", "app": "t"}]', 2, "app occurs twice"),
        (
            b'[\n{"account_id": "a", "app": "s", "Phone": "", "phone_id": ""}]',
            2,
            "phone occurs twice",
        ),
        (b'[{"account_id": 3, "app": "s"}]', 1, "account_id must be printable text, not 3"),
        (b'[{"account_id": "a", "app": ["s"]}]', 1, "app must be printable text"),
        (b'[{"account_id": "a", "app": "s", "active": 2}]', 1, "active must be yes or no, not 2"),
        (b'[{"account_id": "a", "app": "s", "more": 1}]', 1, "'more' is not a known field"),
        (b'[{"account_id": "a", "app": "\\ud800"}]', 1, "app must be printable text"),
        (b'[{"account_id": "a", "app": NaN}]', 0, "NaN"),
        (b"[" * 100_000, 0, "the file is not JSON"),
        (b'[{"account_id": "a", "app": "s"}] x', 1, "is not JSON"),
        (b'[{"account_id": "a", "app": "s"},\n\n{"account_id": "a", "app": "s"}]', 3, "on line 1"),
    ],
)
def test_a_wrong_json_is_named_by_line(content: bytes, line: int, told: str) -> None:
    """Objects that are no accounts, names that come twice, and what is not at all."""
    found = wrong(content, "json")

    assert found[0][0] == line
    assert told in found[0][1]


def test_every_wrong_line_is_named() -> None:
    """Not only the first."""
    content = b"account_id,app,active\n!,s,yes\nok,s,yes\nb,,perhaps\n"

    assert [line for line, _ in wrong(content)] == [2, 4]


@pytest.mark.parametrize(
    ("path", "form", "found"),
    [
        ("a.csv", None, "csv"),
        ("a.JSON", None, "json"),
        ("a.txt", "csv", "csv"),
        ("-", "json", "json"),
    ],
)
def test_the_form_is_the_options_or_the_extensions(path: str, form: str | None, found: str) -> None:
    """--format wins."""
    assert file_format(path, form) == found


def test_a_file_without_a_known_extension_needs_the_option() -> None:
    """The remedy is named."""
    with pytest.raises(InputFileError, match="--format"):
        file_format("accounts.txt", None)


@given(content=st.binary(max_size=300), form=st.sampled_from(["csv", "json"]))
def test_hostile_bytes_are_wrong_and_no_surprise(content: bytes, form: str) -> None:
    """Whatever comes is read or refused."""
    with suppress(InputFileError):
        assert read_accounts(content, form)


_VALUES: Any = st.fixed_dictionaries(
    {
        "account_id": st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,20}", fullmatch=True),
        "phone": st.sampled_from(["", "SIM0001", "127.0.0.1:5555"]),
        "app": st.just("shortvideo"),
        "active": st.booleans(),
        "condition": st.sampled_from(["ok", "needs_attention"]),
        "condition_reason": st.text(
            st.characters(codec="utf-8", categories=["L", "N", "P", "S"]), max_size=20
        ),
    }
)


@given(values=st.lists(_VALUES, min_size=1, max_size=5, unique_by=lambda one: one["account_id"]))
def test_what_is_written_is_what_is_read(values: list[dict[str, Any]]) -> None:
    """Both forms carry every account whole."""
    table = io.StringIO()
    writer = csv.DictWriter(table, COLUMNS)
    writer.writeheader()
    writer.writerows([one | {"active": "yes" if one["active"] else "no"} for one in values])

    for content, form in ((table.getvalue(), "csv"), (json.dumps(values), "json")):
        found = read_accounts(content.encode(), form)

        assert [_told(one) for one in found] == values


def _told(one: AccountLine) -> dict[str, Any]:
    return {name: getattr(one, name) for name in COLUMNS}
