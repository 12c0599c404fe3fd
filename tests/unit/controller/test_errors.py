from __future__ import annotations

import pytest

from controller import errors
from controller.errors import ApiError, Status, from_status, parse_status


@pytest.mark.parametrize(
    ("code", "reason", "cls", "retryable"),
    [
        (400, "BadRequest", errors.Invalid, False),
        (401, "Unauthorized", errors.Unauthorized, True),
        (403, "Forbidden", errors.Forbidden, False),
        (404, "NotFound", errors.NotFound, False),
        (409, "Conflict", errors.Conflict, True),
        (409, "AlreadyExists", errors.AlreadyExists, False),
        (410, "Expired", errors.Gone, False),
        (422, "Invalid", errors.Invalid, False),
        (429, "TooManyRequests", errors.TooManyRequests, True),
        (500, "InternalError", errors.ServerError, True),
        (504, "Timeout", errors.ServerError, True),
        (302, "", ApiError, False),
    ],
)
def test_a_status_becomes_an_error_of_the_tree(code: int, reason: str, cls: type, retryable: bool) -> None:
    e = from_status(Status(code=code, reason=reason, message="why"), operation="get pods ns/a")
    assert type(e) is cls
    assert (e.status, e.reason or "", e.message, e.retryable) == (code, e.reason, "why", retryable)
    assert str(e) == "get pods ns/a: why"


def test_retry_after_from_the_header_or_the_body() -> None:
    status = parse_status(b'{"code":429,"message":"slow","details":{"retryAfterSeconds":7}}')
    assert from_status(status).retry_after == 7.0
    assert from_status(status, retry_after=3.0).retry_after == 3.0


def test_a_body_that_is_no_status() -> None:
    e = from_status(parse_status(b"<html>no healthy upstream</html>" + b"x" * 1000), http_status=503)
    assert isinstance(e, errors.ServerError)
    assert e.message.startswith("<html>")
    assert len(e.message) <= 200
