"""Drives a phone with the package muti-scrcpy-client, and prints what it saw: PORT SERIAL.

Runs in that package's own environment, which has nothing of ours.
"""

import itertools
import json
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import adbutils
import numpy as np
import scrcpy
from av.codec import CodecContext

PATIENCE_SECONDS = 180.0
SPS = b"\0\0\0\1\x67"


class Tee:
    """The client's video socket, of which a late viewer gets a copy from some moment on."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self.late: bytearray | None = None

    def recv(self, size: int) -> bytes:
        """Return what comes, as the socket does."""
        data: bytes = self._socket.recv(size)
        if self.late is not None:
            self.late += data
        return data

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


def wait(what: str, found: Callable[[], Any]) -> Any:
    """Return what is found, once it is."""
    end = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < end:
        if answer := found():
            return answer
        time.sleep(0.02)
    raise SystemExit(f"{what} did not come")


def decoded(data: bytes) -> list[tuple[int, int, bool]]:
    """Return width, height and kind of the pictures that a decoder finds from an SPS on."""
    data = data[data.index(SPS) :] if SPS in data else b""
    codec = CodecContext.create("h264", "r")
    found = [picture for packet in codec.parse(data) for picture in codec.decode(packet)]
    return [(picture.width, picture.height, bool(picture.key_frame)) for picture in found]


def main(port: int, serial: str) -> None:
    """Watch, touch, type, paste, read the clipboard, and join late."""
    device = adbutils.AdbClient(host="127.0.0.1", port=port).device(serial=serial)
    client = scrcpy.Client(device=device, max_fps=30)
    frames: list[Any] = []
    client.add_listener(
        scrcpy.EVENT_FRAME, lambda frame: frames.append(frame) if frame is not None else None
    )
    client.start(threaded=True)
    control = client.control
    wait("the first picture", lambda: frames)
    launcher = frames[-1]
    size = [launcher.shape[1], launcher.shape[0]]

    touch(control, 360, 560)
    wait("the app", lambda: np.abs(frames[-1].astype(int) - launcher).mean() > 10)
    seen = len(frames)
    wait("pictures of the feed", lambda: len(frames) >= seen + 20)
    feed = frames[seen : seen + 20]
    moved = sum(not np.array_equal(one, other) for one, other in itertools.pairwise(feed))

    control.swipe(360, 900, 360, 300)
    touch(control, 360, 1220)
    touch(control, 200, 220)
    control.text("ramen ")
    control.set_clipboard("\u5bff\u53f8", paste=True)
    clipboard = control.get_clipboard()

    tee = Tee(client._video_socket)
    client._video_socket = tee
    tee.late = bytearray()
    client.control_socket.send(b"\x11")  # reset video: the package has no call for it
    late = wait("a picture for the late viewer", lambda: decoded(bytes(tee.late or b"")))

    control.keycode(scrcpy.KEYCODE_ENTER, scrcpy.ACTION_DOWN)
    control.keycode(scrcpy.KEYCODE_ENTER, scrcpy.ACTION_UP)
    control.back_or_turn_screen_on(scrcpy.ACTION_DOWN)
    control.get_clipboard()  # the phone has read what came before
    told = {"name": client.device_name, "size": size, "moved": moved, "clipboard": clipboard}
    sys.stdout.write(json.dumps(told | {"late": late[0]}) + "\n")
    client.stop()


def touch(control: Any, x: int, y: int) -> None:
    """Touch a point and let go."""
    control.touch(x, y, scrcpy.ACTION_DOWN)
    control.touch(x, y, scrcpy.ACTION_UP)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
    # The package's reader is a thread that ends with its socket.
    for thread in threading.enumerate():
        if thread is not threading.main_thread():
            thread.join(PATIENCE_SECONDS)
