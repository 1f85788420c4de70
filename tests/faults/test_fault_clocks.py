"""The suite's clocks: what is set is what the database and the programs go by, at once."""

import sqlite3
import time
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest
from faults.clocks import Setting, Shown
from phonefarm.v1 import process_pb2_grpc
from phonefarm_common.channel import bearer, open_channel
from phonefarm_common.timers import Timers
from support.controller import KEY, request
from support.postgres_server import PostgresServer, postgres_server
from support.programs import programs
from support.stepped_program import set_off

HOUR: Final = 3600.0
STEPS: Final = (HOUR, -2 * HOUR, 0.0)


def _off(server: PostgresServer) -> float:
    """Return how far the server's clock is ahead of the machine's."""
    shown = float(server.sql("SELECT extract(epoch FROM clock_timestamp())"))
    return shown - time.time()


@pytest.mark.faketime
def test_a_database_goes_by_the_clock_that_is_set() -> None:
    """Forward, back and right again, also after it crashed; what it waits for is not faked."""
    with postgres_server(settable=True) as server:
        assert server.clock is not None
        offs = []
        for step in STEPS:
            set_off(server.clock, step)
            offs.append(_off(server))
        set_off(server.clock, -HOUR)
        server.restart("immediate")
        again = _off(server)

    assert offs == pytest.approx(STEPS, abs=5)
    assert again == pytest.approx(-HOUR, abs=5)


@pytest.mark.postgres
def test_another_server_has_the_machines_clock(postgres: PostgresServer) -> None:
    """Only the suite's own is started so."""
    assert postgres.clock is None
    assert _off(postgres) == pytest.approx(0, abs=5)


async def test_a_program_goes_by_the_clock_that_is_set(tmp_path: Path) -> None:
    """A controller on SQLite dates what it takes by a clock that is set while it runs."""
    clock = tmp_path / "clock"
    set_off(clock, 0)
    async with programs(tmp_path) as made:
        made.clocks["controller"] = clock
        await made.controller()
        channel = open_channel(made.grpc, Timers())
        processes = process_pb2_grpc.ProcessServiceStub(channel)
        offs = []
        for step in STEPS:
            set_off(clock, step)
            asked = time.time()
            accepted = await processes.Enqueue(request(), metadata=bearer(KEY))
            offs.append(_taken_at(tmp_path, accepted.process_id) - asked)
        await channel.close(None)

    assert offs == pytest.approx(STEPS, abs=5)


def _taken_at(folder: Path, process_id: str) -> float:
    query = "SELECT created_at FROM capability_requests WHERE process_id = ?"
    with closing(sqlite3.connect(folder / "controller" / "farm.db")) as connection:
        (micros,) = connection.execute(query, (process_id,)).fetchone()
    return timedelta(microseconds=micros).total_seconds()


def _set(off: float, at: float) -> Setting:
    return Setting(clock="database", off=off, began=at, ended=at + 0.001)


AHEAD: Final = Shown([_set(30, 100), _set(0, 110)])
BEHIND: Final = Shown([_set(-30, 100), _set(0, 110)])


@pytest.mark.parametrize(
    ("clock", "shown", "times"),
    [
        pytest.param(Shown([]), 105, [105], id="never set"),
        pytest.param(AHEAD, 99, [99], id="before it"),
        pytest.param(AHEAD, 105, [105], id="never shown: its own word"),
        pytest.param(AHEAD, 120, [120], id="before what was shown twice"),
        pytest.param(AHEAD, 135, [105, 135], id="shown ahead, and again when it was so late"),
        pytest.param(BEHIND, 75, [75, 105], id="shown before, and again when set back"),
        pytest.param(BEHIND, 115, [115], id="behind it"),
    ],
)
def test_a_clock_tells_when_it_showed_a_moment(clock: Shown, shown: int, times: list[int]) -> None:
    """There is one moment, but for those that a clock which was set back showed twice."""
    assert clock.times(shown * 1_000_000) == [time * 1_000_000 for time in times]
