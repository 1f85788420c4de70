"""Certificates of a test's own authority, made with openssl(1)."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

_SECONDS = 30


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """A certificate and its key, as PEM files."""

    certificate: Path
    key: Path


def make_authority(folder: Path) -> Certificate:
    """Make an authority that nobody trusts yet."""
    made = Certificate(certificate=folder / "ca.pem", key=folder / "ca.key")
    _openssl(
        *_new_key(made),
        *("-x509", "-days", "2", "-subj", "/CN=A test's authority"),
        *("-addext", "basicConstraints=critical,CA:TRUE"),
        *("-addext", "keyUsage=critical,keyCertSign"),
    )
    return made


def make_self_signed(folder: Path, name: str) -> Certificate:
    """Make a certificate for 127.0.0.1 that only it speaks for."""
    made = Certificate(certificate=folder / f"{name}.pem", key=folder / f"{name}.key")
    alternative = "subjectAltName=IP:127.0.0.1"
    _openssl(*_new_key(made), "-x509", "-days", "2", "-subj", f"/CN={name}", "-addext", alternative)
    return made


def make_signed(folder: Path, name: str, authority: Certificate, *, valid_for: str) -> Certificate:
    """Make a certificate that *authority* signs; *valid_for* is `IP:127.0.0.1`, `DNS:name`, ..."""
    made = Certificate(certificate=folder / f"{name}.pem", key=folder / f"{name}.key")
    _openssl(
        *_new_key(made),
        *("-x509", "-days", "2", "-subj", f"/CN={name}"),
        *("-CA", str(authority.certificate), "-CAkey", str(authority.key)),
        *("-addext", f"subjectAltName={valid_for}", "-addext", "basicConstraints=CA:FALSE"),
    )
    return made


def _new_key(made: Certificate) -> tuple[str, ...]:
    files = ("-keyout", str(made.key), "-out", str(made.certificate))
    return ("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", *files)


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=_SECONDS)
