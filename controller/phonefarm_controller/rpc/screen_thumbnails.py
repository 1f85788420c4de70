"""One watcher of thumbnails: a link to each agent that has phones in view."""

import asyncio
from collections.abc import Iterable

from phonefarm.v1 import agent_pb2
from phonefarm.v1 import screen_pb2 as pb
from phonefarm_common.reasons import FarmError

from phonefarm_controller.model.errors import invalid_field
from phonefarm_controller.rpc.errors import Context
from phonefarm_controller.rpc.screen_links import ScreenLinks, ViewOver
from phonefarm_controller.screens.access import ScreenAccess

MOST_PHONES = 200
AGAIN_SECONDS = 10.0
"""An agent that was away is asked again after this time."""


class ThumbnailWatcher:
    """Sends the newest thumbnail of each phone in view; keeps one thumbnail of each phone."""

    def __init__(self, *, access: ScreenAccess, links: ScreenLinks, context: Context) -> None:
        self._access = access
        self._links = links
        self._context = context
        self._phones: dict[str, dict[str, str]] = {}  # by agent: phone ids by serial number
        self._agents: dict[str, asyncio.Task[None]] = {}
        self._changed: dict[str, asyncio.Event] = {}  # by agent
        self._newest: dict[str, pb.Thumbnail] = {}  # by phone, not yet sent
        self._filled = asyncio.Event()
        self._seen: set[str] = set()

    @property
    def summary(self) -> str:
        """Return what was seen, for the audit."""
        return f"{len(self._seen)} phones"

    async def run(self) -> None:
        """Send thumbnails until the viewer leaves; raises ViewOver then."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._send())
                await self._hear(tasks)
        except* ViewOver:
            raise ViewOver from None

    async def _hear(self, tasks: asyncio.TaskGroup) -> None:
        while isinstance(request := await self._context.read(), pb.ThumbnailsRequest):
            if len(request.phone_ids) > MOST_PHONES:
                raise invalid_field("phone_ids", f"must have at most {MOST_PHONES}")
            found = await self._access.find_all(dict.fromkeys(request.phone_ids))
            wanted: dict[str, dict[str, str]] = {}
            for phone_id, phone in found.items():
                if phone is None:
                    self._put(pb.Thumbnail(phone_id=phone_id, refused="unknown_phone"))
                else:
                    wanted.setdefault(phone.agent_id, {})[phone.serialno] = phone_id
            self._apply(wanted, tasks)
        raise ViewOver

    def _apply(self, wanted: dict[str, dict[str, str]], tasks: asyncio.TaskGroup) -> None:
        """Ask each agent for its phones in view, and no other agent."""
        self._phones = wanted
        for agent_id in [agent_id for agent_id in self._agents if agent_id not in wanted]:
            self._agents.pop(agent_id).cancel()
        for agent_id in wanted:
            self._changed.setdefault(agent_id, asyncio.Event()).set()
            if agent_id not in self._agents:
                self._agents[agent_id] = tasks.create_task(self._watch(agent_id))

    async def _watch(self, agent_id: str) -> None:
        """Have one agent send its thumbnails; when it is away, say so and ask it again later."""
        while True:
            try:
                async with self._links.open(agent_id) as link:
                    self._changed[agent_id].set()
                    ordering = asyncio.create_task(self._order(agent_id, link.orders))
                    try:
                        while (report := await link.reports.get()) is not None:
                            self._take(agent_id, report)
                    finally:
                        ordering.cancel()
                reason = "agent_away"
            except FarmError as error:
                reason = error.detail or str(error.reason)
            for phone_id in self._phones.get(agent_id, {}).values():
                self._put(pb.Thumbnail(phone_id=phone_id, refused=reason))
            await asyncio.sleep(AGAIN_SECONDS)

    async def _order(self, agent_id: str, orders: asyncio.Queue[agent_pb2.ScreenOrder]) -> None:
        while True:
            await self._changed[agent_id].wait()
            self._changed[agent_id].clear()
            wanted = agent_pb2.ServeThumbnails(serialnos=self._phones.get(agent_id, {}))
            await orders.put(agent_pb2.ScreenOrder(thumbnails=wanted))

    def _take(self, agent_id: str, report: agent_pb2.ScreenReport) -> None:
        if report.WhichOneof("body") != "thumbnail":
            return
        phone_id = self._phones.get(agent_id, {}).get(report.thumbnail.serialno)
        if phone_id is not None:
            thumbnail = report.thumbnail.thumbnail
            thumbnail.phone_id = phone_id
            self._put(thumbnail)

    def _put(self, thumbnail: pb.Thumbnail) -> None:
        self._newest[thumbnail.phone_id] = thumbnail
        self._filled.set()

    async def _send(self) -> None:
        while True:
            await self._filled.wait()
            self._filled.clear()
            for thumbnail in _taken(self._newest):
                if thumbnail.jpeg:
                    self._seen.add(thumbnail.phone_id)
                await self._context.write(thumbnail)


def _taken(newest: dict[str, pb.Thumbnail]) -> Iterable[pb.Thumbnail]:
    """Yield each and remove it; one that is replaced meanwhile comes as the newer."""
    while newest:
        yield newest.pop(next(iter(newest)))
