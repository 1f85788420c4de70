"""Calls of a stub that a test plays: awaited like grpc.aio's, and answered by a coroutine."""

import functools
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Generic, TypeVar

_Answer = TypeVar("_Answer")


class StubCall(Generic[_Answer]):
    """One call; a server never changes how it ends."""

    def __init__(self, answer: Coroutine[Any, Any, _Answer]) -> None:
        self._answer = answer

    def add_done_callback(self, _callback: Callable[[Any], None]) -> None:
        """Do without: the coroutine's own error is the call's."""

    def __await__(self) -> Generator[Any, Any, _Answer]:
        """Wait for the answer."""
        return self._answer.__await__()


def stub_method(
    answer: Callable[..., Coroutine[Any, Any, _Answer]],
) -> Callable[..., StubCall[_Answer]]:
    """Return a method of a stub that *answer* answers."""

    @functools.wraps(answer)
    def method(*given: Any, **options: Any) -> StubCall[_Answer]:
        return StubCall(answer(*given, **options))

    return method
