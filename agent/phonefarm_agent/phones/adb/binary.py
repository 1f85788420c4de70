"""Where the adb binary is: the one inside the adbutils wheel. Nothing else imports adbutils."""

import adbutils


def adb_binary() -> str:
    """Return the path of the adb this agent starts."""
    path: str = adbutils.adb_path()
    return path
