"""This agent's certificate while it works: renewed at half life, taken up when it was replaced."""

import asyncio
from pathlib import Path

import structlog
from phonefarm_common.backoff import backoff
from phonefarm_common.certificates import Member, MemberBrokenError, read_member
from phonefarm_common.clock import Clock
from phonefarm_common.joining import NotJoinedError, renew

log = structlog.get_logger()

LOOK_SECONDS = 2.0


async def replaced(used: Member, place: Path, *, clock: Clock, scale: float) -> None:
    """Return once *place* holds another certificate than *used*, renewed here or joined anew."""
    failures = 0
    while True:
        if await asyncio.to_thread(_another, used, place):
            return
        pause = LOOK_SECONDS
        if clock.now() >= used.facts.half:
            try:
                renewed = await renew(used, place)
            except (NotJoinedError, OSError) as error:
                failures += 1
                pause = backoff(failures, first=LOOK_SECONDS, most=60)
                log.warning("certificate.not_renewed", error=str(error), failures=failures)
            else:
                log.info("certificate.renewed", ends=renewed.facts.ends.isoformat())
                return
        await asyncio.sleep(pause * scale)


def remedy(used: Member, clock: Clock) -> str:
    """Return what to do about a certificate that has ended; empty while it has not."""
    facts = used.facts
    if clock.now() < facts.ends:
        return ""
    return (
        f"the certificate ended at {facts.ends:%Y-%m-%d %H:%MZ}: "
        f"`phonefarm agents invite --agent-id {used.member_id}` at the controller, then "
        "`phonefarm-agent join TOKEN` here"
    )


def _another(used: Member, place: Path) -> bool:
    try:
        kept = read_member(place)
    except (MemberBrokenError, OSError) as error:
        log.warning("certificate.unreadable", error=str(error))
        return False
    return kept is not None and kept.certificate != used.certificate
