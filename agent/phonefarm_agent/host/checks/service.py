"""Checks the state of the systemd service."""

from pathlib import Path

from phonefarm_agent.host.checks.finding import Finding, fail, ok, run_program, warn
from phonefarm_agent.host.paths import AGENT

_ASKED = ("ActiveState", "SubState", "StatusText", "NRestarts", "ExecMainStatus")


async def check_service(unit: Path = AGENT.unit) -> list[Finding]:
    """Ask systemd for the unit, if there is one."""
    if not unit.exists():  # noqa: ASYNC240 - one look at a local file
        return [
            warn(
                "service",
                "the service is not installed on this host",
                "phonefarm-agent install, as root",
            )
        ]
    words = ["systemctl", "show", AGENT.name, f"--property={','.join(_ASKED)}"]
    try:
        said = await run_program(*words)
    except OSError as error:
        return [
            warn(
                "service",
                f"systemctl does not run: {error}",
                "check that systemd is the init system of this host",
            )
        ]
    if said.code != 0:
        return [warn("service", f"systemctl: {said.text.strip()[:300]}", "systemctl status")]
    told = dict(line.partition("=")[::2] for line in said.text.splitlines())
    state = f"{told.get('ActiveState')} ({told.get('SubState')})"
    if told.get("ActiveState") == "active":
        status = told.get("StatusText", "")
        text = f"{state}, {told.get('NRestarts')} restarts: {status}"
        remedy = _remedy(status)
        return [warn("service", text, remedy) if remedy else ok("service", text)]
    if told.get("ActiveState") == "failed":
        text = f"{state}, exit code {told.get('ExecMainStatus')}"
        return [fail("service", text, f"journalctl -u {AGENT.name} -n 50")]
    return [warn("service", state, f"systemctl start {AGENT.name}")]


def _remedy(status: str) -> str:
    """Return what to do about the problems in the agent's status line (`AgentStatus.summary`)."""
    phones, *others = status.split("; ")
    remedies = []
    if phones.endswith((" needs hands)", " need hands)")):
        remedies.append(
            "`phonefarm phones needs-hands` lists the phones, and what a person must do at each "
            "of them"
        )
    if others and others[0].endswith(" evidence files wait"):
        remedies.append(
            "runs create evidence faster than the agent can send it to the controller: check the "
            "network and the controller's evidence store; above 1 GiB the agent removes the "
            "oldest files"
        )
    if len(others) > 2:  # behind runs and controller stands why the host is withheld
        remedies.append(
            f"this host starts no runs until somebody repairs this: {'; '.join(others[2:])}"
        )
    return "; ".join(remedies)
