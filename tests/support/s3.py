"""An S3 server of the tests' own: moto as a process, which checks who signs. Nothing leaves us."""

import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest
from phonefarm_controller.evidence.backends.s3_address import S3Address
from support.ports import free_port

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client

_START_SECONDS = 30
_LOOK_SECONDS = 0.05
_UNCHECKED_CALLS = 3  # with which the one user is made
_REGION = "us-east-1"
_numbers = itertools.count(1)


@dataclass(frozen=True, kw_only=True)
class S3Server:
    """A running server with one user who may do everything in S3."""

    endpoint: str
    access_key: str
    secret_key: str = field(repr=False)
    process: "subprocess.Popen[bytes]"
    client: "S3Client"
    """Looks into it beside the farm."""

    @property
    def at(self) -> str:
        """Return HOST:PORT."""
        return self.endpoint.partition("//")[2]

    def freeze(self) -> None:
        """Stop it where it is."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self.process.send_signal(signal.SIGCONT)


@dataclass(frozen=True, kw_only=True)
class S3Bucket:
    """A bucket of a test's own."""

    server: S3Server
    address: S3Address

    def by(self, endpoint: str) -> S3Address:
        """Return the same bucket by another way (HOST:PORT)."""
        return replace(self.address, endpoint=f"http://{endpoint}")

    @property
    def url(self) -> str:
        """Return what `--evidence` is given."""
        return f"{self.address}?endpoint={self.address.endpoint}"

    @property
    def environment(self) -> dict[str, str]:
        """Return the credentials that go with it."""
        return {
            "AWS_ACCESS_KEY_ID": self.address.access_key,
            "AWS_SECRET_ACCESS_KEY": self.address.secret_key,
        }

    def objects(self) -> dict[str, bytes]:
        """Return everything in it but what goes meanwhile. Blocking."""
        client, name, found = self.server.client, self.address.bucket, {}
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=name)
        for key in [line["Key"] for page in pages for line in page.get("Contents", [])]:
            with suppress(client.exceptions.NoSuchKey):
                found[key] = client.get_object(Bucket=name, Key=key)["Body"].read()
        return found

    def put(self, key: str, data: bytes) -> None:
        """Put an object. Blocking."""
        self.server.client.put_object(Bucket=self.address.bucket, Key=key, Body=data)

    def delete(self, key: str) -> None:
        """Delete an object. Blocking."""
        self.server.client.delete_object(Bucket=self.address.bucket, Key=key)


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Server]:
    """Run a server; it also ends when this process is killed."""
    port = free_port()
    endpoint = f"http://127.0.0.1:{port}"
    program = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(
        ["setpriv", "--pdeathsig=KILL", "--", *program],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"INITIAL_NO_AUTH_ACTION_COUNT": str(_UNCHECKED_CALLS)},
    )
    try:
        _wait_for(port, process)
        access_key, secret_key = _make_user(endpoint)
        yield S3Server(
            endpoint=endpoint,
            access_key=access_key,
            secret_key=secret_key,
            process=process,
            client=_client("s3", endpoint, access_key, secret_key),
        )
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def bucket(s3: S3Server) -> Iterator[S3Bucket]:
    """Return an empty bucket."""
    name = f"farm-{os.getpid()}-{next(_numbers)}"
    s3.client.create_bucket(Bucket=name)
    address = S3Address(
        bucket=name,
        prefix="evidence/",
        endpoint=s3.endpoint,
        region=_REGION,
        access_key=s3.access_key,
        secret_key=s3.secret_key,
    )
    yield S3Bucket(server=s3, address=address)
    s3.thaw()


def _make_user(endpoint: str) -> tuple[str, str]:
    iam = _client("iam", endpoint, "nobody", "unchecked")
    iam.create_user(UserName="farm")
    statement = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.put_user_policy(UserName="farm", PolicyName="all", PolicyDocument=policy)
    key = iam.create_access_key(UserName="farm")["AccessKey"]
    return key["AccessKeyId"], key["SecretAccessKey"]


def _client(service: str, endpoint: str, access_key: str, secret_key: str) -> Any:
    import boto3.session  # noqa: PLC0415 - only tests with a bucket load it

    session: Any = boto3.session.Session(access_key, secret_key, region_name=_REGION)
    return session.client(service, endpoint_url=endpoint)


def _wait_for(port: int, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=_START_SECONDS):
                return
        except OSError:
            assert process.poll() is None, "the S3 server has ended"
            assert time.monotonic() < deadline, "the S3 server does not answer"
            time.sleep(_LOOK_SECONDS)
