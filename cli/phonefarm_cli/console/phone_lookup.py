"""Finds phones by any of their names: phone_id, adb serial or serial number."""

from collections.abc import Iterable

from phonefarm.v1 import fleet_pb2

from phonefarm_cli.client.client import ControllerClient
from phonefarm_cli.errors import CommandError


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
        known = ", ".join(phone.phone_id for phone in phones) or "none"
        raise CommandError(f"there is no phone {', '.join(strange)}; known: {known}")
    return [named[word.lower()] for word in asked]


def names_of(phone: fleet_pb2.Phone) -> set[str]:
    """Return all names of a phone, in lower case."""
    names = {phone.phone_id, phone.adb_serial, phone.serialno}
    return {name.lower() for name in names if name}
