"""Copies an SQLite database while others use it; blocking, for a thread."""

import sqlite3
from contextlib import closing
from pathlib import Path

from phonefarm_controller.model.pauses import Pause
from phonefarm_controller.model.times import micros

BUSY_SECONDS = 30.0
# Where all was paused, that pause goes on: the time since it began is still to be given back.
_PAUSE = (
    "INSERT INTO pauses (scope, name, since, by, reason) VALUES (?, ?, ?, ?, ?)"
    " ON CONFLICT (scope, name) DO UPDATE SET by = excluded.by, reason = excluded.reason"
)


def copy_paused(source: Path, target: Path, pause: Pause) -> None:
    """Write the database as of one moment to *target*, with one more pause in it.

    In one step: it reads one snapshot, which keeps no writer waiting. *target* is one file that
    needs no other beside it. Raises sqlite3.Error and OSError.
    """
    with closing(sqlite3.connect(target, timeout=BUSY_SECONDS)) as copy:
        with closing(sqlite3.connect(source, timeout=BUSY_SECONDS)) as live:
            live.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE")
        values = (pause.scope, pause.name, micros(pause.since), pause.by, pause.reason)
        with copy:
            copy.execute(_PAUSE, values)
