"""What a picture of the display shows, whoever takes it."""

from phonefarm_simulator.faults import Fault
from phonefarm_simulator.phone import Phone
from phonefarm_simulator.views import View


def captured(phone: Phone) -> View | None:
    """Return what is to be drawn; None for black: the display is dark, or the app hides itself."""
    hidden = Fault.SECURE_WINDOW in phone.faults and phone.apps.front is not None
    if not phone.awake or (hidden and not phone.display.keyguard):
        return None
    return phone.screen()
