"""The doctor's checks of hosts: agents, their versions and certificates, drains, gateways."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from phonefarm_common.reasons import Reason

from phonefarm_controller.alarms import Finding
from phonefarm_controller.callbacks.gateway_calls import CallingGateway, RefusedGateway
from phonefarm_controller.monitoring.findings import counted, fail, ok, some, warn
from phonefarm_controller.store.agents import Agent
from phonefarm_controller.store.hosts import Host, OpenIncident

_REPAIR: Final = "run `phonefarm-agent doctor` on that host to find out what to repair"


def findings_of_agents(known: Sequence[Agent], *, version: str) -> list[Finding]:
    """Return which agents are connected, and which have another version than the controller."""
    here = [agent for agent in known if agent.connected]
    away = sorted(agent.agent_id for agent in known if not agent.connected)
    if not known:
        return [
            warn(
                "agents",
                "no agent has ever connected",
                "run `phonefarm agents invite` to get a token; then, on a phone host, run "
                "`phonefarm-agent join TOKEN --state DIR`",
            )
        ]
    versions = Counter(agent.version for agent in here)
    told = ", ".join(f"{count} of {version}" for version, count in sorted(versions.items()))
    found = [ok("agents", f"{len(here)} of {len(known)} connected: {told or 'none'}")]
    if away:
        tell = warn if here else fail
        helps = (
            "run `phonefarm-agent doctor` on each of these hosts; if a host will not come back, "
            f"run `phonefarm agents revoke {away[0]}`"
        )
        found = [tell("agents", f"not connected: {some(away)}", helps)]
    others = sorted(agent.agent_id for agent in here if agent.version != version)
    if others:
        text = f"these agents do not have this controller's version, {version}: {some(others)}"
        helps = "upgrade the agents on these hosts, or finish the upgrade of this controller"
        found.append(warn("versions", text, helps))
    return found


def findings_of_hosts(
    known: Sequence[Agent], hosts: Mapping[str, Host], incidents: Sequence[OpenIncident]
) -> list[Finding]:
    """Return the connected hosts that offer no phone or have an incident, and the drained ones."""
    here = {agent.agent_id for agent in known if agent.connected}
    told = {
        name: f"withholds all of its phones: {host.withheld}"
        for name, host in sorted(hosts.items())
        if name in here and host.withheld
    }
    for each in incidents:
        if each.agent_id in here:
            said = f"{each.incident.kind}: {each.incident.error}"
            told.setdefault(each.agent_id, f"has an incident: {said}")
    found = [warn("hosts", f"{name} {text}", _REPAIR) for name, text in sorted(told.items())]
    found = found or [ok("hosts", "no host has an incident")]
    drained = [agent for agent in known if agent.drain]
    if not drained:
        return [*found, ok("drains", "no host is drained")]
    names = [f"{agent.agent_id} ({agent.drain})" for agent in drained]
    undrain = f"`phonefarm agents undrain {drained[0].agent_id} --reason TEXT`"
    return [
        *found,
        warn("drains", f"drained: {some(names)}", f"to give a host work again, run {undrain}"),
    ]


def finding_of_certificates(
    known: Sequence[Agent], ends: Mapping[str, datetime], *, soon: datetime
) -> Finding:
    """Return whose certificate was not renewed in time; *ends* has until when each counts."""
    near = sorted(
        agent.agent_id for agent in known if agent.agent_id in ends and ends[agent.agent_id] < soon
    )
    if not ends:
        return ok("certificates", "no host has a certificate")
    if near:
        helps = (
            "read the agent's log; if a host's certificate has expired, the host needs a new "
            f"invitation: `phonefarm agents invite --agent-id {near[0]}`"
        )
        return warn("certificates", f"expired or about to expire: {some(near)}", helps)
    hosts = counted(len(ends), "host")
    return ok("certificates", f"the certificates of {hosts} are renewed in time")


def findings_of_gateways(
    calling: Sequence[CallingGateway], refused: Sequence[RefusedGateway], *, alone: bool
) -> list[Finding]:
    """Return which gateways call this controller, which are refused, and which do not sign."""
    found = [_refused(each) for each in refused]
    unsigned = [gateway.name for gateway in calling if gateway.signs is False]
    if unsigned:
        text = f"these gateways send callbacks without a signature: {some(unsigned)}"
        found.append(
            warn("signing", text, "set PHONE_FARM_WEBHOOK_SECRET(_FILE) for these gateways")
        )
    if calling:
        names = some([gateway.name for gateway in calling])
        return [ok("gateways", f"connected: {names}"), *found]
    if not alone:
        return [
            ok(
                "gateways",
                "no gateway calls this controller; the gateways may call another controller",
            ),
            *found,
        ]
    if not refused:
        text = "no gateway calls this controller: REST does not work, and no callbacks are sent"
        found.append(warn("gateways", text, "start a gateway, or read its log"))
    return found


def _refused(gateway: RefusedGateway) -> Finding:
    helps = "give the gateway the controller's PHONEFARM_GATEWAY_TOKEN"
    if gateway.member_id:
        helps = (
            "to let the gateway work again, run `phonefarm gateways invite --gateway-id "
            f"{gateway.member_id}`, then `phonefarm-gateway join TOKEN --state DIR` on its host"
        )
    elif gateway.why == Reason.ROLE_NOT_ALLOWED:
        helps = "give the gateway a certificate of its own"
    return warn("gateways", f"refused: {gateway.name} ({gateway.why})", helps)
