"""Errors that more than one feature raises."""

from collections.abc import Sequence

from phonefarm_common.reasons import FarmError, FieldProblem, Reason


class DatabaseBusyError(Exception):
    """The database could not be reached or did not answer in time; nothing was committed."""


class OwnerLostError(Exception):
    """Another controller owns the loop now; nothing was written."""


def invalid(*problems: FieldProblem) -> FarmError:
    """Return the error for a request with wrong fields."""
    sentence = "; ".join(f"{problem.field} {problem.message}" for problem in problems)
    return FarmError(Reason.INVALID_REQUEST, sentence, problems=problems)


def invalid_field(field: str, message: str) -> FarmError:
    """Return the error for a request with one wrong field."""
    return invalid(FieldProblem(field=field, message=message))


def unsupported(names: Sequence[str], *further: FieldProblem, path: str = "inputs") -> FarmError:
    """Return the error for inputs that the capability does not have; *further* ones are wrong."""
    first = names[0]
    unknown = (
        FieldProblem(field=f"{path}.{name}" if path else name, message="is not supported")
        for name in names
    )
    return FarmError(
        Reason.UNSUPPORTED_INPUT,
        f"the input {first!r} is not supported by this capability",
        detail=first,
        problems=(*unknown, *further),
    )


def unknown_process(process_id: str) -> FarmError:
    """Return the error for a process id that nobody knows."""
    problem = FieldProblem(field="process_id", message="is not the id of a process")
    message = f"there is no process {process_id}"
    return FarmError(Reason.UNKNOWN_PROCESS, message, problems=(problem,))


def unknown_phone(phone_id: str) -> FarmError:
    """Return the error for a phone id that nobody knows."""
    problem = FieldProblem(field="phone_id", message="is not the id of a phone")
    message = f"there is no phone {phone_id}; `phonefarm phones list` shows all phones"
    return FarmError(Reason.UNKNOWN_PHONE, message, detail=phone_id[:128], problems=(problem,))


def conflict(field: str, detail: str, message: str) -> FarmError:
    """Return the error for what *field* names and whose state forbids what was asked."""
    problem = FieldProblem(field=field, message=message)
    return FarmError(Reason.STATE_CONFLICT, message, detail=detail, problems=(problem,))


def check_reason(reason: str) -> None:
    """Return when a reason is given; FarmError names the field."""
    if not reason.strip():
        raise invalid_field("reason", "is required, because the audit records it")
