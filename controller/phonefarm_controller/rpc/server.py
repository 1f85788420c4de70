"""Serving gRPC: the services of each port, health and reflection."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import _async as health_aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from phonefarm.v1 import (
    access_pb2,
    access_pb2_grpc,
    agent_pb2,
    agent_pb2_grpc,
    callback_pb2,
    callback_pb2_grpc,
    content_pb2,
    content_pb2_grpc,
    doctor_pb2,
    doctor_pb2_grpc,
    fleet_pb2,
    fleet_pb2_grpc,
    inspect_pb2,
    inspect_pb2_grpc,
    join_pb2,
    join_pb2_grpc,
    operator_pb2,
    operator_pb2_grpc,
    process_pb2,
    process_pb2_grpc,
    schedule_pb2,
    schedule_pb2_grpc,
    screen_pb2,
    screen_pb2_grpc,
    verification_pb2,
    verification_pb2_grpc,
)
from phonefarm_common.channel import is_loopback, server_options
from phonefarm_common.config import shown_address
from phonefarm_common.lifecycle import check_address_free
from phonefarm_common.timers import Timers
from phonefarm_common.tracing import Tracer

from phonefarm_controller.rpc.access_service import AccessService
from phonefarm_controller.rpc.agent_service import AgentService
from phonefarm_controller.rpc.auth import Authenticator
from phonefarm_controller.rpc.authorizer import Authorizer
from phonefarm_controller.rpc.callback_service import CallbackService
from phonefarm_controller.rpc.content_service import ContentService
from phonefarm_controller.rpc.doctor_service import DoctorService
from phonefarm_controller.rpc.fleet_service import FleetService
from phonefarm_controller.rpc.inspect_service import InspectService
from phonefarm_controller.rpc.join_service import JoinService, MemberService
from phonefarm_controller.rpc.operator_service import OperatorService
from phonefarm_controller.rpc.process_service import ProcessService
from phonefarm_controller.rpc.schedule_service import ScheduleService
from phonefarm_controller.rpc.screen_service import ScreenService
from phonefarm_controller.rpc.tls import ServerCertificate, TlsListeners
from phonefarm_controller.rpc.verification_service import VerificationService

GRACE_SECONDS = 2.0


@dataclass(frozen=True, kw_only=True)
class Services:
    """Every service, on whichever port."""

    processes: ProcessService
    schedules: ScheduleService
    agents: AgentService
    fleet: FleetService
    operator: OperatorService
    doctor: DoctorService
    callbacks: CallbackService
    content: ContentService
    verification: VerificationService
    inspect: InspectService
    screens: ScreenService
    access: AccessService
    joining: JoinService
    members: MemberService


@dataclass(frozen=True, kw_only=True)
class Ports:
    """The ports on which it listens; the last two are 0 if other hosts cannot join."""

    plain: int
    tls: int = 0
    mtls: int = 0


Add = Callable[[grpc.aio.Server], str]
"""Adds one service to a server and returns its full name."""


def _for_callers(services: Services) -> list[Add]:
    return [
        _adding(process_pb2, "ProcessService", process_pb2_grpc, services.processes),
        _adding(schedule_pb2, "ScheduleService", schedule_pb2_grpc, services.schedules),
        _adding(fleet_pb2, "FleetService", fleet_pb2_grpc, services.fleet),
        _adding(operator_pb2, "OperatorService", operator_pb2_grpc, services.operator),
        _adding(doctor_pb2, "DoctorService", doctor_pb2_grpc, services.doctor),
        _adding(content_pb2, "ContentService", content_pb2_grpc, services.content),
        _adding(
            verification_pb2, "VerificationService", verification_pb2_grpc, services.verification
        ),
        _adding(inspect_pb2, "InspectService", inspect_pb2_grpc, services.inspect),
        _adding(screen_pb2, "ScreenService", screen_pb2_grpc, services.screens),
        _adding(access_pb2, "AccessService", access_pb2_grpc, services.access),
    ]


def _for_programs(services: Services) -> list[Add]:
    return [
        _adding(agent_pb2, "AgentService", agent_pb2_grpc, services.agents),
        _adding(callback_pb2, "CallbackService", callback_pb2_grpc, services.callbacks),
    ]


def _adding(messages: Any, name: str, stubs: Any, edge: object) -> Add:
    def add(server: grpc.aio.Server) -> str:
        getattr(stubs, f"add_{name}Servicer_to_server")(edge, server)
        full: str = messages.DESCRIPTOR.services_by_name[name].full_name
        return full

    return add


@asynccontextmanager
async def serving(
    *,
    host: str,
    port: int,
    timers: Timers,
    auth: Authenticator,
    tracer: Tracer,
    services: Services,
    doors: TlsListeners | None = None,
) -> AsyncIterator[Ports]:
    """Serve on HOST:PORT (0 for any), and on the doors, while the block runs; yield the ports.

    Raises ValueError for a host that is not loopback: without TLS nothing else is allowed.
    """
    if not is_loopback(host):
        raise ValueError(
            f"plaintext gRPC is for loopback only, not for {host!r}: for other hosts, give "
            "--tls-listen and --mtls-listen"
        )
    callers, programs = _for_callers(services), _for_programs(services)
    listening = partial(_port, timers, partial(Authorizer, auth, tracer))
    async with AsyncExitStack() as stack:
        every = [*callers, *programs]
        plain = await stack.enter_async_context(listening((host, port), every, None))
        if doors is None:
            yield Ports(plain=plain)
            return
        join = _adding(join_pb2, "JoinService", join_pb2_grpc, services.joining)
        member = _adding(join_pb2, "MemberService", join_pb2_grpc, services.members)
        shown = ServerCertificate(doors, ask=False).credentials()
        tls = await stack.enter_async_context(listening(doors.tls, [*callers, join], shown))
        shown = ServerCertificate(doors, ask=True).credentials()
        mtls = await stack.enter_async_context(listening(doors.mtls, [*every, member], shown))
        yield Ports(plain=plain, tls=tls, mtls=mtls)


class _GenericHandlers:
    """Adds the methods of a service to a server as generic handlers only.

    For each registered method grpc.aio (1.85) has a task that waits for its next call, and looks at
    all these tasks whenever a call comes: with 73 methods, a tenth of the controller's processor
    time under load.
    """

    def __init__(self, server: grpc.aio.Server) -> None:
        self._server = server

    def add_generic_rpc_handlers(
        self, handlers: "Sequence[grpc.GenericRpcHandler[Any, Any]]"
    ) -> None:
        """Add handlers that are asked for each call whether it is theirs."""
        self._server.add_generic_rpc_handlers(handlers)

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, object]) -> None:
        """Do nothing: the same methods come as generic handlers."""


@asynccontextmanager
async def _port(
    timers: Timers,
    authorizer: Callable[[], Authorizer],
    address: tuple[str, int],
    adds: list[Add],
    shown: grpc.ServerCredentials | None,
) -> AsyncIterator[int]:
    host, port = address
    check_address_free(host, port)
    server = grpc.aio.server(options=server_options(timers), interceptors=[authorizer()])
    # The stubs only add handlers to it.
    generic: grpc.aio.Server = _GenericHandlers(server)  # type: ignore[assignment]
    names = [add(generic) for add in adds]
    checks = health_aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(checks, generic)
    for name in ("", *names):
        await checks.set(name, health_pb2.HealthCheckResponse.SERVING)
    if shown is None:
        # Anonymous, as it is: for this machine's own tools.
        reflection.enable_server_reflection(
            [*names, health.SERVICE_NAME, reflection.SERVICE_NAME], generic
        )
    where = shown_address(host, port)
    bound = (
        server.add_insecure_port(where) if shown is None else server.add_secure_port(where, shown)
    )
    await server.start()
    try:
        yield bound
    finally:
        await checks.enter_graceful_shutdown()
        await server.stop(GRACE_SECONDS)
