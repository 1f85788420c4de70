"""Which phone somebody means: its phone_id, what adb calls it, or its serial number."""

from phonefarm.v1 import fleet_pb2

from phonefarm_cli.controller import Controller
from phonefarm_cli.failure import CommandError


async def find_phone(controller: Controller, word: str) -> fleet_pb2.Phone:
    """Return the one phone that *word* names; CommandError otherwise."""
    known = await controller.fleet.phones()
    for phone in known:
        if word.lower() in {phone.phone_id, phone.adb_serial.lower(), phone.serialno.lower()}:
            return phone
    names = ", ".join(phone.phone_id for phone in known) or "none"
    raise CommandError(f"there is no phone {word}; known: {names}")
