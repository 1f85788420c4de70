"""Reads `--evidence s3://...` and the credentials that belong to it."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from phonefarm_common.config import ConfigError, secret

SCHEME: Final = "s3://"
FORM: Final = "s3://BUCKET/PREFIX?endpoint=http://HOST:PORT&region=REGION"
_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_PREFIX: Final = re.compile(r"[A-Za-z0-9._/-]{0,200}")
_REGION: Final = "us-east-1"
"""The region that private S3 stores usually have."""


@dataclass(frozen=True, kw_only=True)
class S3Address:
    """A bucket, and who we are there."""

    bucket: str
    prefix: str
    """The beginning of every key: empty, or text that ends with a slash."""
    endpoint: str | None
    """None for Amazon S3."""
    region: str
    access_key: str
    secret_key: str = field(repr=False)
    session_token: str | None = field(repr=False, default=None)

    def __str__(self) -> str:
        """Return what people call it."""
        return f"{SCHEME}{self.bucket}/{self.prefix}"


def read_bucket(url: str, environment: Mapping[str, str] = os.environ) -> S3Address:
    """Read the URL, and the credentials from the environment; ConfigError."""
    parts = urlsplit(url)
    bucket, prefix = parts.netloc, unquote(parts.path).strip("/")
    if "@" in bucket:
        raise ConfigError("--evidence: credentials belong in the environment, never in the URL")
    if not _BUCKET.fullmatch(bucket):
        raise ConfigError(f"--evidence must have the form {FORM}: {bucket!r} is not a bucket name")
    if not _PREFIX.fullmatch(prefix) or ".." in prefix.split("/") or parts.fragment:
        raise ConfigError(
            "--evidence: the prefix may have up to 200 characters from A-Z a-z 0-9 . _ / -"
        )
    given = dict(parse_qsl(parts.query, keep_blank_values=True))
    if unknown := given.keys() - {"endpoint", "region"}:
        raise ConfigError(
            f"--evidence: the parameter {min(unknown)!r} is not known; the form is {FORM}"
        )
    endpoint = given.get("endpoint")
    if endpoint is not None:
        _check_endpoint(endpoint)
    region = given.get("region") or environment.get("AWS_REGION") or _REGION
    return S3Address(
        bucket=bucket,
        prefix=f"{prefix}/" if prefix else "",
        endpoint=endpoint,
        region=region,
        access_key=_needed("AWS_ACCESS_KEY_ID", environment),
        secret_key=_needed("AWS_SECRET_ACCESS_KEY", environment),
        session_token=secret("AWS_SESSION_TOKEN", environment),
    )


def _check_endpoint(endpoint: str) -> None:
    parts = urlsplit(endpoint)
    try:
        good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # no port is like that
        good = False
    if parts.username is not None or parts.password is not None:
        raise ConfigError("--evidence: credentials belong in the environment, never in the URL")
    if not good or parts.path.strip("/") or parts.query:
        raise ConfigError("--evidence: endpoint must be http://HOST:PORT or https://HOST:PORT")


def _needed(name: str, environment: Mapping[str, str]) -> str:
    found = secret(name, environment)
    if found is None:
        raise ConfigError(f"--evidence {SCHEME}... needs {name} or {name}_FILE in the environment")
    return found
