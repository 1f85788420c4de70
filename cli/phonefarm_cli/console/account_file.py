"""Reads files of accounts, CSV or JSON; errors name the line."""

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from phonefarm_common.ids import is_name

from phonefarm_cli.console.input_file import InputFileError, InputProblem, decode_text

COLUMNS: Final = ("account_id", "phone", "app", "active", "condition", "condition_reason")
_NEEDED: Final = ("account_id", "app")
_ALIASES: Final = {"phone_id": "phone", "serial": "phone", "serialno": "phone"}
_YES: Final = frozenset({"yes", "true", "1", "y"})
_NO: Final = frozenset({"no", "false", "0", "n"})
_CONDITIONS: Final = ("", "ok", "needs_attention")


@dataclass(frozen=True, kw_only=True)
class AccountLine:
    """One account of the file; `phone` is any of the phone's names, empty for none."""

    line: int
    account_id: str
    phone: str
    app: str
    active: bool
    condition: str
    condition_reason: str


def file_format(path: str, form: str | None) -> str:
    """Return csv or json: *form*, else the file's extension; InputFileError when it is neither."""
    found = form or Path(path).suffix.removeprefix(".").lower()
    if found not in {"csv", "json"}:
        raise InputFileError(
            InputProblem(
                line=0,
                text=(
                    f"the name {path} does not end in .csv or .json: give --format csv or "
                    "--format json"
                ),
            )
        )
    return found


def read_accounts(content: bytes, form: str) -> list[AccountLine]:
    """Return the file's accounts; InputFileError names every line that is wrong."""
    text = decode_text(content)
    rows = list(_csv_rows(text) if form == "csv" else _json_rows(text))
    wrong = [row for row in rows if isinstance(row, InputProblem)]
    found: list[AccountLine] = []
    for row in rows:
        if isinstance(row, InputProblem):
            continue
        told = _account(*row)
        if isinstance(told, AccountLine):
            found.append(told)
        else:
            wrong += told
    wrong += _twice(found)
    if not rows:
        wrong.append(InputProblem(line=0, text="the file has no accounts"))
    if wrong:
        raise InputFileError(*sorted(wrong, key=lambda one: one.line))
    return found


_Row = tuple[int, Mapping[str, Any]]


def _csv_rows(text: str) -> Iterator[_Row | InputProblem]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    names: list[str] = []
    line = 1
    try:
        for cells in reader:
            here, line = line, reader.line_num + 1
            if not any(cell.strip() for cell in cells):
                continue
            if not names:
                names = _header(cells, here)
            elif len(cells) != len(names):
                yield InputProblem(
                    line=here,
                    text=f"has {len(cells)} values, but the header has {len(names)} columns",
                )
            else:
                yield here, dict(zip(names, (cell.strip() for cell in cells), strict=True))
    except csv.Error as error:
        yield InputProblem(line=line, text=f"is not CSV: {error}")
    if not names:
        raise InputFileError(InputProblem(line=0, text=_NO_HEADER))


_NO_HEADER = f"the file is empty: its first line names the columns, {', '.join(COLUMNS[:4])}"


def _header(cells: list[str], line: int) -> list[str]:
    names = [_column(cell) for cell in cells]
    wrong = [
        f"{cell.strip()!r:.100} is not a known column"
        for cell, name in zip(cells, names, strict=True)
        if name not in COLUMNS
    ]
    wrong += [f"the column {name} is missing" for name in _NEEDED if name not in names]
    wrong += [f"the column {name} occurs twice" for name in COLUMNS if names.count(name) > 1]
    if wrong:
        remedy = (
            f"the header may contain only these columns, separated by commas: {', '.join(COLUMNS)}"
        )
        raise InputFileError(InputProblem(line=line, text=f"{'; '.join(wrong)}: {remedy}"))
    return names


def _json_rows(text: str) -> Iterator[_Row | InputProblem]:
    """Yield the objects of a JSON list, each with the line on which it begins."""
    try:
        # Objects come as tuples of pairs: a name that comes twice is seen.
        values = json.loads(text, object_pairs_hook=tuple, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise InputFileError(
            InputProblem(line=error.lineno, text=f"is not JSON: {error.msg}")
        ) from error
    except (ValueError, RecursionError) as error:
        raise InputFileError(InputProblem(line=0, text=f"the file is not JSON: {error}")) from error
    if not isinstance(values, list):
        raise InputFileError(InputProblem(line=1, text="is not a JSON list of accounts"))
    decoder, at = json.JSONDecoder(), text.index("[") + 1
    line = 1 + text.count("\n", 0, at)
    for pairs in values:
        gap = _GAP.match(text, at)
        begins = gap.end() if gap else at
        line += text.count("\n", at, begins)
        if not isinstance(pairs, tuple):
            yield InputProblem(
                line=line, text="is not an object with account_id, phone, app, active"
            )
        else:
            names = [_column(name) for name, _ in pairs]
            for name in sorted({name for name in names if names.count(name) > 1}):
                yield InputProblem(line=line, text=f"{name} occurs twice")
            yield line, dict(zip(names, (value for _, value in pairs), strict=True))
        _, at = decoder.raw_decode(text, begins)
        line += text.count("\n", begins, at)


_GAP = re.compile(r"[\s,]*")


def _no_constant(word: str) -> Any:
    raise ValueError(f"{word} is not an allowed value")


def _column(name: str) -> str:
    word = name.strip().lower()
    return _ALIASES.get(word, word)


def _account(line: int, row: Mapping[str, Any]) -> AccountLine | list[InputProblem]:
    wrong = [f"{name!r:.100} is not a known field" for name in row if name not in COLUMNS]
    texts = {name: row.get(name, "") for name in COLUMNS if name != "active"}
    texts = {name: "" if value is None else value for name, value in texts.items()}
    for name, value in texts.items():
        if not isinstance(value, str) or not value.isprintable():
            wrong.append(f"{name} must be printable text, not {value!r:.100}")
    active = _active(row.get("active"))
    if active is None:
        wrong.append(f"active must be yes or no, not {row.get('active')!r:.100}")
    if not wrong:
        wrong += [f"{name} is missing" for name in _NEEDED if not texts[name]]
        if texts["account_id"] and not is_name(texts["account_id"]):
            wrong.append(
                f"account_id {texts['account_id']!r} must be 1 to 128 characters from A-Z a-z "
                "0-9 . _ : - and begin with a letter or digit"
            )
        if texts["condition"] not in _CONDITIONS:
            wrong.append(f"condition must be ok or needs_attention, not {texts['condition']!r}")
    if wrong or active is None:
        return [InputProblem(line=line, text=text) for text in wrong]
    return AccountLine(line=line, active=active, **texts)


def _active(value: Any) -> bool | None:
    if value is None or value == "" or value is True:
        return True
    if value is False:
        return False
    word = value.lower() if isinstance(value, str) else str(value)
    return True if word in _YES else False if word in _NO else None


def _twice(lines: list[AccountLine]) -> list[InputProblem]:
    first: dict[str, int] = {}
    wrong = []
    for one in lines:
        if one.account_id in first:
            text = f"the account {one.account_id} is already on line {first[one.account_id]}"
            wrong.append(InputProblem(line=one.line, text=text))
        first.setdefault(one.account_id, one.line)
    return wrong
