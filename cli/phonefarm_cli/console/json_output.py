"""Prints messages as JSON for scripts: every field, numbers as numbers, times as text."""

import argparse
import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from phonefarm_cli.terminal import echo

_JSON = "_json"


def message_dict(message: Message) -> dict[str, Any]:
    """Return every field by name; absent messages are None, `x_json` becomes `x`, parsed."""
    return dict(_plain_field(message, field) for field in message.DESCRIPTOR.fields)


def print_json(value: Any) -> None:
    """Print *value* as JSON."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def print_result(
    options: argparse.Namespace, result: Message | Sequence[Message] | dict[str, Any], *lines: str
) -> None:
    """Print the result of a verb: as JSON with --json, otherwise as these lines."""
    if not options.json:
        for line in lines:
            echo(line)
    elif isinstance(result, Message):
        print_json(message_dict(result))
    elif isinstance(result, dict):
        print_json(result)
    else:
        print_json([message_dict(each) for each in result])


def parse_json_field(text: str) -> Any:
    """Return the value of a JSON field; None when it is empty."""
    return json.loads(text) if text else None


def instant(moment: Timestamp) -> str:
    """Return the time as ISO-8601 with milliseconds, in UTC."""
    when = datetime.fromtimestamp(moment.ToMilliseconds() / 1000, UTC)
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")


# A field's description is typed twice over, by protobuf's stubs and by its C part: Any holds both.


def _plain_field(message: Message, field: Any) -> tuple[str, Any]:
    value = getattr(message, field.name)
    if field.is_repeated:
        return field.name, [_plain_value(field, one) for one in value]
    if field.has_presence and not message.HasField(field.name):
        return field.name, None
    if field.name.endswith(_JSON):
        return field.name.removesuffix(_JSON), parse_json_field(value)
    return field.name, _plain_value(field, value)


def _plain_value(field: Any, value: Any) -> Any:
    if isinstance(value, Timestamp):
        return instant(value)
    if isinstance(value, Message):
        return message_dict(value)
    if field.enum_type is not None:
        words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", field.enum_type.name).lower()
        name: str = field.enum_type.values_by_number[value].name.lower()
        return name.removeprefix(f"{words}_")
    return value
