"""Makes new frozen values from old ones."""

from typing import TypeVar

T = TypeVar("T")


def replaced(value: T, **changes: object) -> T:
    """Return a frozen dataclass's value with *changes*; TypeError for a name it does not have.

    dataclasses.replace sets every field anew through object.__setattr__: ten times as long, for an
    item ten microseconds, and a lifecycle has some fifteen of them. For classes without
    __post_init__ only, and without slots.
    """
    fields: dict[str, object] = type(value).__dataclass_fields__  # type: ignore[attr-defined] # is one
    if not changes.keys() <= fields.keys():
        raise TypeError(f"{type(value).__name__} has no {sorted(changes.keys() - fields.keys())}")
    new = object.__new__(type(value))
    new.__dict__.update(value.__dict__, **changes)
    return new
