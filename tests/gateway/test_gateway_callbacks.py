"""Callbacks, from the outbox to a real receiver and back."""

import asyncio
import base64
import hashlib
import hmac
import json
import threading
import time
from email.utils import formatdate
from ipaddress import ip_address

import pytest
from aiohttp import web
from gateway.support.farm import Farm, Names, farm
from gateway.support.memory_controller import TOKEN, Owed
from gateway.support.receiver import Received, Receiver
from phonefarm.v1 import callback_pb2
from phonefarm_common.address_policy import Address
from phonefarm_common.clock import SystemClock
from phonefarm_common.outbound_http import SystemLookup
from phonefarm_gateway.callbacks.limits import CallbackLimits
from standardwebhooks import Webhook

SECRET = "a shared secret, not base64"


async def test_an_event_is_the_whole_record_in_the_documented_shape() -> None:
    """What a receiver gets is what GET answers, with milestone, time and sequence around it."""
    async with Receiver.serving() as receiver, farm() as it:
        callback = {"url": receiver.url("/hook?x=1"), "metadata": {"b": 2, "a": [10**20]}}
        process_id = (await it.enqueue(callback=callback)).body["process_id"]

        (got,) = await receiver.wait(1)
        (owed,) = await it.controller.settled(1)

        assert list(got.event) == ["event_type", "milestone", "emitted_at", "sequence", "process"]
        assert got.event["event_type"] == "process.updated"
        assert got.event["milestone"] == "accepted"
        assert got.event["sequence"] == 1
        assert got.event["emitted_at"].endswith("Z")
        assert got.event["process"] == (await it.call("GET", f"/processes/{process_id}")).body
        assert got.path == "/hook?x=1"
        assert got.headers["Content-Type"] == "application/json"
        assert got.headers["User-Agent"] == "phonefarm-callback/1.0"
        assert not [name for name in got.headers if "signature" in name.lower()]
        assert owed.reports[0].outcome == callback_pb2.DELIVERY_OUTCOME_DELIVERED
        assert owed.reports[0].http_status == 204


@pytest.mark.parametrize(
    ("written", "requested"),
    [
        ("/h?sig=a%2Bb%2Fc%3D%3D&d=%27q%27", "/h?sig=a%2Bb%2Fc%3D%3D&d=%27q%27"),
        ("/%7Eme/%41/../x", "/%7Eme/%41/../x"),
        ("/caf\N{LATIN SMALL LETTER E WITH ACUTE}", "/caf%C3%A9"),
    ],
)
async def test_a_callback_url_is_requested_as_it_was_given(written: str, requested: str) -> None:
    """A signed URL breaks when an escape is decoded (aiohttp#3424); other alphabets are escaped."""
    async with Receiver.serving() as receiver, farm() as it:
        answer = await it.enqueue(callback={"url": receiver.url(written)})
        assert answer.status == 202, answer.body

        (got,) = await receiver.wait(1)

    assert got.path == requested


async def test_our_signature_is_plain_hmac_of_timestamp_and_body() -> None:
    """A receiver can verify with nothing but HMAC-SHA256 over `timestamp.body`."""
    async with Receiver.serving() as receiver, farm(webhook_secret=SECRET) as it:
        await it.enqueue(callback={"url": receiver.url()})

        (got,) = await receiver.wait(1)

        stamp = got.headers["X-PhoneFarm-Timestamp"]
        signed = f"{stamp}.".encode() + got.body
        expected = hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()
        assert got.headers["X-PhoneFarm-Signature"] == expected
        assert abs(int(stamp) - time.time()) < 30


@pytest.mark.parametrize(("secret", "signs"), [(SECRET, True), (None, False)])
async def test_the_controller_is_told_whether_this_gateway_signs(
    secret: str | None, signs: bool
) -> None:
    """Its doctor warns of callbacks without a signature."""
    async with farm(webhook_secret=secret) as it:
        await it.controller.until(lambda: it.controller.lease_calls)

        assert it.controller.signs is signs


@pytest.mark.parametrize(
    ("secret", "library_secret"),
    [
        (SECRET, "whsec_" + base64.b64encode(SECRET.encode()).decode()),
        ("whsec_c2VjcmV0IGJ5dGVz", "whsec_c2VjcmV0IGJ5dGVz"),
    ],
)
async def test_standard_webhooks_libraries_verify_us(secret: str, library_secret: str) -> None:
    """The Standard Webhooks headers satisfy its own library, for both kinds of secret."""
    async with Receiver.serving() as receiver, farm(webhook_secret=secret) as it:
        await it.enqueue(callback={"url": receiver.url()})

        (got,) = await receiver.wait(1)

        assert Webhook(library_secret).verify(got.body, got.headers) == got.event
        assert got.headers["webhook-id"] == it.controller.outbox[0].message.delivery_id


async def test_events_of_a_process_come_in_order_and_a_retry_is_the_same_event() -> None:
    """A failed first attempt is repeated, byte for byte under one id, before anything later."""
    async with Receiver.serving() as receiver, farm(webhook_secret=SECRET) as it:
        answers = iter([503, 204, 200, 202])

        async def answer(received: Received) -> web.StreamResponse:
            return web.Response(status=next(answers), text="busy\x00 now")

        receiver.answer = answer
        process_id = it.controller.add_process(url=receiver.url())
        for milestone in ("accepted", "executing", "completed"):
            await it.controller.move(process_id, milestone)

        got = await receiver.wait(4)
        settled = await it.controller.settled(3)

        assert [one.event["sequence"] for one in got] == [1, 1, 2, 3]
        assert got[0].body == got[1].body
        assert got[0].headers["webhook-id"] == got[1].headers["webhook-id"]
        first = settled[0].reports
        assert [report.http_status for report in first] == [503, 204]
        assert first[0].outcome == callback_pb2.DELIVERY_OUTCOME_FAILED
        assert first[0].error == "HTTP 503: busy now"


async def _first_report(it: Farm, url: str) -> callback_pb2.DeliveryReport:
    """Owe one delivery to *url* and return the report of its first attempt."""
    it.controller.retry_seconds = 3600
    owed = await it.controller.owe(it.controller.add_process(url=url), "accepted")
    await it.controller.until(lambda: owed.reports)
    return owed.reports[0]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_failures_and_never_followed(status: int) -> None:
    """A receiver cannot send the gateway somewhere else."""
    async with Receiver.serving() as target, Receiver.serving() as receiver, farm() as it:

        async def answer(received: Received) -> web.StreamResponse:
            return web.Response(status=status, headers={"Location": target.url("/elsewhere")})

        receiver.answer = answer

        report = await _first_report(it, receiver.url())

        assert report.outcome == callback_pb2.DELIVERY_OUTCOME_FAILED
        assert report.http_status == status
        assert not target.received


async def test_410_ends_the_deliveries_of_its_process() -> None:
    """GONE is reported for 410, and nothing more of the process is sent."""
    async with Receiver.serving() as receiver, farm() as it:

        async def answer(received: Received) -> web.StreamResponse:
            return web.Response(status=410)

        receiver.answer = answer
        process_id = it.controller.add_process(url=receiver.url())
        await it.controller.move(process_id, "accepted")
        await it.controller.move(process_id, "completed")

        settled = await it.controller.settled(2)

        assert settled[0].reports[0].outcome == callback_pb2.DELIVERY_OUTCOME_GONE
        assert not settled[1].reports
        assert len(receiver.received) == 1


@pytest.mark.parametrize(
    ("value", "low", "high"),
    [
        ("7", 7, 7),
        ("0", 0, 0),
        ("-5", 0, 0),
        ("999999999", 86400, 86400),
        ("nan", 0, 0),
        ("inf", 0, 0),
        ("soon", 0, 0),
        ("\u0663", 0, 0),
        (600, 560, 601),
        (-600, 0, 0),
    ],
)
async def test_retry_after_is_reported_in_seconds(
    value: str | int, low: float, high: float
) -> None:
    """Seconds and dates are understood, at most a day; nonsense asks for nothing.

    A whole number stands for the date that many seconds from when the test runs.
    """
    if isinstance(value, int):
        value = formatdate(time.time() + value, usegmt=True)
    async with Receiver.serving() as receiver, farm() as it:

        async def answer(received: Received) -> web.StreamResponse:
            return web.Response(status=429, headers={"Retry-After": value})

        receiver.answer = answer

        report = await _first_report(it, receiver.url())

        assert report.http_status == 429
        assert low <= report.retry_after_seconds <= high


async def test_a_receiver_that_is_closed_is_a_failure_with_a_cause() -> None:
    """Nobody listening is told as such."""
    async with Receiver.serving() as receiver:
        url = receiver.url()
    async with farm() as it:
        report = await _first_report(it, url)

        assert report.outcome == callback_pb2.DELIVERY_OUTCOME_FAILED
        assert report.http_status == 0
        assert "cannot connect" in report.error


async def test_an_attempt_has_one_limit_for_everything() -> None:
    """A receiver that never answers costs the attempt's limit and no more."""
    async with Receiver.serving() as receiver, farm(limits=CallbackLimits(attempt=0.3)) as it:
        receiver.answer = _never
        began = time.monotonic()

        report = await _first_report(it, receiver.url())

        assert report.error == "no response within 0.3 s"
        assert time.monotonic() - began < CallbackLimits().attempt, (
            "the limit of this farm was not asked"
        )


async def _never(received: Received) -> web.StreamResponse:
    await asyncio.Event().wait()
    raise AssertionError("unreachable")


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (b"no http at all\r\n\r\n", "Bad status line"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\n\r\n", ""),
        (b"HTTP/1.1 500 \xff\xed\xa0\x80\r\nX\xff: \xff\r\n\r\n", ""),
        (b"", "the receiver closed the connection before the end of its response"),
    ],
)
async def test_an_answer_that_is_no_http_is_a_failure(reply: bytes, error: str) -> None:
    """Bytes that make no sense end the attempt, not the gateway."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(reply)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, farm() as it:
        report = await _first_report(it, f"http://127.0.0.1:{port}/")

        assert report.outcome == callback_pb2.DELIVERY_OUTCOME_FAILED
        assert error in report.error
        assert len(report.error) <= 500


async def test_an_endless_answer_is_read_only_so_far() -> None:
    """A receiver that answers for ever is cut off; its status still counts."""
    sent = 0

    async def receive(request: web.BaseRequest) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse(status=500)
        await response.prepare(request)
        while sent < 50_000_000:  # or until the gateway hangs up
            await response.write(b"x" * 10_000)
            sent += 10_000
        return response

    runner = web.ServerRunner(web.Server(receive), access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with farm() as it:
            report = await _first_report(it, f"http://127.0.0.1:{runner.addresses[0][1]}/")

            assert report.http_status == 500
            assert report.error.startswith("HTTP 500: xxx")
            assert len(report.error) < 250
    finally:
        await runner.cleanup()
    assert sent < 20_000_000


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, callback_pb2.DELIVERY_OUTCOME_DELIVERED),
        (410, callback_pb2.DELIVERY_OUTCOME_GONE),
        (500, callback_pb2.DELIVERY_OUTCOME_FAILED),
    ],
)
async def test_the_status_counts_even_if_the_body_never_ends(status: int, outcome: int) -> None:
    """The status line is the receiver's word; a body that stalls is not waited for long."""
    async with farm(limits=CallbackLimits(attempt=6)) as it:

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: 1000\r\n\r\nx".encode())
            await writer.drain()
            await reader.read()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]

            report = await _first_report(it, f"http://127.0.0.1:{port}/")

        assert report.http_status == status
        assert report.outcome == outcome


async def test_a_name_that_means_a_private_address_is_not_dialled() -> None:
    """What a name means is looked at when it is used: loopback by name is refused, and said so."""
    lookup = SystemLookup(threads=1)
    try:
        async with Receiver.serving() as receiver, farm(allowed=(), lookup=lookup) as it:
            report = await _first_report(it, receiver.url(host="localhost"))

            assert report.outcome == callback_pb2.DELIVERY_OUTCOME_FAILED
            assert report.error.startswith("address_not_allowed")
            assert not receiver.received
    finally:
        lookup.close()


async def test_the_systems_names_reach_what_is_allowed() -> None:
    """With loopback allowed, `localhost` is a receiver like any other."""
    lookup = SystemLookup(threads=1)
    try:
        async with Receiver.serving() as receiver, farm(lookup=lookup) as it:
            report = await _first_report(it, receiver.url(host="localhost"))

            assert report.outcome == callback_pb2.DELIVERY_OUTCOME_DELIVERED
    finally:
        lookup.close()


async def test_silent_names_take_one_thread_each() -> None:
    """Those who ask for one silent name do not keep the threads from the other names."""
    silent = threading.Event()

    def addresses(name: str) -> list[Address]:
        if name == "silent.example":
            silent.wait()
        return [ip_address("127.0.0.1")]

    lookup = SystemLookup(threads=2, addresses=addresses)
    waiting = [asyncio.create_task(lookup("silent.example")) for _ in range(20)]
    try:
        assert await lookup("healthy.example") == [ip_address("127.0.0.1")]
        waiting[0].cancel()  # who gives up takes the answer from nobody
        silent.set()
        answers = await asyncio.gather(*waiting[1:])
        assert answers == [[ip_address("127.0.0.1")]] * 19
    finally:
        silent.set()
        lookup.close()


async def test_the_lookup_of_a_name_does_not_use_up_the_attempt() -> None:
    """A receiver whose name takes longer than an attempt may take is reached."""
    asked = asyncio.Event()

    async def lookup(name: str) -> list[Address]:
        asked.set()
        await asyncio.sleep(limits.attempt * 2)  # longer than the whole attempt: the subject
        return [ip_address("127.0.0.1")]

    limits = CallbackLimits(attempt=5, lookup=49)
    async with Receiver.serving() as receiver, farm(limits=limits, lookup=lookup) as it:
        report = await _first_report(it, receiver.url(host="slow.example"))

        assert asked.is_set()
        assert report.outcome == callback_pb2.DELIVERY_OUTCOME_DELIVERED


async def test_a_name_that_cannot_be_looked_up_is_told_as_such() -> None:
    """Not as a receiver that does not respond: nothing was sent to it."""

    async def lookup(name: str) -> list[Address]:
        if name == "silent.example":
            await asyncio.Event().wait()
        raise OSError(2, "no such name")

    limits = CallbackLimits(lookup=0.1)
    async with farm(limits=limits, lookup=lookup) as it:
        silent = await _first_report(it, "http://silent.example/")
        unknown = await _first_report(it, "http://unknown.example/")

        assert silent.error == "the name silent.example could not be looked up within 0.1 s"
        assert unknown.error == "the name unknown.example could not be looked up: no such name"


async def test_a_literal_that_reached_the_outbox_is_not_dialled() -> None:
    """The check at enqueue is not relied upon: a forbidden literal is refused again."""
    async with Receiver.serving() as receiver, farm(allowed=()) as it:
        literals = ["127.0.0.1", "[::ffff:127.0.0.1]", "2130706433", "0x7f000001", "127.1"]

        reports = [await _first_report(it, receiver.url(host=host)) for host in literals]

        assert all(report.error.startswith("address_not_allowed") for report in reports)
        assert not receiver.received


async def test_of_a_mixed_name_only_permitted_addresses_are_dialled() -> None:
    """A name with a forbidden and a permitted address is reached by the permitted one alone."""
    names = Names(mixed_example=("127.0.0.2", "127.0.0.1"))
    allowed = ("127.0.0.1/32",)
    async with Receiver.serving() as receiver, farm(allowed=allowed, lookup=names) as it:
        tempting = await asyncio.start_server(_refuse_to_be_dialled, "127.0.0.2", receiver.port)
        async with tempting:
            report = await _first_report(it, receiver.url(host="mixed.example"))

        assert report.outcome == callback_pb2.DELIVERY_OUTCOME_DELIVERED
        assert receiver.received[0].headers["Host"] == f"mixed.example:{receiver.port}"


def _refuse_to_be_dialled(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 500 dialled\r\nContent-Length: 0\r\n\r\n")
    writer.close()


async def test_a_name_is_resolved_anew_for_every_attempt() -> None:
    """A name that turned private between two attempts is refused at the second."""
    names = Names(moving_example=("127.0.0.1",))
    async with (
        Receiver.serving() as receiver,
        farm(allowed=("127.0.0.1/32",), lookup=names) as it,
    ):
        url = receiver.url(host="moving.example")
        before = await _first_report(it, url)
        names.names["moving.example"] = ("10.0.0.1",)

        after = await _first_report(it, url)

        assert before.outcome == callback_pb2.DELIVERY_OUTCOME_DELIVERED
        assert after.error.startswith("address_not_allowed")
        assert len(receiver.received) == 1


async def test_a_slow_receiver_delays_only_its_own() -> None:
    """With a stuck receiver owed far more than its turns, another gets its event at once."""
    limits = CallbackLimits(held=40, batch=40, per_receiver=4, patience=0.3, stop=0.2)
    async with (
        Receiver.serving() as slow,
        Receiver.serving() as quick,
        farm(limits=limits) as it,
    ):
        slow.answer = _never
        for _ in range(200):
            await it.controller.owe(it.controller.add_process(url=slow.url()), "accepted")
        await slow.wait(4)

        await it.controller.owe(it.controller.add_process(url=quick.url()), "accepted")
        await quick.wait(1)

        assert len(slow.received) == 4, "it waited until others were through"
        # Those without a turn were not attempted, so nothing may be said about them.
        assert not any(owed.reports for owed in it.controller.outbox[:200])


async def test_a_slow_receiver_is_sent_no_more_than_its_turns_at_once() -> None:
    """A receiver that needs a moment still gets everything, few at a time."""
    limits = CallbackLimits(per_receiver=3)
    at_once = most = 0
    async with Receiver.serving() as receiver, farm(limits=limits) as it:

        async def answer(received: Received) -> web.StreamResponse:
            nonlocal at_once, most
            at_once += 1
            most = max(most, at_once)
            await asyncio.sleep(0.01)  # the moment it needs
            at_once -= 1
            return web.Response()

        receiver.answer = answer
        for _ in range(60):
            await it.controller.owe(it.controller.add_process(url=receiver.url()), "accepted")

        await it.controller.settled(60)

        assert most == 3
        assert len(receiver.received) == 60


class JumpingClock(SystemClock):
    """The machine's clock, after a freeze of `frozen` seconds."""

    frozen = 0.0

    def monotonic(self) -> float:
        """Return the machine's time and what passed in the freeze."""
        return super().monotonic() + self.frozen


async def test_a_gateway_frozen_past_its_lease_does_not_send() -> None:
    """A delivery that waited through a freeze may be another's by now: it is left alone."""
    clock = JumpingClock()
    release = asyncio.Event()
    async with (
        Receiver.serving() as receiver,
        farm(limits=CallbackLimits(per_receiver=1), clock=clock) as it,
    ):

        async def answer(received: Received) -> web.StreamResponse:
            await release.wait()
            return web.Response()

        receiver.answer = answer
        ids = [it.controller.add_process(url=receiver.url()) for _ in range(3)]
        for process_id in ids[:2]:
            await it.controller.owe(process_id, "accepted")
        await receiver.wait(1)
        # It asks again only when it has taken in what it was lent.
        await it.controller.until(
            lambda: (
                all(one.attempts for one in it.controller.outbox)
                and it.controller.lease_calls > it.controller.lent_in_call
            )
        )

        clock.frozen = 60
        release.set()
        await it.controller.settled(1)
        await it.controller.owe(ids[2], "accepted")
        got = await receiver.wait(2)

        assert [one.event["process"]["process_id"] for one in got] == [ids[0], ids[2]]


async def test_a_report_the_controller_missed_is_told_again() -> None:
    """A controller that is away for a moment hears the outcome later, and nothing is sent twice."""
    async with Receiver.serving() as receiver, farm() as it:
        it.controller.reports_refused = 2
        await it.controller.owe(it.controller.add_process(url=receiver.url()), "accepted")

        await it.controller.settled(1)

        assert it.controller.reports_refused == 0
        assert len(receiver.received) == 1


async def test_leasing_goes_on_after_the_controller_was_away() -> None:
    """A restarted controller finds the gateway asking again."""
    async with Receiver.serving() as receiver, farm() as it:
        await it.controller.until(lambda: it.controller.lease_calls)
        await it.controller.stop()
        await it.controller.start()

        await it.controller.owe(it.controller.add_process(url=receiver.url()), "accepted")

        assert await receiver.wait(1)


async def test_an_unreadable_record_stops_no_other() -> None:
    """A record that cannot be rendered is reported as failed; the next delivery goes out."""
    async with Receiver.serving() as receiver, farm() as it:
        it.controller.retry_seconds = 3600
        bad = it.controller.add_process(url=receiver.url())
        it.controller.processes[bad].result_json = "{broken"
        owed = await it.controller.owe(bad, "accepted")
        await it.controller.owe(it.controller.add_process(url=receiver.url()), "accepted")

        await receiver.wait(1)
        await it.controller.until(lambda: owed.reports)

        assert owed.reports[0].error == "the gateway cannot read the record"
        assert len(receiver.received) == 1


async def test_records_too_large_for_one_message_go_out_one_by_one() -> None:
    """When a batch exceeds the message limit, the deliveries still arrive, in smaller batches."""
    async with Receiver.serving() as receiver, farm() as it:
        it.controller.lease_seconds = 0.3
        for _ in range(12):
            process_id = it.controller.add_process(url=receiver.url())
            it.controller.processes[process_id].result_json = f'{{"big":"{"x" * 1_000_000}"}}'
            it.controller.outbox.append(Owed(message=_delivery(it, process_id)))
        await it.controller.owe(it.controller.add_process(url=receiver.url()), "accepted")

        await it.controller.settled(13)

        assert {one.event["process"]["process_id"] for one in receiver.received} == set(
            it.controller.processes
        )


def _delivery(it: Farm, process_id: str) -> callback_pb2.Delivery:
    """Return a delivery of the process, without waking whoever waits for one."""
    process = it.controller.processes[process_id]
    return callback_pb2.Delivery(
        delivery_id=process_id,
        process_id=process_id,
        sequence=1,
        milestone="accepted",
        url=process.callback.url,
        process=process,
    )


async def test_a_stop_finishes_what_is_under_way() -> None:
    """An attempt that is about to be answered when the gateway stops is finished and reported."""
    release = asyncio.Event()
    async with Receiver.serving() as receiver:

        async def answer(received: Received) -> web.StreamResponse:
            await release.wait()
            return web.Response()

        receiver.answer = answer
        async with farm() as it:
            controller = it.controller
            await controller.owe(controller.add_process(url=receiver.url()), "accepted")
            await receiver.wait(1)
            asyncio.get_running_loop().call_later(0.2, release.set)

        report = controller.outbox[0].reports[0]
        assert report.outcome == callback_pb2.DELIVERY_OUTCOME_DELIVERED


async def test_a_stop_reports_what_it_cuts_short() -> None:
    """A receiver that does not answer holds up no stop; its delivery is reported as failed."""
    async with Receiver.serving() as receiver:
        receiver.answer = _never
        async with farm(limits=CallbackLimits(stop=0.2)) as it:
            controller = it.controller
            await controller.owe(controller.add_process(url=receiver.url()), "accepted")
            await receiver.wait(1)

        report = controller.outbox[0].reports[0]
        assert report.outcome == callback_pb2.DELIVERY_OUTCOME_FAILED
        assert report.error == "the gateway stopped before the receiver answered"


async def test_no_secret_of_ours_reaches_a_receiver() -> None:
    """Neither the gateway's token nor the webhook secret is in what is sent."""
    async with Receiver.serving() as receiver, farm(webhook_secret=SECRET) as it:
        await it.enqueue(callback={"url": receiver.url()})

        (got,) = await receiver.wait(1)

        everything = json.dumps(got.headers) + got.body.decode()
        assert TOKEN not in everything
        assert SECRET not in everything
