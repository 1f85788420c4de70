"""What a service tells systemd (sd_notify(3)): a datagram of lines to the socket it was given."""

import os
import socket
from collections.abc import Mapping
from contextlib import suppress


class SystemdNotifier:
    """Sends to one socket; from any thread. What cannot be sent is dropped: nobody waits here."""

    def __init__(self, address: str) -> None:
        # A leading @ stands for the abstract namespace (sd_notify(3)).
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)

    def ready(self) -> None:
        """Say that the start is over."""
        self._send("READY=1")

    def stopping(self) -> None:
        """Say that the stop has begun."""
        self._send("STOPPING=1")

    def status(self, line: str) -> None:
        """Set the line that `systemctl status` shows."""
        self._send("STATUS=" + " ".join(line.split())[:400])

    def keep_alive(self) -> None:
        """Put off the watchdog by its whole time."""
        self._send("WATCHDOG=1")

    def close(self) -> None:
        """Send nothing more."""
        self._socket.close()

    def _send(self, text: str) -> None:
        with suppress(OSError):
            self._socket.sendto(text.encode(), self._address)


def systemd_notifier(environment: Mapping[str, str] = os.environ) -> SystemdNotifier | None:
    """Return the way to the supervisor that started this process; None when there is none."""
    address = environment.get("NOTIFY_SOCKET", "")
    return SystemdNotifier(address) if address.startswith(("/", "@")) else None


def watchdog_seconds(environment: Mapping[str, str] = os.environ) -> float | None:
    """Return how long this process may be silent (sd_watchdog_enabled(3)); None: as it likes."""
    if environment.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    text = environment.get("WATCHDOG_USEC", "")
    return int(text) / 1_000_000 if text.isdigit() and int(text) > 0 else None
