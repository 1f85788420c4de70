"""The report of a fault run: JSON for programs, Markdown for people."""

import json
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path

from faults.running import LEAST_COMPLETED, Verdict


def command(verdict: Verdict) -> str:
    """Return what repeats the run."""
    return f"make faults ENGINE={verdict.engine} SECONDS={verdict.seconds:g} SEED={verdict.seed}"


def write(verdict: Verdict, folder: Path) -> None:
    """Write report.json and report.md into the folder."""
    document = asdict(verdict) | {"counts": verdict.counts, "command": command(verdict)}
    (folder / "report.json").write_text(json.dumps(document, indent=1) + "\n")
    (folder / "report.md").write_text(markdown(verdict))


def markdown(verdict: Verdict) -> str:
    """Return the report as people read it."""
    short = f"{LEAST_COMPLETED} must complete between faults"
    because = ", ".join([*([short] if verdict.between < LEAST_COMPLETED else []), *verdict.missing])
    lines = [
        f"# Fault run: {verdict.engine}, seed {verdict.seed}",
        "",
        f"`{command(verdict)}`",
        "",
        f"- counts: {'yes' if verdict.counts else f'no ({because})'}",
        f"- faults: {len(verdict.faults)}",
        f"- requests: {verdict.requests}, answers {_told(verdict.statuses)}",
        f"- processes: {_told(verdict.processes)}; completed between faults {verdict.between}",
        f"- rest after the last fault: {verdict.rested:.1f} s",
        f"- violations: {len(verdict.found)}",
        "",
        "| fault | count | waited for | recovery p50 | p99 |",
        "|---|---|---|---|---|",
    ]
    kinds: dict[str, list[float | None]] = defaultdict(list)
    for fault in verdict.faults:
        kinds[fault.kind].append(fault.recovered)
    for kind, all_of in sorted(kinds.items()):
        times = sorted(one for one in all_of if one is not None)
        figures = f"{_part(times, 0.5)} | {_part(times, 0.99)}"
        lines.append(f"| {kind} | {len(all_of)} | {len(times)} | {figures} |")
    lines += [f"\n**{one.promise}** {one.subject}: {one.shows}" for one in verdict.found]
    return "\n".join(lines) + "\n"


def _part(times: list[float], part: float) -> str:
    return f"{times[min(len(times) - 1, int(part * len(times)))]:.1f} s" if times else "-"


def _told(counts: object) -> str:
    assert isinstance(counts, dict)
    return ", ".join(f"{name} {count}" for name, count in counts.items())
