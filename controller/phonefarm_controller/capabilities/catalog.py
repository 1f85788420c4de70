"""The capabilities, as data: inputs, modes and routings allowed, and the planner of each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from phonefarm_common.reasons import FarmError, FieldProblem, Reason

from phonefarm_controller.capabilities.fields import Field, FreeObject, Text
from phonefarm_controller.capabilities.inputs import read_inputs, schema_of
from phonefarm_controller.capabilities.planners import (
    fyp_warmup,
    install_apk,
    keyword_warmup,
    maintenance,
    open_url,
    post_video,
    read_properties,
    run_steps,
    take_screenshot,
)
from phonefarm_controller.model.errors import invalid_field, unsupported
from phonefarm_controller.model.plans import Plan
from phonefarm_controller.model.requests import Mode, Routing, Submission
from phonefarm_controller.model.scopes import Scope

ENQUEUE: Final = "/capability-requests/enqueue"
INGEST: Final = "/ingest"

_APP: Final = Text(
    name="app", description="the app profile; if absent, the profile of the account's app", most=64
)
_DUMMY: Final = FreeObject(
    name="dummy", description="controls the dummy runtime; see docs/seams.md"
)


@dataclass(frozen=True, kw_only=True)
class Capability:
    """A kind of work."""

    name: str
    description: str = ""
    modes: tuple[Mode, ...] = (Mode.MANUAL, Mode.UNATTENDED)
    scope: Scope = Scope.SUBMIT  # a caller's key needs it besides submit
    routings: frozenset[Routing]
    endpoint: str = ENQUEUE
    needs_app: bool = True  # else it uses no app profile and no account
    needs_account: bool = False  # the caller must name it
    can_be_verified: bool  # unattended is allowed once it is live verified
    fields: tuple[Field, ...]
    plan: Callable[[Mapping[str, Any]], Plan]
    small: Mapping[str, Any] | None = None  # inputs that do little and change nothing

    def takes(self, *, dummy_allowed: bool) -> tuple[Field, ...]:
        """Return all its fields, with those that every capability of its endpoint has."""
        if self.endpoint != ENQUEUE:
            return self.fields
        app = (_APP,) if self.needs_app else ()
        return (*self.fields, *app, _DUMMY) if dummy_allowed else (*self.fields, *app)

    def schema(self, *, dummy_allowed: bool) -> dict[str, Any]:
        """Return the JSON Schema of its inputs."""
        return schema_of(self.takes(dummy_allowed=dummy_allowed))


CAPABILITIES: Final[Mapping[str, Capability]] = {
    capability.name: capability
    for capability in (
        Capability(
            name="keyword_warmup",
            description="search each keyword and watch the first results; the run changes nothing",
            routings=frozenset(Routing),
            can_be_verified=True,
            fields=keyword_warmup.FIELDS,
            plan=keyword_warmup.plan,
            small={"keywords": ["cats"], "videos_per_keyword": 1, "watch_seconds": 3},
        ),
        Capability(
            name="fyp_warmup",
            description="open the feed and watch its videos; the run changes nothing",
            modes=(Mode.MANUAL,),
            routings=frozenset({Routing.DIRECT, Routing.QUEUE}),
            can_be_verified=False,
            fields=fyp_warmup.FIELDS,
            plan=fyp_warmup.plan,
        ),
        Capability(
            name="maintenance",
            description=(
                "edit the profile of the account; POST /maintenance/requests also does this"
            ),
            needs_account=True,
            routings=frozenset({Routing.DIRECT, Routing.QUEUE}),
            can_be_verified=True,
            fields=maintenance.FIELDS,
            plan=maintenance.plan,
        ),
        Capability(
            name="post_video",
            description="post a video with a caption, once, on the account's phone",
            routings=frozenset({Routing.DIRECT}),
            endpoint=INGEST,
            can_be_verified=True,
            fields=post_video.FIELDS,
            plan=post_video.plan,
        ),
        Capability(
            name="take_screenshot",
            description="take a picture of the screen; the run needs no app and no account",
            needs_app=False,
            routings=frozenset(Routing),
            can_be_verified=False,
            fields=take_screenshot.FIELDS,
            plan=take_screenshot.plan,
        ),
        Capability(
            name="open_url",
            description=(
                "open a URL in the phone's default viewer and take a picture of it; the run needs "
                "no app and no account"
            ),
            needs_app=False,
            routings=frozenset(Routing),
            can_be_verified=False,
            fields=open_url.FIELDS,
            plan=open_url.plan,
        ),
        Capability(
            name="read_properties",
            description="read the phone's system properties; the run needs no app and no account",
            needs_app=False,
            routings=frozenset(Routing),
            can_be_verified=False,
            fields=read_properties.FIELDS,
            plan=read_properties.plan,
        ),
        Capability(
            name="install_apk",
            description=(
                "install an APK or update its app; the request needs a key with the scopes "
                "`submit` and `operate`, but no app profile and no account"
            ),
            scope=Scope.OPERATE,
            needs_app=False,
            routings=frozenset(Routing),
            can_be_verified=False,
            fields=install_apk.FIELDS,
            plan=install_apk.plan,
        ),
        Capability(
            name="run_steps",
            description=(
                "perform a script of steps, such as launch_app, tap and wait_for; it needs no app "
                "profile and no account, but a key with the scopes submit and operate"
            ),
            scope=Scope.OPERATE,
            needs_app=False,
            routings=frozenset(Routing),
            can_be_verified=False,
            fields=run_steps.FIELDS,
            plan=run_steps.plan,
        ),
    )
}


@dataclass(frozen=True, kw_only=True)
class Planned:
    """What the inputs ask for: the plan, and the app when the caller named one."""

    plan: Plan
    app: str | None
    needs_app: bool = True


def capability_of(submission: Submission) -> Capability:
    """Return the capability; FarmError when it is unknown or cannot be asked for like this."""
    capability = known_capability(submission.capability)
    routing = submission.target.routing
    if capability.endpoint == ENQUEUE and routing in capability.routings:
        return capability
    if capability.endpoint == ENQUEUE:
        allowed = ", ".join(sorted(capability.routings))
        message = f"{capability.name} does not support routing {routing}; use one of: {allowed}"
        problem = FieldProblem(field="target.routing", message=f"must be one of {allowed}")
    else:
        message = f"{capability.name} must be requested with POST {capability.endpoint}"
        problem = FieldProblem(field="capability", message=f"is for POST {capability.endpoint}")
    raise FarmError(
        Reason.ROUTING_NOT_SUPPORTED,
        message,
        detail=f"{capability.name}:{routing}",
        problems=(problem,),
    )


def known_capability(name: str) -> Capability:
    """Return the capability of this name; FarmError `unknown_capability`."""
    capability = CAPABILITIES.get(name)
    if capability is None:
        known = ", ".join(name for name, each in CAPABILITIES.items() if each.endpoint == ENQUEUE)
        raise FarmError(
            Reason.UNKNOWN_CAPABILITY,
            f"there is no capability {name[:64]!r}; known: {known}",
            detail=name[:64],
            problems=(FieldProblem(field="capability", message=f"must be one of: {known}"),),
        )
    return capability


def planned(submission: Submission, *, dummy_allowed: bool) -> Planned:
    """Return the plan for the submission's inputs; FarmError names every wrong input."""
    capability = capability_of(submission)
    made = planned_inputs(capability, submission.inputs, dummy_allowed=dummy_allowed)
    if capability.needs_account and submission.target.account_id is None:
        raise invalid_field("target.account_id", f"is required for {capability.name}")
    return made


def planned_inputs(
    capability: Capability, values: Mapping[str, Any], *, dummy_allowed: bool, path: str = "inputs"
) -> Planned:
    """Return the plan for *values*; FarmError names every wrong field below *path*."""
    if not dummy_allowed and "dummy" in values:
        raise unsupported(["dummy"], path=path)
    inputs = read_inputs(capability.takes(dummy_allowed=dummy_allowed), values, path=path)
    plan = replace(capability.plan(inputs), dummy=inputs.get("dummy", {}))
    return Planned(plan=plan, app=inputs.get("app"), needs_app=capability.needs_app)


def needs_verification(submission: Submission) -> bool:
    """Tell whether the request runs only when its capability was live verified.

    A verification proves that an app profile fits the app; without a profile there is none.
    """
    capability = CAPABILITIES[submission.capability]
    return submission.mode is Mode.UNATTENDED and capability.needs_app


def not_verified(capability: str) -> FarmError:
    """Return the error for an unattended request without a recorded live verification."""
    return FarmError(
        Reason.CAPABILITY_NOT_LIVE_VERIFIED,
        (
            f"{capability} can run unattended only after it is live verified with the current "
            "version of the app profile; use mode manual"
        ),
        detail=capability,
        problems=(FieldProblem(field="mode", message="must be manual"),),
    )
