"""Decides which calls may be repeated at another controller if one does not answer."""

from typing import Final

_READS: Final = (
    "CheckInputs",
    "CheckKey",
    "Examine",
    "Explain",
    "Find",
    "Get",
    "List",
    "Read",
    "Show",
    "Watch",
)
_IDEMPOTENT: Final = frozenset(
    {
        "/phonefarm.v1.ProcessService/Enqueue",  # one process for each request_id
        "/phonefarm.v1.ProcessService/CancelProcess",  # the same cancel again
        "/phonefarm.v1.ContentService/Ingest",  # one item for each content and account
        "/phonefarm.v1.FleetService/PutAccount",  # the whole account
        "/phonefarm.v1.FleetService/PutAccounts",
        "/phonefarm.v1.ScheduleService/PauseSchedule",
        "/phonefarm.v1.ScheduleService/ResumeSchedule",  # what is resumed stays as it is
        "/phonefarm.v1.OperatorService/RerunProcess",  # each process is rerun once
    }
)
"""The methods that may be repeated. CancelContent and UpsertSnapshot are not among them, because a
repeat is refused although the first call succeeded. ReplayDeliveries is not, because a repeat would
send again what was delivered in between. The gateway itself repeats LeaseDeliveries and
ReportDeliveries.
"""


def repeatable(path: str) -> bool:
    """Tell whether repeating the call (/package.Service/Method) changes nothing more."""
    return path in _IDEMPOTENT or path.rpartition("/")[2].startswith(_READS)
