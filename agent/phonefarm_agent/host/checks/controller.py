"""Checks that the controllers are reachable and accept this agent."""

import asyncio
from datetime import UTC, datetime

from phonefarm_common.certificates import MemberBrokenError, read_member, time_left
from phonefarm_common.channel import ClientTls, is_loopback
from phonefarm_common.config import address
from phonefarm_common.endpoints import parse_controllers

from phonefarm_agent.app.settings import Settings
from phonefarm_agent.host.checks.finding import Finding, fail, ok, warn
from phonefarm_agent.rpc.ping import PingFailedError, ping

_JOIN_AGAIN = (
    "run `phonefarm agents invite --agent-id NAME` at the controller, then "
    "`phonefarm-agent join TOKEN` here"
)
_CLOCK = "this host's clock is behind: run `timedatectl set-ntp true`"


async def check_controller(settings: Settings) -> list[Finding]:
    """Ping each controller; no session is opened, so a running agent keeps its own."""
    try:
        member = read_member(settings.state) if settings.joined else None
    except (MemberBrokenError, OSError) as error:
        return [fail("controller", f"not checked: {error}", _JOIN_AGAIN)]
    secured = None if member is None else member.secured
    told = [] if member is None else [member.controller]
    targets = settings.controllers or parse_controllers(told, name="the controller")
    return list(await asyncio.gather(*(_ping_finding(settings, one, secured) for one in targets)))


async def _ping_finding(settings: Settings, target: str, secured: ClientTls | None) -> Finding:
    host, _ = address(target, name="--controller")
    if not settings.joined and not is_loopback(host):
        return fail(
            "controller",
            f"{target} is not a loopback address, and this host has no certificate",
            (
                "run `phonefarm agents invite` at the controller, then `phonefarm-agent "
                "join TOKEN` here"
            ),
        )
    try:
        await ping(target, settings.token, settings.timers, secured)
    except PingFailedError as error:
        remedy = (
            _JOIN_AGAIN
            if error.refused and settings.joined
            else "set PHONEFARM_AGENT_TOKEN to the controller's value"
            if error.refused
            else (
                "check that the controller is running, and that PHONEFARM_AGENT_CONTROLLER is its "
                "address"
            )
        )
        return fail("controller", f"{target}: {error}", remedy)
    shown = "certificate" if settings.joined else "token"
    return ok("controller", f"{target} answers and accepts the {shown}")


async def check_certificate(settings: Settings, now: datetime | None = None) -> list[Finding]:
    """Check this host's certificate, and that it was renewed in time."""
    now = now or datetime.now(UTC)
    if not settings.joined:
        return [
            warn(
                "certificate",
                "this agent has no certificate: it uses a token, which works only on loopback",
                (
                    "if the controller is on another host, run `phonefarm agents invite` there, "
                    "then `phonefarm-agent join TOKEN` here"
                ),
            )
        ]
    try:
        member = read_member(settings.state)
    except (MemberBrokenError, OSError) as error:
        return [fail("certificate", str(error), _JOIN_AGAIN)]
    if member is None:
        return [
            fail("certificate", f"{settings.state} no longer contains a certificate", _JOIN_AGAIN)
        ]
    facts = member.facts
    text = f"{facts.role} {facts.member_id}, {time_left(facts, now)}"
    if facts.ends <= now:
        return [fail("certificate", text, _JOIN_AGAIN)]
    if now < facts.begins:
        return [fail("certificate", f"{text}; valid from {facts.begins:%Y-%m-%d %H:%MZ}", _CLOCK)]
    if facts.ends - now < (facts.ends - facts.begins) / 4:
        remedy = (
            "the agent should have renewed the certificate after half of its lifetime: check that "
            "the agent is running and can reach the controller"
        )
        return [warn("certificate", text, remedy)]
    return [ok("certificate", text)]
