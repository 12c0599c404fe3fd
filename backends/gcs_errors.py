"""What Google's servers answer and what aiohttp raises, as StoreErrors. Tables, so that a code is added in one line.

Codes are the ``reason`` fields of the JSON API's errors and of ``google.rpc.ErrorInfo``, and OAuth's ``error``; their
meaning is from "HTTP status and error codes for JSON" in Cloud Storage's documentation.
"""

from __future__ import annotations

import re
import socket
import ssl
from typing import TYPE_CHECKING

import aiohttp
import msgspec

from backends import authorities
from backends.errors import Kind, StoreError

if TYPE_CHECKING:
    from collections.abc import Mapping

Place = tuple[str, str, str]  # operation, store, key

REASONS: dict[str, Kind] = {
    "accessNotConfigured": Kind.FORBIDDEN,
    "SERVICE_DISABLED": Kind.FORBIDDEN,
    "accountDisabled": Kind.FORBIDDEN,
    "UserProjectAccountProblem": Kind.FORBIDDEN,
    "userProjectMissing": Kind.INVALID,
    "rateLimitExceeded": Kind.THROTTLED,
    "userRateLimitExceeded": Kind.THROTTLED,
    "quotaExceeded": Kind.STORE_FULL,
    "retentionPolicyNotMet": Kind.FORBIDDEN,
    "conditionNotMet": Kind.ALREADY_EXISTS,  # ifGenerationMatch=0 is the only condition that is sent
    "internalError": Kind.UNAVAILABLE,
    "uploadBrokenConnection": Kind.UNAVAILABLE,
}
STATUSES: dict[int, Kind] = {
    401: Kind.UNAUTHENTICATED,
    403: Kind.FORBIDDEN,
    404: Kind.NOT_FOUND,
    407: Kind.UNAVAILABLE,
    408: Kind.TIMEOUT,
    409: Kind.UNAVAILABLE,  # another change of the same object or bucket runs
    410: Kind.UNAVAILABLE,  # an upload's session is over: it is begun again
    412: Kind.ALREADY_EXISTS,
    429: Kind.THROTTLED,
    501: Kind.NOT_SUPPORTED,
    503: Kind.THROTTLED,
    504: Kind.TIMEOUT,
    507: Kind.STORE_FULL,
}
# Words in the message, where reason and status say less: kind, and what to do instead of what the kind says.
TEXTS: tuple[tuple[str, Kind, str], ...] = (
    ("doesn't match calculated", Kind.CORRUPT, ""),  # of a declared CRC32C
    ("bucket does not exist", Kind.NO_BUCKET, ""),
    ("no space left on device", Kind.STORE_FULL, "make room on the server's disk, or delete old backups"),  # emulators
    ("vpcServiceControls", Kind.FORBIDDEN, "let these credentials into the VPC service perimeter"),
    ("billing account", Kind.FORBIDDEN, "enable billing for the bucket's project"),
    ("KMS key", Kind.FORBIDDEN, "give the project's Cloud Storage service agent the role to use the key"),
)
CREDENTIALS = "check GOOGLE_APPLICATION_CREDENTIALS in spec.env, or the pod's workload identity"
HINTS: dict[Kind, str] = {
    Kind.NO_BUCKET: "create the bucket, or correct the target",
    Kind.UNAUTHENTICATED: CREDENTIALS,
    Kind.FORBIDDEN: "give these credentials the role roles/storage.objectUser on the bucket",
    Kind.STORE_FULL: "raise the quota, or delete old backups",
    Kind.CORRUPT: "the bytes that arrived are not the bytes that were sent",
}
REASON_HINTS: dict[str, str] = {
    "accessNotConfigured": "enable storage.googleapis.com in the project",
    "SERVICE_DISABLED": "enable storage.googleapis.com in the project",
    "accountDisabled": "enable billing for the bucket's project",
    "UserProjectAccountProblem": "enable billing for the project in GOOGLE_CLOUD_PROJECT",
    "userProjectMissing": "set requesterPays, and GOOGLE_CLOUD_PROJECT in spec.env to the project that pays",
    "USER_PROJECT_DENIED": "let these credentials use the project in GOOGLE_CLOUD_PROJECT: serviceusage.services.use",
    "retentionPolicyNotMet": "the bucket's retention keeps the object for now",
}
NO_CREDENTIALS = "no credentials found: set GOOGLE_APPLICATION_CREDENTIALS in spec.env, or use workload identity"
_NOT_TLS = {"WRONG_VERSION_NUMBER", "HTTP_REQUEST"}  # what OpenSSL calls a plain answer
_TEXT = 300  # characters of the server's words


class CredentialError(Exception):
    """No token is to be had. ``retryable`` where it may be later; the text says what to do."""

    def __init__(self, message: str, *, retryable: bool = False) -> None:
        super().__init__(message)
        self.retryable = retryable


class _Detail(msgspec.Struct):
    reason: str = ""


class _Error(msgspec.Struct):
    message: str = ""
    errors: list[_Detail] = []
    details: list[_Detail] = []


class _Answer(msgspec.Struct):
    """The JSON API's, or OAuth's, where ``error`` is a word."""

    error: _Error | str
    error_description: str = ""


def refusal(status: int, headers: Mapping[str, str], data: bytes, place: Place) -> StoreError:
    """The StoreError for an answer of 300 or more."""
    reason, text = said(data)
    if status < 500 and data.lstrip().startswith(b"<") and status not in {401, 407, 408, 429}:
        return foreign(status, headers, place)
    kind, hint = kind_of(status, reason, text)
    message = _sentence(status, reason, text, hint)
    after = headers.get("Retry-After", "")
    retry_after = float(after) if after.isdecimal() else None
    retryable = False if status == 407 else None  # the proxy's word, until somebody sets its password
    return StoreError(kind, *place, message, retryable, retry_after)


def foreign(status: int, headers: Mapping[str, str], place: Place) -> StoreError:
    """For an answer that Cloud Storage does not give."""
    content = headers.get("Content-Type", "").partition(";")[0]
    message = f"HTTP {status} with {content or 'nothing'} is no answer of Cloud Storage (check the endpoint's url)"
    return StoreError(Kind.INVALID, *place, message)


def said(data: bytes) -> tuple[str, str]:
    """Reason and words of an error's body; the errors of downloads are words alone."""
    try:
        answer = msgspec.json.decode(data, type=_Answer)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return "", _plain(data.decode(errors="replace"))
    if isinstance(answer.error, str):
        return answer.error, _plain(answer.error_description)
    reasons = [detail.reason for detail in (*answer.error.details, *answer.error.errors) if detail.reason]
    return (reasons[0] if reasons else ""), _plain(answer.error.message)


def kind_of(status: int, reason: str, text: str) -> tuple[Kind, str]:
    """Kind, and what to do. What is not known is INVALID below 500 and UNAVAILABLE from there."""
    for words, kind, hint in TEXTS:
        if words in text:
            return kind, hint or HINTS.get(kind, "")
    kind = REASONS.get(reason) or STATUSES.get(status) or (Kind.UNAVAILABLE if status >= 500 else Kind.INVALID)
    return kind, REASON_HINTS.get(reason) or HINTS.get(kind, "")


def translate(error: Exception, place: Place) -> StoreError:
    """The StoreError for ``error``; the caller raises it ``from`` the original."""
    if isinstance(error, StoreError):
        return error
    if isinstance(error, CredentialError):
        return StoreError(Kind.UNAUTHENTICATED, *place, str(error), error.retryable)
    kind, message, retryable = _unanswered(error)
    return StoreError(kind, *place, message, retryable)


def _unanswered(error: Exception) -> tuple[Kind, str, bool | None]:
    """Nothing was sent, or nothing sensible came back: kind, message, retryable (None: as the kind says)."""
    words = _plain(str(error)) or type(error).__name__
    if isinstance(error, TimeoutError):
        return Kind.TIMEOUT, _plain(str(error)) or "no answer in time", None
    if hint := tls_hint(error):
        return Kind.UNAVAILABLE, f"{words} ({hint})", False
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return Kind.UNAVAILABLE, f"the proxy refuses: HTTP {error.status} (check HTTPS_PROXY in spec.env)", False
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return Kind.UNAVAILABLE, f"{words} (check HTTPS_PROXY in spec.env)", None
    if isinstance(error, aiohttp.ClientConnectorDNSError | socket.gaierror):
        return Kind.UNAVAILABLE, f"{words} (check the endpoint's url, or the cluster's DNS)", None
    if isinstance(error, aiohttp.InvalidURL | aiohttp.NonHttpUrlClientError):
        return Kind.INVALID, f"{words} is no url (correct the endpoint's url)", None
    if isinstance(error, aiohttp.ClientResponseError):  # no HTTP at all
        return Kind.UNAVAILABLE, "the endpoint does not speak HTTP (correct the endpoint's url)", False
    if isinstance(error, aiohttp.ClientError | OSError):
        return Kind.UNAVAILABLE, words, None
    return Kind.INVALID, f"{type(error).__name__}: {words}", None


def tls_hint(error: BaseException | None) -> str:
    """What to do about a refusal that stands until somebody changes something; empty for a broken handshake."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError | aiohttp.ClientConnectorCertificateError):
            return authorities.advice("SSL_CERT_FILE")
        if isinstance(error, ssl.SSLError) and getattr(error, "reason", "") in _NOT_TLS:
            return "the endpoint speaks http, not https"
        error = error.__cause__ or error.__context__
    return ""


def _sentence(status: int, reason: str, text: str, hint: str) -> str:
    """The store's words and code, and what to do."""
    words = text.rstrip(".") or f"HTTP {status}"
    named = f"{words} [{reason}]" if reason and reason not in words else words
    return f"{named} ({hint})" if hint else named


def _plain(text: str) -> str:
    """One line, without markup."""
    return " ".join(re.sub(r"<[^>]*>", " ", text).split())[:_TEXT]
