"""The server of the control API (`control` has the client)."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any

from phonefarm_simulator.farm import Farm, SimulatedPhone, UnknownPhoneError
from phonefarm_simulator.faults import Fault
from phonefarm_simulator.ledger import Kind

LARGEST_REQUEST_BYTES = 1024 * 1024
LONGEST_WAIT_SECONDS = 600.0
_ENVELOPE = {"op", "serial", "fault", "on"}


@asynccontextmanager
async def control_served(farm: Farm, *, host: str, port: int) -> AsyncIterator[str]:
    """Serve the control API and yield its `HOST:PORT`; OSError when the port is taken."""
    tasks: set[asyncio.Task[None]] = set()

    def admit(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(_serve_connection(farm, reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(admit, host, port, limit=LARGEST_REQUEST_BYTES)
    try:
        bound_host, bound_port = server.sockets[0].getsockname()[:2]
        yield f"{bound_host}:{bound_port}"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _serve_connection(
    farm: Farm, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    try:
        while line := await reader.readline():
            answer = await answer_line(farm, line)
            writer.write(json.dumps(answer, separators=(",", ":")).encode() + b"\n")
            await writer.drain()
    except (ConnectionError, ValueError):
        pass  # the peer left, or sent a line over the limit
    finally:
        writer.close()


async def answer_line(farm: Farm, line: bytes) -> dict[str, Any]:
    """Return the answer to one request; whatever the line holds, this never raises."""
    try:
        request = json.loads(line)
        if not isinstance(request, dict):
            return _refusal("a request must be a JSON object")
        return {"ok": True, **await _answer(farm, request)}
    except UnknownPhoneError as error:
        return _refusal(f"there is no phone {error}")
    except TimeoutError:
        return _refusal("no matching ledger entry came in time")
    except (ValueError, TypeError, KeyError, OSError, RecursionError) as error:
        return _refusal(f"{type(error).__name__}: {error}")


async def _answer(farm: Farm, request: Mapping[str, Any]) -> dict[str, Any]:
    op = request.get("op")
    if op == "list":
        return {"phones": [{"serial": phone.serial, "address": phone.address} for phone in farm]}
    phone = farm[str(request.get("serial"))]
    match op:
        case "state":
            return {"state": phone.state()}
        case "ledger":
            entries = phone.ledger(int(request.get("since", 0)))
            return {"entries": [asdict(entry) for entry in entries]}
        case "wait":
            timeout = min(float(request.get("timeout", 10.0)), LONGEST_WAIT_SECONDS)
            kind = Kind(str(request.get("kind")))
            entry = await phone.wait_for(kind, since=int(request.get("since", 0)), timeout=timeout)
            return {"entry": asdict(entry)}
        case "fault":
            return await _fault(phone, request)
        case "clear":
            await phone.clear()
            return {}
        case "battery":
            phone.set_battery(**_settings(request))
            return {}
        case "account":
            phone.set_account(**{name: str(value) for name, value in _settings(request).items()})
            return {}
        case _:
            raise ValueError(f"there is no op {op!r}")


async def _fault(phone: SimulatedPhone, request: Mapping[str, Any]) -> dict[str, Any]:
    fault = Fault(str(request.get("fault")))
    if request.get("on", True):
        await phone.fault(fault, **_settings(request))
    else:
        await phone.clear(fault)
    return {"faults": phone.phone.own_faults()}


def _settings(request: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in request.items() if name not in _ENVELOPE}


def _refusal(reason: str) -> dict[str, Any]:
    return {"ok": False, "error": reason}
