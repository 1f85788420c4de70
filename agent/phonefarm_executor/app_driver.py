"""Driving one app by its profile: look, find, tap, type, and get from screen to screen."""

import time
from collections.abc import Callable, Collection

from phonefarm_executor.app_profile import Interrupt, Place, Profile
from phonefarm_executor.deadlines import Pace
from phonefarm_executor.failures import Code, FailedError
from phonefarm_executor.phone import SETTLE_SECONDS, Phone, has_keys
from phonefarm_executor.screen import Node, Screen, Selector
from phonefarm_executor.screen_reader import ScreenReader
from phonefarm_executor.text_input import TextInput, as_dumped

PATIENCE_SECONDS = 10.0
"""A screen or a view may take this long to appear; scaled in tests."""
POLL_SECONDS = 0.3
MOST_INTERRUPTS = 5
MOST_TURNS = 6
MOST_CLEARINGS = 3
READ_BACK_SECONDS = 3.0
BETWEEN_LOOKS_SECONDS = 0.1
MOVING_SECONDS = 3.0
"""A view that moves for this long is tapped where it was last; scaled in tests."""
ACCOUNT_SECONDS = 45.0
"""Finding out which account is logged in may take this long."""


class Drive:
    """One app on one phone. Everything raises FailedError and what Phone raises."""

    def __init__(
        self,
        phone: Phone,
        profile: Profile,
        pace: Pace,
        *,
        reader: ScreenReader,
        text: TextInput,
        time_scale: float,
    ) -> None:
        self.phone = phone
        self.reader = reader
        self.text = text
        self.profile = profile
        self.pace = pace
        self.patience = PATIENCE_SECONDS * time_scale
        self._moving_seconds = MOVING_SECONDS * time_scale
        self.last_screen: Screen | None = None  # what a failure was searched on
        self.interruptions = 0

    def look(self) -> Screen:
        """Return the screen once no interrupt lies over it; some interrupts end the run."""
        met: list[str] = []
        while len(met) < MOST_INTERRUPTS:
            self.last_screen = screen = self.reader.look()
            interrupt = self.profile.interrupt_of(screen)
            if interrupt is None:
                return screen
            self._meet(interrupt, screen)
            met.append(interrupt.name)
        message = f"interrupts came back after the run had dismissed them: {', '.join(met)}"
        raise FailedError(Code.SCREEN_NOT_REACHED, message)

    def _meet(self, interrupt: Interrupt, screen: Screen) -> None:
        if interrupt.stop is not None:
            message = f"the app shows {interrupt.name}: {screen.words()}"
            raise FailedError(interrupt.stop, message)
        if interrupt.press is not None:
            self.phone.press(interrupt.press)
        elif interrupt.dismiss is not None:
            dismiss = interrupt.dismiss
            button = self._at_rest(lambda now: now.find(dismiss), screen, self.reader.look)
            if button is None and self.profile.interrupt_of(self._seen()) is not interrupt:
                return  # it went by itself
            if button is None:
                raise self.missing(f"interrupt {interrupt.name}", dismiss, self.last_screen)
            self.phone.tap(*button.center)
        self.interruptions += 1
        self._wait_for_end_of(interrupt)

    def _wait_for_end_of(self, interrupt: Interrupt) -> None:
        """Give a dialog that was dismissed its time to go: a second tap could hit what is below."""
        end = time.monotonic() + self._moving_seconds
        while self.profile.interrupt_of(self._seen()) is interrupt and time.monotonic() < end:
            self.pace.wait(BETWEEN_LOOKS_SECONDS)

    def _seen(self) -> Screen:
        """Return the screen with whatever lies over it."""
        self.last_screen = screen = self.reader.look()
        return screen

    def until(
        self, holds: Callable[[Screen], bool], *, seconds: float | None = None
    ) -> Screen | None:
        """Read the screen until *holds*, at least twice; None when it does not within *seconds*."""
        end = time.monotonic() + (self.patience if seconds is None else seconds)
        looks = 0
        while True:
            screen = self.look()
            looks += 1
            if holds(screen):
                return screen
            if looks > 1 and time.monotonic() >= end:
                return None
            self.pace.wait(POLL_SECONDS)

    def _selector(self, wanted: str | Selector) -> Selector:
        return wanted if isinstance(wanted, Selector) else self.profile.selector(wanted)

    def find(self, wanted: str | Selector, *, seconds: float | None = None) -> Node:
        """Return the view of a selector, waiting for it; `selector_not_found` says where it was.

        The selector is one of the profile, by its name, or any.
        """
        selector = self._selector(wanted)
        screen = self.until(lambda now: now.find(selector) is not None, seconds=seconds)
        node = screen.find(selector) if screen else None
        if node is None:
            raise self.missing("find", selector, self.last_screen)
        return node

    def at_rest(self, find: Callable[[Screen], Node | None], screen: Screen) -> Node | None:
        """Return the view of *screen* once two looks agree on where it is; None when it has gone.

        A look may fall into a transition, when a tap would hit something else. A view that never
        rests is returned as it was last.
        """
        return self._at_rest(find, screen, self.look)

    def _at_rest(
        self, find: Callable[[Screen], Node | None], screen: Screen, look: Callable[[], Screen]
    ) -> Node | None:
        node = find(screen)
        end = time.monotonic() + self._moving_seconds
        while node is not None and not self.reader.waited_for_rest:
            self.pace.wait(BETWEEN_LOOKS_SECONDS)
            self.last_screen = screen = look()
            before, node = node, find(screen)
            if node is None or node.bounds == before.bounds or time.monotonic() >= end:
                break
        return node

    def find_at_rest(self, wanted: str | Selector) -> Node:
        """Return the view of a selector, waiting for it and until two looks agree on its place."""
        selector = self._selector(wanted)
        end = time.monotonic() + self.patience
        while True:
            self.find(selector)
            node = self.at_rest(lambda now: now.find(selector), self.last_screen or self.look())
            if node is not None:
                return node
            if time.monotonic() >= end:
                raise self.missing("find", selector, self.last_screen)

    def tap(self, wanted: str | Selector) -> None:
        """Tap the view of a selector, waiting for it and until two looks agree on its place."""
        self.phone.tap(*self.find_at_rest(wanted).center)

    def missing(self, what: str, selector: Selector | None, screen: Screen | None) -> FailedError:
        """Return the failure that says which selector matched nothing on which screen."""
        where = self.name_of(screen) if screen else "unknown"
        words = screen.words() if screen else ""
        return FailedError(
            Code.SELECTOR_NOT_FOUND,
            f"{what}: nothing matched {selector} on the screen {where} (it reads: {words})",
        )

    def name_of(self, screen: Screen) -> str:
        """Return what to call a screen in a message."""
        place = self.profile.place_of(screen)
        if place is not None:
            return place.name
        packages = ", ".join(sorted(screen.packages())) or "nothing"
        unknown = "" if self.profile.is_unknown else " that the profile does not describe"
        return f"a screen of {packages}{unknown}"

    def is_at(self, place: Place) -> Callable[[Screen], bool]:
        """Return the test whether a screen is *place*."""
        return lambda screen: self.profile.place_of(screen) is place

    def arrive(self, name: str, *, seconds: float | None = None) -> Screen:
        """Return the screen *name* once it shows; `screen_not_reached` tells what shows instead."""
        screen = self.until(self.is_at(self.profile.place(name)), seconds=seconds)
        if screen is None:
            raise self._not_reached(name)
        return screen

    def launch(self) -> None:
        """Bring the app to the front and wait for a screen the profile knows.

        Without a profile any screen of the app counts, else what came over it: a first start may
        ask for a permission, which is another app's screen.
        """
        if self.profile.is_unknown:
            self._launch_unknown()
            return
        self.phone.start(self.profile.component)
        if self.until(lambda screen: self.profile.place_of(screen) is not None) is None:
            raise self._not_reached("any that the profile knows")

    def _launch_unknown(self) -> None:
        package, before = self.profile.package, self.phone.foreground()
        self.phone.start(self.profile.component)
        if self.until(lambda screen: package in screen.packages()) is not None:
            return
        if self.phone.foreground() in {"", before}:
            raise self._not_reached(f"any of {package}")

    def reach(self, name: str) -> Screen:
        """Go to a screen from wherever the app is, and return it."""
        target = self.profile.place(name)
        if target.tap is None:
            message = (
                f"the app profile {self.profile.name} has no tap that leads to the screen {name}"
            )
            raise FailedError(Code.PLAN_INVALID, message)
        tapped = target.tap
        for _ in range(MOST_TURNS):
            screen = self.look()
            here = self.profile.place_of(screen)
            if here is target:
                return screen
            if target.source is not None and (here is None or here.name != target.source):
                screen = self.reach(target.source)
            button = self.at_rest(lambda now: now.find(tapped), screen)
            if button is not None:
                self.phone.tap(*button.center)
                if (arrived := self.until(self.is_at(target))) is not None:
                    return arrived
            elif screen.find(tapped) is not None:
                continue  # it went while its place was looked at
            elif self.profile.package in screen.packages():
                self.phone.press("BACK")
            else:
                self.launch()
        raise self._not_reached(name)

    def check_account(self, expected: Collection[str]) -> None:
        """Make sure that one of the *expected* names is logged in, where the profile says who is.

        `account_mismatch` (of the account, final) names who is. Nothing but the way to the screen
        is tapped.
        """
        sign = self.profile.account
        if sign is None or not expected:
            return
        with self.pace.apart(ACCOUNT_SECONDS, "who is logged in"):
            self.reach(sign.screen)

            def is_expected(screen: Screen) -> bool:
                node = screen.find(sign.name)
                return node is not None and sign.name.value_of(node) in expected

            if self.until(is_expected) is not None:
                return
            shown = sign.name.value_of(self.find(sign.name.name))
        wanted = " or ".join(sorted(expected))
        message = (
            f"{shown!r} is logged in, not {wanted}: see {sign.name} on the screen {sign.screen}"
        )
        raise FailedError(Code.ACCOUNT_MISMATCH, message)

    def _not_reached(self, name: str) -> FailedError:
        screen = self.last_screen
        where = self.name_of(screen) if screen else "unknown"
        words = screen.words() if screen else ""
        return FailedError(
            Code.SCREEN_NOT_REACHED,
            f"the screen {name} did not appear; the phone shows {where}, which reads: {words}",
        )

    def fill(self, name: str, text: str) -> None:
        """Replace what a text field holds, and read it back.

        `text_not_typeable` when the field takes a text beyond ASCII in no way, `screen_not_reached`
        when it reads something else after typing.
        """
        selector = self.profile.selector(name)
        self.tap(name)
        self.pace.wait(SETTLE_SECONDS)
        self._clear(name)
        tried = []
        for way in self.text.ways(text):
            tried.append(way)
            if self._reads(selector, text):
                return
            self._clear(name)
        node = self.last_screen.find(selector) if self.last_screen else None
        raise FailedError(
            Code.SCREEN_NOT_REACHED if has_keys(text) else Code.TEXT_NOT_TYPEABLE,
            f"{selector} reads {node.text if node else None!r} after typing {text!r} by "
            f"{', '.join(tried) or 'nothing, because the UI server does not answer'}",
        )

    def _clear(self, name: str) -> None:
        held = self.find(name).text
        for _ in range(MOST_CLEARINGS):
            if not held:
                return
            self.phone.delete_before_cursor(len(held))
            left = self.find(name).text
            if left == held:
                return  # nothing could be deleted: an empty field that shows its hint as text
            held = left

    def _reads(self, selector: Selector, text: str) -> bool:
        """Tell whether the field comes to read *text*; what a dump cannot write is asked for."""
        dumped = as_dumped(text)

        def holds(screen: Screen) -> bool:
            node = screen.find(selector)
            return node is not None and node.text in {text, dumped}

        if self.until(holds, seconds=min(self.patience, READ_BACK_SECONDS)) is None:
            return False
        return dumped == text or self.text.content() in {text, None}
