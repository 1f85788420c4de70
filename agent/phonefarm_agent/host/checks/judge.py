"""Checks that the model which judges videos answers, where there is one."""

from phonefarm_common.clock import SystemClock

from phonefarm_agent.app.settings import Settings
from phonefarm_agent.host.checks.finding import Finding, ok, warn
from phonefarm_agent.judge.judge import opened_judge
from phonefarm_agent.judge.verdict import JudgedBy


async def check_judge(settings: Settings) -> list[Finding]:
    """Ask the model about one video; nothing to find without `--judge-url`."""
    url = settings.judge.url
    if not url:
        return []
    async with opened_judge(settings.judge, SystemClock()) as judge:
        verdict = await judge.judge("films about cats", ["A cat plays the piano"])
    if verdict.by is JudgedBy.MODEL:
        return [ok("judge", f"{settings.judge.model} at {url} answers: {verdict.decision.value}")]
    remedy = (
        "check --judge-url, --judge-model and the key; until the model answers, runs watch every "
        "video"
    )
    return [warn("judge", f"{url}: {verdict.why}", remedy)]
