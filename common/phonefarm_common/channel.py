"""Opens gRPC channels, and sets the options of channels and servers."""

import ipaddress
from dataclasses import dataclass, field

import grpc
import grpc.aio

from phonefarm_common.timers import Timers

MAX_MESSAGE_BYTES = 8 * 1024 * 1024
LEAST_PING_MS = 300
LEAST_PONG_MS = 1000
"""The shortest limit for a ping, even if a test's timers are fast: a busy machine needs it."""


def server_options(timers: Timers) -> list[tuple[str, int]]:
    """Return the options of every gRPC server; they allow the pings of our clients."""
    return [
        ("grpc.keepalive_time_ms", int(timers.keepalive_server * 1000)),
        ("grpc.keepalive_timeout_ms", int(timers.keepalive_server_timeout * 1000)),
        # Defaults to 60 s and silently wins over the keepalive timeout.
        ("grpc.http2.ping_timeout_ms", int(timers.keepalive_server_timeout * 1000)),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        # Below the clients' ping, or the server hangs up with too_many_pings.
        ("grpc.http2.min_recv_ping_interval_without_data_ms", int(timers.keepalive_agent * 500)),
        ("grpc.http2.max_ping_strikes", 0),
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.so_reuseport", 0),
    ]


def client_options(timers: Timers) -> list[tuple[str, int]]:
    """Return the options of every gRPC client."""
    timeout = max(LEAST_PONG_MS, int(timers.keepalive_agent_timeout * 1000))
    return [
        ("grpc.keepalive_time_ms", max(LEAST_PING_MS, int(timers.keepalive_agent * 1000))),
        ("grpc.keepalive_timeout_ms", timeout),
        ("grpc.http2.ping_timeout_ms", timeout),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.initial_reconnect_backoff_ms", 200),
        # Its default of 20 s is how long one hung attempt would keep the next from being made.
        ("grpc.min_reconnect_backoff_ms", 2000),
        ("grpc.max_reconnect_backoff_ms", 2000),
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.enable_http_proxy", 0),
    ]


def is_loopback(host: str) -> bool:
    """Tell whether *host* is this machine by a name or literal that cannot mean another."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@dataclass(frozen=True, kw_only=True)
class ClientTls:
    """TLS credentials of a client (PEM): the authority to trust, and its own certificate."""

    authority: bytes
    certificate: bytes | None = None
    key: bytes | None = field(default=None, repr=False)


def open_channel(target: str, timers: Timers, secured: ClientTls | None = None) -> grpc.aio.Channel:
    """Return a channel to HOST:PORT, with TLS where *secured*.

    Raises ValueError for plaintext to a host that is not loopback.
    """
    if secured is not None:
        credentials = grpc.ssl_channel_credentials(
            root_certificates=secured.authority,
            private_key=secured.key,
            certificate_chain=secured.certificate,
        )
        return grpc.aio.secure_channel(target, credentials, options=client_options(timers))
    check_plaintext(target, secured)
    return grpc.aio.insecure_channel(target, options=client_options(timers))


def check_plaintext(target: str, secured: ClientTls | None = None) -> None:
    """Raise ValueError when HOST:PORT would be called without TLS and is not loopback."""
    host = target.rpartition(":")[0].strip("[]")
    if secured is None and not is_loopback(host):
        raise ValueError(f"plaintext gRPC is for loopback only, not {host!r}")


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    """Return the metadata that authenticates a call."""
    return (("authorization", f"Bearer {token}"),)
