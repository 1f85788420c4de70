"""The evidence of a run: the screen as a picture and as a UI dump."""

import base64
import binascii
import io

from PIL import Image

from phonefarm_executor.control_client import EVIDENCE_LIMIT, Control
from phonefarm_executor.deadlines import Pace
from phonefarm_executor.failures import NATURES, Code, FailedError, LinkLostError
from phonefarm_executor.phone import Phone
from phonefarm_executor.screen import Screen
from phonefarm_executor.ui_server import UiServer, UiServerError, UiServerLostError

CAPTURE_SECONDS = 10.0
LOST_CAPTURE_SECONDS = 2.0
"""The last picture may take this long; it is short because the phone just failed to answer."""
JPEG_QUALITY = 80


class Evidence:
    """Takes pictures and gives them to the agent."""

    def __init__(self, phone: Phone, server: UiServer, control: Control, pace: Pace) -> None:
        self._phone = phone
        self._server = server
        self._control = control
        self._pace = pace

    def keep_picture(self, name: str, action: int) -> str | None:
        """Send the screen as a PNG; return the file's name, None when there was no room for it."""
        picture = fitted(self._picture())
        sent = self._control.send_evidence(name, "screenshot", action, picture)
        return name if sent else None

    def _picture(self) -> bytes:
        """Return the screen as a PNG: by screencap, or by the UI server where that fails."""
        try:
            return self._phone.picture()
        except FailedError as error:
            if error.code is not Code.ADB_FAILED:
                raise
            try:
                limit = min(CAPTURE_SECONDS, self._pace.remaining())
                jpeg = self._server.call("takeScreenshot", 1, JPEG_QUALITY, limit=limit)
                return png_of(base64.b64decode(jpeg or ""))
            except (UiServerError, UiServerLostError, OSError, TypeError, binascii.Error) as also:
                error.message += f"; the UI server did not provide a picture either: {also}"
            raise

    def keep_dump(self, name: str, action: int, screen: Screen) -> str | None:
        """Send a UI dump; return the file's name, None when there was no room for it."""
        sent = self._control.send_evidence(name, "ui_dump", action, screen.xml[:EVIDENCE_LIMIT])
        return name if sent else None

    def of_failure(self, failure: FailedError, action: int, screen: Screen | None) -> list[str]:
        """Keep what shows why an action failed: *screen* as it was searched, and a picture now.

        A phone that no longer answers has no picture; the names of what was kept come back.
        """
        kept = []
        lost = NATURES[failure.code].owner == "infra"
        seconds = LOST_CAPTURE_SECONDS if lost else CAPTURE_SECONDS
        with self._pace.limited(seconds, "evidence", shielded=True):
            try:
                kept.append(self.keep_picture(f"a{action}-screen.png", action))
            except (FailedError, LinkLostError):
                kept.append(None)
        if screen is not None:
            kept.append(self.keep_dump(f"a{action}-ui.xml", action, screen))
        return [name for name in kept if name is not None]


def png_of(jpeg: bytes) -> bytes:
    """Return the picture as a PNG; OSError for bytes that are none."""
    output = io.BytesIO()
    with Image.open(io.BytesIO(jpeg)) as image:
        image.save(output, format="PNG")
    return output.getvalue()


def fitted(picture: bytes) -> bytes:
    """Return the picture, halved in size until one evidence frame holds it.

    Raises FailedError `adb_failed` for a large one that cannot be read.
    """
    while len(picture) > EVIDENCE_LIMIT:
        try:
            with Image.open(io.BytesIO(picture)) as image:
                smaller = image.convert("RGB").resize((image.width // 2, image.height // 2))
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            message = f"the picture of the screen cannot be read: {error}"
            raise FailedError(Code.ADB_FAILED, message) from error
        output = io.BytesIO()
        smaller.save(output, format="PNG", optimize=True)
        picture = output.getvalue()
    return picture
