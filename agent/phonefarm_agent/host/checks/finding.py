"""The finding of a check, and the output of a program that the check ran."""

import asyncio
from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """How bad a finding is; with `fail`, the agent or the phone cannot work."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One finding for people; the remedy is empty only when all is well."""

    check: str
    verdict: Verdict
    text: str
    remedy: str = ""


def ok(check: str, text: str) -> Finding:
    """Return a finding that all is well."""
    return Finding(check=check, verdict=Verdict.OK, text=text)


def warn(check: str, text: str, remedy: str) -> Finding:
    """Return a finding that should be mended, though work goes on."""
    return Finding(check=check, verdict=Verdict.WARN, text=text, remedy=remedy)


def fail(check: str, text: str, remedy: str) -> Finding:
    """Return a finding that prevents work until somebody corrects the cause."""
    return Finding(check=check, verdict=Verdict.FAIL, text=text, remedy=remedy)


@dataclass(frozen=True, kw_only=True)
class ProgramOutput:
    """What a program printed, stderr too, and its exit code."""

    code: int
    text: str


async def run_program(*words: str) -> ProgramOutput:
    """Run a program to its end; OSError when it cannot be run. Killed when the caller gives up."""
    process = await asyncio.create_subprocess_exec(
        *words,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        out, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return ProgramOutput(code=process.returncode or 0, text=out.decode(errors="replace"))
