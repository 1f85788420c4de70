"""The ports for other hosts: TLS with the farm's own certificates."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import grpc

from phonefarm_controller.auth.ca import ServerIdentity


@dataclass(frozen=True, kw_only=True)
class TlsListeners:
    """Where to listen for other hosts, as (host, port), and the certificates to present there."""

    tls: tuple[str, int]
    mtls: tuple[str, int]
    authority: bytes
    """The authority as PEM; a client of `mtls` must have a certificate that it signed."""
    new_identity: Callable[[], ServerIdentity]


class ServerCertificate:
    """The certificate that a port shows at each handshake, replaced after half of its life."""

    def __init__(self, doors: TlsListeners, *, ask: bool) -> None:
        self._doors = doors
        self._roots = doors.authority if ask else None
        self._lock = threading.Lock()  # handshakes come on threads of grpc's
        self._identity = doors.new_identity()
        self._ask = ask

    def credentials(self) -> grpc.ServerCredentials:
        """Return what a port is opened with."""
        return grpc.dynamic_ssl_server_credentials(
            self._configuration(self._identity),
            self._fetch,  # type: ignore[arg-type] # the stubs forget that None is an answer
            self._ask,
        )

    def _fetch(self) -> grpc.ServerCertificateConfiguration | None:
        with self._lock:
            if datetime.now(UTC) < self._identity.half:
                return None  # as it was
            self._identity = self._doors.new_identity()
            return self._configuration(self._identity)

    def _configuration(self, identity: ServerIdentity) -> grpc.ServerCertificateConfiguration:
        return grpc.ssl_server_certificate_configuration(
            [(identity.key, identity.certificate)], root_certificates=self._roots
        )
