"""Keeps the agent connected to a controller: one session after the other, with back-off."""

import asyncio
import random
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, cast

import structlog
from phonefarm.v1 import agent_pb2_grpc
from phonefarm_common.backoff import backoff
from phonefarm_common.certificates import Member, MemberBrokenError, read_member
from phonefarm_common.channel import bearer, open_channel
from phonefarm_common.clock import Clock
from phonefarm_common.endpoints import EndpointSelector, parse_controllers
from phonefarm_common.enrollment import expiry_remedy, wait_for_replacement
from phonefarm_common.timers import Timers

from phonefarm_agent.model.messages import Host, Welcome
from phonefarm_agent.rpc.evidence_uploader import EvidenceUploader
from phonefarm_agent.rpc.screen_streams import Controllers, ScreenStreams
from phonefarm_agent.rpc.session import (
    AgentIdentity,
    Session,
    SessionLostError,
    SessionRefusedError,
    SessionStream,
    SupersededError,
)

log = structlog.get_logger()

MOVE_SECONDS: Final = 1.0
FATAL_REASONS = frozenset({"identity_cloned", "agent_too_old", "time_scale_differs"})


def _retry_pause(failures: int, controllers: int, scale: float) -> float:
    """Return seconds until the next try: short for a controller not tried yet, then longer.

    A thousand agents that lose one controller come to the next spread over a second.
    """
    round_of_all = failures // controllers
    if not round_of_all:
        return random.random() * MOVE_SECONDS * scale
    return backoff(round_of_all, first=0.2 * scale, factor=2, most=5 * scale, jitter=0.5)


class ConnectionClosedError(Exception):
    """No controller will ever accept this agent; `reason` says why."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


@dataclass(frozen=True, kw_only=True)
class ControllerAddress:
    """The controllers' addresses and the agent's credentials."""

    targets: tuple[str, ...]
    """HOST:PORT of each controller; if empty, the certificate names them."""
    token: str = ""
    member_folder: Path | None = None
    """The folder of the agent's certificate; None if the agent uses a token, without TLS."""


class ControllerConnection:
    """Keeps one session open at a time.

    A renewed certificate begins a new session, maybe with another controller, so that agents
    spread. `target` is the controller of the session or of the present try; `problem` says why
    there is no session, empty while one is open; `controller_tried` is set once the first try has
    succeeded or failed.
    """

    def __init__(
        self,
        *,
        address: ControllerAddress,
        identity: AgentIdentity,
        host: Host,
        timers: Timers,
        clock: Clock,
        changed: asyncio.Event,
        evidence_changed: asyncio.Event,
        screens: ScreenStreams,
    ) -> None:
        self._address = address
        self._identity = identity
        self._host = host
        self._timers = timers
        self._clock = clock
        self._changed = changed
        self._evidence_changed = evidence_changed
        self._screens = screens
        self._targets: tuple[str, ...] = ()
        self._superseded_at: float | None = None
        self.controller_tried = asyncio.Event()
        self.problem = "the agent has not reached a controller yet"
        self.target = ""
        self._member: Member | None = None

    @property
    def _metadata(self) -> tuple[tuple[str, str], ...]:
        return bearer(self._address.token) if self._address.member_folder is None else ()

    async def run(self, *, goodbye: asyncio.Event) -> None:
        """Keep a session open until *goodbye* is set and sent.

        A renewed certificate begins a new session; runs go on over that as over any cut. Raises
        ConnectionClosedError when no controller will ever take this agent, MemberBrokenError for a
        certificate that cannot be read.
        """
        while not goodbye.is_set():
            member_folder = self._address.member_folder
            member = (
                None
                if member_folder is None
                else await asyncio.to_thread(read_member, member_folder)
            )
            if member_folder is not None and member is None:
                raise MemberBrokenError(
                    f"{member_folder} no longer contains a certificate: join again"
                )
            self._member = member
            told = [] if member is None else [member.controller]
            targets = self._address.targets or parse_controllers(told, name="the controller")
            running = asyncio.create_task(self._keep_session(targets, goodbye), name="session")
            ends = {running}
            if member is not None and member_folder is not None:
                keeping = wait_for_replacement(
                    member,
                    member_folder,
                    targets=targets,
                    clock=self._clock,
                    scale=self._identity.time_scale,
                )
                ends.add(asyncio.create_task(keeping, name="certificate"))
            try:
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
                for task in ends:
                    if task.done():
                        task.result()
                if running.done():
                    return
            finally:
                for task in ends:
                    task.cancel()
                await asyncio.gather(*ends, return_exceptions=True)

    async def _keep_session(self, targets: tuple[str, ...], goodbye: asyncio.Event) -> None:
        """Keep a session with one of the controllers; when one fails, try the next."""
        self._targets = targets
        scale = self._identity.time_scale
        choice = EndpointSelector(targets, monotonic=self._clock.monotonic, scale=scale)
        failures = 0
        while not goodbye.is_set():
            opened_at = self._clock.monotonic()
            self.target = choice.current
            try:
                await self._run_session(self.target, goodbye)
            except SessionLostError as error:
                ended = "" if self._member is None else expiry_remedy(self._member, self._clock)
                self._set_problem(ended or str(error))
                log.warning(
                    "session.lost", controller=self.target, error=str(error), failures=failures
                )
            except SupersededError as error:
                self._count_supersession(error)
            except SessionRefusedError as error:
                if error.reason.partition(":")[0] in FATAL_REASONS:
                    raise ConnectionClosedError(
                        error.reason.partition(":")[0], str(error)
                    ) from error
                self._set_problem(f"refused: {error.reason}: {error}")
                log.warning(
                    "session.refused",
                    controller=self.target,
                    reason=error.reason,
                    error=str(error),
                    failures=failures,
                )
            else:
                return
            lasted = self._clock.monotonic() - opened_at
            if lasted > self._timers.heartbeat:
                choice.answered(self.target)  # what it met before is forgotten
                failures = 0
            choice.failed(self.target)
            failures += 1
            try:
                async with asyncio.timeout(_retry_pause(failures, len(targets), scale)):
                    await goodbye.wait()
            except TimeoutError:
                continue

    async def _run_session(self, target: str, goodbye: asyncio.Event) -> None:
        """Run one session, and upload evidence to the same controller meanwhile."""
        member = self._member
        secured = None if member is None else member.secured
        async with open_channel(target, self._timers, secured) as channel:
            stub = agent_pb2_grpc.AgentServiceStub(channel)
            session = Session(
                stream=cast("SessionStream", stub.Session(None, metadata=self._metadata)),
                host=self._host,
                identity=self._identity,
                timers=self._timers,
                clock=self._clock,
                changed=self._changed,
                opened=self._opened,
                screens_wanted=partial(
                    self._screens.answer,
                    controllers=Controllers(
                        targets=tuple(dict.fromkeys((target, *self._targets))),
                        metadata=self._metadata,
                        secured=secured,
                    ),
                ),
            )
            uploader = EvidenceUploader(
                stub=stub,
                metadata=self._metadata,
                host=self._host,
                changed=self._evidence_changed,
                scale=self._identity.time_scale,
            )
            uploading = asyncio.create_task(uploader.run(), name="evidence-uploader")
            try:
                await session.run(goodbye=goodbye)
            finally:
                uploading.cancel()
                await asyncio.gather(uploading, return_exceptions=True)
                log.info("session.closed", controller=target)

    def _opened(self, welcome: Welcome) -> None:
        log.info(
            "session.opened",
            controller=self.target,
            term=welcome.term,
            farm_id=welcome.farm_id,
        )
        self.problem = ""
        self.controller_tried.set()

    def _set_problem(self, why: str) -> None:
        self.problem = f"not connected: {why}"
        self.controller_tried.set()

    def _count_supersession(self, error: SupersededError) -> None:
        """Allow one new session per lease time; two agents must not evict each other for ever."""
        now = self._clock.monotonic()
        episode = self._timers.lease_ttl
        if self._superseded_at is not None and now - self._superseded_at < episode:
            raise ConnectionClosedError("superseded", str(error)) from error
        self._superseded_at = now
        self._set_problem(str(error))
        log.warning("session.superseded", by_incarnation=error.by_incarnation)
