"""Tables of access: API keys, invitations, certificates."""

from sqlalchemy import Column, Index, Table, text

from phonefarm_controller.store.schema.types import Instant, SafeText, metadata, partial_index

api_keys = Table(
    "api_keys",
    metadata,
    Column("key_id", SafeText, primary_key=True),
    Column("name", SafeText, nullable=False),
    Column("digest", SafeText, nullable=False, unique=True),  # SHA-256 of the key, hexadecimal
    Column("scopes", SafeText, nullable=False),  # words between spaces
    Column("created_at", Instant, nullable=False),
    Column("created_by", SafeText, nullable=False),
    Column("expires_at", Instant),
    Column("revoked_at", Instant),
    Column("last_used_at", Instant),
)
partial_index("uq_api_keys_name", api_keys.c.name, unique=True, where=text("revoked_at IS NULL"))

authorities = Table(
    "authorities",
    metadata,
    Column("farm", SafeText, primary_key=True),  # always "farm": there is one
    Column("fingerprint", SafeText, nullable=False),  # SHA-256 of the certificate, hexadecimal
)

invitations = Table(
    "invitations",
    metadata,
    Column("invitation_id", SafeText, primary_key=True),
    Column("digest", SafeText, nullable=False, unique=True),  # SHA-256 of the secret, hexadecimal
    Column("role", SafeText, nullable=False),
    Column("member_id", SafeText, nullable=False),  # empty: the host chooses
    Column("created_at", Instant, nullable=False),
    Column("created_by", SafeText, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("used_at", Instant),
)

certificates = Table(
    "certificates",
    metadata,
    Column("serial", SafeText, primary_key=True),  # hexadecimal
    Column("role", SafeText, nullable=False),
    Column("member_id", SafeText, nullable=False),
    Column("issued_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("revoked_at", Instant),
)
Index("ix_certificates_member", certificates.c.role, certificates.c.member_id)
