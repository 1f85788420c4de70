"""Whether this controller's disk has room for new work."""

from phonefarm_common.reasons import FarmError, Reason


class Room:
    """`shortage` says in words why there is none; empty while there is room."""

    def __init__(self) -> None:
        self.shortage = ""

    def check(self) -> None:
        """Raise FarmError `storage_full` when nothing new may be taken in."""
        if self.shortage:
            message = f"the controller's data disk is too full for new work: {self.shortage}"
            raise FarmError(Reason.STORAGE_FULL, message)
