"""The console's session: who gets one, whose pages may use it, and what is refused."""

import posixpath
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from gateway.support.caller import Answer
from gateway.support.farm import Farm, enqueue_body, farm
from gateway.support.memory_controller import KEY, READ_ONLY_KEY
from phonefarm_common.clock import SystemClock
from phonefarm_common.config import ConfigError
from phonefarm_gateway.console.origins import public_origin
from phonefarm_gateway.console.session_seal import SESSION_TIME, SessionSeal
from phonefarm_gateway.console.tickets import LOGIN_TIME, MOST_TICKETS, Tickets
from phonefarm_gateway.rest.rate_limit import LOGIN_BURST
from phonefarm_gateway.settings import parse

PROXY = "https://farm.example.com"
NOBODY = "6f1c2f0e-8f0f-4c55-9d55-0f6a1a2b3c4d"
COOKIE = re.compile(r"([^=]+)=([^;]*)")


class Browser:
    """Sends what a browser sends for one of our own pages, with changes."""

    def __init__(self, it: Farm, origin: str = "") -> None:
        self.it = it
        self.origin = origin or it.base
        self.cookie = ""
        self.set_cookie = ""

    async def send(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str | None] = {}
    ) -> Answer:
        """Send a request with the cookie; a header that is None is left out."""
        sent: dict[str, str | None] = {
            "Origin": self.origin,
            "Sec-Fetch-Site": "same-origin",
            "Host": self.origin.partition("://")[2],
            "Cookie": self.cookie or None,
        } | dict(headers)
        kept = {name: value for name, value in sent.items() if value is not None}
        return await self.it.call(method, path, body, key=None, headers=kept)

    async def log_in(self, key: str = KEY, headers: Mapping[str, str | None] = {}) -> Answer:
        """Log in, and keep the cookie."""
        answer = await self.send("POST", "/console/session", {"key": key}, headers)
        self.set_cookie = answer.headers.get("Set-Cookie", "")
        if found := COOKIE.match(self.set_cookie):
            self.cookie = found[0]
        return answer


@asynccontextmanager
async def logged_in(key: str = KEY, **changes: Any) -> AsyncIterator[Browser]:
    """Yield a browser with a session of *key*."""
    async with farm(**changes) as it:
        browser = Browser(it)
        answer = await browser.log_in(key)
        assert answer.status == 200, answer.body
        yield browser


async def test_a_key_becomes_a_cookie_that_pages_cannot_read() -> None:
    """It has the key's name and scopes in the answer, and the key nowhere to be seen."""
    async with farm() as it:
        browser = Browser(it)

        answer = await browser.log_in()

        assert answer.status == 200
        assert answer.body["name"]
        assert "read" in answer.body["scopes"]
        said = browser.set_cookie
        assert said.startswith(f"phonefarm-{it.base.rpartition(':')[2]}=")
        assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(said.split("; "))
        assert KEY not in said


async def test_the_cookie_counts_as_the_key() -> None:
    """The API answers a page of the console as it answers the key, writes included."""
    async with logged_in() as browser:
        read = await browser.send("GET", "/phones")
        written = await browser.send("POST", "/capability-requests/enqueue", enqueue_body())
        who = await browser.send("GET", "/console/session")

        assert (read.status, written.status, who.status) == (200, 202, 200)
        assert who.body["expires_at"].endswith("Z")


async def test_a_bearer_key_may_ask_who_it_is() -> None:
    """A session of its own it has not."""
    async with farm() as it:
        answer = await it.call("GET", "/console/session", key=READ_ONLY_KEY)

        assert (answer.status, answer.body["expires_at"]) == (200, None)
        assert answer.body["scopes"] == ["read"]


async def test_behind_a_proxy_with_tls_the_cookie_is_bound_to_the_host() -> None:
    """Secure, with the prefix that forbids a domain; the name of the proxy is given."""
    async with farm(changes={"console_origins": (PROXY,)}) as it:
        browser = Browser(it, PROXY)

        answer = await browser.log_in()

        assert answer.status == 200
        assert browser.set_cookie.startswith("__Host-phonefarm=")
        assert "Secure" in browser.set_cookie.split("; ")
        assert (await browser.send("GET", "/phones")).status == 200


@pytest.mark.parametrize("host", ["10.0.0.7:8080", "farm.example.com", "127.0.0.1.example.com", ""])
async def test_nobody_logs_in_over_plain_http(host: str) -> None:
    """Neither by an address of the network nor by a name that another site points here."""
    async with farm() as it:
        browser = Browser(it, f"http://{host}")

        answer = await browser.log_in()

        # An empty Host is refused by aiohttp itself, or as any other.
        assert answer.status in {400, 403}
        assert browser.set_cookie == ""


async def test_a_wrong_key_gets_no_cookie() -> None:
    """Nor one that may not read."""
    async with farm() as it:
        browser = Browser(it)

        wrong = await browser.log_in("wrong")
        unsound = await browser.log_in("not\tvisible")

        assert (wrong.status, wrong.body["error"]) == (401, "unauthenticated")
        assert (unsound.status, unsound.fields) == (422, ["key"])
        assert browser.set_cookie == ""


FOREIGN: Any = [
    {"Origin": "https://evil.example"},
    {"Origin": "http://127.0.0.1:1"},
    {"Origin": "null"},
    {"Origin": None},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "none"},
]


@pytest.mark.parametrize("headers", FOREIGN)
async def test_another_page_changes_nothing(headers: Mapping[str, str | None]) -> None:
    """A write that our own page did not send is refused, though the browser adds the cookie."""
    async with logged_in() as browser:
        path = f"/processes/{NOBODY}/cancel"
        body = {"reason": "evil", "requested_by": {"system": "evil"}}

        answer = await browser.send("POST", path, body, headers)

        assert (answer.status, answer.body["error"]) == (403, "foreign_origin")


@pytest.mark.parametrize("headers", FOREIGN)
async def test_another_page_logs_nobody_in_or_out(headers: Mapping[str, str | None]) -> None:
    """Otherwise it could give a person a session that another one watches."""
    async with logged_in() as browser:
        answers = [
            await browser.send("POST", "/console/session", {"key": KEY}, headers),
            await browser.send("DELETE", "/console/session", None, headers),
        ]

        assert [answer.status for answer in answers] == [403, 403]
        assert all("Set-Cookie" not in answer.headers for answer in answers)


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
async def test_another_page_reads_nothing(site: str) -> None:
    """Other ports of this machine are the same site, and get the cookie: they are refused."""
    async with logged_in() as browser:
        answer = await browser.send("GET", "/phones", None, {"Sec-Fetch-Site": site})

        assert (answer.status, answer.body["error"]) == (403, "foreign_origin")


@pytest.mark.parametrize(
    "kind", ["application/x-www-form-urlencoded", "text/plain", "multipart/form-data; boundary=x"]
)
async def test_a_form_is_no_request(kind: str) -> None:
    """Even from our own origin: only JSON changes something."""
    async with logged_in() as browser:
        path = f"/processes/{NOBODY}/deliveries/replay"

        answer = await browser.send("POST", path, b"{}", {"Content-Type": kind})

        assert (answer.status, answer.body["error"]) == (415, "unsupported_media_type")


async def test_a_key_beside_the_cookie_is_refused() -> None:
    """Nobody could say whose request it was."""
    async with logged_in() as browser:
        headers = {"Authorization": f"Bearer {READ_ONLY_KEY}"}

        answer = await browser.send("GET", "/phones", None, headers)

        assert (answer.status, answer.body["error"]) == (400, "two_credentials")


async def test_a_key_in_the_address_is_no_key() -> None:
    """Addresses are kept by logs and proxies."""
    async with farm() as it:
        for parameter in ("key", "access_token", "api_key"):
            answer = await it.call("GET", f"/phones?{parameter}={KEY}", key=None)

            assert answer.status == 401


async def test_a_cookie_of_another_port_does_not_open() -> None:
    """Browsers send a cookie to every port of a host; its seal is for one origin."""
    async with logged_in() as browser, farm() as other:
        value = browser.cookie.partition("=")[2]
        stranger = Browser(other)
        stranger.cookie = f"phonefarm-{other.base.rpartition(':')[2]}={value}"

        answer = await stranger.send("GET", "/phones")

        assert answer.status == 401


async def test_a_cookie_counts_under_no_foreign_name() -> None:
    """A site that points its name here (rebinding) has no use of the cookie."""
    async with logged_in() as browser:
        answer = await browser.send("GET", "/phones", None, {"Host": "evil.example"})

        assert answer.status == 401


async def test_a_revoked_key_ends_the_session_at_once() -> None:
    """The cookie is sound, and the controller does not know the key any more."""
    async with logged_in() as browser:
        del browser.it.controller.keys[KEY]

        answer = await browser.send("GET", "/phones")

        assert (answer.status, answer.body["error"]) == (401, "unauthenticated")


async def test_a_session_may_do_what_its_key_may() -> None:
    """The scope that is missing is named, as for a key."""
    async with logged_in(READ_ONLY_KEY) as browser:
        path = f"/processes/{NOBODY}/deliveries/replay"

        answer = await browser.send("POST", path, {})

        assert (answer.status, answer.body["error"]) == (403, "insufficient_scope:operate")


async def test_logging_out_empties_the_cookie() -> None:
    """The browser drops it at once."""
    async with logged_in() as browser:
        answer = await browser.send("DELETE", "/console/session")

        assert answer.status == 204
        assert "Max-Age=0" in answer.headers["Set-Cookie"].split("; ")


async def ticket(it: Farm, key: str | None = KEY) -> Answer:
    """Ask for a ticket of a link, as `phonefarm up` does."""
    return await it.call("POST", "/console/tickets", key=key)


async def test_a_ticket_logs_in_once() -> None:
    """It stands for the key that made it; the same link a second time is refused."""
    async with farm() as it:
        made = await ticket(it)
        browser, replayed = Browser(it), Browser(it)
        body = {"ticket": made.body["ticket"]}

        answer = await browser.send("POST", "/console/session", body)
        again = await replayed.send("POST", "/console/session", body)

        assert (made.status, answer.status) == (201, 200)
        assert made.headers["Cache-Control"] == "no-store"
        assert KEY not in made.body["ticket"]
        assert (again.status, again.body["error"]) == (401, "ticket_over")
        assert "phonefarm console" in again.body["detail"]
        assert "Set-Cookie" not in again.headers


async def test_a_ticket_needs_a_key_that_counts() -> None:
    """Both when it is made and when it is used: a key may be revoked in between."""
    async with farm() as it:
        refused = [await ticket(it, None), await ticket(it, "wrong")]
        made = await ticket(it)
        del it.controller.keys[KEY]
        browser = Browser(it)

        answer = await browser.send("POST", "/console/session", {"ticket": made.body["ticket"]})

        assert [one.status for one in refused] == [401, 401]
        assert (answer.status, answer.body["error"]) == (401, "unauthenticated")


@pytest.mark.parametrize("host", [PROXY.partition("://")[2], "farm.example.com.evil", "10.0.0.7"])
async def test_tickets_are_for_the_own_machine(host: str) -> None:
    """Another name of the gateway gets none, though it is the gateway's own."""
    async with farm(changes={"console_origins": (PROXY,)}) as it:
        made = await ticket(it)
        refused = await it.call("POST", "/console/tickets", headers={"Host": host})
        browser = Browser(it, f"https://{host}")

        used = await browser.send("POST", "/console/session", {"ticket": made.body["ticket"]})

        assert (refused.status, refused.body["error"]) == (403, "not_loopback")
        assert used.status == 403
        assert (
            await Browser(it).send("POST", "/console/session", {"ticket": made.body["ticket"]})
        ).status == 200


@pytest.mark.parametrize("body", [{}, {"key": KEY, "ticket": "x"}, {"ticket": ""}])
async def test_a_login_has_a_key_or_a_ticket(body: dict[str, str]) -> None:
    """Neither none nor both."""
    async with farm() as it:
        answer = await Browser(it).send("POST", "/console/session", body)

        assert answer.status == 422


def test_a_ticket_ends_after_its_time_and_is_for_one_purpose() -> None:
    """The oldest are forgotten when there are too many."""
    clock = _Later()
    tickets = Tickets(clock)
    old, other, kept = (tickets.make("key", "login", LOGIN_TIME).text for _ in range(3))

    wrong_purpose = tickets.take(other, "screen")
    clock.ahead = LOGIN_TIME

    assert wrong_purpose is None
    assert tickets.take(other, "login") is None
    assert tickets.take(old, "login") is None
    clock.ahead = timedelta()
    assert tickets.take(kept, "login") == "key"
    oldest = tickets.make("key", "login", LOGIN_TIME).text
    newest = [tickets.make("key", "login", LOGIN_TIME).text for _ in range(MOST_TICKETS)]
    assert tickets.take(oldest, "login") is None
    assert tickets.take(newest[0], "login") == "key"


async def test_strangers_send_little() -> None:
    """A login is small; the gateway does not read more, with or without a length."""
    async with farm() as it:
        browser = Browser(it)
        body = b'{"key": "' + b"x" * 5000 + b'"}'

        answer = await browser.send(
            "POST", "/console/session", body, {"Content-Type": "application/json"}
        )

        assert (answer.status, answer.body["error"]) == (413, "body_too_large")
        assert "4096 bytes" in answer.body["detail"]


async def test_an_address_tries_to_log_in_only_so_often() -> None:
    """Guessing keys is slow, also with a right one in between; other requests go on."""
    clock = _Later()
    async with farm(clock=clock) as it:
        browser = Browser(it)
        for _ in range(LOGIN_BURST):
            assert (await browser.log_in("wrong")).status == 401

        refused = await browser.log_in()
        other = await it.call("GET", "/phones")
        clock.ahead = timedelta(seconds=1)
        answer = await browser.log_in()

        assert (refused.status, refused.body["error"]) == (429, "rate_limited")
        assert int(refused.headers["Retry-After"]) >= 1
        assert (other.status, answer.status) == (200, 200)


class _Later(SystemClock):
    """The machine's clock when the test began, ahead by as much as the test says."""

    def __init__(self) -> None:
        self.ahead = timedelta()
        self._began = super().monotonic()

    def monotonic(self) -> float:
        return self._began + self.ahead.total_seconds()

    def now(self) -> Any:
        return super().now() + self.ahead


def test_a_session_ends_after_its_time_and_opens_only_as_it_was_sealed() -> None:
    """With the secret, the origin and every bit; another gateway with the secret opens it too."""
    clock = _Later()
    seal, other = SessionSeal("one secret", clock), SessionSeal("one secret", clock)
    value = seal.seal(seal.begin("key"), "http://127.0.0.1:1")
    flipped = value[:-2] + ("A" if value[-2] != "A" else "B") + value[-1]

    opened = other.open(value, "http://127.0.0.1:1")

    assert opened is not None
    assert opened.key == "key"
    assert other.open(value, "http://127.0.0.1:2") is None
    assert other.open(flipped, "http://127.0.0.1:1") is None
    assert SessionSeal("another", clock).open(value, "http://127.0.0.1:1") is None
    assert SessionSeal(None, clock).open(value, "http://127.0.0.1:1") is None
    assert all(seal.open(text, "http://127.0.0.1:1") is None for text in ("", "x", "é", "A" * 5000))
    clock.ahead = SESSION_TIME
    assert other.open(value, "http://127.0.0.1:1") is None


@pytest.mark.parametrize("text", ["http://farm.example", "https://a/b", "https://u@a", "farm", ""])
def test_only_an_https_origin_can_be_public(text: str) -> None:
    """The option says what is wrong with another."""
    with pytest.raises(ConfigError, match="--console-origin"):
        parse(
            ["--console-origin", text, "--controller", "127.0.0.1:1"],
            {"PHONEFARM_GATEWAY_TOKEN": "t"},
        )
    assert public_origin("https://Farm.Example:443/") == "https://farm.example"


@pytest.mark.parametrize("path", ["/console", "/console/", "/console/phones/x", "/console/nope"])
async def test_every_page_is_the_page_with_its_rules(path: str) -> None:
    """Nothing inline or from elsewhere, in no frame; asked for again each time."""
    async with farm() as it:
        it.checks_published = False  # pages are no part of the API

        answer = await it.call("GET", path, key=None)

        assert answer.status == 200
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "no-cache"
        assert b"{{" not in answer.body
        assert b"http:" not in answer.body
        assert b"https:" not in answer.body


async def test_what_the_page_loads_is_kept_for_good() -> None:
    """Each path has the hash of the files; one that is not there is a problem document."""
    async with farm() as it:
        it.checks_published = False
        page = (await it.call("GET", "/console", key=None)).body.decode()
        paths = set(re.findall(r'(?:href|src)="([^"]+)"', page))
        assert len(paths) > 10

        for path in paths:
            answer = await it.call("GET", path, key=None)

            assert answer.status == 200, path
            assert "immutable" in answer.headers["Cache-Control"]
            assert "Content-Encoding" in answer.headers or len(answer.body) < 512
        gone = await it.call("GET", "/console/static/0123456789abcdef/app.js", key=None)
        assert gone.status == 404
        assert (await it.call("GET", f"{min(paths)}/../../session_seal.py", key=None)).status == 404


async def test_the_page_preloads_what_every_page_needs() -> None:
    """The modules that its first module imports, and theirs; no page that nobody has opened."""
    async with farm() as it:
        it.checks_published = False
        page = (await it.call("GET", "/console", key=None)).body.decode()
        preloaded = set(re.findall(r'"modulepreload" href="([^"]+)"', page))

        imported = set()
        for path in preloaded:
            source = (await it.call("GET", path, key=None)).body.decode()
            folder = path.rpartition("/")[0]
            imported |= {
                posixpath.normpath(f"{folder}/{name}")
                for name in re.findall(r"^(?:import|.* from) '([^']+)';$", source, re.MULTILINE)
            }

    assert {path.rpartition("/")[2] for path in preloaded} >= {"app.js", "lit.js", "words.js"}
    assert imported == {path for path in preloaded if not path.endswith("/app.js")}
    assert [path for path in preloaded if "/pages/" in path and "login" not in path] == []


async def test_an_endpoint_of_the_console_is_no_page() -> None:
    """A GET of tickets is refused as an endpoint refuses it, and names the right method."""
    async with farm() as it:
        answer = await it.call("GET", "/console/tickets")

    assert answer.status == 405
    assert answer.headers["Allow"] == "POST"
