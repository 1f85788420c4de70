"""What a call to a farm can raise."""

from http import HTTPStatus
from typing import Final

from phonefarm.schemas.responses import FieldError, ProblemDocument


class PhonefarmError(Exception):
    """A request failed; the message says why, for people.

    `status` is the HTTP status, None if no response came. `problem` is the problem document
    (RFC 9457), None if the response had none, for example because a proxy made it. `retry_after`
    is how many seconds the gateway asks to wait, None if it does not ask.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        problem: ProblemDocument | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.problem = problem
        self.retry_after = retry_after

    @property
    def code(self) -> str | None:
        """Return the reason, such as `unknown_account`, for programs; None without a problem.

        `problem.error` also has the detail, as in `unknown_account:acc-7`.
        """
        return self.problem.error.partition(":")[0] if self.problem else None


class NoResponseError(PhonefarmError):
    """No complete response came: no connection, a broken one, or not in time.

    The farm may have carried out the request.
    """


class NotConnectedError(NoResponseError):
    """No connection to the gateway could be made, so the farm has not seen the request."""


class UnexpectedResponseError(PhonefarmError):
    """The response is not what this version of the client understands."""


class AuthenticationError(PhonefarmError):
    """The key is missing, wrong, expired or revoked (401)."""


class PermissionDeniedError(PhonefarmError):
    """The key lacks the scope that the request needs (403)."""


class NotFoundError(PhonefarmError):
    """There is no process, phone, account or other thing of this name (404)."""


class ConflictError(PhonefarmError):
    """The current state does not allow the request (409)."""


class InvalidRequestError(PhonefarmError):
    """The farm does not accept the request as it is (422); `errors` names each wrong field."""

    @property
    def errors(self) -> tuple[FieldError, ...]:
        """Return the wrong fields and what is wrong with each; empty without a problem."""
        return self.problem.errors if self.problem else ()


class RateLimitedError(PhonefarmError):
    """The key has made too many requests (429); `retry_after` says how long to wait."""


class UnavailableError(PhonefarmError):
    """The gateway, its controller or a proxy cannot answer now (502, 503, 504); try again later.

    The farm may have carried out the request.
    """


class CallbackVerificationError(PhonefarmError):
    """A callback does not come from the farm, is too old, or is no event that is understood."""


_BY_STATUS: Final[dict[int, type[PhonefarmError]]] = {
    HTTPStatus.UNAUTHORIZED: AuthenticationError,
    HTTPStatus.FORBIDDEN: PermissionDeniedError,
    HTTPStatus.NOT_FOUND: NotFoundError,
    HTTPStatus.CONFLICT: ConflictError,
    HTTPStatus.UNPROCESSABLE_ENTITY: InvalidRequestError,
    HTTPStatus.TOO_MANY_REQUESTS: RateLimitedError,
    HTTPStatus.BAD_GATEWAY: UnavailableError,
    HTTPStatus.SERVICE_UNAVAILABLE: UnavailableError,
    HTTPStatus.GATEWAY_TIMEOUT: UnavailableError,
}


def error_for(
    status: int, problem: ProblemDocument | None, retry_after: float | None
) -> PhonefarmError:
    """Return the error for a response with *status*."""
    said = f"{problem.error}: {problem.detail}" if problem else "the response has no explanation"
    kind = _BY_STATUS.get(status, PhonefarmError)
    return kind(f"HTTP {status}: {said}", status=status, problem=problem, retry_after=retry_after)
