"""The certificate of a member, its key, and the file that keeps both."""

import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from phonefarm_common.channel import ClientTls
from phonefarm_common.ids import is_name

FILE: Final = "member.json"
SCHEME: Final = "phonefarm"
ROLES: Final = frozenset({"agent", "gateway"})


def invite_command(role: str, member_id: str) -> str:
    """Return the command, in backticks, that invites this member again."""
    if role == "gateway":
        return f"`phonefarm gateways invite --gateway-id {member_id}`"
    return f"`phonefarm agents invite --agent-id {member_id}`"


class MemberBrokenError(Exception):
    """The membership file is damaged; the text names the remedy."""


@dataclass(frozen=True, kw_only=True)
class CertificateFacts:
    """The content of a certificate; times are aware, in UTC."""

    role: str
    member_id: str
    serial: str  # hexadecimal
    begins: datetime
    ends: datetime

    @property
    def renewal_due_at(self) -> datetime:
        """Return the middle of its validity, when it is to be renewed."""
        return self.begins + (self.ends - self.begins) / 2


@dataclass(frozen=True, kw_only=True)
class Member:
    """A membership of a farm: the controllers' addresses, the certificate and its key."""

    role: str
    member_id: str
    controller: str
    """HOST:PORT of the controllers for members, separated by commas."""
    authority: str
    certificate: str
    key: str = field(repr=False)

    @property
    def facts(self) -> CertificateFacts:
        """Return the content of the certificate; ValueError."""
        return certificate_facts(self.certificate.encode())

    @property
    def secured(self) -> ClientTls:
        """Return the TLS credentials for a channel."""
        return ClientTls(
            authority=self.authority.encode(),
            certificate=self.certificate.encode(),
            key=self.key.encode(),
        )


def new_request() -> tuple[str, bytes]:
    """Return a new key (PEM) and a certificate request for it (PKCS #10, DER)."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "phonefarm")])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    return private_pem(key), request.public_bytes(serialization.Encoding.DER)


def private_pem(key: ec.EllipticCurvePrivateKey) -> str:
    """Return the key as PEM, unencrypted."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


def address_of(role: str, member_id: str) -> str:
    """Return the URI that names a member in a certificate."""
    return f"{SCHEME}://{role}/{member_id}"


def certificate_facts(pem: bytes) -> CertificateFacts:
    """Return the content of a member's certificate; ValueError."""
    certificate = x509.load_pem_x509_certificate(pem)
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        addresses = names.get_values_for_type(x509.UniformResourceIdentifier)
    except (x509.ExtensionNotFound, x509.DuplicateExtension) as error:
        raise ValueError("the certificate names nobody") from error
    scheme, _, rest = addresses[0].partition("://") if len(addresses) == 1 else ("", "", "")
    role, _, member_id = rest.partition("/")
    if scheme != SCHEME or role not in ROLES or not is_name(member_id):
        raise ValueError("the certificate names no member of a farm")
    return CertificateFacts(
        role=role,
        member_id=member_id,
        serial=f"{certificate.serial_number:x}",
        begins=certificate.not_valid_before_utc,
        ends=certificate.not_valid_after_utc,
    )


def time_left(facts: CertificateFacts, now: datetime) -> str:
    """Return how long the certificate is still valid, for people."""
    left = facts.ends - now
    if left <= timedelta(0):
        return f"expired at {facts.ends:%Y-%m-%d %H:%MZ}"
    days = left / timedelta(days=1)
    span = f"{days:.1f} days" if days >= 1 else f"{left / timedelta(hours=1):.1f} h"
    return f"valid until {facts.ends:%Y-%m-%d %H:%MZ}, for {span} more"


def read_member(folder: Path) -> Member | None:
    """Return the membership kept in *folder*, None when there is none; MemberBrokenError."""
    path = folder / FILE
    try:
        values = json.loads(path.read_text())
        member = Member(**{str(name): str(value) for name, value in dict(values).items()})
        facts = member.facts
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise MemberBrokenError(
            f"{path} has no valid certificate and key ({error}): remove the file, and "
            "join with a new invitation"
        ) from error
    if (facts.role, facts.member_id) != (member.role, member.member_id):
        raise MemberBrokenError(
            f"{path} has the certificate of another host: remove the file, and join again"
        )
    return member


def write_member(folder: Path, member: Member) -> None:
    """Write the membership atomically, private to this user; return once it is on the disk."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / FILE
    scratch = folder / f".{FILE}.{os.getpid()}"
    with suppress(FileNotFoundError):
        scratch.unlink()
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(asdict(member), file)
        file.flush()
        os.fsync(file.fileno())
    with suppress(OSError):  # only root may give it to the folder's owner
        owner = folder.stat()
        os.chown(scratch, owner.st_uid, owner.st_gid)
    scratch.replace(path)
    directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
