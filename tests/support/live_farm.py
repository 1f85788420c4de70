"""A farm of real processes as its callers and operators see it."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
from phonefarm.v1 import fleet_pb2
from phonefarm_cli.client.client import ControllerClient
from phonefarm_common.ids import new_id
from phonefarm_simulator.control import Control

PATIENCE_SECONDS = 180.0
LOOK_SECONDS = 0.03
TERMINAL = ("completed", "failed_terminal", "cancelled")

_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class LivePhone:
    """One simulated phone in service."""

    phone_id: str
    serialno: str
    account_id: str


@dataclass(frozen=True, kw_only=True)
class LiveFarm:
    """Where everything of a running farm is."""

    data: Path
    rest: str
    grpc: str
    control: str
    api_key: str = field(repr=False)
    webhook_secret: str = field(repr=False)
    phones: tuple[LivePhone, ...]
    runtime: str

    def evidence(self, process_id: str) -> list[Path]:
        """Return the kept evidence of a process."""
        return sorted((self.data / "controller" / "evidence" / process_id).glob("*/*"))


async def eventually(
    look: Callable[[], Awaitable[_T | None]], *, within: float = PATIENCE_SECONDS, what: str
) -> _T:
    """Return the first answer of *look* that is not None or False; AssertionError naming *what*."""
    try:
        async with asyncio.timeout(within):
            while True:
                if found := await look():
                    return found
                await asyncio.sleep(LOOK_SECONDS)
    except TimeoutError:
        raise AssertionError(f"{what} did not come within {within:.0f} s") from None


class Hand:
    """Calls by REST, operates by gRPC, looks at the phones by the simulator's control API."""

    def __init__(
        self,
        farm: LiveFarm,
        rest: aiohttp.ClientSession,
        controller: ControllerClient,
        phones: Control,
    ) -> None:
        self.farm = farm
        self.controller = controller
        self.phones = phones
        self._rest = rest

    async def call(self, method: str, path: str, body: Any = None) -> tuple[int, dict[str, Any]]:
        """Make one REST call; return status and JSON."""
        async with self._rest.request(method, path, json=body) as response:
            return response.status, await response.json(content_type=None)

    async def accepted(self, path: str, body: dict[str, Any]) -> str:
        """Send a request that must be accepted; return the process id."""
        status, answer = await self.call("POST", path, body)
        assert status == 202, answer
        assert answer["status"] == "accepted"
        return str(answer["process_id"])

    async def warm_up(self, target: dict[str, Any], **changes: Any) -> str:
        """Send a keyword_warmup; *changes* replace inputs, but `url` names the callback."""
        return await self.accepted("/capability-requests/enqueue", warmup(target, **changes))

    async def record(self, process_id: str) -> dict[str, Any]:
        """Return what GET answers."""
        status, record = await self.call("GET", f"/processes/{process_id}")
        assert status == 200, record
        return record

    async def until(
        self, process_id: str, *statuses: str, within: float = PATIENCE_SECONDS
    ) -> dict[str, Any]:
        """Return the record once its status is one of these; another end fails at once.

        503 is what it is said to be: a reason to ask again.
        """
        last: dict[str, Any] = {}

        async def look() -> dict[str, Any] | None:
            status, record = await self.call("GET", f"/processes/{process_id}")
            last.update(record)
            if status == 503:
                return None
            assert status == 200, record
            if record["status"] in statuses:
                return record
            assert record["status"] not in TERMINAL, record
            return None

        try:
            return await eventually(look, within=within, what=f"the status {statuses}")
        except AssertionError as error:
            raise AssertionError(f"{error}; last: {last}") from None

    async def cancel(self, process_id: str, **changes: Any) -> dict[str, Any]:
        """Ask for the end of a process; return the answer, which must be 200."""
        body = {"reason": "a test", "requested_by": "tester"} | changes
        status, answer = await self.call("POST", f"/processes/{process_id}/cancel", body)
        assert status == 200, answer
        return answer

    async def on_screen(self, serialno: str, *, since: int = 0) -> dict[str, Any]:
        """Return when the phone shows a video of a run."""
        return await self.phones.wait_for(serialno, "video_shown", since=since, timeout=180)

    async def give_back(self, phone_id: str, reason: str) -> None:
        """End a phone's quarantine."""
        request = fleet_pb2.ReturnPhoneRequest(phone_id=phone_id, reason=reason)
        await self.controller.call(self.controller.fleet.ReturnPhone, request)

    async def put_account(self, account: fleet_pb2.Account) -> None:
        """Create or replace an account."""
        request = fleet_pb2.PutAccountRequest(account=account)
        await self.controller.call(self.controller.fleet.PutAccount, request)

    async def phone(self, phone_id: str) -> fleet_pb2.Phone:
        """Return one phone as the controller knows it."""
        return next(phone for phone in await self.controller.phones() if phone.phone_id == phone_id)

    async def offered(self, *phone_ids: str, within: float = PATIENCE_SECONDS) -> None:
        """Return once these phones, or all of the farm's, are offered."""
        wanted = set(phone_ids or (phone.phone_id for phone in self.farm.phones))

        async def look() -> bool:
            found = {phone.phone_id for phone in await self.controller.phones() if phone.offered}
            return wanted <= found

        await eventually(look, within=within, what=f"the offer of {', '.join(sorted(wanted))}")

    async def made_whole(self) -> None:
        """End every fault and quarantine, mend the accounts, and wait for every phone's offer."""
        for phone in self.farm.phones:
            await self.phones.clear(phone.serialno)

        async def look() -> bool:
            phones = await self.controller.phones()
            for phone in phones:
                if phone.health == "quarantined" and phone.lease in {"free", "dirty"}:
                    await self.give_back(phone.phone_id, "between two tests")
            return all(phone.offered for phone in phones)

        await eventually(look, what="the offer of every phone")
        for account in await self.controller.accounts():
            if account.condition != "ok":
                account.condition, account.condition_reason = "ok", ""
                await self.put_account(account)


@asynccontextmanager
async def hand(farm: LiveFarm) -> AsyncIterator[Hand]:
    """Yield a caller and operator of the farm."""
    headers = {"Authorization": f"Bearer {farm.api_key}"}
    timeout = aiohttp.ClientTimeout(total=15)
    async with (
        aiohttp.ClientSession(f"http://{farm.rest}", headers=headers, timeout=timeout) as rest,
        ControllerClient.opened(farm.grpc, farm.api_key) as controller,
        Control.connected(farm.control) as phones,
    ):
        yield Hand(farm, rest, controller, phones)


def warmup(target: dict[str, Any], *, url: str = "http://127.0.0.1:9/", **inputs: Any) -> Any:
    """Return the body of a short keyword_warmup."""
    return {
        "request_id": new_id(),
        "capability": "keyword_warmup",
        "mode": "manual",
        "target": target,
        "inputs": {"keywords": ["tiny houses"], "videos_per_keyword": 1, "watch_seconds": 1}
        | inputs,
        "callback": {"url": url},
        "requested_by": {"system": "e2e"},
    }


async def executors(farm: LiveFarm, run_id: str) -> list[int]:
    """Return the processes of a run on this host, but for the one that waits for them."""
    if farm.runtime == "docker":
        leader = int(await _docker("inspect", "--format", "{{.State.Pid}}", f"pf-{run_id}"))
    else:
        (note,) = farm.data.glob(f"agent*/processes/{run_id}.json")
        leader = int(json.loads(note.read_text())["token"].partition(":")[0])
    parents = {int(entry.name): _stat(int(entry.name))[1] for entry in _processes()}
    return [pid for pid, parent in parents.items() if parent == str(leader)]


async def containers(*, running: bool = False, **filters: str) -> list[str]:
    """Return the ids of the containers that pass the filters, all of them or the running ones."""
    if running:
        filters["status"] = "running"
    words = [word for item in filters.items() for word in ("--filter", "=".join(item))]
    return (await _docker("ps", "--all", "--quiet", *words)).split()


async def _docker(*words: str) -> str:
    process = await asyncio.create_subprocess_exec("docker", *words, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    assert process.returncode == 0, words
    return out.decode()


def _processes() -> list[Path]:
    return [entry for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _stat(pid: int) -> tuple[str, str]:
    """Return state and parent of a process (proc(5)); a gone one is a zombie of nobody."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return "Z", ""
    state, parent = stat.rpartition(")")[2].split()[:2]
    return state, parent


def lives(pid: int) -> bool:
    """Tell whether there is a process of this number that has not ended."""
    return _stat(pid)[0] != "Z"


def processes_that_name(text: str) -> list[str]:
    """Return the command lines of living processes that have *text* in them."""
    lines = []
    for entry in _processes():
        with suppress(OSError):
            lines.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
    return [line for line in lines if text in line]


def bare_environment() -> dict[str, str]:
    """Return this process's environment, which tests/conftest.py has freed of farm settings."""
    return dict(os.environ)
