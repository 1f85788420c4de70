"""TLS of the gateway's own address: the pair it shows, renewal without a restart, those without."""

import asyncio
import shutil
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from cryptography.hazmat.primitives import serialization
from gateway.support.farm import Farm, farm
from gateway.support.memory_controller import KEY, MemoryController
from gateway.test_gateway_program import ENVIRONMENT, REQUIRED, gateway
from phonefarm_common.config import ConfigError
from phonefarm_gateway.rest.tls import ServerTls
from phonefarm_gateway.settings import parse
from support.certificates import Certificate, make_self_signed
from support.live_farm import eventually

PATIENCE_SECONDS = 180.0


@pytest.fixture
def pair(tmp_path: Path) -> Certificate:
    """Return the pair that a gateway is started with."""
    return make_self_signed(tmp_path, "first")


def put(new: Certificate, place: Certificate) -> None:
    """Replace both files, as a program that renews certificates does."""
    for source, target in ((new.key, place.key), (new.certificate, place.certificate)):
        beside = target.with_suffix(".new")
        shutil.copy(source, beside)
        beside.replace(target)


@asynccontextmanager
async def secured(pair: Certificate, **changes: Any) -> AsyncIterator[Farm]:
    """Yield a farm whose gateway shows the pair."""
    files = {"tls": (pair.certificate, pair.key)}
    async with farm(changes=files | changes) as it:
        it.base = it.base.replace("http://", "https://")
        yield it


@asynccontextmanager
async def caller(trusted: Path) -> AsyncIterator[aiohttp.ClientSession]:
    """Yield a session that trusts this certificate alone."""
    context = ssl.create_default_context(cafile=str(trusted))
    connector = aiohttp.TCPConnector(ssl=context)
    headers = {"Authorization": f"Bearer {KEY}"}
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
        yield session


async def test_requests_are_answered_over_tls(pair: Certificate) -> None:
    """To who trusts the certificate; the name of the host is not needed (SNI has no addresses)."""
    async with (
        secured(pair) as it,
        caller(pair.certificate) as session,
        session.get(f"{it.base}/phones") as answer,
    ):
        status, phones = answer.status, await answer.json()

    assert status == 200
    assert phones["counts"]["total"] == 2


async def test_a_renewed_pair_counts_for_new_connections_only(
    pair: Certificate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stream that was open before goes on; the next caller gets the new certificate."""
    monkeypatch.setattr(ServerTls.keep_renewed, "__kwdefaults__", {"period": 0.05})
    first = tmp_path / "trusted.pem"
    shutil.copy(pair.certificate, first)
    second = make_self_signed(tmp_path, "second")
    async with secured(pair) as it, caller(first) as old, caller(second.certificate) as new:
        process_id = it.controller.add_process(url="http://e.example")
        await it.controller.inspection.move(process_id, "QUEUED")
        async with old.get(f"{it.base}/processes/{process_id}/events") as events:
            before = await _event(events)
            put(second, pair)

            async def is_renewed() -> bool:
                try:
                    async with new.get(f"{it.base}/healthz") as answer:
                        return answer.status == 200
                except aiohttp.ClientConnectorCertificateError:
                    return False

            await eventually(is_renewed, what="the new certificate")
            await it.controller.inspection.move(process_id, "DONE", status="completed")
            after = await _event(events)
        refused = old.get(f"{it.base}/healthz", headers={"Connection": "close"})
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await refused

    assert '"status":"queued"' in before
    assert '"status":"completed"' in after


async def _event(response: aiohttp.ClientResponse) -> str:
    """Return the data of the next event."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        async for line in response.content:
            if line.startswith(b"data: "):
                return line.decode()
    raise AssertionError("the stream ended")


def test_a_broken_renewal_leaves_the_pair_that_works(pair: Certificate, tmp_path: Path) -> None:
    """The certificate of one pair and the key of another: the old pair stays until both fit."""
    server = ServerTls(pair.certificate, pair.key)
    first, second = shown(server), make_self_signed(tmp_path, "second")

    shutil.copy(second.certificate, pair.certificate)
    server.renew()
    half = shown(server)
    shutil.copy(second.key, pair.key)
    server.renew()

    assert half == first
    assert shown(server) == ssl.PEM_cert_to_DER_cert(second.certificate.read_text())


def shown(server: ServerTls) -> bytes | None:
    """Return the certificate that the next caller is shown, after a whole handshake in memory."""
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = trusting.wrap_bio(back, there)
    ours = server.context.wrap_bio(there, back, server_side=True)
    for side in (client, ours, client, ours):
        with suppress(ssl.SSLWantReadError):
            side.do_handshake()
    return client.getpeercert(binary_form=True)


def _encrypted(pair: Certificate) -> None:
    """Encrypt the key, as OpenSSL does by default."""
    key = serialization.load_pem_private_key(pair.key.read_bytes(), None)
    pair.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )


def _other_key(pair: Certificate) -> None:
    """Put the key of another certificate there."""
    shutil.copy(make_self_signed(pair.key.parent, "other").key, pair.key)


def _no_key(pair: Certificate) -> None:
    """Take the key away."""
    pair.key.unlink()


def _no_certificate(pair: Certificate) -> None:
    """Put something else in the certificate's place."""
    pair.certificate.write_text("no certificate")


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (_encrypted, "unencrypted"),
        (_other_key, "does not belong to the certificate"),
        (_no_key, "--tls-key: cannot read"),
        (_no_certificate, "must contain a certificate"),
    ],
)
async def test_a_wrong_pair_ends_the_program_with_one_line(
    pair: Certificate, spoil: Any, told: str
) -> None:
    """Exit code 2, like every setting that cannot work, and nobody is asked for a password."""
    spoil(pair)
    async with MemoryController.serving() as controller:
        arguments = ["--listen", "127.0.0.1:0", "--controller", controller.address]
        arguments += ["--tls-cert", str(pair.certificate), "--tls-key", str(pair.key)]
        async with gateway(*arguments, environment=ENVIRONMENT) as process:
            _, said = await asyncio.wait_for(process.communicate(), PATIENCE_SECONDS)

    assert process.returncode == 2
    (line,) = said.decode().splitlines()
    assert line.startswith("phonefarm-gateway: --tls-")
    assert told in line


@pytest.mark.parametrize(
    ("given", "missing"), [("--tls-cert", "--tls-key"), ("--tls-key", "--tls-cert")]
)
def test_half_a_pair_is_refused(given: str, missing: str) -> None:
    """The error names the option that is missing."""
    with pytest.raises(ConfigError, match=f"{missing} is missing"):
        parse([*REQUIRED, given, "file.pem"], ENVIRONMENT)


def test_the_environment_names_the_pair() -> None:
    """As for other options that a service is given."""
    files = {"PHONEFARM_GATEWAY_TLS_CERT": "a.pem", "PHONEFARM_GATEWAY_TLS_KEY": "b.pem"}

    settings = parse(REQUIRED, ENVIRONMENT | files)

    assert settings.tls == (Path("a.pem"), Path("b.pem"))


async def test_who_never_finishes_a_handshake_costs_only_its_place(pair: Certificate) -> None:
    """Handshakes count as connections: the one too many is closed, and a place is free again."""
    async with secured(pair, connections=2) as it, caller(pair.certificate) as session:
        host, port = it.base.removeprefix("https://").split(":")
        silent = [socket.create_connection((host, int(port)), PATIENCE_SECONDS) for _ in range(2)]

        async def is_closed() -> bool:
            with socket.create_connection((host, int(port)), PATIENCE_SECONDS) as third:
                third.setblocking(False)
                async with asyncio.timeout(PATIENCE_SECONDS):
                    loop = asyncio.get_running_loop()
                    return await loop.sock_recv(third, 1) == b""

        closed = await is_closed()
        for one in silent:
            one.close()

        async def is_answered() -> bool:
            try:
                async with session.get(f"{it.base}/healthz") as answer:
                    return answer.status == 200
            except aiohttp.ClientConnectionError:
                return False

        await eventually(is_answered, what="a free place")

    assert closed


async def test_plain_http_to_a_tls_address_gets_no_answer(pair: Certificate) -> None:
    """The connection ends, and the gateway goes on."""
    async with secured(pair) as it, caller(pair.certificate) as session:
        plain = it.base.replace("https://", "http://")
        with pytest.raises(aiohttp.ClientError):
            await session.get(f"{plain}/healthz")
        async with session.get(f"{it.base}/healthz") as answer:
            status = answer.status

    assert status == 200
