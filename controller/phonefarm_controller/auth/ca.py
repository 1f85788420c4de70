"""The farm's certificate authority: made once, kept in a directory; signs for members and ports."""

import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from phonefarm_common.certificates import (
    CertificateFacts,
    address_of,
    certificate_facts,
    private_pem,
)

CERTIFICATE: Final = "ca.pem"
KEY: Final = "ca.key"
LONGEST_REQUEST: Final = 4096
AUTHORITY_LIFE: Final = timedelta(days=3650)
SERVER_LIFE: Final = timedelta(days=30)
SLACK: Final = timedelta(hours=1)
"""A certificate is valid from this long ago, because a host's clock may be slow."""


class AuthorityBrokenError(ValueError):
    """The directory has half an authority, or another farm's; the text names the remedy."""


class RequestRefusedError(ValueError):
    """The bytes are no certificate request that we sign."""


@dataclass(frozen=True, kw_only=True)
class IssuedCertificate:
    """A certificate and its facts."""

    pem: str
    facts: CertificateFacts


@dataclass(frozen=True, kw_only=True)
class ServerIdentity:
    """What a server shows, as PEM, and when it should be replaced."""

    key: bytes = field(repr=False)
    certificate: bytes
    half: datetime


class Authority:
    """Signs certificates. Its key never leaves this process and its directory."""

    def __init__(self, *, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
        self._key = key
        self._certificate = certificate

    @property
    def pem(self) -> bytes:
        """Return the authority's certificate."""
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def der(self) -> bytes:
        """Return the authority's certificate, binary."""
        return self._certificate.public_bytes(serialization.Encoding.DER)

    @property
    def fingerprint(self) -> str:
        """Return the SHA-256 of the certificate, hexadecimal."""
        return self._certificate.fingerprint(hashes.SHA256()).hex()

    def issue(
        self, request: bytes, *, role: str, member_id: str, life: timedelta
    ) -> IssuedCertificate:
        """Return a client certificate for the request's key; RequestRefusedError.

        Nothing but the key is taken from the request: the name is the controller's to give.
        """
        now = datetime.now(UTC)
        public = _requested_key(request)
        # At the half of what is left of it a member asks for the next, so the slack is short.
        builder = (
            self._builder(public, begins=now - min(SLACK, life / 24), ends=now + life)
            .subject_name(_name(f"{role} {member_id}"[:64]))
            .add_extension(
                x509.SubjectAlternativeName(
                    [x509.UniformResourceIdentifier(address_of(role, member_id))]
                ),
                critical=False,
            )
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=True)
        )
        signed = builder.sign(self._key, hashes.SHA256())
        pem = signed.public_bytes(serialization.Encoding.PEM)
        return IssuedCertificate(pem=pem.decode(), facts=certificate_facts(pem))

    def serve_as(self, names: Sequence[str]) -> ServerIdentity:
        """Return a new server certificate for these host names and addresses."""
        now = datetime.now(UTC)
        key = ec.generate_private_key(ec.SECP256R1())
        builder = (
            self._builder(key.public_key(), begins=now - SLACK, ends=now + SERVER_LIFE)
            .subject_name(_name("phonefarm-controller"))
            .add_extension(
                x509.SubjectAlternativeName([_general(name) for name in names]), critical=False
            )
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=True)
        )
        signed = builder.sign(self._key, hashes.SHA256())
        return ServerIdentity(
            key=private_pem(key).encode(),
            certificate=signed.public_bytes(serialization.Encoding.PEM),
            half=now + SERVER_LIFE / 2,
        )

    def _builder(
        self, public: ec.EllipticCurvePublicKey, *, begins: datetime, ends: datetime
    ) -> x509.CertificateBuilder:
        ends = min(ends, self._certificate.not_valid_after_utc)
        return (
            x509.CertificateBuilder()
            .issuer_name(self._certificate.subject)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(begins)
            .not_valid_after(ends)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
        )


def open_authority(place: Path) -> Authority:
    """Return the authority kept in *place*, made there when there is none; AuthorityBrokenError."""
    there = [(place / name).exists() for name in (CERTIFICATE, KEY)]
    if not any(there):
        return _make(place)
    try:
        key = serialization.load_pem_private_key((place / KEY).read_bytes(), password=None)
        certificate = x509.load_pem_x509_certificate((place / CERTIFICATE).read_bytes())
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise AuthorityBrokenError(
            f"{place} must contain {CERTIFICATE} and {KEY} of the same certificate authority "
            f"({error}): restore them from a backup"
        ) from error
    public = certificate.public_key()
    if not isinstance(key, ec.EllipticCurvePrivateKey) or public != key.public_key():
        raise AuthorityBrokenError(f"{place}: {KEY} does not belong to {CERTIFICATE}")
    if certificate.not_valid_after_utc <= datetime.now(UTC):
        raise AuthorityBrokenError(
            f"{place}: the certificate of the certificate authority has expired; every host must "
            "join again"
        )
    return Authority(key=key, certificate=certificate)


def _make(place: Path) -> Authority:
    now = datetime.now(UTC)
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name("Phonefarm authority")
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    # The key first: a certificate without one is never taken for an authority.
    _write(place / KEY, private_pem(key).encode(), 0o600)
    _write(place / CERTIFICATE, certificate.public_bytes(serialization.Encoding.PEM), 0o644)
    return Authority(key=key, certificate=certificate)


def _write(path: Path, content: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _requested_key(request: bytes) -> ec.EllipticCurvePublicKey:
    if len(request) > LONGEST_REQUEST:
        raise RequestRefusedError(f"a certificate request may have at most {LONGEST_REQUEST} bytes")
    try:
        read = x509.load_der_x509_csr(request)
        public, good = read.public_key(), read.is_signature_valid
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm) as error:
        raise RequestRefusedError(
            "these bytes are not a certificate request (PKCS #10, DER)"
        ) from error
    if not isinstance(public, ec.EllipticCurvePublicKey) or public.curve.name != "secp256r1":
        raise RequestRefusedError("the request's key must be ECDSA on P-256")
    if not good:
        raise RequestRefusedError("the request is not signed with its own key")
    return public


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
