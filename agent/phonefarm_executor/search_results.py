"""Keeps the list of search results, although the screen shows only a part of it at a time."""

from collections.abc import Callable

from phonefarm_executor.app_driver import Drive
from phonefarm_executor.failures import Code, FailedError
from phonefarm_executor.screen import Node, Screen

MOST_SCROLLS = 100

Row = tuple[str, ...]
"""A result, identified by all its texts."""


class Results:
    """The results of the last search that this run has seen, from the top."""

    def __init__(self, drive: Drive) -> None:
        self._drive = drive
        self._known: list[Row] = []

    def forget(self) -> None:
        """Begin anew: there was another search."""
        self._known = []

    def open(self, index: int) -> int:
        """Open the result at *index*; return how many there are, `index + 1` when it was opened."""
        screen = self._back()
        for _ in range(MOST_SCROLLS):
            rows = self._rows(screen)
            self._known += [row for row in rows if row not in self._known]
            if index < len(self._known):
                wanted = self._known[index]
                row = self._drive.at_rest(self._finder(wanted), screen)
                if row is not None:
                    self._drive.phone.tap(*row.center)
                    self._drive.arrive("player")
                    return index + 1
                above = index < self._known.index(next(iter(rows), wanted))
            else:
                above = False
            moved = self._scroll("down" if above else "up", list(rows))
            if moved is None and index >= len(self._known):
                return len(self._known)
            screen = moved or screen
        raise FailedError(
            Code.SCREEN_NOT_REACHED, f"scrolling did not bring the result {index} into view"
        )

    def _back(self) -> Screen:
        """Return the results, going back from the player if it is there."""
        is_results = self._drive.is_at(self._drive.profile.place("results"))
        screen = self._drive.look()
        if is_results(screen):
            return screen
        self._drive.phone.press("BACK")
        return self._drive.arrive("results")

    def _rows(self, screen: Screen) -> dict[Row, Node]:
        item = self._drive.profile.selector("results.item")
        return {node.texts(): node for node in screen.find_all(item)}

    def _finder(self, row: Row) -> Callable[[Screen], Node | None]:
        return lambda screen: self._rows(screen).get(row)

    def _scroll(self, direction: str, seen: list[Row]) -> Screen | None:
        """Swipe the list; return the screen when other results are in view, None at its end."""
        self._drive.phone.swipe(direction)
        screen = self._drive.look()
        return None if list(self._rows(screen)) == seen else screen
