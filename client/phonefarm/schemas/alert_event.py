"""The body of an alert event: all alerts that are on, and what has changed."""

from typing import Annotated, Literal

from phonefarm.schemas.fields import Instant, ResponseModel
from pydantic import Field


class AlertProblem(ResponseModel):
    """One problem that `phonefarm doctor` found, and its remedy."""

    text: str
    remedy: str


class Alert(ResponseModel):
    """A check of `phonefarm doctor` that is not ok."""

    check: str
    severity: Annotated[
        Literal["warn", "fail"],
        Field(description="`warn` (work continues) or `fail` (work has stopped)"),
    ]
    since: Annotated[Instant, Field(description="Time at which the alert was turned on")]
    problems: Annotated[
        tuple[AlertProblem, ...],
        Field(description="What `doctor` found the last time that the check was not ok"),
    ]


class AlertsChanged(ResponseModel):
    """All alerts that are on, and what has changed since the last event that was delivered."""

    event_type: Annotated[
        Literal["alerts.changed", "alerts.test"],
        Field(description="`alerts.test`: an operator sent this event to test the connection"),
    ]
    emitted_at: Instant
    sequence: Annotated[
        int,
        Field(
            description=(
                "A number that rises with each event of the farm; ignore events with lower numbers"
            ),
            ge=1,
        ),
    ]
    farm: Annotated[str, Field(description="The farm's name")]
    text: Annotated[str, Field(description="The event in one line, for people")]
    turned_on: Annotated[tuple[str, ...], Field(description="Checks whose alert has turned on")]
    turned_off: Annotated[tuple[str, ...], Field(description="Checks whose alert has turned off")]
    severity_changed: Annotated[
        tuple[str, ...], Field(description="Checks whose alert has changed its severity")
    ]
    alerts: Annotated[tuple[Alert, ...], Field(description="All alerts that are on")]
