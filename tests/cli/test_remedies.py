"""Every command that a message of the farm names is one that its program takes."""

import ast
import itertools
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest
from phonefarm_agent.cli import build_parser
from phonefarm_cli.main import read_arguments
from phonefarm_controller import install as controller_install
from phonefarm_controller.alarms import REMEDIES
from phonefarm_controller.model.blockers import Blocker, BlockerKind
from phonefarm_controller.model.health import PROVING
from phonefarm_controller.scheduler.remedies import remedy
from phonefarm_gateway import install as gateway_install
from phonefarm_gateway.program import join_parser

REPOSITORY: Final = Path(__file__).parents[2]
PACKAGES: Final = (
    "agent/phonefarm_agent",
    "cli/phonefarm_cli",
    "common/phonefarm_common",
    "controller/phonefarm_controller",
    "gateway/phonefarm_gateway",
)
COMMAND: Final = re.compile(r"`(phonefarm(?:-agent|-controller|-gateway)?\s[^`]+)`")
NAKED: Final = re.compile(
    r"(?<![`\w./-])phonefarm(?:-agent|-controller|-gateway)? "
    r"(?:accounts|agents|doctor|groups|join|keys|phones|processes|resume)\b"
)
TIMED: Final = {BlockerKind.NOT_DUE, BlockerKind.BACKING_OFF, BlockerKind.PHONE_COOLING_DOWN}
PLACEHOLDERS: Final = {"SCOPE": "read"}
"""What stands for a placeholder whose values are a list; every other one is taken as it is."""
MOST_CHOSEN: Final = 4
VALUES: Final = ("X", "", "--all")
"""What may stand for a value in a message: a word, nothing, or an option."""


def _gateway(words: list[str]) -> object:
    if words[:1] == ["join"]:
        return join_parser().parse_args(words[1:])
    return gateway_install.parsers().parse_args(words)


PARSERS: Final[Mapping[str, Callable[[list[str]], object]]] = {
    "phonefarm": read_arguments,
    "phonefarm-agent": lambda words: build_parser(words[0]).parse_args(words),
    "phonefarm-controller": lambda words: controller_install.parsers().parse_args(words),
    "phonefarm-gateway": _gateway,
}


@pytest.fixture(autouse=True)
def installed_agent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let the agent be installed here: it then knows its state directory."""
    monkeypatch.setenv("PHONEFARM_AGENT_STATE", str(tmp_path))


def is_taken(command: str) -> bool:
    """Tell whether the program takes the command line."""
    program, *shown = shlex.split(command)
    words = [PLACEHOLDERS.get(word, word) for word in shown]
    try:
        PARSERS[program](words)
    except SystemExit as ended:
        return ended.code == 0  # it printed its help
    except ValueError:
        return False
    return True


def texts_of(path: Path) -> Iterator[list[str]]:
    """Yield each text of a module that is no docstring, in every form that its values may give."""
    tree = ast.parse(path.read_text())
    nodes = list(ast.walk(tree))
    outside = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    outside |= {
        id(part) for node in nodes if isinstance(node, ast.JoinedStr) for part in node.values
    }
    for node in nodes:
        if isinstance(node, ast.JoinedStr):
            yield list(_filled(node.values))
        elif isinstance(node, ast.Constant) and id(node) not in outside:
            yield [str(node.value)]


def _filled(parts: list[ast.expr]) -> Iterator[str]:
    """Yield the text with every choice of values; of a long one, with the same for all."""
    holes = sum(not isinstance(part, ast.Constant) for part in parts)
    same = (itertools.repeat(value, holes) for value in VALUES)
    for values in itertools.product(VALUES, repeat=holes) if holes <= MOST_CHOSEN else same:
        left = iter(values)
        yield "".join(
            str(part.value) if isinstance(part, ast.Constant) else next(left) for part in parts
        )


def wrong_commands(path: Path) -> list[str]:
    """Return the commands in the texts of a module that no value makes right."""
    return [
        same[0]
        for forms in texts_of(path)
        for same in zip(*(COMMAND.findall(form) for form in forms), strict=True)
        if not any(is_taken(command) for command in same)
    ]


def every_kind_of_blocker() -> Iterator[list[Blocker]]:
    """Yield two blockers of each kind, with and without a moment."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    for kind in BlockerKind:
        subjects = ("--all", "--app shortvideo") if kind is BlockerKind.PAUSED else ("who",)
        if kind in {BlockerKind.PHONE_BUSY, BlockerKind.NO_PHONE_WITH_APP}:
            subjects = ("who", "")
        for subject, detail in itertools.product(subjects, ("why", f"{PROVING}why")):
            for moment in (now,) if kind in TIMED else (None, now):
                yield [
                    Blocker(
                        kind=kind,
                        phone_id=phone_id,
                        detail=detail,
                        subject=subject,
                        app="shortvideo",
                        moment=moment,
                    )
                    for phone_id in ("ph-1", "ph-2")
                ]


@pytest.mark.parametrize("package", PACKAGES)
def test_every_command_in_a_message_is_taken(package: str) -> None:
    """Whoever copies it from a message, an error or a help text has no error for it."""
    modules = sorted((REPOSITORY / package).rglob("*.py"))

    wrong = {str(path): found for path in modules if (found := wrong_commands(path))}

    assert modules
    assert wrong == {}


def test_what_unblocks_work_is_taken() -> None:
    """The remedies of explain and of the doctor's phones, for every reason there is."""
    told = [remedy(blockers) for blockers in every_kind_of_blocker()]

    commands = [command for text in told for command in COMMAND.findall(text)]

    assert [command for command in commands if not is_taken(command)] == []
    assert [text for text in told if NAKED.search(COMMAND.sub("", text))] == []
    assert len(set(commands)) > len(PACKAGES)


def test_no_remedy_of_the_controller_names_a_command_that_this_test_cannot_see() -> None:
    """Alarms, findings and errors write a command in backticks, whole."""
    modules = sorted((REPOSITORY / "controller/phonefarm_controller").rglob("*.py"))

    texts = [text for path in modules for forms in texts_of(path) for text in forms]
    texts += [text for _, text in REMEDIES.values()]

    assert [text for text in texts if NAKED.search(COMMAND.sub("", text))] == []


def test_a_command_without_its_reason_is_seen(tmp_path: Path) -> None:
    """As the doctor once had it: `phones return` needs `--reason`."""
    module = tmp_path / "module.py"
    module.write_text(
        'WRONG = "run `phonefarm phones return PHONE`"\n'
        'RIGHT = f"run `phonefarm phones return {1} --reason TEXT`"\n'
    )

    assert wrong_commands(module) == ["phonefarm phones return PHONE"]


FENCE: Final = re.compile(r"^```\w*\n(.*?)^```", re.MULTILINE | re.DOTALL)
PAGES: Final = sorted(
    (
        *REPOSITORY.glob("*.md"),
        *(REPOSITORY / "docs").glob("*.md"),
        *(REPOSITORY / "deploy").glob("*.md"),
    )
)


def commands_of(page: str) -> Iterator[list[str]]:
    """Yield the words of each command `phonefarm` in the code blocks of a page."""
    for block in FENCE.findall(page):
        for line in block.replace("\\\n", " ").splitlines():
            if "phonefarm " not in line:
                continue
            lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
            lexer.whitespace_split = True
            try:
                words = list(lexer)
            except ValueError:  # a quotation over several lines
                continue
            simple = itertools.groupby(words, lambda word: not set(word) <= set("();<>|&"))
            for is_words, group in simple:
                found = list(group)
                if is_words and Path(found[0]).name == "phonefarm":
                    yield found[1:]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_on_a_page_is_taken(page: Path) -> None:
    """Also the commands of pages that no test runs from top to bottom."""
    told = list(commands_of(page.read_text()))

    assert [words for words in told if not is_taken(shlex.join(["phonefarm", *words]))] == []


def test_a_wrong_command_on_a_page_is_seen() -> None:
    """As the console's page once had it: `keys create` takes `--scope`, and again for each."""
    page = '```\nKEY=$(.venv/bin/phonefarm keys create ann --scopes read,cancel)  # "x"\n```\n'

    (words,) = commands_of(page)

    assert words == ["keys", "create", "ann", "--scopes", "read,cancel"]
    assert not is_taken(shlex.join(["phonefarm", *words]))
