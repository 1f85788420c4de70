"""Finds phones by any of their names: phone_id, adb serial or serial number."""

from collections.abc import Iterable, Sequence
from typing import Final

from phonefarm.v1 import fleet_pb2

from phonefarm_cli.client.client import ControllerClient
from phonefarm_cli.errors import CommandError

MOST_KNOWN: Final = 5
"""Phones that an error lists."""


async def find_phone(controller: ControllerClient, word: str) -> fleet_pb2.Phone:
    """Return the phone with this name; CommandError when there is none."""
    (found,) = await find_phones(controller, [word])
    return found


async def find_phones(controller: ControllerClient, words: Iterable[str]) -> list[fleet_pb2.Phone]:
    """Return the phone of each name, in order; CommandError lists all unknown names."""
    phones = await controller.phones()
    named = {name: phone for phone in phones for name in names_of(phone)}
    asked = list(words)
    strange = [word for word in asked if word.lower() not in named]
    if strange:
        message = f"there is no phone {', '.join(strange)}; known: {_known(phones)}"
        raise CommandError(message)
    return [named[word.lower()] for word in asked]


def _known(phones: Sequence[fleet_pb2.Phone]) -> str:
    """Return the first phones that there are, and how to list the others."""
    names = [phone.phone_id for phone in phones]
    more = len(names) - MOST_KNOWN
    also = f", and {more} more (`phonefarm phones list`)" if more > 0 else ""
    return f"{', '.join(names[:MOST_KNOWN]) or 'none'}{also}"


def names_of(phone: fleet_pb2.Phone) -> set[str]:
    """Return all names of a phone, in lower case."""
    names = {phone.phone_id, phone.adb_serial, phone.serialno}
    return {name.lower() for name in names if name}
