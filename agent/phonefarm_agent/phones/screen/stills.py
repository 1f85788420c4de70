"""Takes one picture of a phone's screen, with the UI tree of the same moment."""

import asyncio
import uuid
from collections.abc import Callable
from typing import Final

from phonefarm_common.clock import Clock

from phonefarm_agent.model.screen import ScreenRefusedError, Still, UiNode
from phonefarm_agent.phones.adb.client import Adb, AdbError
from phonefarm_agent.phones.screen.pictures import (
    JPEG_QUALITY,
    NoPictureError,
    as_jpeg,
    as_png,
    screencap,
)
from phonefarm_agent.phones.screen.screen_session import ScreenDevice
from phonefarm_agent.phones.screen.ui_tree import BadTreeError, read_tree
from phonefarm_agent.phones.ui_server import UiServerCallError, ui_server

DUMP_SECONDS: Final = 20.0
"""The limit for uiautomator dump, which waits up to 10 s for an idle screen (AOSP DumpCommand)."""
LOOK_SECONDS: Final = 0.1
_DUMP: Final = "f=/data/local/tmp/phonefarm-tree.xml; uiautomator dump $f >&2 && cat $f; rm -f $f"


async def take_still(
    device: ScreenDevice, *, png: bool, tree: bool, has_run: Callable[[], bool], clock: Clock
) -> Still:
    """Return a picture, and the UI tree if asked; ScreenRefusedError.

    *has_run* tells whether a run reads the screen: then nobody else may.
    """
    try:
        taken_at = clock.now()
        source = await screencap(device.adb, device.adb_serial)
        picture = (
            as_png(source) if png else await as_jpeg(source, longer_side=None, quality=JPEG_QUALITY)
        )
        nodes: tuple[UiNode, ...] = ()
        refused, moved = "", False
        if tree and has_run():
            refused = (
                "run_on_phone: a run is reading the screen, and a phone allows only one reader"
            )
        elif tree:
            try:
                nodes = await _tree_unless(has_run, device)
                moved = await screencap(device.adb, device.adb_serial) != source
            except BadTreeError as error:
                refused = f"tree_failed: {error}"
    except AdbError as error:
        raise ScreenRefusedError("phone_away", f"the phone does not answer: {error}") from error
    except NoPictureError as error:
        raise ScreenRefusedError("failed", str(error)) from error
    return Still(
        picture=picture,
        is_png=png,
        taken_at=taken_at,
        nodes=nodes,
        tree_refused=refused,
        moved=moved,
    )


async def _tree_unless(has_run: Callable[[], bool], device: ScreenDevice) -> tuple[UiNode, ...]:
    """Read the tree, but give the screen's reader free the moment a run needs it."""
    reading = asyncio.create_task(_tree(device.adb, device.adb_serial))
    try:
        while not reading.done():
            if has_run():
                raise BadTreeError("a run has started: try again when it has ended")
            await asyncio.wait({reading}, timeout=LOOK_SECONDS)
        return reading.result()
    finally:
        reading.cancel()
        await asyncio.wait({reading})


async def _tree(adb: Adb, serial: str) -> tuple[UiNode, ...]:
    """Read the tree as a run does: by the UI server, which does not wait, else by a dump."""
    async with ui_server(adb=adb, serial=serial, run_id=f"still-{uuid.uuid4()}") as server:
        failure = await server.start()
        if not failure:
            try:
                text = await server.call("dumpWindowHierarchy", [False, 50, False])
                return await asyncio.to_thread(read_tree, text)
            except (UiServerCallError, BadTreeError) as error:
                failure = str(error)
    try:
        async with asyncio.timeout(DUMP_SECONDS):
            answer = await adb.shell(serial, _DUMP)
    except TimeoutError:
        raise BadTreeError(f"{failure}; uiautomator dump did not answer in time") from None
    if not answer.out.strip():
        raise BadTreeError(f"{failure}; uiautomator dump: {answer.error.strip()[:200]}")
    return await asyncio.to_thread(read_tree, answer.out)
