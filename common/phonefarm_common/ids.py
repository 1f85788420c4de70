"""Creates and checks the ids and names of all programs."""

import base64
import re
import secrets
import uuid
from pathlib import Path

PROTOCOL_VERSION = 1
"""The version of the agent session's protocol; this and the previous one are supported."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")


def new_id() -> str:
    """Return a fresh random UUID in its canonical text form."""
    return str(uuid.uuid4())


def new_secret() -> str:
    """Return 32 random bytes as 43 URL-safe characters; a command can take them as a value.

    The first is no `-`, which argparse would take for an option: `--key -x9...` is refused.
    """
    while (secret := secrets.token_urlsafe(32)).startswith("-"):
        pass
    return secret


def new_webhook_secret() -> str:
    """Return 32 random bytes as a secret of Standard Webhooks 1.0: `whsec_` and base64."""
    return f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}"


def is_uuid(text: str) -> bool:
    """Tell whether *text* is a UUID in canonical form."""
    try:
        return str(uuid.UUID(text)) == text.lower()
    except ValueError:
        return False


def is_name(text: str) -> bool:
    """Tell whether *text* may name a phone, account, group or agent: 1-128 [A-Za-z0-9._:-]."""
    return _NAME.fullmatch(text) is not None


def boot_id() -> str:
    """Return the kernel's random id of this boot (random(4))."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
