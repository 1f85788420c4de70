"""Words that have left the vocabulary stay away: docs/glossary.md says what each is called now."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent

GONE = {
    "auditor": "consistency check",
    "clockwork": "ticker",
    "courier": "uploader",
    "curator": "evidence check",
    "diary": "run log",
    "fitness": "probe",
    "herald": "notifier",
    "hindrance": "blocker",
    "janitor": "retention",
    "knock": "ping",
    "ladder": "recovery policy",
    "lending": "delivery lease",
    "lookout": "process watch",
    "pump": "dispatcher",
    "ripen": "promote",
    "roster": "supervisor",
    "rung": "recovery step",
    "scroll": "bounded log",
    "sentry": "stall detector",
    "sheet": "phone details",
    "shelf": "spool",
    "sighted": "phone status",
    "steward": "supervisor",
    "storekeeper": "disk guard",
    "unripe": "due but not promoted",
    "usher": "stuck transactions",
    "vitals": "alarms",
    "watchman": "watchdog",
}
"""Each word, and what the glossary says instead."""

KEPT = (
    "diaries/",  # a folder of the agent's state directory
    "`janitor`",  # a recovery step, as the journal and the audit have it
    "online / unfit / `storage_low` | janitor |",  # the same, in a row that a test reads
    "scroll_feed",  # an action of a plan
    "scrollWidth",  # a name of browsers
    "shelf-1",  # a group of the operator's, named for where its phones lie
)
"""What still bears such a word, because something stored, sent or typed does."""

GESTURES = ("agent/phonefarm_executor", "simulator", "tests/executor", "tests/simulator")
"""Where a phone's screen is moved: `scroll` is the gesture there."""

FILES_LEFT: tuple[str, ...] = ()
"""Files still to be renamed. This list only shrinks."""

FOLDERS_LEFT = (
    "tests/host/",
    "tests/support/",
)
"""Folders of Python files still to be rewritten. This list only shrinks."""

FORMS = {
    word: re.compile(rf"(?<![a-z])(?:{word}|{word.removesuffix('y')}ies)(?:s|es|ed|ing)?(?![a-z])")
    for word in GONE
}
LEVELS = {"debug", "info", "warning", "error", "exception"}


def tracked(pattern: str) -> list[str]:
    """Return the paths that git knows, as far as they fit the pattern."""
    command = ["git", "ls-files", pattern]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return [path for path in done.stdout.splitlines() if (ROOT / path).exists()]


def found(text: str, path: str = "") -> list[str]:
    """Return the gone words in a text, each with what is said instead."""
    for kept in KEPT:
        text = text.replace(kept, "")
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", text).lower()
    return [
        f"{word}: say {GONE[word]}"
        for word, form in FORMS.items()
        if form.search(text) and not (word == "scroll" and path.startswith(GESTURES))
    ]


def texts(source: str) -> Iterator[tuple[int, str]]:
    """Yield what people read of a module, with its line: sentences, log events and names."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name):
                yield node.lineno, name
            case ast.AsyncFunctionDef(name=name):
                yield node.lineno, name
            case ast.Call(
                func=ast.Attribute(attr=level), args=[ast.Constant(value=str(event)), *_]
            ):
                if level in LEVELS:
                    yield node.lineno, event
            case ast.Constant(value=str(text)) if " " in text or text.endswith("."):
                yield node.lineno, text
            case _:
                pass


@pytest.mark.parametrize(
    "path", [path for path in tracked("*.md") if not path.startswith("docs/adr/")]
)
def test_no_page_has_a_word_that_is_gone(path: str) -> None:
    """Decisions keep the words of their day, and the glossary has the old words in brackets."""
    text = (ROOT / path).read_text()
    if path == "docs/glossary.md":
        text = re.sub(r"\[[^]]*\]", "", text)

    assert found(text) == []


def test_no_file_is_named_with_a_word_that_is_gone() -> None:
    """Nor a folder."""
    named = {path: found(path, path) for path in tracked("*") if path not in FILES_LEFT}

    assert {path: words for path, words in named.items() if words} == {}


def test_no_sentence_log_event_or_definition_has_a_word_that_is_gone() -> None:
    """Docstrings, messages and help, in every Python file but those still to be rewritten."""
    wrong = [
        f"{path}:{line} {words}"
        for path in tracked("*.py")
        if not path.startswith((*FOLDERS_LEFT, "tests/meta/test_words.py"))
        for line, text in texts((ROOT / path).read_text())
        if (words := found(text, path))
    ]

    assert wrong == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The herald listens.", ["herald: say notifier"]),
        ("class HeraldLink", ["herald: say notifier"]),
        ("two diaries", ["diary: say run log"]),
        ("STATE/diaries/ID", []),
        ("it sharpened the pumpkin", []),
    ],
)
def test_a_word_that_is_gone_is_found_in_each_form(text: str, words: list[str]) -> None:
    """In prose, in names and in the plural; not within another word, nor where it is kept."""
    assert found(text) == words


def test_all_that_people_read_of_a_module_is_read() -> None:
    """Docstrings, messages, log events, names of classes and functions; no other values."""
    source = (
        '"""One."""\nclass Two:\n    def three(self):\n        log.info("four")\n'
        '        raise Wrong(f"five six {seven}", "eight")\n'
    )

    assert {text for _, text in texts(source)} == {"One.", "Two", "three", "four", "five six "}
