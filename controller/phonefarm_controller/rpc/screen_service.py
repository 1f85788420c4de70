"""ScreenService: sends the screens of phones to gateways."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Final, assert_never

from phonefarm.v1 import agent_pb2, screen_pb2_grpc
from phonefarm.v1 import screen_pb2 as pb
from phonefarm_common.reasons import FarmError

from phonefarm_controller.model.errors import DatabaseBusyError, invalid_field
from phonefarm_controller.model.scopes import Scope
from phonefarm_controller.rpc.auth import Authenticator, caller
from phonefarm_controller.rpc.errors import Context
from phonefarm_controller.rpc.screen_links import KEY_FRAME, ScreenLink, ScreenLinks, ViewOver
from phonefarm_controller.rpc.screen_thumbnails import ThumbnailWatcher
from phonefarm_controller.screens.access import HoldRun, ScreenAccess, ScreenPhone
from phonefarm_controller.screens.links import Places, unavailable

KEY_SECONDS: Final = 5.0
"""The key of a viewer is checked again this often."""
HOLD_SECONDS: Final = 1.0
"""Without a hold, the hold is looked for this often, and a refusal is repeated this often."""
STILL_SECONDS: Final = 60.0
MOST_CONTROL: Final = 262_144
"""The size of scrcpy's largest control message (ControlMessage.java, MESSAGE_MAX_SIZE)."""


class ScreenService(screen_pb2_grpc.ScreenServiceServicer):
    """Connects viewers with the agents whose screens they watch."""

    def __init__(
        self, *, auth: Authenticator, access: ScreenAccess, links: ScreenLinks, most: int
    ) -> None:
        """Serve *most* views, and as many watchers of thumbnails, at a time."""
        self._auth = auth
        self._access = access
        self._links = links
        self._views = Places(most)
        self._watchers = Places(most)

    # As AgentService.Session: a coroutine gets its cancellation in the call's own task.
    async def View(  # type: ignore[override] # noqa: N802 - the wire's name
        self, request_iterator: AsyncIterator[pb.ViewRequest], context: Context
    ) -> None:
        """Show one phone until either side ends it."""
        first = await context.read()
        if not isinstance(first, pb.ViewRequest):
            return
        if first.WhichOneof("body") != "open":
            raise invalid_field("open", "must come first")
        phone = await self._access.find(first.open.phone_id)
        with self._views.place():
            async with self._links.open(phone.agent_id) as link:
                order = agent_pb2.ServeView(
                    serialno=phone.serialno, mode=first.open.mode, quality=first.open.quality
                )
                await link.orders.put(agent_pb2.ScreenOrder(view=order))
                shown = _event_of(await link.reports.get())
                view = _View(phone=phone, link=link, access=self._access, context=context)
                async with self._noted("watch", phone.phone_id, "screen", lambda: view.summary):
                    await self._relay(view, shown)

    async def TakeStill(  # noqa: N802
        self, request: pb.TakeStillRequest, context: Context
    ) -> pb.Still:
        """Return one picture, and the tree if asked."""
        phone = await self._access.find(request.phone_id)
        async with self._links.open(phone.agent_id) as link:
            order = agent_pb2.ServeStill(
                serialno=phone.serialno, format=request.format, tree=request.tree
            )
            await link.orders.put(agent_pb2.ScreenOrder(still=order))
            try:
                async with asyncio.timeout(STILL_SECONDS):
                    report = await link.reports.get()
            except TimeoutError:
                message = f"the phone gave no picture within {STILL_SECONDS:g} s"
                raise unavailable("failed", message) from None
        if report is None or report.WhichOneof("body") != "still":
            raise _refusal(report)
        what = "picture and UI tree" if request.tree else "picture"
        await self._access.note(
            actor=caller().name, verb="take_still", subject=phone.phone_id, text=what
        )
        return report.still

    async def WatchThumbnails(  # type: ignore[override] # noqa: N802
        self, request_iterator: AsyncIterator[pb.ThumbnailsRequest], context: Context
    ) -> None:
        """Send thumbnails until the viewer leaves."""
        with self._watchers.place():
            watcher = ThumbnailWatcher(access=self._access, links=self._links, context=context)
            async with self._noted(
                "watch_thumbnails", "phones", "thumbnails", lambda: watcher.summary
            ):
                await self._until_over(self._check_key(context, lambda: None), watcher.run())

    async def _relay(self, view: "_View", shown: pb.ViewEvent) -> None:
        """Show what the agent reports and pass on what the viewer does, to the end of either."""
        await self._until_over(
            self._check_key(view.context, view.check_scope), view.hear(), view.show(shown)
        )

    async def _until_over(self, *coroutines: Coroutine[None, None, None]) -> None:
        """Run them until one of them raises ViewOver, or what ends the call."""
        over: list[BaseException] = []
        try:
            async with asyncio.TaskGroup() as tasks:
                for each in coroutines:
                    tasks.create_task(each)
        except* ViewOver:
            pass
        except* (FarmError, DatabaseBusyError) as group:
            over.extend(group.exceptions)
        if over:
            raise over[0]

    async def _check_key(self, context: Context, checked: Callable[[], None]) -> None:
        """Raise FarmError when the key does not count any more; call *checked* when it does."""
        while True:
            await asyncio.sleep(KEY_SECONDS)
            await self._auth.check_caller(context, Scope.WATCH)
            checked()

    @asynccontextmanager
    async def _noted(
        self, verb: str, subject: str, what: str, summary: Callable[[], str]
    ) -> AsyncIterator[None]:
        """Note in the audit who watches from when to when."""
        actor = caller().name
        began = await self._access.note(
            actor=actor, verb=verb, subject=subject, text=f"began to watch the {what}"
        )
        try:
            yield
        finally:
            text = f"watched the {what} since {began:%Y-%m-%d %H:%M:%S} UTC; {summary()}"
            await asyncio.shield(
                self._access.note(actor=actor, verb=f"{verb}_end", subject=subject, text=text)
            )


class _View:
    """One viewer's call."""

    def __init__(
        self, *, phone: ScreenPhone, link: ScreenLink, access: ScreenAccess, context: Context
    ) -> None:
        self.phone = phone
        self.context = context
        self.may_operate = Scope.OPERATE in caller().scopes
        self._caller = caller().name
        self._link = link
        self._access = access
        self._writing = asyncio.Lock()
        self._hold: HoldRun | None = None
        self._looked_at = -HOLD_SECONDS
        self._said: dict[str, float] = {}
        self._sent: Counter[str] = Counter()  # inputs by run

    def check_scope(self) -> None:
        """Look at what the key, just looked up, may do now."""
        self.may_operate = Scope.OPERATE in caller().scopes

    @property
    def summary(self) -> str:
        """Return how much input was sent on, for the audit."""
        if not self._sent:
            return "no input"
        return ", ".join(
            f"{count} inputs sent under the hold's run {run}" for run, count in self._sent.items()
        )

    async def show(self, event: pb.ViewEvent) -> None:
        """Send what the agent reports; raises ViewOver at the end."""
        while True:
            if event.input_refused.reason == "hold_ended":
                self._hold = None
            async with self._writing:
                await self.context.write(event)
            if event.WhichOneof("body") == "ended":
                raise ViewOver
            event = _next_event(await self._link.reports.get())

    async def hear(self) -> None:
        """Pass on what the viewer does; raises ViewOver when it leaves."""
        while isinstance(request := await self.context.read(), pb.ViewRequest):
            match request.WhichOneof("body"):
                case "control":
                    await self._control(request.control)
                case "key_frame":
                    await self._link.orders.put(agent_pb2.ScreenOrder(key_frame=KEY_FRAME))
                case "open":
                    raise invalid_field("open", "must come once, at the beginning of a view")
                case None:
                    pass  # from a newer gateway
                case unknown:
                    assert_never(unknown)
        raise ViewOver

    async def _control(self, control: bytes) -> None:
        if not self.may_operate:
            message = "the key lacks the scope operate, which input needs"
            await self._refuse("insufficient_scope:operate", message)
            return
        if not 0 < len(control) <= MOST_CONTROL:
            message = f"a control message must have 1 to {MOST_CONTROL} bytes, not {len(control)}"
            await self._refuse("control_not_allowed", message)
            return
        hold = await self._current_hold()
        if hold is None:
            message = (
                "input needs a hold of the phone by the same key: "
                f"`phonefarm phones hold {self.phone.phone_id} --reason TEXT`"
            )
            await self._refuse("hold_required", message)
            return
        self._sent[hold.run_id] += 1
        order = agent_pb2.ScreenInput(run_id=hold.run_id, epoch=hold.epoch, control=control)
        await self._link.orders.put(agent_pb2.ScreenOrder(input=order))

    async def _current_hold(self) -> HoldRun | None:
        """Return the hold that the agent has not called ended; look for one at most once a second.

        Whose hold a run is never changes; whether it lives the agent checks for each message.
        """
        if self._hold is None and time.monotonic() - self._looked_at >= HOLD_SECONDS:
            self._looked_at = time.monotonic()
            self._hold = await self._access.hold_of(self.phone.phone_id, self._caller)
        return self._hold

    async def _refuse(self, reason: str, message: str) -> None:
        now = time.monotonic()
        if now - self._said.get(reason, -HOLD_SECONDS) < HOLD_SECONDS:
            return
        self._said[reason] = now
        refused = pb.InputRefused(reason=reason, message=message)
        async with self._writing:
            await self.context.write(pb.ViewEvent(input_refused=refused))


def _event_of(report: agent_pb2.ScreenReport | None) -> pb.ViewEvent:
    """Return the first event of a view; FarmError `screen_unavailable` when there is none."""
    if report is None or report.WhichOneof("body") != "event":
        raise _refusal(report)
    if report.event.WhichOneof("body") == "ended":
        raise unavailable(report.event.ended.reason, report.event.ended.message)
    return report.event


def _next_event(report: agent_pb2.ScreenReport | None) -> pb.ViewEvent:
    """Return a later event; the end of the agent's call is one."""
    if report is not None and report.WhichOneof("body") == "event":
        return report.event
    gone = pb.ViewEnded(reason="agent_away", message="the connection to the phone's agent was lost")
    return pb.ViewEvent(ended=gone)


def _refusal(report: agent_pb2.ScreenReport | None) -> FarmError:
    if report is None or report.WhichOneof("body") != "refused":
        return unavailable("agent_away", "the connection to the phone's agent was lost")
    return unavailable(report.refused.reason, report.refused.message)
