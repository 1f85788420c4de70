"""The body of a callback: what happened to a process, and its whole record."""

from typing import Annotated, Literal

from phonefarm.schemas.fields import Instant, Milestone, ResponseModel
from phonefarm.schemas.process_record import ProcessRecord
from pydantic import Field


class ProcessUpdated(ResponseModel):
    """A process has reached a milestone."""

    event_type: Literal["process.updated"] = "process.updated"
    milestone: Annotated[
        Milestone, Field(description="The milestone; `process` can already contain later changes")
    ]
    emitted_at: Annotated[
        Instant, Field(description="Time at which the process reached the milestone")
    ]
    sequence: Annotated[
        int,
        Field(
            description=(
                "A number that rises with each callback of the process; ignore callbacks with "
                "lower numbers"
            ),
            ge=1,
        ),
    ]
    process: ProcessRecord
