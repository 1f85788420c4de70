"""Everything a change is checked for before its tests: format, lint, types, imports, generated."""

import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
AT_ONCE = 2
LIMIT_SECONDS = 900


@dataclass(frozen=True, kw_only=True)
class Check:
    """One tool, and what to do when it complains."""

    name: str
    command: Sequence[str]
    remedy: str


@dataclass(frozen=True, kw_only=True)
class Result:
    """How a tool ended."""

    code: int
    output: str
    seconds: float


CHECKS = (
    Check(
        name="types",
        command=[str(BIN / "mypy"), "--no-error-summary"],
        remedy="mend the types",
    ),
    Check(
        name="format",
        command=[str(BIN / "ruff"), "format", "--check", "--quiet", "."],
        remedy="run `make fix`",
    ),
    Check(
        name="lint",
        command=[str(BIN / "ruff"), "check", "--quiet", "."],
        remedy="run `make fix`, mend the rest",
    ),
    Check(
        name="imports",
        command=[str(BIN / "lint-imports"), "--no-cache"],
        remedy="see the table in CONTRIBUTING.md",
    ),
    Check(
        name="protos",
        command=[sys.executable, "scripts/gen_protos.py", "--check"],
        remedy="run `make protos`",
    ),
    Check(
        name="states",
        command=[sys.executable, "scripts/gen_states.py", "--check"],
        remedy="run `make protos`",
    ),
    Check(
        name="monitoring",
        command=[sys.executable, "scripts/gen_monitoring.py", "--check"],
        remedy="run `make protos`",
    ),
    Check(
        name="inputs",
        command=[sys.executable, "scripts/gen_capability_inputs.py", "--check"],
        remedy="run `make protos`",
    ),
    Check(
        name="rest.d.ts",
        command=[sys.executable, "scripts/gen_console_types.py", "--check"],
        remedy="run `make protos`",
    ),
    Check(
        name="docs",
        command=[sys.executable, "scripts/build_docs.py", "--quiet"],
        remedy="mend the links; put a new page into docs/README.md, an ADR into docs/adr/README.md",
    ),
    Check(
        name="console",
        command=[sys.executable, "scripts/check_console.py"],
        remedy="mend the console's scripts",
    ),
)


def perform(check: Check) -> Result:
    """Run one tool to its end, or to the limit; say that it begins."""
    # In one write, since two tools begin at once.
    print(f"{check.name:<9}             {' '.join(check.command[:2])} ...\n", end="", flush=True)
    began = time.monotonic()
    try:
        done = subprocess.run(
            check.command,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=LIMIT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Result(code=1, output=str(error), seconds=time.monotonic() - began)
    return Result(code=done.returncode, output=done.stdout, seconds=time.monotonic() - began)


def main() -> int:
    """Run every check, also after one failed; return 1 when any did."""
    failed = []
    with ThreadPoolExecutor(AT_ONCE) as pool:
        running = {pool.submit(perform, check): check for check in CHECKS}
        for done in as_completed(running):
            check, result = running[done], done.result()
            verdict = "ok" if result.code == 0 else f"FAILED: {check.remedy}"
            print(f"{check.name:<9} {result.seconds:6.1f} s  {verdict}", flush=True)
            if result.code != 0:
                failed.append(check.name)
            if result.code != 0 or result.output.startswith("skipped"):
                print(result.output.rstrip(), flush=True)
    print(f"check: {'FAILED: ' + ', '.join(failed) if failed else 'all ok'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
