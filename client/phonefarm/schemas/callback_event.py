"""The body of a callback: what happened to a process, and its whole record."""

from typing import Annotated, Literal

from phonefarm.schemas.fields import Instant, ResponseModel, StatusWord
from phonefarm.schemas.process_record import ProcessRecord
from pydantic import Field


class ProcessUpdated(ResponseModel):
    """A process has reached a milestone."""

    event_type: Literal["process.updated"] = "process.updated"
    milestone: Annotated[
        StatusWord, Field(description="The milestone; the record can be newer than it")
    ]
    emitted_at: Annotated[Instant, Field(description="When the milestone was reached")]
    sequence: Annotated[
        int, Field(description="Rises with each callback of the process; ignore lower ones", ge=1)
    ]
    process: ProcessRecord
