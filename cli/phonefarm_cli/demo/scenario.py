"""The demo: starts a farm, sends two requests, follows them, checks what happened."""

import asyncio
import os
import secrets
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from phonefarm_common.lifecycle import stop_signals

from phonefarm_cli.client.receiver import Receiver
from phonefarm_cli.client.simulator import SimulatorClient
from phonefarm_cli.demo.checks import (
    CheckFailedError,
    check_callbacks,
    check_profile,
    check_searches,
)
from phonefarm_cli.demo.farm import running_farm
from phonefarm_cli.demo.progress import Progress, items_of
from phonefarm_cli.demo.rest_caller import RestCaller
from phonefarm_cli.errors import CommandError, ExitCode
from phonefarm_cli.terminal import OUT, echo, note
from phonefarm_cli.up.orphans import is_alive
from phonefarm_cli.up_file import UpFile

PHONES: Final = 3
KEYWORDS: Final = ["tiny houses", "street food"]
WORK_SECONDS: Final = 90.0
CALLBACK_SECONDS: Final = 15.0
_POLL_SECONDS: Final = 0.2
_TERMINAL: Final = frozenset({"completed", "failed_terminal", "cancelled"})


async def perform_demo(data: Path, *, runtime: str, personalities: Sequence[str]) -> ExitCode:
    """Return OK when all checks pass; CommandError with the reason otherwise."""
    began = time.monotonic()
    async with stop_signals() as stop:
        acting = asyncio.create_task(_run_scenario(data, runtime, personalities))
        told = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({acting, told}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            told.cancel()
            acting.cancel()
            await asyncio.gather(acting, told, return_exceptions=True)
        if acting.cancelled():
            raise CommandError("interrupted; nothing is left running")
        pids = acting.result()
    left = [name for name, pid in pids.items() if is_alive(pid)]
    if left:
        raise CheckFailedError(f"still running after the stop: {', '.join(left)}")
    _heading(f"all checks passed in {time.monotonic() - began:.1f} s, and nothing is left running")
    _echo_files(data)
    return ExitCode.OK


async def _run_scenario(data: Path, runtime: str, personalities: Sequence[str]) -> dict[str, int]:
    """Run the demo; return the process ids of its farm."""
    _heading("starting a farm: simulator, controller, agent and gateway, each in its own process")
    async with running_farm(
        data, phones=PHONES, personalities=personalities, runtime=runtime
    ) as farm:
        if len(farm.phones) != PHONES or not all(phone.account_id for phone in farm.phones):
            raise CheckFailedError(
                f"the farm does not have {PHONES} phones that each have an account"
            )
        async with (
            Receiver.serving(farm.webhook_secret) as receiver,
            RestCaller.opened(farm.rest, farm.api_key) as caller,
        ):
            profile = {
                "display_name": f"Demo {secrets.token_hex(3)}",
                "bio": f"Edited by demo {os.getpid()}",
            }
            sent_at = time.monotonic()
            named = await _send(caller, farm, receiver.url, profile)
            records = await _follow(caller, list(named))
            for process_id in named:
                await _wait_for_callbacks(receiver, process_id, named[process_id])
            _echo_callbacks(receiver, named, sent_at)
            _heading("checks")
            for record in records:
                _check_completed(record)
                name = named[record["process_id"]]
                check_callbacks(name, receiver.of(record["process_id"]), last="completed")
        async with SimulatorClient.opened(farm.simulator_control) as simulation:
            await check_searches(simulation, farm.phones, KEYWORDS)
            await check_profile(simulation, farm.phones[0], profile)
        _heading("stopping the farm")
        return dict(farm.pids)


async def _send(
    caller: RestCaller, farm: UpFile, url: str, profile: dict[str, str]
) -> dict[str, str]:
    """Send both requests by REST; return a name for each process id."""
    _heading("two requests over REST")
    tag = secrets.token_hex(4)
    common = {
        "callback": {"url": url, "metadata": {"demo": tag}},
        "requested_by": {"system": "phonefarm-demo"},
    }
    warmup = await caller.post(
        "/capability-requests/enqueue",
        common
        | {
            "request_id": f"warmup-{tag}",
            "capability": "keyword_warmup",
            "mode": "manual",
            "target": {"routing": "group", "phone_ids": [p.phone_id for p in farm.phones]},
            "inputs": {"keywords": KEYWORDS, "videos_per_keyword": 1, "watch_seconds": 1},
        },
    )
    echo(f"  keyword_warmup on {PHONES} phones     {warmup['status']}, {warmup['process_id']}")
    account = farm.phones[0].account_id
    edit = await caller.post(
        "/maintenance/requests",
        common
        | {
            "request_id": f"profile-{tag}",
            "account_id": account,
            "inputs": {"steps": [{"action": "edit_profile", "params": profile}]},
        },
    )
    echo(f"  edit_profile of {account:<12}  {edit['status']}, {edit['process_id']}")
    return {warmup["process_id"]: "keyword_warmup", edit["process_id"]: "maintenance"}


async def _follow(caller: RestCaller, process_ids: list[str]) -> list[dict[str, Any]]:
    """Show the progress until all processes have ended; return their records."""
    _heading("following both requests")
    try:
        with Progress.shown() as progress:
            async with asyncio.timeout(WORK_SECONDS):
                while True:
                    records = [await caller.process(process_id) for process_id in process_ids]
                    progress.show(items_of(records))
                    if all(record["status"] in _TERMINAL for record in records):
                        return records
                    await asyncio.sleep(_POLL_SECONDS)
    except TimeoutError as error:
        raise CheckFailedError(f"the work did not end within {WORK_SECONDS:.0f} s") from error


async def _wait_for_callbacks(receiver: Receiver, process_id: str, name: str) -> None:
    for milestone in ("accepted", "completed"):
        try:
            await receiver.until(process_id, milestone, within=CALLBACK_SECONDS)
        except TimeoutError:
            # The checks print which callbacks arrived, and the record.
            note(f"  no callback '{milestone}' of {name} within {CALLBACK_SECONDS:.0f} s")
            return


def _check_completed(record: dict[str, Any]) -> None:
    if record["status"] != "completed":
        error = record["error"] or {}
        raise CheckFailedError(
            f"{record['process_type']} {record['process_id']} ended {record['status']}: "
            f"{error.get('code')}: {error.get('message')}"
        )


def _echo_callbacks(receiver: Receiver, named: dict[str, str], sent_at: float) -> None:
    _heading("callbacks, in the order of their arrival")
    for event in receiver.events:
        name = named.get(event.process_id, event.process_id)
        verdict = "signature ok" if event.signed else "SIGNATURE WRONG"
        echo(f"  +{event.at - sent_at:5.2f} s  {name:<15} {event.milestone:<16} {verdict}")


def _echo_files(data: Path) -> None:
    echo(f"  ledgers of the phones    {data / 'simulator'}/*.ledger.jsonl")
    echo(f"  evidence of failed runs  {data / 'controller' / 'evidence'}/<process>/<run>/")
    echo(f"  logs of the programs     {data / 'logs'}")
    echo("  the console in a browser phonefarm up --simulate 3, and open the link that it prints")


def _heading(text: str) -> None:
    OUT.print()
    OUT.print(text, style="bold", markup=False)
