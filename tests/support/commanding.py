"""An operator's command within a test's own loop, against the farm the test runs."""

from dataclasses import dataclass

import pytest
from phonefarm_cli.console.connect import perform_verb
from phonefarm_cli.errors import ExitCode
from phonefarm_cli.main import read_arguments
from support.controller import KEY, Farm


@dataclass(frozen=True, kw_only=True)
class Told:
    """How a command ended and what it said."""

    code: ExitCode
    out: str
    err: str

    @property
    def rows(self) -> list[list[str]]:
        """Return the cells of a table's lines, the header among them."""
        return [line.split("\t") for line in self.out.splitlines()]


class Operator:
    """Gives commands; CommandError is raised through."""

    def __init__(self, target: str, capsys: pytest.CaptureFixture[str], *, key: str = KEY) -> None:
        self._reach = ["--grpc", target, "--key", key]
        self._capsys = capsys

    @classmethod
    def of(cls, farm: Farm, capsys: pytest.CaptureFixture[str]) -> "Operator":
        """Return an operator of the farm."""
        return cls(f"127.0.0.1:{farm.controller.port}", capsys)

    async def command(self, *words: str) -> Told:
        """Carry out one verb and return what it said."""
        self._capsys.readouterr()
        code = await perform_verb(read_arguments([*words, *self._reach]))
        told = self._capsys.readouterr()
        return Told(code=code, out=told.out, err=told.err)
