"""Which random histories a test takes: the first ones in `make test`, all in `make test-all`."""

from typing import Any

import pytest


def seeds(count: int, *, quick: int = 1) -> list[Any]:
    """Return the seeds 0 to *count* - 1; those from *quick* on are marked `long`."""
    late = (pytest.param(seed, marks=pytest.mark.long) for seed in range(quick, count))
    return [*range(quick), *late]
