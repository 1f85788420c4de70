"""What every gRPC service of a farm offers: health and reflection."""

from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from support.controller import Farm


async def test_health_says_serving(farm: Farm) -> None:
    """The standard health check needs no key."""
    stub = health_pb2_grpc.HealthStub(farm.channel)

    answer = await stub.Check(health_pb2.HealthCheckRequest(service="phonefarm.v1.AgentService"))

    assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_reflection_lists_the_services(farm: Farm) -> None:
    """A newcomer with a generic client finds out what can be called."""
    stub = reflection_pb2_grpc.ServerReflectionStub(farm.channel)
    asked = reflection_pb2.ServerReflectionRequest(list_services="")

    answers = [answer async for answer in stub.ServerReflectionInfo(iter([asked]))]

    named = {service.name for service in answers[0].list_services_response.service}
    ours = ("ProcessService", "AgentService", "FleetService", "CallbackService")
    assert named >= {f"phonefarm.v1.{name}" for name in ours}
