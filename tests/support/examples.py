"""How many examples hypothesis makes: few in `make test`, all of them in `make test-all`.

Test files take `given` and `settings` from here, so that a run without such tests does not load
hypothesis. Both counts look for the same things; the large one looks longer.
"""

import os
from typing import Any, Final

from hypothesis import HealthCheck, given, settings  # noqa: TID251 - the one place

__all__ = ["ALL", "at_most", "given", "settings"]

ALL: Final = os.environ.get("EXAMPLES") == "all"
_FEWER: Final = 5

# How fast examples are made says something of the machine and its other work, not of our code.
settings.register_profile(
    "phonefarm",
    suppress_health_check=[HealthCheck.too_slow],
    deadline=None,
    max_examples=100 if ALL else 100 // _FEWER,
)
settings.load_profile("phonefarm")


def at_most(examples: int, **more: Any) -> settings:
    """Return settings for that many examples in `make test-all`, for a fifth in `make test`."""
    return settings(max_examples=examples if ALL else max(1, examples // _FEWER), **more)
