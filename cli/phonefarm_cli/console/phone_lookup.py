"""Finds phones by any of their names, or by the beginning of one."""

from collections.abc import Iterable, Sequence
from typing import Final

from phonefarm.v1 import fleet_pb2

from phonefarm_cli.client.client import ControllerClient
from phonefarm_cli.errors import CommandError

MOST_KNOWN: Final = 5
"""An error lists at most this many phones."""


async def find_phone(controller: ControllerClient, word: str) -> fleet_pb2.Phone:
    """Return the phone with this name; CommandError when there is none."""
    (found,) = await find_phones(controller, [word])
    return found


async def find_phones(controller: ControllerClient, words: Iterable[str]) -> list[fleet_pb2.Phone]:
    """Return the phone of each name, in order and once; CommandError lists all unknown names."""
    phones = await controller.phones()
    found = {word: _matches(word, phones) for word in words}
    if strange := [word for word, matches in found.items() if not matches]:
        message = f"there is no phone {', '.join(strange)}; known: {_known(phones)}"
        raise CommandError(message)
    for word, matches in found.items():
        if len(matches) > 1:
            raise CommandError(f"the ids of several phones begin with {word}: {_known(matches)}")
    return list({phone.phone_id: phone for (phone,) in found.values()}.values())


def _matches(word: str, phones: Sequence[fleet_pb2.Phone]) -> list[fleet_pb2.Phone]:
    """Return the phone with this name, or every phone with a name that begins like this."""
    wanted = word.lower()
    exact = [phone for phone in phones if wanted in names_of(phone)]
    return exact[:1] or [
        phone for phone in phones if any(name.startswith(wanted) for name in names_of(phone))
    ]


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
