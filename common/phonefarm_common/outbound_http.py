"""HTTP requests to callers' URLs, to permitted addresses only.

For programs that have aiohttp: the gateway (callbacks, looking at assets) and the agent (assets).
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from ipaddress import ip_address
from typing import Any, TypeAlias

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from phonefarm_common.address_policy import Address, AddressPolicy

Lookup: TypeAlias = Callable[[str], Awaitable[list[Address]]]
"""Returns all addresses of a name; raises OSError if there are none."""


class AddressNotAllowedError(OSError):
    """No address of the host is permitted for callers' URLs."""


def _addresses(name: str) -> list[Address]:
    # An address with a scope keeps it (`fe80::1%2`), so that the policy sees it.
    infos = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    return [_scoped(str(info[4][0]), info[4]) for info in infos]


def _scoped(host: str, sockaddr: tuple[Any, ...]) -> Address:
    has_scope = len(sockaddr) == 4 and sockaddr[3] and "%" not in host
    return ip_address(f"{host}%{sockaddr[3]}" if has_scope else host)


class SystemLookup:
    """The system's resolver, in threads of its own; a name takes one thread, whoever asks for it.

    A name whose servers are silent keeps its thread for 10 s and longer.
    """

    def __init__(
        self, *, threads: int, addresses: Callable[[str], list[Address]] = _addresses
    ) -> None:
        self._addresses = addresses
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="lookup")
        self._asked: dict[str, asyncio.Future[list[Address]]] = {}

    async def __call__(self, name: str) -> list[Address]:
        """Return the addresses of *name* in the system's order; OSError when there is none."""
        asked = self._asked.get(name)
        if asked is None:
            asked = asyncio.get_running_loop().run_in_executor(self._pool, self._addresses, name)
            self._asked[name] = asked
            asked.add_done_callback(lambda done: self._answered(name, done))
        # Whoever gives up leaves the lookup to the others.
        return list(dict.fromkeys(await asyncio.shield(asked)))

    def _answered(self, name: str, asked: "asyncio.Future[list[Address]]") -> None:
        del self._asked[name]
        if not asked.cancelled():
            asked.exception()  # nobody may have waited for it

    def close(self) -> None:
        """Shut the threads down without waiting: getaddrinfo cannot be stopped."""
        self._pool.shutdown(wait=False, cancel_futures=True)


class PermittedResolver(AbstractResolver):
    """A resolver for aiohttp that returns permitted addresses only."""

    def __init__(self, lookup: Lookup, policy: AddressPolicy) -> None:
        self._lookup = lookup
        self._policy = policy

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the permitted addresses of *host*; AddressNotAllowedError if none is."""
        addresses = await self._lookup(host)
        permitted = [address for address in addresses if self._policy.permits(address)]
        if not permitted:
            raise AddressNotAllowedError(f"{host} has no address to which a connection is allowed")
        return [
            ResolveResult(
                hostname=host,
                host=str(address),
                port=port,
                family=socket.AF_INET if address.version == 4 else socket.AF_INET6,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for address in permitted
        ]

    async def close(self) -> None:
        """Do nothing."""


@asynccontextmanager
async def outbound_session(
    *,
    policy: AddressPolicy,
    lookup: Lookup,
    headers: Mapping[str, str],
    traces: Sequence[aiohttp.TraceConfig] = (),
) -> AsyncIterator[aiohttp.ClientSession]:
    """Yield a session that connects to permitted addresses only, anew for each request.

    No proxy from the environment, no cookies, nothing decompressed, no timeout of its own. Pass
    `allow_redirects=False`, and check the URL with `addresses.check_url` first: aiohttp asks no
    resolver for a literal address (the socket is refused then, but less clearly).
    """
    connector = aiohttp.TCPConnector(
        resolver=PermittedResolver(lookup, policy),
        use_dns_cache=False,
        # A kept connection would skip the check of the address.
        force_close=True,
        limit=0,
        socket_factory=lambda info: _permitted_socket(info, policy),
    )
    async with aiohttp.ClientSession(
        connector=connector,
        trust_env=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        # A small compressed answer may be a large one.
        auto_decompress=False,
        timeout=aiohttp.ClientTimeout(total=None),
        headers=headers,
        trace_configs=list(traces),
        skip_auto_headers=("Accept-Encoding",),
    ) as session:
        yield session


def _permitted_socket(info: tuple[Any, ...], policy: AddressPolicy) -> socket.socket:
    """Open the socket of one connection, after a last check of the address."""
    family, kind, protocol, _, sockaddr = info
    if not policy.permits(ip_address(sockaddr[0])):
        raise AddressNotAllowedError(
            f"{sockaddr[0]} is an address to which a caller may not make the farm connect"
        )
    return socket.socket(family, kind, protocol)
