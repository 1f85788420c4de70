"""The capabilities, as data: which modes and routings each allows, and who plans it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from phonefarm_common.reasons import FarmError, FieldProblem, Reason

from phonefarm_controller.domain.inputs import Inputs, invalid_field
from phonefarm_controller.domain.planners import fyp_warmup, keyword_warmup, maintenance
from phonefarm_controller.domain.plans import Plan
from phonefarm_controller.domain.requests import Mode, Routing, Submission

MOST_TEXT: Final = 256


@dataclass(frozen=True, kw_only=True)
class Capability:
    """A kind of work."""

    name: str
    routings: frozenset[Routing]
    can_be_verified: bool  # unattended is allowed once it is live verified
    plan: Callable[[Inputs], Plan]


CAPABILITIES: Final[Mapping[str, Capability]] = {
    capability.name: capability
    for capability in (
        Capability(
            name="keyword_warmup",
            routings=frozenset(Routing),
            can_be_verified=True,
            plan=keyword_warmup.plan,
        ),
        Capability(
            name="fyp_warmup",
            routings=frozenset({Routing.DIRECT, Routing.QUEUE}),
            can_be_verified=False,
            plan=fyp_warmup.plan,
        ),
        Capability(
            name="maintenance",
            routings=frozenset({Routing.DIRECT, Routing.QUEUE}),
            can_be_verified=True,
            plan=maintenance.plan,
        ),
    )
}


@dataclass(frozen=True, kw_only=True)
class Planned:
    """What the inputs ask for: the plan, and the app when the caller named one."""

    plan: Plan
    app: str | None


def capability_of(submission: Submission) -> Capability:
    """Return the capability; FarmError when it is unknown or does not know the routing."""
    capability = CAPABILITIES.get(submission.capability)
    if capability is None:
        raise FarmError(
            Reason.UNKNOWN_CAPABILITY,
            f"there is no capability {submission.capability!r}; known: {', '.join(CAPABILITIES)}",
            detail=submission.capability[:64],
            problems=(FieldProblem(field="capability", message="is not known"),),
        )
    routing = submission.target.routing
    if routing not in capability.routings:
        allowed = ", ".join(sorted(capability.routings))
        raise FarmError(
            Reason.ROUTING_NOT_SUPPORTED,
            f"{capability.name} cannot be routed by {routing}; use one of: {allowed}",
            detail=f"{capability.name}:{routing}",
            problems=(FieldProblem(field="target.routing", message=f"must be one of {allowed}"),),
        )
    return capability


def planned(submission: Submission, *, dummy_allowed: bool) -> Planned:
    """Return the plan for the submission's inputs; FarmError names every wrong field."""
    capability = capability_of(submission)
    inputs = Inputs(submission.inputs)
    app = inputs.text("app", most=64, required=False)
    if not dummy_allowed and "dummy" in submission.inputs:
        raise FarmError(
            Reason.UNSUPPORTED_INPUT,
            "inputs.dummy steers the dummy runtime, which production does not have",
            detail="dummy",
            problems=(FieldProblem(field="inputs.dummy", message="is not supported"),),
        )
    _check_dummy(submission.inputs.get("dummy"))
    return Planned(plan=capability.plan(inputs), app=app)


def needs_verification(submission: Submission) -> bool:
    """Tell whether the request runs only when its capability was live verified."""
    return submission.mode is Mode.UNATTENDED


def not_verified(capability: str) -> FarmError:
    """Return the error for an unattended request without a recorded live verification."""
    return FarmError(
        Reason.CAPABILITY_NOT_LIVE_VERIFIED,
        f"{capability} may run unattended only after a recorded live verification with the app "
        "profile version in use; use mode manual",
        detail=capability,
        problems=(FieldProblem(field="mode", message="must be manual"),),
    )


def _check_dummy(dummy: Any) -> None:
    if dummy is not None and not isinstance(dummy, dict):
        raise invalid_field("inputs.dummy", "must be an object")
