"""Judges a video by the words that it shares with the wish, without a model."""

import re
import threading
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Any

import snowballstemmer

from phonefarm_agent.judge.verdict import Decision, JudgedBy, Verdict

ENOUGH = 0.4
"""A video is watched if at least this share of its words is in the wish."""
LANGUAGES = ("english", "german", "french", "spanish", "portuguese", "italian", "russian")
_WORD = re.compile(r"[^\W\d_]{3,40}")
_LOCK = threading.Lock()
"""Protects the stemmer, which stores the word that it works on."""
_EVERYWHERE = frozenset(
    re.findall(
        r"\w+",
        "about all also and any are but can for from had has have her his how into just like more "
        "most not now off one only our out she show some than that the them then they this too "
        "very video videos was watch were what when who why will with you your",
    )
)
"""Words that tell nothing about a video."""


def judge_by_words(wish: str, texts: Sequence[str]) -> Verdict:
    """Return `watch` when a text's words are enough in the wish, else `unsure`.

    The score is the share of the text's word stems that the wish has too, in the language and of
    the text where it is largest. Words never say `pass`: "Spaghetti carbonara" shares none with a
    wish for cooking.
    """
    score = max((_score(wish, text) for text in texts), default=0.0)
    return Verdict(
        decision=Decision.WATCH if score >= ENOUGH else Decision.UNSURE,
        by=JudgedBy.WORDS,
        score=round(score, 2),
        why=f"{score:.0%} of the video's words are in the wish",
    )


def _score(wish: str, text: str) -> float:
    wished, read = _words(wish), _words(text)
    return max(_share(wished, read, language) for language in LANGUAGES)


def _share(wished: frozenset[str], read: frozenset[str], language: str) -> float:
    stems = _stems(read, language)
    return len(stems & _stems(wished, language)) / len(stems) if stems else 0.0


@lru_cache(maxsize=1000)
def _stems(words: frozenset[str], language: str) -> frozenset[str]:
    with _LOCK:
        return frozenset(_stemmer(language).stemWords(sorted(words)))


@cache
def _stemmer(language: str) -> Any:
    return snowballstemmer.stemmer(language)


@lru_cache(maxsize=1000)
def _words(text: str) -> frozenset[str]:
    return frozenset(_WORD.findall(text.lower())) - _EVERYWHERE
