"""Checks the result of the demo: callbacks at the receiver, effects on the phones."""

from collections.abc import Iterable, Mapping
from typing import Any

from phonefarm_cli.client.receiver import CallbackEvent
from phonefarm_cli.client.simulator import SimulatorClient
from phonefarm_cli.errors import CommandError
from phonefarm_cli.terminal import echo
from phonefarm_cli.up_file import UpFilePhone


class CheckFailedError(CommandError):
    """Something that should have happened did not."""


def check_callbacks(name: str, events: list[CallbackEvent], *, last: str) -> None:
    """Check that a process's events are signed, in order, and end with *last*."""
    forged = [event.milestone for event in events if not event.signed]
    if forged:
        raise CheckFailedError(
            f"{name}: these callbacks have no valid signature: {', '.join(forged)}"
        )
    told = [event.sequence for event in events]
    if told != list(range(1, len(events) + 1)):
        raise CheckFailedError(f"{name}: the callbacks came out of order: {told}")
    milestones = [event.milestone for event in events]
    if not milestones or milestones[0] != "accepted" or milestones[-1] != last:
        raise CheckFailedError(f"{name}: the callbacks were {', '.join(milestones) or 'none'}")
    echo(f"  ok  {name}: {len(events)} callbacks in order, each with a valid X-PhoneFarm-Signature")


async def check_searches(
    simulation: SimulatorClient, phones: Iterable[UpFilePhone], keywords: list[str]
) -> None:
    """Check in each phone's ledger that a run searched every keyword and watched a video."""
    for phone in phones:
        ledger = [entry for entry in await simulation.ledger(phone.serialno) if entry["epoch"]]
        searched = [e["detail"]["query"] for e in ledger if e["kind"] == "searched"]
        if searched != keywords:
            raise CheckFailedError(
                f"{phone.phone_id} should have searched for {keywords}, but its ledger contains "
                f"{searched}"
            )
        watched = sum(1 for entry in ledger if entry["kind"] == "video_shown")
        if watched < len(keywords):
            raise CheckFailedError(f"{phone.phone_id} showed {watched} videos, not {len(keywords)}")
        words = ", ".join(f"'{keyword}'" for keyword in searched)
        echo(
            f"  ok  {phone.phone_id}: its ledger contains searches for {words} and {watched} "
            "videos shown"
        )


async def check_profile(
    simulation: SimulatorClient, phone: UpFilePhone, wanted: Mapping[str, str]
) -> None:
    """Check the account in the phone's app, and that a run saved it."""
    account: dict[str, Any] = (await simulation.state(phone.serialno))["account"]
    has = {name: account.get(name) for name in wanted}
    if has != dict(wanted):
        raise CheckFailedError(
            f"{phone.phone_id} should have the profile {dict(wanted)}, but has {has}"
        )
    saves = [e for e in await simulation.ledger(phone.serialno) if e["kind"] == "profile_saved"]
    if not any(entry["epoch"] for entry in saves):
        raise CheckFailedError(f"{phone.phone_id}: no run saved the profile")
    words = ", ".join(f"{name} '{value}'" for name, value in has.items())
    echo(f"  ok  {phone.phone_id}: the profile in its app has {words}")
