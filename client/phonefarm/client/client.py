"""The asynchronous client of a farm."""

import ssl
from types import TracebackType
from typing import Self

import aiohttp
from phonefarm.client.accounts import AsyncAccounts, AsyncGroups
from phonefarm.client.content import AsyncContent
from phonefarm.client.hosts import AsyncHosts
from phonefarm.client.operation import AsyncOperation
from phonefarm.client.phones import AsyncPhones
from phonefarm.client.processes import AsyncProcesses
from phonefarm.client.retries import Retries
from phonefarm.client.schedules import AsyncSchedules
from phonefarm.client.transport import Transport


class AsyncPhonefarm:
    """A farm, through its gateway at *url*, with an API key; use it with `async with`.

    `timeout_seconds` is for each try of a request; event streams have no limit. `tls` replaces the
    system's certificate authorities. A `session` of the caller's own (a proxy, other limits) is
    not closed. Every method raises PhonefarmError if the request fails for good, and ValueError
    for arguments that no farm accepts.
    """

    def __init__(
        self,
        url: str,
        *,
        key: str,
        retries: Retries | None = None,
        timeout_seconds: float = 30.0,
        tls: ssl.SSLContext | None = None,
        session: aiohttp.ClientSession | None = None,
    ) -> None:
        self._transport = Transport(
            url,
            key=key,
            retries=retries or Retries(),
            timeout_seconds=timeout_seconds,
            tls=tls,
            session=session,
        )
        self.processes = AsyncProcesses(self._transport)
        self.content = AsyncContent(self._transport)
        self.phones = AsyncPhones(self._transport)
        self.accounts = AsyncAccounts(self._transport)
        self.groups = AsyncGroups(self._transport)
        self.hosts = AsyncHosts(self._transport)
        self.schedules = AsyncSchedules(self._transport)
        self.operation = AsyncOperation(self._transport)

    async def __aenter__(self) -> Self:
        await self._transport.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections; a second call does nothing."""
        await self._transport.close()
