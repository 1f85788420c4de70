"""The report of a fault run: JSON for programs, Markdown for people."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from faults.running import LEAST_COMPLETED, Verdict


def command(verdict: Verdict) -> str:
    """Return what repeats the run."""
    words = f"make faults ENGINE={verdict.engine} SECONDS={verdict.seconds:g} SEED={verdict.seed}"
    return f"{words} CONTAINERS=1" if verdict.containers else words


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
    ]
    kinds: dict[str, list[float | None]] = defaultdict(list)
    for fault in verdict.faults:
        kinds[fault.kind].append(fault.recovered)
    lines += [*_table(kinds), "", *_phones(verdict)]
    lines += [f"\n**{one.promise}** {one.subject}: {one.shows}" for one in verdict.found]
    return "\n".join(lines) + "\n"


def summed(reports: Sequence[Path]) -> str:
    """Return several runs' report.json as one table, and what repeats each of them."""
    runs = [json.loads(path.read_text()) for path in reports]
    lines = ["| run | faults | requests | completed between | violations | counts |"]
    lines += ["|---|---|---|---|---|---|"]
    for run in runs:
        counts = "yes" if run["counts"] else "no"
        figures = [len(run["faults"]), run["requests"], run["between"], len(run["found"]), counts]
        lines.append(f"| `{run['command']}` | {' | '.join(map(str, figures))} |")
    faults = [fault for run in runs for fault in run["faults"]]
    kinds: dict[str, list[float | None]] = defaultdict(list)
    for fault in faults:
        kinds[fault["kind"]].append(fault["recovered"])
    return "\n".join([*lines, "", *_table(kinds)]) + "\n"


def _table(kinds: Mapping[str, list[float | None]]) -> list[str]:
    lines = ["| fault | count | waited for | recovery p50 | p99 |", "|---|---|---|---|---|"]
    for kind, all_of in sorted(kinds.items()):
        times = sorted(one for one in all_of if one is not None)
        figures = f"{_part(times, 0.5)} | {_part(times, 0.99)}"
        lines.append(f"| {kind} | {len(all_of)} | {len(times)} | {figures} |")
    return lines


def _phones(verdict: Verdict) -> list[str]:
    lines = ["| phone | personality | runs | how they ended |", "|---|---|---|---|"]
    for phone in verdict.phones:
        ends = _told(dict(sorted(phone.outcomes.items())))
        runs = sum(phone.outcomes.values())
        lines.append(f"| {phone.serialno} | `{phone.personality}` | {runs} | {ends} |")
    return lines


def _part(times: list[float], part: float) -> str:
    return f"{times[min(len(times) - 1, int(part * len(times)))]:.1f} s" if times else "-"


def _told(counts: object) -> str:
    assert isinstance(counts, dict)
    return ", ".join(f"{name} {count}" for name, count in counts.items())
