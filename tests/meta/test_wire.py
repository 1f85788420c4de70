"""A later version must understand every release that is kept under tests/fixtures/releases."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2
from phonefarm.v1 import agent_pb2, callback_pb2, fleet_pb2, process_pb2

RELEASES = Path(__file__).resolve().parent.parent / "fixtures" / "releases"
KEPT = sorted(RELEASES.glob("*/phonefarm.v1.binpb"))
TODAY = (agent_pb2, callback_pb2, fleet_pb2, process_pb2)


def _messages(
    prefix: str, messages: Iterator[descriptor_pb2.DescriptorProto]
) -> Iterator[tuple[str, descriptor_pb2.DescriptorProto]]:
    for message in messages:
        name = f"{prefix}.{message.name}"
        yield name, message
        yield from _messages(name, iter(message.nested_type))


def _facts(files: list[descriptor_pb2.FileDescriptorProto]) -> Mapping[str, object]:
    """Map everything a peer relies on to what it is."""
    facts: dict[str, object] = {}
    for file in files:
        for name, message in _messages(file.package, iter(file.message_type)):
            for field in message.field:
                shape = (field.name, field.type, field.type_name, field.label)
                facts[f"{name} field {field.number}"] = shape
        for enum in file.enum_type:
            for value in enum.value:
                facts[f"{file.package}.{enum.name} value {value.number}"] = value.name
        for service in file.service:
            for method in service.method:
                kind = (method.input_type, method.output_type)
                streams = (method.client_streaming, method.server_streaming)
                facts[f"{file.package}.{service.name}/{method.name}"] = (*kind, *streams)
    return facts


def _today() -> Mapping[str, object]:
    files = []
    for module in TODAY:
        file = descriptor_pb2.FileDescriptorProto()
        module.DESCRIPTOR.CopyToProto(file)
        files.append(file)
    return _facts(files)


@pytest.mark.parametrize("kept", KEPT, ids=lambda path: path.parent.name)
def test_nothing_that_a_kept_release_relies_on_has_changed(kept: Path) -> None:
    """Fields keep number, name and type; enum values and methods stay: the wire only grows."""
    release = descriptor_pb2.FileDescriptorSet.FromString(kept.read_bytes())
    before = _facts([file for file in release.file if file.package == "phonefarm.v1"])

    today = _today()

    changed = {
        what: (was, today.get(what)) for what, was in before.items() if today.get(what) != was
    }
    assert changed == {}
    assert len(before) > 100


def test_a_release_is_kept() -> None:
    """The promise above is about at least one release."""
    assert KEPT
