"""An executor without a phone, with the interfaces of docs/seams.md."""

import asyncio
import base64
import json
from collections.abc import AsyncGenerator, Mapping
from typing import Any, cast

from phonefarm_agent.runtimes.dummy_control import ControlConnection
from phonefarm_agent.runtimes.interface import RunSpec

_DONE, _FAILED, _STOPPED, _CRASHED = 0, 1, 3, 134


class ExecutorEvents:
    """The numbered events of a run; every reader gets them from the first on."""

    def __init__(self) -> None:
        self._lines: list[bytes] = []
        self._closed = False
        self._changed = asyncio.Event()

    def append(self, event: str, /, **facts: Any) -> int:
        """Append a line; return its number."""
        sequence = len(self._lines) + 1
        self._lines.append(json.dumps({"sequence": sequence, "type": event, **facts}).encode())
        self._announce()
        return sequence

    def close(self) -> None:
        """End the events."""
        self._closed = True
        self._announce()

    async def read(self) -> AsyncGenerator[bytes, None]:
        """Yield every line, until `close`."""
        position = 0
        while True:
            changed = self._changed
            while position < len(self._lines):
                yield self._lines[position]
                position += 1
            if self._closed:
                return
            await changed.wait()

    def _announce(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


class DummyExecutor:
    """Executes one plan without a phone."""

    def __init__(self, spec: RunSpec) -> None:
        self.events = ExecutorEvents()
        self._plan: Mapping[str, Any] = spec.plan
        self._steering = cast("Mapping[str, Any]", self._plan.get("dummy") or {})
        self._cap_seconds = spec.cap_seconds
        self._control = ControlConnection(spec.directory / "control.sock", run_id=spec.run_id)

    def ask_to_stop(self) -> None:
        """Do what SIGTERM does to the executor: end between two actions."""
        self._control.stopping.set()

    async def run(self) -> int:
        """Execute the plan and return the exit code."""
        async with asyncio.TaskGroup() as group:
            control = group.create_task(self._control.keep())
            try:
                async with asyncio.timeout(self._cap_seconds):
                    code = await self._act()
            except TimeoutError:
                message = f"the run took longer than {self._cap_seconds:g} s"
                code = self._fail(_failure("run_timeout", "work", message))
            control.cancel()
        return code

    async def _act(self) -> int:
        self._control.say_ready()
        if await self._stopped(unless=self._control.going):
            return self._stop()
        for action in self._plan.get("actions", []):
            if action["index"] in self._plan.get("skip", []):
                continue
            if self._must_stop():
                return self._stop()
            label = {"index": action["index"], "kind": action["kind"]}
            sequence = self.events.append("action_started", **label)
            if self._steering.get("crash"):
                return _CRASHED
            if action.get("repeat") == "once" and await self._stopped(
                unless=self._control.acknowledged(sequence)
            ):
                return self._stop()
            seconds = float(self._steering.get("seconds", 0.0))
            if await self._stopped(within=seconds):
                return self._stop()
            fault = self._steering.get("fail") or {}
            if fault.get("index") == action["index"]:
                return self._fail_action(label, fault, seconds)
            outputs = _outputs(action["kind"], action.get("params") or {})
            self.events.append("action_done", **label, outputs=outputs, seconds=seconds)
        return self._finish(_DONE, "done")

    def _fail_action(
        self, label: Mapping[str, Any], fault: Mapping[str, Any], seconds: float
    ) -> int:
        code = str(fault.get("code", "selector_not_found"))
        message = f"{label['kind']}: the request makes the dummy runtime fail with {code}"
        failure = _failure(code, fault.get("class", "work"), message, final=fault.get("final"))
        evidence = f"a{label['index']}-ui.xml"
        self._control.send(
            type="evidence",
            name=evidence,
            kind="ui_dump",
            action=label["index"],
            data=base64.b64encode(b"<hierarchy/>").decode(),
        )
        self.events.append(
            "action_failed", **label, seconds=seconds, failure=failure, evidence=[evidence]
        )
        return self._fail(failure)

    def _must_stop(self) -> bool:
        return self._control.stopping.is_set() and not self._steering.get("ignore_stop")

    async def _stopped(
        self, *, unless: asyncio.Event | None = None, within: float | None = None
    ) -> bool:
        """Wait for *unless*, or *within* seconds; tell whether a stop came before."""
        waits = [asyncio.ensure_future(event.wait()) for event in (unless,) if event is not None]
        if not self._steering.get("ignore_stop"):
            waits.append(asyncio.ensure_future(self._control.stopping.wait()))
        try:
            if waits:
                await asyncio.wait(waits, timeout=within, return_when=asyncio.FIRST_COMPLETED)
            elif within:
                await asyncio.sleep(within)
        finally:
            for wait in waits:
                wait.cancel()
        return self._must_stop()

    def _stop(self) -> int:
        return self._finish(_STOPPED, "stopped")

    def _fail(self, failure: Mapping[str, Any]) -> int:
        return self._finish(_FAILED, "failed", failure)

    def _finish(self, code: int, outcome: str, failure: Mapping[str, Any] | None = None) -> int:
        self.events.append("run_finished", outcome=outcome, failure=failure)
        return code


def _failure(code: str, kind: str, message: str, *, final: bool | None = None) -> dict[str, Any]:
    return {"code": code, "class": kind, "final": bool(final), "message": message}


def _outputs(kind: str, params: Mapping[str, Any]) -> dict[str, Any]:
    match kind:
        case "launch_app":
            return {"foreground": "com.example.dummy/.Main"}
        case "find" | "wait_for":
            return {"text": "dummy", "bounds": [0, 0, 1, 1]}
        case "search":
            return {"keyword": params.get("keyword", ""), "results": 4}
        case "watch":
            return {"title": "dummy", "seconds": params.get("seconds", 0.0)}
        case "scroll_feed":
            seconds = params.get("watch_seconds", 0.0)
            titles = (f"dummy {number}" for number in range(int(params.get("videos", 0))))
            return {"videos": [{"title": title, "seconds": seconds} for title in titles]}
        case "edit_profile_field":
            return {"field": params.get("field", ""), "value": params.get("value", "")}
        case "screenshot" | "ui_dump":
            return {"evidence": str(params.get("name", kind))}
        case _:
            return {}
