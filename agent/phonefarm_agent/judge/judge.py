"""The host's judge: asks the model, if there is one, within limits; it never raises."""

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
import structlog
from phonefarm_common.clock import Clock

from phonefarm_agent.judge.model_client import ModelClient, ModelFailedError
from phonefarm_agent.judge.verdict import Decision, JudgedBy, Verdict, undecided
from phonefarm_agent.judge.words import judge_by_words

log = structlog.get_logger()

CALLS_AT_ONCE = 4
CACHED = 2000
FAILURES_IN_A_ROW = 3
HOUR = 3600.0


@dataclass(frozen=True, kw_only=True)
class JudgeSettings:
    """The model's address and limits; without a URL, words decide."""

    url: str = ""
    model: str = "default"
    key: str | None = field(default=None, repr=False)
    per_hour: int = 0  # calls; 0: no limit
    answer_seconds: float = 8.0
    rest_seconds: float = 60.0  # without a call, after three failures in a row


class Judge:
    """Judges videos for all runs of the host. It raises nothing; without a verdict it is unsure."""

    def __init__(
        self, settings: JudgeSettings, *, client: ModelClient | None, clock: Clock
    ) -> None:
        """Without a *client* words decide."""
        self._settings = settings
        self._client = client
        self._clock = clock
        self._turns = asyncio.Semaphore(CALLS_AT_ONCE)
        self._known: OrderedDict[tuple[str, tuple[str, ...]], Verdict] = OrderedDict()
        self._called: deque[float] = deque()
        self._failed_in_a_row = 0
        self._asked_again_at = -float("inf")
        self.model_failures = 0
        self.counts: Counter[tuple[JudgedBy, Decision]] = Counter()
        """The number of verdicts, by judge and decision."""

    async def judge(self, wish: str, texts: Sequence[str]) -> Verdict:
        """Return whether a video with these *texts* beside it is what is wished for."""
        verdict = await self._decide(wish, tuple(text for text in texts if text.strip()))
        self.counts[verdict.by, verdict.decision] += 1
        return verdict

    async def _decide(self, wish: str, texts: tuple[str, ...]) -> Verdict:
        if not texts:
            return undecided("the app shows no text with the video")
        if self._client is None:
            return await asyncio.to_thread(judge_by_words, wish, texts)
        if (known := self._known.get((wish, texts))) is not None:
            self._known.move_to_end((wish, texts))
            return known
        try:
            async with asyncio.timeout(self._settings.answer_seconds), self._turns:
                if refused := self._not_now():
                    return undecided(refused)
                self._called.append(self._clock.monotonic())
                verdict = await self._client.ask(wish, texts)
        except TimeoutError:
            return self._failed(f"no response within {self._settings.answer_seconds:g} s")
        except ModelFailedError as error:
            return self._failed(str(error))
        self._failed_in_a_row = 0
        self._known[wish, texts] = verdict
        if len(self._known) > CACHED:
            self._known.popitem(last=False)
        return verdict

    def _not_now(self) -> str:
        """Return why the model is not asked now, "" when it may be."""
        now = self._clock.monotonic()
        if now < self._asked_again_at:
            return (
                f"the model failed {FAILURES_IN_A_ROW} times in a row; the agent will try again "
                "later"
            )
        while self._called and now - self._called[0] >= HOUR:
            self._called.popleft()
        if 0 < self._settings.per_hour <= len(self._called):
            return (
                f"the agent has already asked the model {self._settings.per_hour} times within an "
                "hour"
            )
        return ""

    def _failed(self, why: str) -> Verdict:
        self.model_failures += 1
        self._failed_in_a_row += 1
        log.warning("judge.model_failed", why=why, in_a_row=self._failed_in_a_row)
        if self._failed_in_a_row >= FAILURES_IN_A_ROW:
            self._failed_in_a_row = 0
            self._asked_again_at = self._clock.monotonic() + self._settings.rest_seconds
        return undecided(f"the model: {why}")


@asynccontextmanager
async def opened_judge(settings: JudgeSettings, clock: Clock) -> AsyncIterator[Judge]:
    """Yield the judge of these settings; its connections are closed at the end."""
    if not settings.url:
        yield Judge(settings, client=None, clock=clock)
        return
    async with aiohttp.ClientSession(
        auto_decompress=False, timeout=aiohttp.ClientTimeout(total=None)
    ) as session:
        client = ModelClient(
            session=session, url=settings.url, model=settings.model, key=settings.key
        )
        yield Judge(settings, client=client, clock=clock)
