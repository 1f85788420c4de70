"""A link that logs a browser of this machine in to the console once."""

from typing import Final

import aiohttp

from phonefarm_cli.errors import CommandError

_CALL_SECONDS: Final = 10.0
_WILDCARDS: Final = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104 - to be replaced


async def console_link(rest: str, key: str) -> str:
    """Return the link; CommandError when the gateway at HOST:PORT makes no ticket for *key*.

    The ticket follows `#`, which browsers do not send: no log has it.
    """
    host, _, port = rest.rpartition(":")
    address = f"http://{_WILDCARDS.get(host, host)}:{port}"
    timeout = aiohttp.ClientTimeout(total=_CALL_SECONDS)
    headers = {"Authorization": f"Bearer {key}"}
    try:
        async with (
            aiohttp.ClientSession(address, headers=headers, timeout=timeout) as session,
            session.post("/console/tickets") as response,
        ):
            answer = await response.json(content_type=None)
            if response.status == 201:
                return f"{address}/console#ticket={answer['ticket']}"
            why = answer.get("detail", response.status)
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise CommandError(f"the gateway at {rest} does not answer: {error!r}") from error
    raise CommandError(f"the gateway at {rest} did not create a link: {why}")
