"""Waits for a run in a warm container, with everything loaded."""

import os
import select
import time
from collections.abc import Mapping
from pathlib import Path

GATE = "start"
"""A FIFO in the run directory: a byte in it means that a run has taken the directory."""


def wait_for_run(directory: Path, environment: Mapping[str, str]) -> bool:
    """Return True once there is a run to perform, at once unless PHONEFARM_WARM_SECONDS is set.

    False when those seconds have passed: whoever made this container has forgotten it.
    """
    given = environment.get("PHONEFARM_WARM_SECONDS")
    if given is None:
        return True
    end = time.monotonic() + float(given)
    gate = open_gate(directory)
    try:
        while (left := end - time.monotonic()) > 0:
            waiting = select.poll()
            waiting.register(gate, select.POLLIN)
            if any(events & select.POLLIN for _, events in waiting.poll(left * 1000)):
                return True
            # An agent that died hung up, and this descriptor says so for ever. A new one does not,
            # and is there before the old one goes: the next agent always finds a reader (fifo(7)).
            try:
                hung_up, gate = gate, open_gate(directory)
            except FileNotFoundError:
                return True  # the next agent has begun the run already: it removes the FIFO then
            os.close(hung_up)
    finally:
        os.close(gate)
    return False


def open_gate(directory: Path) -> int:
    """Return the reading end of the FIFO."""
    return os.open(directory / GATE, os.O_RDONLY | os.O_NONBLOCK)
