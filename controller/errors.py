"""What can go wrong between a reconciler and the API server.

::

    ApiError                 status, reason, message, operation, retryable
    ├── NotFound             404
    ├── Conflict             409, or a JSON patch whose test failed: read again, then try again
    │   └── AlreadyExists    409 on create
    ├── Gone                 410: the resourceVersion or the continue token is too old, list again
    ├── Invalid              400, 422: the object breaks its schema; trying again changes nothing
    ├── Unauthorized         401
    ├── Forbidden            403: RBAC, a quota, or a namespace that is being deleted
    ├── TooManyRequests      429, with retry_after in seconds
    ├── ServerError          5xx
    ├── ConnectionFailed     no answer: refused, reset, TLS
    ├── Timeout              no answer in time; the request may have had its effect
    └── NotLeading           a write that was not sent, because this process no longer leads
    TerminalError            raised by a reconciler: said in the status already, trying again changes nothing
"""
# ruff: noqa: N818  the names of HTTP's answers, without "Error" after each

from __future__ import annotations

from typing import Any

import msgspec


class ApiError(Exception):
    """``operation`` is "verb kind key" for people, e.g. "apply statefulsets.apps ns/name"; never holds a body."""

    default_retryable = False

    def __init__(
        self,
        message: str,
        *,
        status: int = 0,
        reason: str = "",
        operation: str = "",
        retryable: bool | None = None,
        retry_after: float | None = None,
    ) -> None:
        self.status = status
        self.reason = reason or type(self).__name__
        self.message = message
        self.operation = operation
        self.retryable = self.default_retryable if retryable is None else retryable
        self.retry_after = retry_after
        super().__init__(f"{operation}: {message}" if operation else message)


class NotFound(ApiError):
    pass


class Conflict(ApiError):
    default_retryable = True


class AlreadyExists(Conflict):
    default_retryable = False


class Gone(ApiError):
    pass


class Invalid(ApiError):
    pass


class Unauthorized(ApiError):
    default_retryable = True  # tokens rotate


class Forbidden(ApiError):
    pass


class TooManyRequests(ApiError):
    default_retryable = True


class ServerError(ApiError):
    default_retryable = True


class ConnectionFailed(ApiError):
    default_retryable = True


class Timeout(ApiError):
    default_retryable = True


class NotLeading(ApiError):
    default_retryable = True


class TerminalError(Exception):
    """Ends the work on a key until its object changes; the reconciler has told the user already."""

    def __init__(self, message: str) -> None:
        self.message = message
        super().__init__(message)


class Details(msgspec.Struct, rename="camel"):
    retry_after_seconds: int = 0
    causes: list[Any] = []


class Status(msgspec.Struct):
    """``meta/v1.Status``, the body of an error and the object of a watch's ERROR event."""

    code: int = 0
    reason: str = ""
    message: str = ""
    details: Details | None = None


_BY_STATUS: dict[int, type[ApiError]] = {
    400: Invalid,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Gone,
    422: Invalid,
    429: TooManyRequests,
}

_decoder = msgspec.json.Decoder(Status)


def parse_status(body: bytes) -> Status:
    """The Status in ``body``; proxies answer HTML, then the start of that is the message."""
    try:
        return _decoder.decode(body)
    except msgspec.MsgspecError:
        return Status(message=body[:200].decode(errors="replace").strip())


def from_status(
    status: Status, *, http_status: int = 0, operation: str = "", retry_after: float | None = None
) -> ApiError:
    """The error of the tree for a Status; ``http_status`` wins over the body's own code."""
    code = http_status or status.code
    cls = _BY_STATUS.get(code) or (ServerError if code >= 500 else ApiError)
    if code == 409 and status.reason == "AlreadyExists":
        cls = AlreadyExists
    if retry_after is None and status.details is not None and status.details.retry_after_seconds > 0:
        retry_after = float(status.details.retry_after_seconds)
    message = status.message or status.reason or f"HTTP {code}"
    return cls(message, status=code, reason=status.reason, operation=operation, retry_after=retry_after)
