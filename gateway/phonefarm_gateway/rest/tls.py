"""The certificate of the gateway's own address; new connections use a renewed one."""

import asyncio
import ssl
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import structlog
from cryptography import x509
from phonefarm_common.config import ConfigError

LOOK_SECONDS: Final = 10.0
"""The files are checked this often."""
_log = structlog.get_logger()


class ServerTls:
    """A certificate with its key, from two PEM files."""

    def __init__(self, certificate: Path, key: Path) -> None:
        """Read the files; ConfigError when they are unusable, or belong to different pairs."""
        self._certificate = certificate
        self._key = key
        self._read_as = self._look()
        self._current, self.ends = _read(certificate, key)
        self._refused_as: object = None
        # Connections ask this context, which hands them the newest one: they keep that to the end.
        self.context, _ = _read(certificate, key)
        self.context.sni_callback = self._hand_over

    async def keep_renewed(self, *, period: float = LOOK_SECONDS) -> None:
        """Take a renewed pair for the next connections, for ever; an unusable one is logged."""
        while True:
            await asyncio.sleep(period)
            self.renew()

    def renew(self) -> None:
        """Read the files again if they have changed; the pair stays while they are unusable."""
        now = self._look()
        if now == self._read_as:
            return
        try:
            self._current, self.ends = _read(self._certificate, self._key)
        except ConfigError as error:
            if now != self._refused_as:
                _log.error("tls.renewal_refused", error=str(error), until=self.ends.isoformat())
            self._refused_as = now
            return
        self._read_as = now
        _log.info("tls.renewed", until=self.ends.isoformat())

    def _hand_over(self, connection: Any, _name: str | None, _context: ssl.SSLContext) -> None:
        connection.context = self._current

    def _look(self) -> object:
        """Return what changes when a file does."""
        try:
            looks = [path.stat() for path in (self._certificate, self._key)]
        except OSError:
            return None
        return [(look.st_ino, look.st_size, look.st_mtime_ns) for look in looks]


def _read(certificate: Path, key: Path) -> tuple[ssl.SSLContext, datetime]:
    """Return a context with the pair, and when the certificate ends."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    for option, path in (("--tls-cert", certificate), ("--tls-key", key)):
        try:
            path.read_bytes()
        except OSError as error:
            raise ConfigError(f"{option}: cannot read {path}: {error.strerror}") from error
    try:
        # OpenSSL would ask for the password of an encrypted key at the terminal.
        context.load_cert_chain(certificate, key, password=lambda: b"")
        ends = x509.load_pem_x509_certificates(certificate.read_bytes())[0].not_valid_after_utc
    except (OSError, ValueError) as error:  # SSLError is an OSError
        raise ConfigError(f"--tls-cert, --tls-key: {_why(error, certificate, key)}") from error
    return context, ends


def _why(error: OSError | ValueError, certificate: Path, key: Path) -> str:
    reason = getattr(error, "reason", None) or ""
    if "MISMATCH" in reason:
        return f"the key in {key} does not belong to the certificate in {certificate}"
    return f"{certificate} must contain a certificate, and {key} its unencrypted key, both as PEM"
