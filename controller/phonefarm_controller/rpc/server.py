"""Serving gRPC: the services, health and reflection."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

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
    fleet_pb2,
    fleet_pb2_grpc,
    inspect_pb2,
    inspect_pb2_grpc,
    process_pb2,
    process_pb2_grpc,
    proving_pb2,
    proving_pb2_grpc,
)
from phonefarm_common.channel import is_loopback, server_options
from phonefarm_common.timers import Timers

from phonefarm_controller.rpc.access import AccessEdge
from phonefarm_controller.rpc.agents import AgentEdge
from phonefarm_controller.rpc.callbacks import CallbackEdge
from phonefarm_controller.rpc.content import ContentEdge
from phonefarm_controller.rpc.fleet import FleetEdge
from phonefarm_controller.rpc.inspect import InspectEdge
from phonefarm_controller.rpc.processes import ProcessEdge
from phonefarm_controller.rpc.proving import ProvingEdge

GRACE_SECONDS = 2.0
SERVICES = (
    process_pb2.DESCRIPTOR.services_by_name["ProcessService"].full_name,
    agent_pb2.DESCRIPTOR.services_by_name["AgentService"].full_name,
    fleet_pb2.DESCRIPTOR.services_by_name["FleetService"].full_name,
    callback_pb2.DESCRIPTOR.services_by_name["CallbackService"].full_name,
    content_pb2.DESCRIPTOR.services_by_name["ContentService"].full_name,
    proving_pb2.DESCRIPTOR.services_by_name["ProvingService"].full_name,
    inspect_pb2.DESCRIPTOR.services_by_name["InspectService"].full_name,
    access_pb2.DESCRIPTOR.services_by_name["AccessService"].full_name,
)


@asynccontextmanager
async def serving(
    *,
    host: str,
    port: int,
    timers: Timers,
    processes: ProcessEdge,
    agents: AgentEdge,
    fleet: FleetEdge,
    callbacks: CallbackEdge,
    content: ContentEdge,
    proving: ProvingEdge,
    inspect: InspectEdge,
    access: AccessEdge,
) -> AsyncIterator[int]:
    """Serve on HOST:PORT (0 for any) while the block runs; yield the port.

    Raises ValueError for a host that is not loopback: without TLS nothing else is allowed.
    """
    if not is_loopback(host):
        raise ValueError(f"plaintext gRPC is only for loopback, not {host!r}")
    server = grpc.aio.server(options=server_options(timers))
    process_pb2_grpc.add_ProcessServiceServicer_to_server(processes, server)
    agent_pb2_grpc.add_AgentServiceServicer_to_server(agents, server)
    fleet_pb2_grpc.add_FleetServiceServicer_to_server(fleet, server)
    callback_pb2_grpc.add_CallbackServiceServicer_to_server(callbacks, server)
    content_pb2_grpc.add_ContentServiceServicer_to_server(content, server)
    proving_pb2_grpc.add_ProvingServiceServicer_to_server(proving, server)
    inspect_pb2_grpc.add_InspectServiceServicer_to_server(inspect, server)
    access_pb2_grpc.add_AccessServiceServicer_to_server(access, server)
    checks = health_aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    for name in ("", *SERVICES):
        await checks.set(name, health_pb2.HealthCheckResponse.SERVING)
    reflection.enable_server_reflection(
        [*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME], server
    )
    bound = server.add_insecure_port(f"{host}:{port}")
    await server.start()
    try:
        yield bound
    finally:
        await checks.enter_graceful_shutdown()
        await server.stop(GRACE_SECONDS)
