"""`phonefarm-agent doctor`: runs all checks of the host at once, each with a timeout."""

import asyncio
import grp
import json
import os
import pwd
import sys
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from phonefarm_common.config import ConfigError

from phonefarm_agent.app.settings import Settings
from phonefarm_agent.host.checks.adb import check_phones, check_program
from phonefarm_agent.host.checks.containers import check_containers
from phonefarm_agent.host.checks.controller import check_certificate, check_controller
from phonefarm_agent.host.checks.finding import Finding, Verdict, fail
from phonefarm_agent.host.checks.judge import check_judge
from phonefarm_agent.host.checks.machine import check_clock, check_disk
from phonefarm_agent.host.checks.service import check_service
from phonefarm_agent.host.paths import AGENT

CheckFunction = Callable[[], Coroutine[None, None, list[Finding]]]


@dataclass(frozen=True, kw_only=True)
class Check:
    """One check with its timeout; if it does not answer, the finding contains its name."""

    name: str
    run: CheckFunction
    seconds: float


def checks(settings: Settings, *, ready: Path) -> list[Check]:
    """Return the checks for *settings*; *ready* is the ready file of a running agent."""
    return [
        *checks_without_settings(),
        Check(name="phones", run=lambda: check_phones(settings, ready), seconds=30),
        Check(name="docker", run=lambda: check_containers(settings), seconds=10),
        Check(name="disk", run=lambda: check_disk(settings), seconds=5),
        Check(name="certificate", run=lambda: check_certificate(settings), seconds=5),
        Check(name="judge", run=lambda: check_judge(settings), seconds=15),
        Check(name="controller", run=lambda: check_controller(settings), seconds=10),
    ]


def checks_without_settings() -> list[Check]:
    """Return the checks that need no settings."""
    return [
        Check(name="service", run=check_service, seconds=10),
        Check(name="adb", run=check_program, seconds=10),
        Check(name="clock", run=check_clock, seconds=5),
    ]


async def examine(wanted: Sequence[Check]) -> list[Finding]:
    """Return the findings of all checks, in their order."""
    found = await asyncio.gather(*(_in_time(check) for check in wanted))
    return [finding for findings in found for finding in findings]


async def _in_time(check: Check) -> list[Finding]:
    try:
        async with asyncio.timeout(check.seconds):
            return await check.run()
    except TimeoutError:
        told = f"no answer within {check.seconds:.0f} s"
    except Exception as error:  # noqa: BLE001 - one check that breaks must not hide the others
        told = f"the check itself failed: {error!r}"
    return [
        fail(
            check.name,
            told,
            "find out whether the component hangs: run `journalctl -u phonefarm-agent`",
        )
    ]


def without_settings(error: ConfigError) -> Finding:
    """Return the finding for settings that are wrong."""
    return fail(
        "settings",
        str(error),
        f"correct the settings in {AGENT.environment}, or the options that you gave",
    )


def become_service_user() -> str:
    """Change to the service's user, so that missing rights show; return its name.

    Only root can become somebody else, and only where the service's user is there.
    """
    me = pwd.getpwuid(os.geteuid()).pw_name
    if os.geteuid() != 0:
        return me
    try:
        user = pwd.getpwnam(AGENT.name)
    except KeyError:
        return me
    groups = [user.pw_gid, *_groups_of_unit()]
    os.setgroups(groups)
    os.setgid(user.pw_gid)
    os.setuid(user.pw_uid)
    os.environ["HOME"] = user.pw_dir
    return user.pw_name


def _groups_of_unit(unit: Path = AGENT.unit) -> list[int]:
    """Return the groups that the unit adds."""
    found = []
    for line in unit.read_text().splitlines() if unit.exists() else []:
        if line.startswith("SupplementaryGroups="):
            names = line.partition("=")[2].split()
            found += [grp.getgrnam(name).gr_gid for name in names if _known(name)]
    return found


def _known(group: str) -> bool:
    return any(entry.gr_name == group for entry in grp.getgrall())


def show(found: Sequence[Finding], *, as_json: bool) -> None:
    """Print the findings for people, or as one JSON document."""
    if as_json:
        document = {"verdict": worst(found), "checks": [asdict(finding) for finding in found]}
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
        return
    width = max(len(finding.check) for finding in found)
    for finding in found:
        sys.stdout.write(f"{finding.verdict:<5} {finding.check:<{width}}  {finding.text}\n")
        if finding.remedy:
            sys.stdout.write(f"{'':<5} {'':<{width}}  -> {finding.remedy}\n")


def worst(found: Sequence[Finding]) -> Verdict:
    """Return the gravest verdict."""
    order = list(Verdict)
    return max((finding.verdict for finding in found), key=order.index, default=Verdict.OK)
