"""The display: lit or dark, turned or not, and the keyguard that lies over everything."""

from collections.abc import Callable

from phonefarm_simulator.faults import Fault, Faults
from phonefarm_simulator.views import HEIGHT, WIDTH, View, moved_down, turned

SLIDE_PIXELS = 170
"""A sliding view is this many pixels from its place, times the number of remaining dumps."""


class Display:
    """What a phone shows its screen on; *changed* is called when apps are covered or shown."""

    def __init__(
        self, *, faults: Faults, monotonic: Callable[[], float], changed: Callable[[], None]
    ) -> None:
        self._faults = faults
        self._monotonic = monotonic
        self._changed = changed
        self._lit = True
        self._keyguard = False
        self._quarters: int | None = None
        self._shade = False
        self._touched = monotonic()
        self._seen_place = ""
        self._slides_left = 0

    @property
    def lit(self) -> bool:
        """Whether the display is on; its time-out darkens it."""
        limit = self._faults.get(Fault.DISPLAY_TIMES_OUT)
        if self._lit and limit is not None and self._monotonic() - self._touched > limit.seconds:
            self.darken()
        return self._lit

    @property
    def locked(self) -> bool:
        """Whether a keyguard with a secret lies over the screen: only a person takes it away."""
        return Fault.SCREEN_LOCKED in self._faults

    @property
    def keyguard(self) -> bool:
        """Whether a keyguard of either kind lies over the screen."""
        return self.locked or (self._keyguard and Fault.KEYGUARD_SWIPE in self._faults)

    @property
    def covered(self) -> bool:
        """Whether nobody sees the app in front."""
        return not self.lit or self.keyguard or self._shade

    @property
    def shade(self) -> bool:
        """Whether the notifications lie over the screen."""
        return self._shade

    def touch(self) -> None:
        """Take note of a touch or a key: the time-out begins anew."""
        self._touched = self._monotonic()

    def wake(self) -> None:
        """Light the display, as the key WAKEUP does."""
        if Fault.WAKE_FAILS not in self._faults:
            self.restart()

    def darken(self) -> None:
        """Darken the display; what lies over the screen next time is the keyguard."""
        self._lit = False
        self._keyguard = True
        self._shade = False
        self._changed()

    def restart(self) -> None:
        """Light the display as a boot does."""
        self._lit = True
        self._touched = self._monotonic()
        self._changed()

    def turn(self, quarters: int | None) -> None:
        """Keep the screen turned so (Surface.ROTATION_), or with None as the phone is held."""
        self._quarters = quarters

    def open_shade(self) -> None:
        """Draw the notifications over a lit screen without a keyguard."""
        if not self.covered:
            self._shade = True
            self._changed()

    def close_shade(self) -> None:
        """Draw the notifications up again, if they are open."""
        if self._shade:
            self._shade = False
            self._changed()

    def cover(self) -> None:
        """Lay the keyguard over the screen, as a phone fresh from its box has it."""
        self._keyguard = True
        self._changed()

    def dismiss_keyguard(self) -> None:
        """Take a keyguard without a secret away; it needs a lit display."""
        if self.lit and not self.locked:
            self._keyguard = False
            self._changed()

    @property
    def rotation(self) -> int:
        """Quarters of a turn, as Surface.ROTATION_ counts them."""
        held = 1 if Fault.LANDSCAPE in self._faults else 0
        return held if self._quarters is None else self._quarters

    @property
    def size(self) -> tuple[int, int]:
        """Width and height as the screen is turned now."""
        return (HEIGHT, WIDTH) if self.rotation % 2 else (WIDTH, HEIGHT)

    def shown(self, screen: View) -> View:
        """Return the screen as it lies on the display now."""
        return turned(screen) if self.rotation % 2 else screen

    def sliding(self, screen: View, place: str) -> View:
        """Return the screen of *place* as a look finds it: at first on its way, with the fault."""
        if place != self._seen_place:
            slides = self._faults.get(Fault.SCREEN_SLIDES)
            self._seen_place, self._slides_left = place, slides.count if slides else 0
        if not self._slides_left:
            return screen
        self._slides_left -= 1
        return moved_down(screen, SLIDE_PIXELS * (self._slides_left + 1))
