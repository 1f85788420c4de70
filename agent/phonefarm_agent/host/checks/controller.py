"""Whether the controller is there and knows this agent."""

from phonefarm_common.channel import is_loopback
from phonefarm_common.config import address

from phonefarm_agent.app.settings import Settings
from phonefarm_agent.host.checks.finding import Finding, fail, ok, warn
from phonefarm_agent.link.knock import KnockFailedError, knock


async def check_controller(settings: Settings) -> list[Finding]:
    """Knock at its door; no session is opened, so a running agent keeps its own."""
    host, _ = address(settings.controller, name="--controller")
    if not is_loopback(host):
        return [
            fail(
                "controller",
                f"{settings.controller} is not loopback, and there is no TLS yet",
                "run the controller on this host, or bring it to loopback (ssh -L, a VPN's proxy)",
            )
        ]
    try:
        await knock(settings.controller, settings.token, settings.timers)
    except KnockFailedError as error:
        remedy = (
            "PHONEFARM_AGENT_TOKEN must be the controller's own"
            if error.refused
            else "is the controller up, and PHONEFARM_AGENT_CONTROLLER right?"
        )
        return [fail("controller", f"{settings.controller}: {error}", remedy)]
    return [ok("controller", f"{settings.controller} answers and takes the token")]


async def check_certificate() -> list[Finding]:
    """Say what is not there."""
    return [
        warn(
            "certificate",
            "none: mutual TLS is not in this version; the token proves who calls",
            "keep the controller on loopback until a later version brings certificates",
        )
    ]
