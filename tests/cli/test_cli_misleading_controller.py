"""The command before a controller that misleads it, or goes away: a real server, played answers."""

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from phonefarm.v1 import inspect_pb2, process_pb2
from phonefarm_cli.client.client import ControllerClient, UnreachableError
from phonefarm_cli.console.progress import process_events
from phonefarm_cli.errors import CommandError, ExitCode
from support.commanding import Operator

DATA = b"seen"
PROCESS = "11111111-1111-1111-1111-111111111111"


class Played:
    """Answers what a test chose."""

    def __init__(self) -> None:
        self.lines: list[inspect_pb2.EvidenceLine] = []
        self.sent = DATA
        self.events: list[inspect_pb2.ProcessEvent] = []
        self.asked_after: list[int] = []

    async def list_evidence(self, request: Any, context: Any) -> Any:
        """Return the lines."""
        return inspect_pb2.ListEvidenceResponse(evidence=self.lines)

    async def read_evidence(self, request: Any, context: Any) -> AsyncIterator[Any]:
        """Send the bytes."""
        yield inspect_pb2.EvidencePart(line=self.lines[0])
        yield inspect_pb2.EvidencePart(data=self.sent)

    async def watch(self, request: Any, context: Any) -> AsyncIterator[Any]:
        """Send what is newer, one at a time; the stream breaks after each that is not the last."""
        self.asked_after.append(request.after)
        for event in self.events:
            if event.number > request.after:
                yield event
                if event is not self.events[-1]:
                    await context.abort(grpc.StatusCode.UNAVAILABLE, "going down")


@asynccontextmanager
async def serving(played: Played, port: int = 0) -> AsyncIterator[int]:
    """Serve the played answers; yield the port."""
    server = grpc.aio.server()
    one, many = grpc.unary_unary_rpc_method_handler, grpc.unary_stream_rpc_method_handler
    coded = {
        name: handler(
            act,
            request_deserializer=asked.FromString,
            response_serializer=lambda answer: answer.SerializeToString(),
        )
        for name, handler, act, asked in (
            ("ListEvidence", one, played.list_evidence, inspect_pb2.ListEvidenceRequest),
            ("ReadEvidence", many, played.read_evidence, inspect_pb2.ReadEvidenceRequest),
            ("WatchProcess", many, played.watch, inspect_pb2.WatchProcessRequest),
        )
    }
    service = grpc.method_handlers_generic_handler("phonefarm.v1.InspectService", coded)
    server.add_generic_rpc_handlers([service])
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        yield bound
    finally:
        await server.stop(None)


def line(**changes: Any) -> inspect_pb2.EvidenceLine:
    """Return the line of a file."""
    values: dict[str, Any] = {
        "evidence_id": "e",
        "process_id": PROCESS,
        "run_id": "run-1",
        "name": "screen.png",
        "bytes": len(DATA),
        "sha256": hashlib.sha256(DATA).hexdigest(),
    }
    return inspect_pb2.EvidenceLine(**(values | changes))


async def saved(played: Played, folder: Path, capsys: pytest.CaptureFixture[str]) -> list[Path]:
    """Save the evidence; return what is in the folder, also when it fails."""
    async with serving(played) as port:
        operator = Operator(f"127.0.0.1:{port}", capsys)
        await operator.command("processes", "evidence", PROCESS, "--save", str(folder))
    return files_below(folder)


def files_below(folder: Path) -> list[Path]:
    """Return every file below the folder."""
    return [path for path in folder.rglob("*") if path.is_file()]


async def test_a_damaged_file_is_not_saved(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both sums are told, and nothing is left."""
    played = Played()
    played.lines, played.sent = [line()], b"sEen"

    with pytest.raises(CommandError, match=r"screen\.png of run run-1 arrived damaged"):
        await saved(played, tmp_path, capsys)

    assert files_below(tmp_path) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "../../evil"},
        {"name": ".."},
        {"name": "/etc/evil"},
        {"name": ""},
        {"name": ".bashrc"},
        {"name": "a\nb"},
        {"run_id": "../up"},
        {"run_id": ""},
    ],
)
async def test_no_name_leads_out_of_the_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, str]
) -> None:
    """Whatever the controller calls a file, it is below the folder or not saved."""
    played = Played()
    played.lines = [line(**changes)]

    with pytest.raises(CommandError, match="cannot be the name of a file"):
        await saved(played, tmp_path / "here", capsys)

    assert files_below(tmp_path) == []


async def test_a_link_that_lies_there_is_not_followed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also when it leads nowhere yet."""
    played = Played()
    played.lines = [line()]
    (tmp_path / "run-1").mkdir()
    (tmp_path / "run-1" / "screen.png").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(CommandError, match="nothing was saved, because these files exist"):
        await saved(played, tmp_path, capsys)

    assert not (tmp_path / "elsewhere").exists()


async def test_a_folder_that_cannot_be_written_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file is in its way."""
    played = Played()
    played.lines = [line()]
    (tmp_path / "file").write_text("")

    with pytest.raises(CommandError, match="cannot be written") as caught:
        await saved(played, tmp_path / "file", capsys)

    assert caught.value.code == ExitCode.MISUSED


def _event(number: int, status: str) -> inspect_pb2.ProcessEvent:
    process = process_pb2.Process(process_id="p", status=status)
    return inspect_pb2.ProcessEvent(number=number, process=process)


async def test_a_watch_outlives_its_streams() -> None:
    """It goes on behind the last event it saw, and tells none twice."""
    played = Played()
    played.events = [_event(3, "queued"), _event(5, "executing"), _event(9, "completed")]
    async with (
        serving(played) as port,
        ControllerClient.opened(f"127.0.0.1:{port}", "key") as client,
    ):
        seen = [event.number async for event in process_events(client, "p")]

    assert seen == [3, 5, 9]
    assert played.asked_after == [0, 3, 5]


async def test_a_watch_gives_up_on_a_controller_that_stays_away() -> None:
    """After its patience, with the words of every other command."""
    async with ControllerClient.opened("127.0.0.1:9", "key") as client:
        with pytest.raises(UnreachableError, match="does not answer"):
            await anext(process_events(client, "p", patience=0.0))
