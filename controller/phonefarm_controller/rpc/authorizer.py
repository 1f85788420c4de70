"""Who may call which method: one table, and the interceptor that applies it to every call."""

from collections.abc import Awaitable, Callable, Mapping
from enum import Enum, auto
from typing import Any, Final, TypeAlias, assert_never

import grpc
import grpc.aio
from phonefarm_common.tracing import Tracer

from phonefarm_controller.model.scopes import Scope
from phonefarm_controller.rpc.auth import Authenticator
from phonefarm_controller.rpc.errors import Context, translated
from phonefarm_controller.rpc.traced_call import traced

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Behavior = Callable[[Any, Context], Awaitable[Any]]


class Access(Enum):
    """Who may call a method that requires no scope."""

    ANY_KEY = auto()
    AGENT = auto()
    GATEWAY = auto()
    MEMBER = auto()
    ANYONE = auto()


METHODS: Final[Mapping[str, Scope | Access]] = {
    "ProcessService/Enqueue": Scope.SUBMIT,
    "ProcessService/GetProcess": Scope.READ,
    "ProcessService/ListProcesses": Scope.READ,
    "ProcessService/CancelProcess": Scope.CANCEL,
    "ProcessService/CheckInputs": Scope.SUBMIT,
    "ProcessService/CheckKey": Access.ANY_KEY,
    "ContentService/FindContent": Scope.SUBMIT,
    "ContentService/Ingest": Scope.SUBMIT,
    "ContentService/CancelContent": Scope.CANCEL,
    "ContentService/UpsertSnapshot": Scope.SUBMIT,
    "InspectService/WatchProcess": Scope.READ,
    "InspectService/GetTimeline": Scope.READ,
    "InspectService/ExplainProcess": Scope.READ,
    "InspectService/GetQueueItem": Scope.READ,
    "InspectService/ListDeliveries": Scope.READ,
    "InspectService/ReplayDeliveries": Scope.OPERATE,
    "InspectService/ListFailingReceivers": Scope.READ,
    "InspectService/ListEvidence": Scope.READ,
    "InspectService/ReadEvidence": Scope.READ,
    "InspectService/ListCapabilities": Scope.READ,
    "FleetService/ListPhones": Scope.READ,
    "FleetService/ShowPhone": Scope.READ,
    "FleetService/ListNeedsHands": Scope.READ,
    "FleetService/ListIncidents": Scope.READ,
    "FleetService/WatchFarm": Scope.READ,
    "FleetService/ListAudit": Scope.OPERATE,
    "FleetService/AdmitPhone": Scope.OPERATE,
    "FleetService/ReturnPhone": Scope.OPERATE,
    "FleetService/MaintainPhone": Scope.OPERATE,
    "FleetService/RetirePhone": Scope.OPERATE,
    "FleetService/ClearAccount": Scope.OPERATE,
    "FleetService/PutAccount": Scope.OPERATE,
    "FleetService/PutAccounts": Scope.OPERATE,
    "FleetService/DeleteAccount": Scope.OPERATE,
    "FleetService/ListAccounts": Scope.READ,
    "FleetService/PutGroup": Scope.OPERATE,
    "FleetService/ChangeGroup": Scope.OPERATE,
    "FleetService/SetCleanUp": Scope.OPERATE,
    "FleetService/ListGroups": Scope.READ,
    "FleetService/ListAgents": Scope.READ,
    "FleetService/ListGateways": Scope.READ,
    "FleetService/Pause": Scope.OPERATE,
    "FleetService/Resume": Scope.OPERATE,
    "FleetService/ListPauses": Scope.READ,
    "FleetService/PutWindow": Scope.OPERATE,
    "FleetService/RemoveWindow": Scope.OPERATE,
    "FleetService/ListWindows": Scope.READ,
    "ScheduleService/AddSchedule": Scope.OPERATE,
    "ScheduleService/ListSchedules": Scope.READ,
    "ScheduleService/GetSchedule": Scope.READ,
    "ScheduleService/PauseSchedule": Scope.OPERATE,
    "ScheduleService/ResumeSchedule": Scope.OPERATE,
    "ScheduleService/DeleteSchedule": Scope.OPERATE,
    "FleetService/PutLimit": Scope.OPERATE,
    "FleetService/RemoveLimit": Scope.OPERATE,
    "FleetService/ListLimits": Scope.READ,
    "OperatorService/ReleasePhone": Scope.OPERATE,
    "OperatorService/DrainPhone": Scope.OPERATE,
    "OperatorService/DrainAgent": Scope.OPERATE,
    "OperatorService/UndrainAgent": Scope.OPERATE,
    "OperatorService/RerunProcess": Scope.OPERATE,
    "OperatorService/HoldPhone": Scope.OPERATE,
    "OperatorService/GetHold": Scope.READ,
    "OperatorService/UnholdPhone": Scope.OPERATE,
    "OperatorService/Backup": Scope.ADMIN,
    "ScreenService/View": Scope.WATCH,
    "ScreenService/TakeStill": Scope.WATCH,
    "ScreenService/WatchThumbnails": Scope.WATCH,
    "VerificationService/VerifyCapability": Scope.OPERATE,
    "VerificationService/CheckProfile": Scope.OPERATE,
    "VerificationService/RecordVerification": Scope.OPERATE,
    "DoctorService/Examine": Scope.READ,
    "DoctorService/ListAlertEvents": Scope.READ,
    "DoctorService/SendTestAlert": Scope.OPERATE,
    "DoctorService/ReplayAlertEvent": Scope.OPERATE,
    "AccessService/CreateKey": Scope.ADMIN,
    "AccessService/ListKeys": Scope.ADMIN,
    "AccessService/RevokeKey": Scope.ADMIN,
    "AccessService/Invite": Scope.ADMIN,
    "AccessService/RevokeMember": Scope.ADMIN,
    "JoinService/Join": Access.ANYONE,
    "MemberService/Renew": Access.MEMBER,
    "AgentService/Session": Access.AGENT,
    "AgentService/UploadEvidence": Access.AGENT,
    "AgentService/AskEvidence": Access.AGENT,
    "AgentService/ServeScreen": Access.AGENT,
    "CallbackService/LeaseDeliveries": Access.GATEWAY,
    "CallbackService/ReportDeliveries": Access.GATEWAY,
}
"""Every method of `phonefarm.v1`, and what its caller needs."""

_OURS: Final = "/phonefarm.v1."
_STANDARD: Final = ("/grpc.health.v1.Health/", "/grpc.reflection.v1alpha.ServerReflection/")
"""gRPC's own services: everybody may call them, and they have their own errors."""

_KINDS: Final[Mapping[tuple[bool, bool], tuple[str, Callable[..., Handler]]]] = {
    (False, False): ("unary_unary", grpc.unary_unary_rpc_method_handler),
    (False, True): ("unary_stream", grpc.unary_stream_rpc_method_handler),
    (True, False): ("stream_unary", grpc.stream_unary_rpc_method_handler),
    (True, True): ("stream_stream", grpc.stream_stream_rpc_method_handler),
}
"""The kind of a method, by whether its requests and responses are streams."""


# Generic in its stubs alone.
class Authorizer(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]
    """Lets a call pass if the table allows its caller, and translates the errors.

    A method that the table lacks is not served.
    """

    def __init__(self, auth: Authenticator, tracer: Tracer) -> None:
        self._auth = auth
        self._tracer = tracer
        self._guarded: dict[str, Handler] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        """Return the method's handler with the check before it."""
        method = handler_call_details.method
        known = self._guarded.get(method)
        if known is not None:
            return known
        handler = await continuation(handler_call_details)
        if handler is None or method.startswith(_STANDARD):
            return handler
        name = method.removeprefix(_OURS)
        access = METHODS.get(name)
        if access is None:
            return None  # type: ignore[return-value] # gRPC answers UNIMPLEMENTED
        self._guarded[method] = guarded = self._guard(name, handler, access)
        return guarded

    def _guard(self, name: str, handler: Handler, access: Scope | Access) -> Handler:
        kind, build = _KINDS[handler.request_streaming, handler.response_streaming]
        behavior: Behavior = traced(self._tracer, name, getattr(handler, kind))

        async def call(request: Any, context: Context) -> Any:
            async with translated(context):
                await self._check(access, context)
                return await behavior(request, context)

        return build(
            call,
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )

    async def _check(self, access: Scope | Access, context: Context) -> None:
        match access:
            case Scope():
                await self._auth.check_caller(context, access)
            case Access.ANY_KEY:
                await self._auth.check_caller(context, None)
            case Access.AGENT:
                await self._auth.check_agent(context)
            case Access.GATEWAY:
                await self._auth.check_gateway(context)
            case Access.MEMBER:
                await self._auth.check_member(context)
            case Access.ANYONE:
                pass
            case _:
                assert_never(access)
