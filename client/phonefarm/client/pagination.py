"""Reads every page of a list."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Protocol, TypeVar


class _Page(Protocol):
    @property
    def next_cursor(self) -> str | None: ...


_SomePage = TypeVar("_SomePage", bound=_Page)


async def every_page(
    page: Callable[[str | None], Awaitable[_SomePage]],
) -> AsyncGenerator[_SomePage, None]:
    """Yield the first page, and those that follow it by their cursor."""
    cursor: str | None = None
    while True:
        found = await page(cursor)
        yield found
        cursor = found.next_cursor
        if cursor is None:
            return
