"""Callers of every kind, drawn from a seed: work, repeats, times, deadlines, cancels.

A caller that hears no answer, or 503, asks the same again, as a real one does. What it asked and
heard is written down for the checker.
"""

import asyncio
import random
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import aiohttp
from faults.history import Arrival, Ask, AskKind
from support.live_farm import TERMINAL, LiveFarm
from support.snapshots import micros

AT_ONCE: Final = 18
"""So many processes are under way; with twelve phones, some always wait."""
_CALL_SECONDS = 8.0
_AGAIN_SECONDS = 0.4
_GIVEN_UP_SECONDS = 60.0
STRATEGIES: Final = ("soft", "hard", "soft_then_force")
ROUTES: Final[Mapping[tuple[str, str], int]] = {
    ("keyword_warmup", "direct"): 3,
    ("keyword_warmup", "queue"): 5,
    ("keyword_warmup", "group"): 2,
    ("fyp_warmup", "direct"): 2,
    ("fyp_warmup", "queue"): 2,
    ("maintenance", "direct"): 2,
    ("maintenance", "queue"): 2,
    ("post_video", "direct"): 5,
}
"""Each capability with each routing it has, and how often it comes."""


@dataclass(frozen=True, kw_only=True)
class Wish:
    """One request before it is sent."""

    kind: AskKind
    route: tuple[str, str]
    key: str
    path: str
    body: dict[str, Any]
    not_before: datetime | None = None
    deadline: datetime | None = None


@dataclass
class Load:
    """Asks for work until told to stop; `asks` is what was asked and heard."""

    farm: LiveFarm
    gateways: tuple[str, ...]
    seed: int
    callbacks: tuple[str, ...]
    video: str = ""
    routes_drawn: Mapping[tuple[str, str], int] = field(default_factory=lambda: ROUTES)
    deadlines: bool = True
    ahead: Callable[[], float] = lambda: 0.0  # what the callers' time is ahead of this machine's
    asks: list[Ask] = field(default_factory=list)
    routes: dict[str, tuple[str, str]] = field(default_factory=dict)  # by process or item
    strategies: dict[str, str] = field(default_factory=dict)  # of cancels taken, by process
    paused: bool = False
    at_once: int = AT_ONCE

    def __post_init__(self) -> None:
        """Begin to draw from the seed."""
        self._dice = random.Random(f"load {self.seed}")
        self._count = 0
        self._open: dict[str, float] = {}
        self._ended: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._room = asyncio.Event()

    def hear(self, arrival: Arrival) -> None:
        """Take note of an event: of the end, a process is no longer under way."""
        if arrival.milestone in TERMINAL:
            self._ended.add(arrival.process_id)
            self._open.pop(arrival.process_id, None)
            self._room.set()

    async def run(self, over: asyncio.Event) -> None:
        """Ask until it is *over*, then see what is being asked to its end."""
        timeout = aiohttp.ClientTimeout(total=_CALL_SECONDS)
        headers = {"Authorization": f"Bearer {self.farm.api_key}"}
        async with aiohttp.ClientSession(headers=headers, timeout=timeout) as session:
            self._session = session
            while not over.is_set():
                if self.paused or len(self._open) + len(self._tasks) >= self.at_once:
                    await self._wait()
                    continue
                self._start(self._draw())
                await asyncio.sleep(self._dice.uniform(0.02, 0.25))
            await asyncio.gather(*self._tasks)

    async def probe(self) -> str:
        """Ask for a short run on any phone, before all others; return its process."""
        wish = self._work(("keyword_warmup", "queue"), {"priority": 9})
        ask = await self._asked(wish, self._dice.choice(self.gateways))
        return str(ask.answer["process_id"])

    async def _wait(self) -> None:
        self._room.clear()
        try:
            async with asyncio.timeout(0.5):
                await self._room.wait()
        except TimeoutError:  # an event may be late for a minute: look whether it goes on
            old = time.monotonic() - 45
            self._open = {key: at for key, at in self._open.items() if at > old}

    def _start(self, wish: Wish) -> None:
        plan = {
            "repeats": self._dice.choices([0, 1, 2], [7, 2, 1])[0],
            "cancel": self._dice.random() < 0.22,
            "strategy": self._dice.choice(STRATEGIES),
            "window": self._dice.choice([0, 1, 3]),
            "after": self._dice.choice([0.0, 0.3, 1.5, 3.0, 5.0]),
            "doors": [self._dice.choice(self.gateways) for _ in range(4)],
        }
        task = asyncio.create_task(self._see_through(wish, plan))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _see_through(self, wish: Wish, plan: Mapping[str, Any]) -> None:
        doors = plan["doors"]
        if plan["repeats"] == 2:  # at the same instant, at two doors
            ask, _ = await asyncio.gather(
                self._asked(wish, doors[0]), self._asked(wish, self._other(doors[0]))
            )
        else:
            ask = await self._asked(wish, doors[0])
            if plan["repeats"]:
                await self._asked(wish, doors[1])
        if not ask.accepted:
            return
        named = str(ask.answer.get("process_id") or ask.answer["queue_item_id"])
        self.routes[named] = wish.route
        process_id = named if wish.kind is AskKind.WORK else await self._process_of(named, doors[3])
        if process_id not in self._ended:
            self._open[process_id] = time.monotonic()
        if plan["cancel"]:
            await asyncio.sleep(plan["after"])
            await self._cancel(wish, named, plan)

    async def _process_of(self, item_id: str, door: str) -> str:
        """Return the process of what was ingested; the item's name when nobody answers."""
        with suppress(aiohttp.ClientError, OSError, TimeoutError, ValueError):
            async with self._session.get(f"http://{door}/queue-items/{item_id}") as response:
                if response.status == 200:
                    return str((await response.json())["process_id"])
        return item_id

    async def _cancel(self, wish: Wish, named: str, plan: Mapping[str, Any]) -> None:
        if wish.kind is AskKind.CONTENT:
            body = {name: wish.body[name] for name in ("content_id", "account_id")}
            taking = Wish(
                kind=AskKind.TAKE_BACK,
                route=wish.route,
                key=f"take back {wish.key}",
                path="/cancel",
                body=body | {"reason": "not needed"},
            )
            await self._asked(taking, plan["doors"][2])
            return
        cancel = Wish(
            kind=AskKind.CANCEL,
            route=wish.route,
            key=f"cancel {named}",
            path=f"/processes/{named}/cancel",
            body={
                "reason": "not needed",
                "requested_by": {"system": "faults"},
                "strategy": plan["strategy"],
                "force_after_seconds": plan["window"],
            },
        )
        ask = await self._asked(cancel, plan["doors"][2])
        if ask.answer.get("status") == "cancel_requested":
            self.strategies[named] = plan["strategy"]

    def _other(self, door: str) -> str:
        return next((one for one in self.gateways if one != door), door)

    async def _asked(self, wish: Wish, door: str) -> Ask:
        """Ask until there is an answer, at another door each time; return the last."""
        until = time.monotonic() + _GIVEN_UP_SECONDS
        while True:
            ask = await self._ask(wish, door)
            self.asks.append(ask)
            if ask.status not in {0, 503} or time.monotonic() > until:
                return ask
            door = self._other(door)
            await asyncio.sleep(_AGAIN_SECONDS)

    async def _ask(self, wish: Wish, door: str) -> Ask:
        began = time.time()
        status, retry_after, answer = 0, False, {}
        try:
            async with self._session.post(f"http://{door}{wish.path}", json=wish.body) as response:
                read = await response.json(content_type=None)
                # Only now: a gateway that is killed within its answer has given none.
                status, answer = response.status, read
                retry_after = int(response.headers.get("Retry-After", "0")) > 0
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            answer = {"error": repr(error)}
        return Ask(
            kind=wish.kind,
            key=wish.key,
            status=status,
            began=began,
            ended=time.time(),
            answer=answer,
            retry_after=retry_after,
            not_before=None if wish.not_before is None else micros(wish.not_before),
            deadline=None if wish.deadline is None else micros(wish.deadline),
        )

    # What is drawn

    def _draw(self) -> Wish:
        drawn = self.routes_drawn
        (route,) = self._dice.choices(list(drawn), list(drawn.values()))
        return self._post() if route[0] == "post_video" else self._work(route, self._times())

    def _now(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self.ahead())

    def _token(self) -> str:
        self._count += 1
        return f"zq{self._count:06d}"

    def _times(self) -> dict[str, Any]:
        """Draw when it may begin, and until when it must have."""
        now = self._now().replace(microsecond=0)
        wait = self._dice.choice([None, None, None, None, 2, 5])
        limit = self._dice.choice([None, None, None, None, None, 2, 4, 9, 30])
        times: dict[str, Any] = {"priority": self._dice.randint(3, 7)}
        begin = now if wait is None else now + timedelta(seconds=wait)
        if wait is not None:
            times["not_before"] = begin
        if limit is not None and self.deadlines:
            times["deadline"] = begin + timedelta(seconds=limit + 1)
        return times

    def _work(self, route: tuple[str, str], times: dict[str, Any]) -> Wish:
        token = self._token()
        capability, routing = route
        phones = self._dice.sample(self.farm.phones, 3)
        account = phones[0].account_id
        body: dict[str, Any] = {
            "request_id": token,
            "inputs": self._inputs(capability, token),
            "callback": {"url": self._dice.choice(self.callbacks)},
            "requested_by": {"system": "faults"},
        }
        if capability == "maintenance" and routing == "direct":
            path, body["account_id"], times = "/maintenance/requests", account, {}
        else:
            path = "/capability-requests/enqueue"
            body |= {"capability": capability, "mode": "manual"}
            body["target"] = {"routing": routing, **self._target(capability, routing, phones)}
            body |= {
                name: value.isoformat() if isinstance(value, datetime) else value
                for name, value in times.items()
            }
        return Wish(
            kind=AskKind.WORK,
            route=route,
            key=f"{capability} {token}",
            path=path,
            body=body,
            not_before=times.get("not_before"),
            deadline=times.get("deadline"),
        )

    def _target(self, capability: str, routing: str, phones: list[Any]) -> dict[str, Any]:
        match routing:
            case "direct" if self._dice.random() < 0.5:
                return {"phone_id": phones[0].phone_id}
            case "direct":
                return {"account_id": phones[0].account_id}
            case "group":
                return {"phone_ids": [phone.phone_id for phone in phones[:2]]}
            case _ if capability == "maintenance":
                return {"account_id": phones[0].account_id}
            case _:
                return {}

    def _inputs(self, capability: str, token: str) -> dict[str, Any]:
        match capability:
            case "fyp_warmup":
                return {"judge_prompt": token, "max_videos": 2, "watch_seconds": 1}
            case "maintenance":
                return {"steps": [{"action": "edit_profile", "params": {"bio": f"tea {token}"}}]}
            case _:
                keywords = [token, f"{token} again"][: self._dice.randint(1, 2)]
                return {"keywords": keywords, "videos_per_keyword": 1, "watch_seconds": 1}

    def _post(self) -> Wish:
        token = self._token()
        body: dict[str, Any] = {
            "content_id": token,
            "account_id": self._dice.choice(self.farm.phones).account_id,
            "video_path": self.video,
            "caption": f"A house {token}",
            "callback_url": self._dice.choice(self.callbacks),
        }
        if self._dice.random() < 0.15:
            body["scheduling_hint"] = (self._now() + timedelta(seconds=4)).isoformat()
        return Wish(
            kind=AskKind.CONTENT,
            route=("post_video", "direct"),
            key=f"post_video {token}",
            path="/ingest",
            body=body,
        )
