"""The agent's end of control.sock where the executor is faster than the agent."""

import asyncio
import base64
import json
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from phonefarm_agent.judge.verdict import Decision, JudgedBy, Verdict
from phonefarm_agent.runs.control_socket import ControlSocket, EvidenceFrame
from phonefarm_executor.control_client import Control as ExecutorControl
from phonefarm_executor.signals import Signals
from support.agents import no_judge, no_ui_server
from support.asset_server import no_supply


def _said(lines: bytes) -> list[str]:
    return [json.loads(line)["type"] for line in lines.splitlines()]


def _evidence(name: str) -> bytes:
    data = base64.b64encode(b"x" * 100_000).decode()
    frame = {"type": "evidence", "name": name, "kind": "screenshot", "action": 1, "data": data}
    return json.dumps(frame).encode() + b"\n"


async def test_evidence_of_an_executor_that_has_ended_is_taken_in(tmp_path: Path) -> None:
    """What was sent before the end is not lost because the disk is slower than the end."""
    taken: list[str] = []
    disk = asyncio.Event()

    async def slow(frame: EvidenceFrame) -> None:
        await disk.wait()
        taken.append(frame.name)

    path = tmp_path / "control.sock"
    control = ControlSocket(
        path=path,
        run_id="run",
        on_ready=lambda: None,
        on_line=lambda: None,
        on_evidence=slow,
        fetch_asset=no_supply,
        on_ui_server=no_ui_server,
        judge=no_judge,
    )
    await control.open()
    _, writer = await asyncio.open_unix_connection(path)
    writer.write(json.dumps({"type": "hello", "run_id": "run"}).encode() + b"\n")
    for name in ("a.png", "b.png", "c.png"):
        writer.write(_evidence(name))
    await writer.drain()
    writer.close()
    asyncio.get_running_loop().call_later(0.1, disk.set)

    await control.drain(within=180)
    await control.close()

    assert taken == ["a.png", "b.png", "c.png"]


async def test_evidence_before_a_reset_is_taken_in(tmp_path: Path) -> None:
    """An executor that ends with our acknowledgement unread loses nothing of what it sent."""
    taken: list[str] = []
    first, disk = asyncio.Event(), asyncio.Event()

    async def slow(frame: EvidenceFrame) -> None:
        first.set()
        await disk.wait()
        taken.append(frame.name)

    path = tmp_path / "control.sock"
    control = ControlSocket(
        path=path,
        run_id="run",
        on_ready=lambda: None,
        on_line=lambda: None,
        on_evidence=slow,
        fetch_asset=no_supply,
        on_ui_server=no_ui_server,
        judge=no_judge,
    )
    await control.open()
    control.acknowledge(7)
    hello = json.dumps({"type": "hello", "run_id": "run"}).encode() + b"\n"
    with socket.socket(socket.AF_UNIX) as peer:
        await asyncio.to_thread(peer.connect, str(path))
        await asyncio.to_thread(peer.sendall, hello + b"".join(map(_evidence, ("a.png", "b.png"))))
        async with asyncio.timeout(180):
            await first.wait()
        assert peer.recv(1, socket.MSG_PEEK)
    asyncio.get_running_loop().call_later(0.1, disk.set)

    await control.drain(within=180)
    await control.close()

    assert taken == ["a.png", "b.png"]


async def test_evidence_of_an_executor_that_ended_while_it_was_spoken_to_is_taken_in(
    tmp_path: Path,
) -> None:
    """An acknowledgement that comes too late for it throws away nothing of what it sent."""
    taken: list[str] = []

    async def take(frame: EvidenceFrame) -> None:
        taken.append(frame.name)

    path = tmp_path / "control.sock"
    control = ControlSocket(
        path=path,
        run_id="run",
        on_ready=lambda: None,
        on_line=lambda: None,
        on_evidence=take,
        fetch_asset=no_supply,
        on_ui_server=no_ui_server,
        judge=no_judge,
    )
    await control.open()
    control.acknowledge(1)
    hello = json.dumps({"type": "hello", "run_id": "run"}).encode() + b"\n"
    with socket.socket(socket.AF_UNIX) as peer:
        await asyncio.to_thread(peer.connect, str(path))
        await asyncio.to_thread(peer.sendall, hello)
        await asyncio.to_thread(peer.recv, 1000)
        # No await from here: the agent's loop sees none of it before it speaks.
        peer.sendall(_evidence("a.png"))
    control.acknowledge(2)

    await control.drain(within=180)
    await control.close()

    assert taken == ["a.png"]


async def test_evidence_that_an_agent_did_not_take_before_it_died_is_sent_again(
    tmp_path: Path,
) -> None:
    """The executor waits for the next agent, which has it on its disk before it is let go."""
    reached, over, taken = asyncio.Event(), asyncio.Event(), []
    path = tmp_path / "control.sock"

    async def never(frame: EvidenceFrame) -> None:
        reached.set()
        await over.wait()
        raise OSError("killed")

    async def take(frame: EvidenceFrame) -> None:
        taken.append(frame.name)

    def agent(evidence: Callable[[EvidenceFrame], Awaitable[None]]) -> ControlSocket:
        return ControlSocket(
            path=path,
            run_id="run",
            on_ready=lambda: None,
            on_line=lambda: None,
            on_evidence=evidence,
            fetch_asset=no_supply,
            on_ui_server=no_ui_server,
            judge=no_judge,
        )

    first, second = agent(never), agent(take)
    await first.open()
    executor = ExecutorControl(path, "run", Signals())
    for name in ("a.png", "b.png"):
        assert executor.send_evidence(name, "screenshot", 1, b"x" * 100_000)
    async with asyncio.timeout(180):
        await reached.wait()
        await first.close()
        over.set()
        closing = asyncio.create_task(asyncio.to_thread(executor.close, 10))
        await second.open()
        await closing
    told_of = list(taken)
    await second.close()

    assert told_of == ["a.png", "b.png"]


async def test_a_connection_that_never_ends_is_not_waited_for_long(tmp_path: Path) -> None:
    """Something that still holds the socket does not keep the run from its end."""

    async def never(frame: EvidenceFrame) -> None:
        raise AssertionError(frame)

    heard = asyncio.Event()
    path = tmp_path / "control.sock"
    control = ControlSocket(
        path=path,
        run_id="run",
        on_ready=lambda: None,
        on_line=heard.set,
        on_evidence=never,
        fetch_asset=no_supply,
        on_ui_server=no_ui_server,
        judge=no_judge,
    )
    await control.open()
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(json.dumps({"type": "hello", "run_id": "run"}).encode() + b"\n")

    async with asyncio.timeout(180):
        await heard.wait()
        await control.drain(within=0.1)
        await control.close()
        with suppress(ConnectionResetError):
            assert _said(await reader.read()) == ["hello"]
    writer.close()


async def test_an_asset_is_fetched_once_and_its_answer_repeated(tmp_path: Path) -> None:
    """Asked twice and over a new connection, the answer comes again; the supply is asked once."""
    asked: list[str] = []

    async def supply(name: str) -> dict[str, object]:
        asked.append(name)
        return {"path": f"assets/{name}.mp4"}

    path = tmp_path / "control.sock"
    control = _plain(path, supply)
    await control.open()
    answers = []
    for _ in range(2):
        reader, writer = await _greeted(path)
        writer.write(b'{"type": "fetch", "asset": "video"}\n' * 2)
        async with asyncio.timeout(180):
            assert _said(await reader.readline()) == ["hello"]
            answers.append(json.loads(await reader.readline()))
        writer.close()
    await control.close()

    assert answers == [{"type": "asset", "asset": "video", "path": "assets/video.mp4"}] * 2
    assert asked == ["video"]


@pytest.mark.parametrize("asset", ["../plan", "", "a/b", 7, None, "x" * 200])
async def test_a_name_that_is_none_ends_the_talk(tmp_path: Path, asset: object) -> None:
    """An executor gone wild is hung up on; nothing is fetched for it."""
    path = tmp_path / "control.sock"
    control = _plain(path, no_supply)
    await control.open()
    reader, writer = await _greeted(path)

    writer.write(json.dumps({"type": "fetch", "asset": asset}).encode() + b"\n")

    async with asyncio.timeout(180):
        assert _said(await reader.read()) == ["hello"]
    writer.close()
    await control.close()


async def test_closing_ends_what_is_being_fetched(tmp_path: Path) -> None:
    """A run that ends waits for no download."""
    begun, ended = asyncio.Event(), asyncio.Event()

    async def supply(name: str) -> dict[str, object]:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        raise AssertionError(name)

    path = tmp_path / "control.sock"
    control = _plain(path, supply)
    await control.open()
    _, writer = await _greeted(path)
    writer.write(b'{"type": "fetch", "asset": "video"}\n')
    async with asyncio.timeout(180):
        await begun.wait()
        await control.close()
    writer.close()

    assert ended.is_set()


async def test_a_question_for_the_judge_is_answered(tmp_path: Path) -> None:
    """By its number; a newer question ends an older one, whose video is out of view."""
    asked: list[tuple[int, Sequence[str]]] = []
    first = asyncio.Event()

    async def judge(action: int, texts: Sequence[str]) -> Verdict:
        asked.append((action, texts))
        if action == 1:
            first.set()
            await asyncio.Event().wait()
        return Verdict(decision=Decision.PASS, by=JudgedBy.MODEL, score=0.1, why="cats")

    control = _plain(tmp_path / "control.sock", no_supply, judge=judge)
    await control.open()
    reader, writer = await _greeted(tmp_path / "control.sock")
    for number, texts in ((1, ["one"]), (2, ["x" * 600, *map(str, range(20))])):
        writer.write(_question(number, texts))
        async with asyncio.timeout(180):
            await first.wait()
    async with asyncio.timeout(180):
        hello, answer = [json.loads(await reader.readline()) for _ in range(2)]
        await control.close()
    writer.close()

    assert hello["type"] == "hello"
    assert answer == {
        "type": "judged",
        "id": 2,
        "verdict": "pass",
        "by": "model",
        "score": 0.1,
        "why": "cats",
    }
    assert asked[1] == (2, ["x" * 500, *map(str, range(9))])


@pytest.mark.parametrize(
    "wrong", [{"id": "1"}, {"action": None}, {"texts": "one"}, {"texts": [1]}, {"texts": None}]
)
async def test_a_question_for_the_judge_that_is_none_ends_the_connection(
    tmp_path: Path, wrong: dict[str, object]
) -> None:
    """As everything else that docs/seams.md does not know the form of."""
    control = _plain(tmp_path / "control.sock", no_supply)
    await control.open()
    reader, writer = await _greeted(tmp_path / "control.sock")
    await reader.readline()
    writer.write(json.dumps(json.loads(_question(1, ["one"])) | wrong).encode() + b"\n")

    async with asyncio.timeout(180):
        rest = await reader.read()
        await control.close()
    writer.close()

    assert rest == b""


def _question(number: int, texts: Sequence[str]) -> bytes:
    asked = {"type": "judge", "id": number, "action": number, "texts": list(texts)}
    return json.dumps(asked).encode() + b"\n"


def _plain(
    path: Path,
    supply: Callable[[str], Awaitable[dict[str, object]]],
    judge: Callable[[int, Sequence[str]], Awaitable[Verdict]] = no_judge,
) -> ControlSocket:
    async def never(frame: EvidenceFrame) -> None:
        raise AssertionError(frame)

    return ControlSocket(
        path=path,
        run_id="run",
        on_ready=lambda: None,
        on_line=lambda: None,
        on_evidence=never,
        fetch_asset=supply,
        on_ui_server=no_ui_server,
        judge=judge,
    )


async def _greeted(path: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(json.dumps({"type": "hello", "run_id": "run"}).encode() + b"\n")
    return reader, writer
