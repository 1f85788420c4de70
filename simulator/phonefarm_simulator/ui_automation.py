"""The phone's one UiAutomation: who registers second is refused (AOSP UiAutomationManager)."""

from collections.abc import Iterator
from contextlib import contextmanager

ALREADY_REGISTERED = (
    "java.lang.IllegalStateException: UiAutomationService "
    "android.accessibilityservice.IAccessibilityServiceClient$Stub$Proxy@5deffd5"
    "already registered!\n"
    "\tat android.os.Parcel.createExceptionOrNull(Parcel.java:3078)\n"
    "\tat android.app.UiAutomation.connect(UiAutomation.java:285)"
)


class UiAutomationTakenError(Exception):
    """Another program is registered."""


class UiAutomation:
    """Registered by one program at a time."""

    def __init__(self) -> None:
        self.holder = ""

    @contextmanager
    def registered(self, name: str) -> Iterator[None]:
        """Be registered within the block; raise UiAutomationTakenError when another program is."""
        if self.holder:
            raise UiAutomationTakenError
        self.holder = name
        try:
            yield
        finally:
            self.holder = ""
