"""Says which calls may be repeated at another controller after one that did not answer."""

from typing import Final

_READS: Final = ("Get", "List", "Check", "Find", "Explain", "Watch", "Read")
_AS_GOOD_AS_ONCE: Final = frozenset(
    {
        "/phonefarm.v1.ProcessService/Enqueue",  # one process for each request_id
        "/phonefarm.v1.ProcessService/CancelProcess",  # the same wish again
        "/phonefarm.v1.ContentService/Ingest",  # one item for each content and account
        "/phonefarm.v1.FleetService/PutAccount",  # the whole account
    }
)
"""Not among them: CancelContent and UpsertSnapshot, whose second answer would be a refusal of what
was done; ReplayDeliveries, which would make due again what was sent between the two; and the
gateway's own LeaseDeliveries and ReportDeliveries, which it repeats by itself."""


def repeatable(path: str) -> bool:
    """Tell whether repeating the call (/package.Service/Method) changes nothing more."""
    return path in _AS_GOOD_AS_ONCE or path.rpartition("/")[2].startswith(_READS)
