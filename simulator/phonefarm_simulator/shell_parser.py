"""Parses a command line of a small sh.

Quotes, escapes, `;` `&&` `||` `|` `&`, redirections, variables, `$?` and `$!` are understood.
Loops, functions and substitutions are syntax errors, never half obeyed.
"""

import enum
from dataclasses import dataclass

MAX_CHARACTERS = 128 * 1024
_OPERATORS = ("&&", "||", ">>", ";", "|", "&", ">", "<", "\n")
_SPACES = " \t\r"


class ShellSyntaxError(Exception):
    """This shell does not understand the line; nothing of it was run."""


class Join(enum.Enum):
    """How a pipeline depends on the one before it."""

    ALWAYS = enum.auto()
    ON_SUCCESS = enum.auto()
    ON_FAILURE = enum.auto()


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Part of a word: literal characters, or the name of a variable to put in."""

    text: str
    quoted: bool
    variable: bool = False


Word = tuple[Piece, ...]


@dataclass(frozen=True, kw_only=True)
class Redirect:
    """`fd` 0, 1 or 2 to a file, or (`copy_of`) to where another one goes."""

    fd: int
    target: Word = ()
    append: bool = False
    copy_of: int | None = None


@dataclass(frozen=True, kw_only=True)
class Simple:
    """One command and where its input and output go."""

    words: tuple[Word, ...]
    redirects: tuple[Redirect, ...]


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """Commands that feed one another."""

    join: Join
    commands: tuple[Simple, ...]
    in_background: bool = False


@dataclass(frozen=True, kw_only=True)
class _Operator:
    text: str
    fd: int | None = None


def parse(line: str) -> tuple[Pipeline, ...]:
    """Return the pipelines of a line in order; raise ShellSyntaxError."""
    if len(line) > MAX_CHARACTERS:
        raise ShellSyntaxError("line too long")
    return _pipelines(_tokens(line))


def _pipelines(tokens: list[Word | _Operator]) -> tuple[Pipeline, ...]:
    found: list[Pipeline] = []
    commands: list[Simple] = []
    words: list[Word] = []
    redirects: list[Redirect] = []
    join = Join.ALWAYS
    waiting = False
    rest = iter(tokens)
    for token in rest:
        if not isinstance(token, _Operator):
            words.append(token)
            waiting = False
            continue
        if token.text in {">", ">>", "<"}:
            target = next(rest, None)
            redirects.append(_redirect(token, target))
            waiting = False
            continue
        if not words and not redirects:
            if token.text == "\n":
                continue
            raise ShellSyntaxError(f"unexpected '{token.text}'")
        commands.append(Simple(words=tuple(words), redirects=tuple(redirects)))
        words, redirects = [], []
        if token.text == "|":
            waiting = True
            continue
        behind = token.text == "&"
        found.append(Pipeline(join=join, commands=tuple(commands), in_background=behind))
        commands = []
        waiting = token.text in {"&&", "||"}
        join = {"&&": Join.ON_SUCCESS, "||": Join.ON_FAILURE}.get(token.text, Join.ALWAYS)
    if words or redirects:
        commands.append(Simple(words=tuple(words), redirects=tuple(redirects)))
        found.append(Pipeline(join=join, commands=tuple(commands)))
    elif waiting:
        raise ShellSyntaxError("unexpected end of line")
    return tuple(found)


def _redirect(operator: _Operator, target: Word | _Operator | None) -> Redirect:
    default = 0 if operator.text == "<" else 1
    fd = default if operator.fd is None else operator.fd
    if target is None or isinstance(target, _Operator):
        raise ShellSyntaxError(f"no file after '{operator.text}'")
    first = target[0] if target else None
    if first is not None and not first.quoted and first.text.startswith("&"):
        number = first.text[1:]
        if number not in {"1", "2"}:
            raise ShellSyntaxError(f"bad file descriptor '{number}'")
        return Redirect(fd=fd, copy_of=int(number))
    return Redirect(fd=fd, target=target, append=operator.text == ">>")


class _Scanner:
    """Reads a line character by character; past its end all are empty."""

    def __init__(self, line: str) -> None:
        self.line = line
        self.at = 0

    def peek(self, length: int = 1) -> str:
        return self.line[self.at : self.at + length]

    def take(self, length: int = 1) -> str:
        taken = self.peek(length)
        self.at += length
        return taken


def _tokens(line: str) -> list[Word | _Operator]:
    scanner = _Scanner(line)
    tokens: list[Word | _Operator] = []
    while scanner.peek():
        letter = scanner.peek()
        if letter in _SPACES:
            scanner.take()
        elif scanner.peek(2) == "\\\n":
            scanner.take(2)
        elif letter == "#":
            while scanner.peek() and scanner.peek() != "\n":
                scanner.take()
        elif letter in "012" and scanner.peek(2)[1:] in {">", "<"}:
            fd = int(scanner.take())
            tokens.append(_Operator(text=_operator(scanner) or "", fd=fd))
            _take_copy(scanner, tokens)
        elif (operator := _operator(scanner)) is not None:
            tokens.append(_Operator(text=operator))
            if operator in {">", ">>"}:
                _take_copy(scanner, tokens)
        else:
            tokens.append(_word(scanner))
    return tokens


def _take_copy(scanner: _Scanner, tokens: list[Word | _Operator]) -> None:
    if scanner.peek() == "&":
        tokens.append((Piece(text=scanner.take(2), quoted=False),))


def _operator(scanner: _Scanner) -> str | None:
    for operator in _OPERATORS:
        if scanner.peek(len(operator)) == operator:
            return scanner.take(len(operator))
    return None


def _word(scanner: _Scanner) -> Word:
    pieces: list[Piece] = []
    while (letter := scanner.peek()) and letter not in _SPACES and letter not in ";|&<>\n":
        if letter in "()`":
            raise ShellSyntaxError(f"unexpected '{letter}'")
        if letter == "'":
            pieces.append(Piece(text=_single_quoted(scanner), quoted=True))
        elif letter == '"':
            pieces += _double_quoted(scanner)
        elif letter == "\\":
            scanner.take()
            if scanner.peek() == "\n":
                scanner.take()
                continue
            pieces.append(Piece(text=scanner.take() or "\\", quoted=True))
        elif letter == "$":
            pieces.append(_variable(scanner, quoted=False))
        else:
            pieces.append(Piece(text=scanner.take(), quoted=False))
    return tuple(pieces)


def _single_quoted(scanner: _Scanner) -> str:
    scanner.take()
    end = scanner.line.find("'", scanner.at)
    if end < 0:
        raise ShellSyntaxError("no closing quote")
    text = scanner.line[scanner.at : end]
    scanner.at = end + 1
    return text


def _double_quoted(scanner: _Scanner) -> list[Piece]:
    scanner.take()
    pieces = [Piece(text="", quoted=True)]
    while (letter := scanner.take()) != '"':
        if not letter:
            raise ShellSyntaxError("no closing quote")
        if letter == "`":
            raise ShellSyntaxError("unexpected '`'")
        if letter == "\\" and scanner.peek() and scanner.peek() in '"\\$`\n':
            escaped = scanner.take()
            pieces.append(Piece(text="" if escaped == "\n" else escaped, quoted=True))
        elif letter == "$":
            scanner.at -= 1
            pieces.append(_variable(scanner, quoted=True))
        else:
            pieces.append(Piece(text=letter, quoted=True))
    return pieces


def _variable(scanner: _Scanner, *, quoted: bool) -> Piece:
    scanner.take()
    letter = scanner.peek()
    if letter == "(":
        raise ShellSyntaxError("unexpected '('")
    if letter and letter in "?$!":
        return Piece(text=scanner.take(), quoted=quoted, variable=True)
    braced = letter == "{"
    if braced:
        scanner.take()
    name = ""
    while (letter := scanner.peek()) and letter.isascii() and (letter.isalnum() or letter == "_"):
        name += scanner.take()
    if braced and scanner.take() != "}":
        raise ShellSyntaxError("bad substitution")
    if not name:
        return Piece(text="$", quoted=quoted)
    return Piece(text=name, quoted=quoted, variable=True)
