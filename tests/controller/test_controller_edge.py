"""What every gRPC service of a farm offers: health, reflection, and a row on who may call."""

from importlib import import_module
from pkgutil import iter_modules
from typing import Any, cast

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from phonefarm import v1
from phonefarm.v1 import inspect_pb2, process_pb2
from phonefarm_common.channel import bearer
from phonefarm_controller.rpc.authorizer import METHODS
from support.controller import KEY, Farm


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


def test_the_table_of_access_has_every_method_and_no_other() -> None:
    """A method that is added to a proto is served to nobody until its row is written."""
    modules = [import_module(f"phonefarm.v1.{module.name}") for module in iter_modules(v1.__path__)]

    methods = {
        f"{service.name}/{method.name}"
        for module in modules
        if hasattr(module, "DESCRIPTOR")
        for service in module.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }

    assert len(methods) > 50
    assert set(METHODS) == methods


@pytest.mark.parametrize("method", ["ProcessService/ListProcesses", "InspectService/WatchProcess"])
async def test_a_method_that_the_table_lacks_is_not_served(
    farm: Farm, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """Whatever its kind, and even to the server's own secret."""
    monkeypatch.delitem(cast("dict[str, object]", METHODS), method)
    service, _, name = method.partition("/")
    stubs: dict[str, Any] = {"ProcessService": farm.processes, "InspectService": farm.inspect}
    requests = {
        "ListProcesses": process_pb2.ListProcessesRequest(),
        "WatchProcess": inspect_pb2.WatchProcessRequest(),
    }

    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await outcome_of(getattr(stubs[service], name)(requests[name], metadata=bearer(KEY)))

    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def outcome_of(call: Any) -> None:
    """Read the call, of whichever kind, to its end."""
    if isinstance(call, grpc.aio.UnaryUnaryCall):
        await call
    else:
        async for _ in call:
            pass
