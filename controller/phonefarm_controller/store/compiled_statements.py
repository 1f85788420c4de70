"""Statements of the hot path: built and compiled once, then run on the driver itself.

SQLAlchemy writes the SQL and knows what each type means. What it does besides for every execution
(a compiled form looked up, a dictionary per row, a call per value, a greenlet, a cursor, a Row)
costs several times what the database does. So values go in and out here column by column. An `IN`
takes its list as one value, so that its text, and the plan of it, is one for every length.
See docs/adr/0012.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any, TypeVar

from sqlalchemy import (
    ARRAY,
    Boolean,
    ColumnElement,
    Dialect,
    Select,
    String,
    Text,
    TypeDecorator,
    UpdateBase,
    bindparam,
    func,
    select,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.types import TypeEngine

from phonefarm_controller.store.database import Transaction
from phonefarm_controller.store.schema.types import Instant, SafeText, without_nul

T = TypeVar("T")
Column = Sequence[Any]
"""The values of one column, one for each row."""
Convert = Callable[[Column], Column]


class Statement:
    """One statement, compiled once per engine.

    *reads* names columns of the answer and what makes the domain's value of a stored one.
    *columns* is needed for an insert: those that are given.
    """

    def __init__(
        self,
        core: "Select[Any] | UpdateBase",
        *,
        reads: Mapping[str, Callable[[Any], Any]] | None = None,
        columns: Sequence[str] | None = None,
    ) -> None:
        self._core = core
        self._reads = reads or {}
        self._columns = columns
        self._compiled: dict[str, _Compiled] = {}

    async def rows(self, tx: Transaction, **values: Any) -> list[tuple[Any, ...]]:
        """Return the rows found with these parameters, in the order and types of the columns."""
        made = self._for(tx)
        given = {name: [value] for name, value in values.items()}
        (parameters,) = made.bound(given, 1)
        return made.read(await tx.rows(made.sql, parameters))

    async def run(self, tx: Transaction, **values: Any) -> None:
        """Run a statement that answers nothing."""
        made = self._for(tx)
        await tx.each(made.sql, made.bound({name: [value] for name, value in values.items()}, 1))

    async def each(self, tx: Transaction, columns: Mapping[str, Column]) -> int:
        """Run for each row of *columns*; return how many rows changed, -1 when unknown."""
        made = self._for(tx)
        count = len(next(iter(columns.values())))
        return await tx.each(made.sql, made.bound(columns, count)) if count else 0

    def _for(self, tx: Transaction) -> "_Compiled":
        dialect = tx.connection.dialect
        made = self._compiled.get(dialect.name)
        if made is None:
            made = self._compiled[dialect.name] = self._compile(dialect)
        return made

    def _compile(self, dialect: Dialect) -> "_Compiled":
        compiled: Any = self._core.compile(
            dialect=dialect, column_keys=self._columns, for_executemany=True
        )
        binds = [compiled.binds[name] for name in compiled.positiontup]
        answered = (
            list(self._core.selected_columns.items()) if isinstance(self._core, Select) else []
        )
        readers = {
            place: convert
            for place, (name, column) in enumerate(answered)
            if (convert := _reader(column.type, dialect, self._reads.get(name))) is not None
        }
        return _Compiled(
            sql=str(compiled),
            names=[bind.key for bind in binds],
            constants={bind.key: bind.effective_value for bind in binds if not bind.required},
            binders=[_binder(bind.type, dialect) for bind in binds],
            readers=readers,
        )


@dataclass(frozen=True, kw_only=True)
class _Compiled:
    sql: str
    names: Sequence[str]
    constants: Mapping[str, Any]
    binders: Sequence[Convert | None]
    readers: Mapping[int, Convert]

    def bound(self, columns: Mapping[str, Column], count: int) -> list[tuple[Any, ...]]:
        """Return *count* rows as the driver takes them."""
        given: list[Column] = []
        for name, convert in zip(self.names, self.binders, strict=True):
            column = columns.get(name)
            if column is None:
                column = [self.constants[name]] * count
            given.append(column if convert is None else convert(column))
        return list(zip(*given, strict=True)) if given else [()] * count

    def read(self, rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
        """Return the rows as the domain takes them."""
        if not rows or not self.readers:
            return rows
        columns: list[Column] = list(zip(*rows, strict=True))
        for place, convert in self.readers.items():
            columns[place] = convert(columns[place])
        return list(zip(*columns, strict=True))


def columns_of(values: Iterable[Any], names: Sequence[str]) -> dict[str, Column]:
    """Return the named attributes of *values* as columns."""
    rows = list(map(attrgetter(*names), values))
    if not rows:
        return dict.fromkeys(names, ())
    return dict(zip(names, zip(*rows, strict=True), strict=True))


def values_of(kind: type[T], names: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[T]:
    """Return rows as values of a frozen dataclass, *names* being its fields.

    Those that are not stored need a plain default, which the class itself then answers.

    A frozen dataclass's own __init__ sets field by field through object.__setattr__, which for an
    item takes as long as reading it.
    """
    made = []
    for row in rows:
        value = kind.__new__(kind)
        value.__dict__.update(zip(names, row, strict=True))
        made.append(value)
    return made


def among(column: "ColumnElement[Any]", name: str) -> "ColumnElement[bool]":
    """Return the condition that *column* is in the list of strings given under *name*."""
    return _Among(column, name)


class _Among(ColumnElement[bool]):
    inherit_cache = False
    type = Boolean()

    def __init__(self, column: "ColumnElement[Any]", name: str) -> None:
        self.column = column
        self.names: Any = bindparam(name, type_=_Names(), required=True)

    def self_group(self, against: Any = None) -> "_Among":
        """Stand as it is, without the `= 1` that SQLite's other booleans need."""
        return self


@compiles(_Among, "sqlite")
def _among_in_sqlite(element: _Among, compiler: SQLCompiler, **options: Any) -> str:
    listed = select(func.json_each(element.names).table_valued("value").c.value)
    return compiler.process(element.column.in_(listed), **options)


@compiles(_Among, "postgresql")
def _among_in_postgresql(element: _Among, compiler: SQLCompiler, **options: Any) -> str:
    column = compiler.process(element.column, **options)
    return f"{column} = ANY ({compiler.process(element.names, **options)})"


class _Names(TypeDecorator[Sequence[str]]):
    """A list of strings: an array, or JSON where there are none."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> "TypeEngine[Any]":
        array = dialect.name == "postgresql"
        return dialect.type_descriptor(ARRAY(String()) if array else Text())

    def process_bind_param(self, value: Sequence[str] | None, dialect: Dialect) -> Any:
        listed = [without_nul(name) for name in value or ()]
        return listed if dialect.name == "postgresql" else json.dumps(listed)


def _binder(kind: "TypeEngine[Any]", dialect: Dialect) -> Convert | None:
    """Return what makes a column of values storable; None when it is."""
    if isinstance(kind, SafeText):
        return _clean
    if isinstance(kind, Instant):
        return _micros
    if isinstance(kind, Boolean) and dialect.supports_native_boolean:
        return None
    if isinstance(kind, TypeDecorator):
        return lambda column: [kind.process_bind_param(value, dialect) for value in column]
    process = kind.dialect_impl(dialect).bind_processor(dialect)
    return None if process is None else lambda column: [process(value) for value in column]


def _reader(
    kind: "TypeEngine[Any]", dialect: Dialect, read: Callable[[Any], Any] | None
) -> Convert | None:
    """Return what makes the domain's values of a stored column; None when they are."""
    if read is not None:
        return lambda column: [read(value) for value in column]
    if isinstance(kind, Instant):
        return _moments
    if isinstance(kind, Boolean) and not dialect.supports_native_boolean:
        return lambda column: [None if value is None else bool(value) for value in column]
    return None


def _clean(column: Column) -> Column:
    """Return texts that every engine can hold; looked at all together, for hardly any has a NUL."""
    texts = [None if text is None else str(text) for text in column]
    if "\0" in "".join(filter(None, texts)):
        return [None if text is None else without_nul(text) for text in texts]
    return texts


def _micros(column: Column) -> Column:
    """Return moments as microseconds; most of a batch are the same moment."""
    known: dict[datetime | None, int | None] = {None: None}
    for moment in column:
        if moment is not None and moment not in known:
            known[moment] = round(moment.timestamp() * 1_000_000)
    return [known[moment] for moment in column]


def _moments(column: Column) -> Column:
    return [None if at is None else datetime.fromtimestamp(at / 1_000_000, UTC) for at in column]
