"""Sends the service's state to systemd (sd_notify(3))."""

import os
import socket
from collections.abc import Mapping
from contextlib import suppress


class SystemdNotifier:
    """Sends to systemd's socket from any thread; never waits, drops what cannot be sent."""

    def __init__(self, address: str) -> None:
        # A leading @ stands for the abstract namespace (sd_notify(3)).
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)

    def ready(self) -> None:
        """Report that the service is ready."""
        self._send("READY=1")

    def stopping(self) -> None:
        """Report that the service is stopping."""
        self._send("STOPPING=1")

    def status(self, line: str) -> None:
        """Set the line that `systemctl status` shows."""
        self._send("STATUS=" + " ".join(line.split())[:400])

    def keep_alive(self) -> None:
        """Reset the watchdog's timeout."""
        self._send("WATCHDOG=1")

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _send(self, text: str) -> None:
        with suppress(OSError):
            self._socket.sendto(text.encode(), self._address)


def systemd_notifier(environment: Mapping[str, str] = os.environ) -> SystemdNotifier | None:
    """Return a notifier for the systemd that started this process; None without one."""
    address = environment.get("NOTIFY_SOCKET", "")
    return SystemdNotifier(address) if address.startswith(("/", "@")) else None


def watchdog_seconds(environment: Mapping[str, str] = os.environ) -> float | None:
    """Return the watchdog's timeout (sd_watchdog_enabled(3)); None without a watchdog."""
    if environment.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    text = environment.get("WATCHDOG_USEC", "")
    return int(text) / 1_000_000 if text.isdigit() and int(text) > 0 else None
