"""A farm for pictures and tests of the console: phones in several states, work of every kind."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from phonefarm.v1 import fleet_pb2
from support.brokenapp import NAME, put_broken_app
from support.live_farm import Hand, LiveFarm
from support.up_process import started_up


@contextmanager
def console_farm(data: Path, *, phones: int = 5) -> Iterator[LiveFarm]:
    """Yield a farm of simulated phones; `brokenapp` is an app whose work fails."""
    put_broken_app(data)
    with started_up(data, simulate=phones) as up:
        yield up.ready()
        assert up.stop() == 0, up.said


async def completed_process(it: Hand, index: int = 0) -> str:
    """Return a process that has completed on a phone."""
    phone = it.farm.phones[index]
    process_id = await it.warm_up({"routing": "direct", "account_id": phone.account_id})
    await it.until(process_id, "completed")
    return process_id


async def failed_process(it: Hand, index: int = 1) -> str:
    """Return a process that has failed on a phone, with a picture of the failure."""
    account = {"phone_id": it.farm.phones[index].phone_id, "app": NAME, "active": True}
    status, answer = await it.call("PUT", "/accounts/broken", account)
    assert status == 200, answer
    process_id = await it.warm_up({"routing": "direct", "account_id": "broken"})
    await it.until(process_id, "failed_terminal")
    return process_id


async def waiting_process(it: Hand, index: int = 2) -> str:
    """Return a process that waits for a phone in maintenance."""
    phone = it.farm.phones[index]
    request = fleet_pb2.MaintainPhoneRequest(phone_id=phone.phone_id, reason="a new battery")
    await it.controller.call(it.controller.fleet.MaintainPhone, request)
    return await it.warm_up({"routing": "direct", "account_id": phone.account_id})
