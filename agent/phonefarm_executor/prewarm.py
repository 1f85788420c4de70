"""Waiting for a run: a container that was made ahead begins here, with everything loaded."""

import os
import select
import time
from collections.abc import Mapping
from pathlib import Path

GATE = "start"
"""A FIFO in the run directory: a byte in it says that the directory is a run's now."""


def wait_for_run(directory: Path, environment: Mapping[str, str]) -> bool:
    """Return True once there is a run to perform, at once unless PHONEFARM_WARM_SECONDS is set.

    False when those seconds have passed: whoever made this container has forgotten it.
    """
    given = environment.get("PHONEFARM_WARM_SECONDS")
    if given is None:
        return True
    end = time.monotonic() + float(given)
    while (left := end - time.monotonic()) > 0:
        gate = os.open(directory / GATE, os.O_RDONLY | os.O_NONBLOCK)
        try:
            waiting = select.poll()
            waiting.register(gate, select.POLLIN)
            if waiting.poll(left * 1000) and os.read(gate, 1):
                return True
        finally:
            # An agent that died hung up, and a FIFO that was hung up on says so for ever: anew.
            os.close(gate)
    return False
