"""Checks whether the network reaches the phones: their UI servers have no password (ADR 27)."""

import asyncio
import random
import re
from collections.abc import Iterable
from contextlib import suppress

from phonefarm_agent.host.checks.finding import Finding, ok, warn
from phonefarm_agent.phones.adb.client import Adb, AdbError
from phonefarm_agent.phones.ui_server import PORTS

DIAL_SECONDS = 3.0
SHELL_SECONDS = 5.0
SHOWN = 5
"""A finding names at most this many phones, and only counts the others."""

_ADDRESS = re.compile(
    r"^\s*(?:\d+: \S+\s+)?inet (\d+(?:\.\d+){3})/\d+ .*scope global .*?(\S+)(?:\\.*)?$"
)
_LOCAL = re.compile(r"wlan|swlan|ap|eth")
"""Names of local network interfaces; those of mobile networks are rmnet and ccmni (ADB-Wi-Fi#4)."""


async def check_phone_network(adb: Adb, serials: Iterable[str]) -> list[Finding]:
    """Dial each phone's own address; warn of those that answer, refusal being an answer too."""
    asked = await asyncio.gather(*(_answering(adb, serial) for serial in serials))
    answering = [told for told in asked if told]
    if not asked:
        return []
    if not answering:
        return [
            ok(
                "phones' network",
                "this host cannot reach any phones at their own network addresses",
            )
        ]
    more = f" and {len(answering) - SHOWN} more" if len(answering) > SHOWN else ""
    return [
        warn(
            "phones' network",
            (
                f"this host reaches {', '.join(answering[:SHOWN])}{more} over the network. During "
                "a run, a server on the phone accepts shell commands, without a password, from "
                "every device that can reach the phone"
            ),
            (
                "put the phones into a separate network with client isolation, so that no other "
                "devices can reach them"
            ),
        )
    ]


async def _answering(adb: Adb, serial: str) -> str:
    """Return the phone with the address that answers; empty when none does."""
    # ifconfig may not ask the kernel since Android 10 (awesome-adb#92); ip may.
    try:
        async with asyncio.timeout(SHELL_SECONDS):
            said = await adb.shell(serial, "ip -4 addr")
    except (AdbError, TimeoutError):
        return ""
    for address in local_addresses(said.out):
        if await _answers(address):
            return f"{serial} ({address})"
    return ""


def local_addresses(said: str) -> list[str]:
    """Return the IPv4 addresses in local networks that `ip addr` printed, with or without -o."""
    found = (_ADDRESS.match(line) for line in said.splitlines())
    return [one[1] for one in found if one and _LOCAL.match(one[2])]


async def _answers(address: str) -> bool:
    """Tell whether something at the address takes or refuses a connection."""
    try:
        async with asyncio.timeout(DIAL_SECONDS):
            _, writer = await asyncio.open_connection(address, random.randint(*PORTS))
    except ConnectionRefusedError:
        return True
    except (OSError, TimeoutError):
        return False
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return True
