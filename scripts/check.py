"""Everything a change is checked for before its tests: format, lint, types, imports, generated."""

import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
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
)


def perform(check: Check) -> Result:
    """Run one tool to its end, or to the limit."""
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


def _is_there(check: Check) -> bool:
    return all((ROOT / word).exists() for word in check.command if word.startswith("scripts/"))


def main() -> int:
    """Run every check, also after one failed; return 1 when any did."""
    failed = []
    with ThreadPoolExecutor(AT_ONCE) as pool:
        running: dict[str, Future[Result]] = {
            check.name: pool.submit(perform, check) for check in CHECKS if _is_there(check)
        }
        for check in CHECKS:
            if check.name not in running:
                print(f"{check.name:<8}             skipped: its script does not exist yet")
                continue
            result = running[check.name].result()
            verdict = "ok" if result.code == 0 else f"FAILED: {check.remedy}"
            print(f"{check.name:<8} {result.seconds:6.1f} s  {verdict}", flush=True)
            if result.code != 0:
                failed.append(check.name)
                print(result.output.rstrip(), flush=True)
    print(f"check: {'FAILED: ' + ', '.join(failed) if failed else 'all ok'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
