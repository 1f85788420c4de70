"""Evidence in a bucket: whose it is, who we are there, and what happens while it is away."""

import asyncio
import hashlib
import random
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from aiohttp import web
from phonefarm.v1 import doctor_pb2, doctor_pb2_grpc, inspect_pb2
from phonefarm_common.channel import bearer
from phonefarm_common.config import ConfigError
from phonefarm_controller.evidence.availability import BackendAwayError, WrongBackendError
from phonefarm_controller.evidence.backends import s3 as bucket_module
from phonefarm_controller.evidence.backends.backend import PartialFileGoneError
from phonefarm_controller.evidence.backends.open import open_backend
from phonefarm_controller.evidence.backends.s3 import SEGMENT, S3Backend
from phonefarm_controller.evidence.backends.s3_address import S3Address, read_bucket
from support.controller import KEY, Farm, farm_on, played_agent, request, told
from support.evidence import carried, log_of, upload
from support.live_farm import bare_environment, eventually
from support.relay import Meter, relay
from support.s3 import S3Bucket

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "AK", "AWS_SECRET_ACCESS_KEY": "hidden/secret"}
BIG = random.Random(5).randbytes(2 * SEGMENT + 1000)


@asynccontextmanager
async def with_run(url: str, data: Path, **more: Any) -> AsyncIterator[tuple[Farm, Any]]:
    """Run a controller, and have a run."""
    async with farm_on(url, data, **more) as farm, played_agent(farm, "A1") as agent:
        await agent.offer()
        await farm.enqueue(request())
        (assignment,) = await agent.assigned()
        await agent.start(assignment.run)
        yield farm, assignment.run


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Return where a database may be."""
    return f"sqlite:///{tmp_path / 'farm.db'}"


async def read(farm: Farm, run: Any) -> dict[str, bytes]:
    """Return the bytes of all that is kept of a run's process."""
    item = await farm.inspect.GetQueueItem(
        inspect_pb2.GetQueueItemRequest(queue_item_id=run.item_id), metadata=bearer(KEY)
    )
    ask = inspect_pb2.ListEvidenceRequest(process_id=item.process_id)
    listed = await farm.inspect.ListEvidence(ask, metadata=bearer(KEY))
    found = {}
    for line in listed.evidence:
        one = inspect_pb2.ReadEvidenceRequest(
            process_id=line.process_id, evidence_id=line.evidence_id
        )
        parts = [part async for part in farm.inspect.ReadEvidence(one, metadata=bearer(KEY))]
        found[line.name] = b"".join(part.data for part in parts)
    return found


async def doctors_word(farm: Farm) -> tuple[str, str]:
    """Return what the doctor says of evidence, and what helps."""
    stub: Any = doctor_pb2_grpc.DoctorServiceStub(farm.channel)
    answer = await stub.Examine(doctor_pb2.ExamineRequest(), metadata=bearer(KEY))
    (finding,) = [found for found in answer.findings if found.check == "evidence"]
    return finding.text, finding.remedy


async def test_evidence_is_in_the_bucket(url: str, tmp_path: Path, bucket: S3Bucket) -> None:
    """Under the hash of its bytes, below the prefix; on the controller's disk nothing stays."""
    async with with_run(url, tmp_path / "data", evidence=bucket.address) as (farm, run):
        await upload(farm, run, kind="log", name="run.log", data=BIG)
        await upload(farm, run, kind="log", name="empty.log", data=b"")
        found = await read(farm, run)

    objects = await asyncio.to_thread(bucket.objects)
    marker = objects.pop("evidence/.farm")
    assert found == {"run.log": BIG, "empty.log": b""}
    assert marker == b"test\n"
    assert sorted(path.split("/", 3)[-1] for path in objects) == sorted(
        f"{hashlib.sha256(data).hexdigest()}/{name}" for name, data in found.items()
    )
    assert list((tmp_path / "data" / "uploads").iterdir()) == []
    assert not (tmp_path / "data" / "evidence").exists()


async def test_a_second_file_of_the_same_name_does_not_replace_the_first(
    url: str, tmp_path: Path, bucket: S3Bucket
) -> None:
    """Also when both come at once: of the one that came late nothing stays."""
    async with with_run(url, tmp_path / "data", evidence=bucket.address) as (farm, run):
        both = [
            upload(farm, run, kind="log", name="run.log", data=data)
            for data in (BIG[:5000], BIG[5000:10_000])
        ]
        ends = await asyncio.gather(*both, return_exceptions=True)
        (refused,) = [end for end in ends if end is not None]
        found = await read(farm, run)

    objects = await asyncio.to_thread(bucket.objects)
    del objects["evidence/.farm"]
    assert isinstance(refused, grpc.aio.AioRpcError)
    assert refused.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert list(objects.values()) == list(found.values())


async def test_a_bucket_of_another_farm_is_refused(
    url: str, tmp_path: Path, bucket: S3Bucket
) -> None:
    """Both farms are named; another prefix of the same bucket is another place."""
    bucket.put("evidence/.farm", b"other\n")

    with pytest.raises(WrongBackendError, match="belongs to the farm 'other', not to 'test'"):
        async with farm_on(url, tmp_path / "data", evidence=bucket.address):
            pass
    async with farm_on(url, tmp_path / "data", evidence=replace(bucket.address, prefix="x/")):
        pass

    assert bucket.objects() == {"evidence/.farm": b"other\n", "x/.farm": b"test\n"}


@pytest.mark.postgres
async def test_controllers_of_one_database_must_share_it(
    postgres_url: str, tmp_path: Path, bucket: S3Bucket
) -> None:
    """One without the kept evidence is refused, with the remedy; one that has it is not."""
    data, elsewhere = tmp_path / "data", replace(bucket.address, prefix="elsewhere/")
    async with with_run(postgres_url, data, evidence=bucket.address) as (farm, run):
        await upload(farm, run, kind="log", name="run.log")
    bucket.delete("evidence/.farm")

    with pytest.raises(WrongBackendError, match="that all controllers of the farm share") as why:
        async with farm_on(postgres_url, data, evidence=elsewhere):
            pass
    async with farm_on(postgres_url, data, evidence=bucket.address):
        pass

    name, way = bucket.address.bucket, bucket.address.endpoint
    command = f"echo test | aws s3 cp - s3://{name}/elsewhere/.farm --endpoint-url {way}"
    assert str(why.value).endswith(command)
    assert bucket.objects()["evidence/.farm"] == b"test\n"


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        (
            {"secret_key": "wrong"},
            WrongBackendError,
            "SignatureDoesNotMatch.*AWS_SECRET_ACCESS_KEY",
        ),
        (
            {"access_key": "NOBODY"},
            WrongBackendError,
            "InvalidAccessKeyId.*check AWS_ACCESS_KEY_ID",
        ),
        ({"bucket": "never-made"}, WrongBackendError, "there is no bucket never-made: create it"),
        ({"endpoint": "http://127.0.0.1:9"}, BackendAwayError, "Could not connect to the endpoint"),
    ],
)
async def test_a_controller_that_cannot_use_it_does_not_start(
    tmp_path: Path, bucket: S3Bucket, changes: dict[str, Any], error: type[Exception], says: str
) -> None:
    """The place, the reason, and where to look; no secret."""
    url, address = f"sqlite:///{tmp_path / 'farm.db'}", replace(bucket.address, **changes)

    with pytest.raises(error, match=says) as why:
        async with farm_on(url, tmp_path / "data", evidence=address):
            pass

    assert str(why.value).startswith(str(address))
    assert address.secret_key not in str(why.value)


@pytest.mark.parametrize(
    ("secret", "endpoint", "code", "says"),
    [
        ("", "", 2, "needs AWS_SECRET_ACCESS_KEY or AWS_SECRET_ACCESS_KEY_FILE in the"),
        ("wrong", "", 2, "SignatureDoesNotMatch"),
        ("any", "http://127.0.0.1:9", 3, "does not answer: Could not connect to the endpoint URL"),
    ],
)
def test_the_program_says_so(
    bucket: S3Bucket, secret: str, endpoint: str, code: int, says: str
) -> None:
    """One line, and the exit code by which its supervisor knows whether to try again."""
    own = bucket.environment | {"AWS_SECRET_ACCESS_KEY": secret, "INGEST_SECRET": KEY}
    where = f"{bucket.address}?endpoint={endpoint or bucket.address.endpoint}"
    program = [sys.executable, "-m", "phonefarm_controller", "--listen", "127.0.0.1:0"]

    with tempfile.TemporaryDirectory() as data:
        done = subprocess.run(
            [*program, "--data", data, "--evidence", where],
            env=bare_environment() | own,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )

    last = done.stderr.splitlines()[-1]
    assert (done.returncode, says in last) == (code, True), done.stderr
    assert last.startswith("phonefarm-controller: ")


async def test_while_it_is_away_evidence_waits(url: str, tmp_path: Path, bucket: S3Bucket) -> None:
    """Uploads and readers are told, the doctor tells, and work goes on; then nothing is lost."""
    async with AsyncExitStack() as way_there:
        way = await way_there.enter_async_context(relay("127.0.0.1:0", bucket.server.at))
        async with with_run(url, tmp_path / "data", evidence=bucket.by(way)) as (farm, run):
            await upload(farm, run, kind="log", name="run.log", data=BIG)
            await way_there.aclose()

            refused = [await refusal(read(farm, run))]
            refused += [await refusal(upload(farm, run, kind="log", name="more.log"))]
            said = await eventually(lambda: raised(farm), what="the doctor's word")
            refused += [await refusal(read(farm, run))]
            refused += [await refusal(upload(farm, run, kind="log", name="more.log"))]
            accepted = await farm.enqueue(request())
            async with relay(way, bucket.server.at):
                await eventually(lambda: cleared(farm), what="the end of it")
                await upload(farm, run, kind="log", name="more.log")
                found = await read(farm, run)

    assert refused == [("evidence_away", grpc.StatusCode.RESOURCE_EXHAUSTED)] * 4
    assert said[0].startswith(f"{bucket.address} does not answer: Could not connect")
    assert "agents keep the runs' evidence" in said[1]
    assert accepted.process_id
    assert found == {"run.log": BIG, "more.log": b"seen"}


async def test_what_was_cut_in_the_middle_goes_on_when_it_is_back(
    url: str, tmp_path: Path, bucket: S3Bucket
) -> None:
    """The agent keeps the file and is told nothing else; what came before is not sent again."""
    data, meter, up = tmp_path / "data", Meter(cut_at=3 * SEGMENT), Meter()
    async with AsyncExitStack() as way_there:
        way = await way_there.enter_async_context(relay("127.0.0.1:0", bucket.server.at, meter))
        async with with_run(url, data, evidence=bucket.by(way)) as (farm, run):
            file = log_of(run, tmp_path, size=4 * SEGMENT)
            there = f"127.0.0.1:{farm.controller.port}"
            async with relay("127.0.0.1:0", there, up) as to, carried(file, to) as desk:
                await meter.cut.wait()
                await way_there.aclose()
                await eventually(lambda: raised(farm), what="the doctor's word")
                meanwhile = desk.received.is_set()
                async with relay(way, bucket.server.at), asyncio.timeout(180):
                    await desk.received.wait()
                    found = await read(farm, run)

    assert (meanwhile, desk.missing) == (False, "")
    assert found == {"big.log": file.path.read_bytes()}
    assert up.passed < 6.5 * SEGMENT, "it was sent whole again"
    assert [key for key in bucket.objects() if ".parts" in key] == []


async def refusal(call: Awaitable[object]) -> tuple[str, grpc.StatusCode]:
    """Return reason and code of a call that is refused."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    return told(refused)[0], refused.value.code()


async def raised(farm: Farm) -> tuple[str, str] | None:
    """Return the doctor's word once it is a bad one."""
    word = await doctors_word(farm)
    return word if word[1] else None


async def cleared(farm: Farm) -> bool:
    """Tell whether the doctor has nothing to say."""
    return not (await doctors_word(farm))[1]


@pytest.mark.long
async def test_one_that_hangs_holds_up_nothing_else(
    url: str, tmp_path: Path, bucket: S3Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frozen in the middle of an upload: refused in bounded time, the farm answers meanwhile."""
    monkeypatch.setattr(bucket_module, "ANSWER_SECONDS", 5)
    async with with_run(url, tmp_path / "data", evidence=bucket.address) as (farm, run):
        bucket.server.freeze()
        sending = [
            asyncio.create_task(upload(farm, run, kind="log", name=f"{n}.log")) for n in range(20)
        ]
        for _ in range(3):
            await farm.enqueue(request())
        answered_meanwhile = not any(task.done() for task in sending)
        ends = await asyncio.gather(*sending, return_exceptions=True)
        bucket.server.thaw()
        await eventually(lambda: cleared(farm), what="the end of it")
        await upload(farm, run, kind="log", name="0.log")
        found = await read(farm, run)

    assert {type(end) for end in ends} == {grpc.aio.AioRpcError}
    assert answered_meanwhile
    assert found == {"0.log": b"seen"}


def test_a_segment_that_is_not_full_is_none(bucket: S3Bucket, tmp_path: Path) -> None:
    """Whoever put it there: an upload goes on before it, or begins anew."""
    place = S3Backend(bucket.address, scratch=tmp_path)
    bucket.put("evidence/.parts/key/0000", bytes(SEGMENT))
    bucket.put("evidence/.parts/key/0001", b"")

    received = place.received("key")

    assert received == SEGMENT
    with pytest.raises(PartialFileGoneError, match="segment 1 has 0 bytes"):
        place.begin("key", SEGMENT + 1)


@pytest.mark.parametrize(
    ("status", "code"), [(507, "XMinioStorageFull"), (403, "QuotaExceeded"), (507, "Whatever")]
)
async def test_one_that_is_full_says_so(
    bucket: S3Bucket, tmp_path: Path, status: int, code: str
) -> None:
    """As a full disk does: the agent keeps the file and comes again."""
    # Not moto, which is never full.

    async def refuse(call: web.Request) -> web.Response:
        text = f"<Error><Code>{code}</Code><Message>no more</Message></Error>"
        return web.Response(status=status, text=text, content_type="application/xml")

    application = web.Application()
    application.router.add_route("*", "/{rest:.*}", refuse)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    place = S3Backend(bucket.by(f"{host}:{port}"), scratch=tmp_path)
    part = place.begin("key", 0)
    part.add(b"x")
    try:
        with pytest.raises(OSError, match=f"{code}: no more") as full:
            await asyncio.to_thread(part.settle, "p/r/x")
    finally:
        part.leave()
        await runner.cleanup()

    assert full.value.errno == 28


def test_a_url_is_read() -> None:
    """Bucket and prefix, the way there, and who we are, which is never shown."""
    own = read_bucket("s3://farms/a/b/?endpoint=https://store.example:9000&region=eu", CREDENTIALS)
    amazon = read_bucket("s3://farms", CREDENTIALS | {"AWS_REGION": "eu-west-1"})

    assert own == S3Address(
        bucket="farms",
        prefix="a/b/",
        endpoint="https://store.example:9000",
        region="eu",
        access_key="AK",
        secret_key="hidden/secret",
    )
    assert (str(own), str(amazon)) == ("s3://farms/a/b/", "s3://farms/")
    assert (amazon.endpoint, amazon.region) == (None, "eu-west-1")
    assert "hidden" not in repr(own)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("s3://", "'' is not a bucket name"),
        ("s3://UPPER/x", "'UPPER' is not a bucket name"),
        ("s3://AK:hidden@farms/x", "never in the URL"),
        ("s3://farms/x?endpoint=http://AK:hidden@store:9000", "never in the URL"),
        ("s3://farms/x?endpoint=store:9000", "must be http://HOST:PORT"),
        ("s3://farms/x?endpoint=http://store:x", "must be http://HOST:PORT"),
        ("s3://farms/x?endpoint=http://store/path", "must be http://HOST:PORT"),
        ("s3://farms/x?secret=hidden", "'secret' is not known"),
        ("s3://farms/../x", "the prefix may have"),
        ("s3://farms/a%20b", "the prefix may have"),
        ("s3://farms/x#y", "the prefix may have"),
    ],
)
def test_a_wrong_url_is_told(url: str, says: str) -> None:
    """What is wrong and what it should be; what looks like a secret is not repeated."""
    with pytest.raises(ConfigError, match=says) as why:
        read_bucket(url, CREDENTIALS)

    assert "hidden" not in str(why.value)


@pytest.mark.parametrize("missing", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_credentials_are_needed(missing: str, tmp_path: Path) -> None:
    """From the environment or a file that it names; a session's token may be there."""
    (tmp_path / "it").write_text("from a file\n")
    less = {name: value for name, value in CREDENTIALS.items() if name != missing}

    with pytest.raises(ConfigError, match=f"needs {missing} or {missing}_FILE"):
        read_bucket("s3://farms", less)
    found = read_bucket(
        "s3://farms", less | {f"{missing}_FILE": str(tmp_path / "it"), "AWS_SESSION_TOKEN": "t"}
    )

    assert "from a file" in {found.access_key, found.secret_key}
    assert found.session_token == "t"


def test_without_the_library_it_is_named(
    bucket: S3Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The extra that brings it."""
    monkeypatch.setitem(sys.modules, "boto3", None)
    monkeypatch.delitem(sys.modules, "phonefarm_controller.evidence.backends.s3")

    with pytest.raises(ConfigError, match=r"pip install 'phonefarm\[s3\]'"):
        open_backend(bucket.address, scratch=tmp_path)
