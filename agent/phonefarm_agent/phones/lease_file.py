"""The lease file on a phone: the last lease that the phone has seen, and its epoch."""

import json
from dataclasses import dataclass, replace

from phonefarm_agent.phones.adb.client import Answer

LEASE_FILE = "/data/local/tmp/phonefarm-lease"

READ_LEASE = f"getprop ro.serialno; cat {LEASE_FILE}"
"""The command that asks a phone for its serial and its lease; `read_lease` reads the answer."""


@dataclass(frozen=True, kw_only=True)
class LeaseFile:
    """A phone's serial and its lease file; without the file, epoch 0 and no agent."""

    serialno: str
    epoch: int = 0
    agent: str = ""


def read_lease(answer: Answer) -> LeaseFile:
    """Return what the answer to `READ_LEASE` says."""
    serialno, _, rest = answer.out.partition("\n")
    lease = LeaseFile(serialno=serialno.strip())
    for line in rest.splitlines():
        try:
            document = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(document, dict):
            found = document.get("epoch")
            if isinstance(found, int) and not isinstance(found, bool) and 0 <= found < 2**63:
                agent = document.get("agent")
                lease = replace(lease, epoch=found, agent=agent if isinstance(agent, str) else "")
    return lease


def write_lease(*, epoch: int, run_id: str, agent_id: str) -> str:
    """Return the command that writes the lease file; names hold no quote (`ids.is_name`)."""
    text = json.dumps({"epoch": epoch, "run": run_id, "agent": agent_id})
    return f"echo '{text}' > {LEASE_FILE}"
