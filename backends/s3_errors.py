"""What botocore, aiobotocore and aiohttp raise, as StoreErrors. Tables, so that a code is added in one line."""

from __future__ import annotations

import ssl
from typing import Any

import aiohttp
from botocore import exceptions as sdk

from backends.errors import Kind, StoreError

CODES: dict[str, Kind] = {
    "NoSuchKey": Kind.NOT_FOUND,
    "NoSuchUpload": Kind.NOT_FOUND,
    "NoSuchBucket": Kind.NO_BUCKET,
    "PreconditionFailed": Kind.ALREADY_EXISTS,  # If-None-Match is the only condition we send
    "ConditionalRequestConflict": Kind.UNAVAILABLE,  # another conditional write runs: asked again, one of both wins
    "OperationAborted": Kind.UNAVAILABLE,
    "AccessDenied": Kind.FORBIDDEN,
    "InvalidAccessKeyId": Kind.UNAUTHENTICATED,
    "SignatureDoesNotMatch": Kind.UNAUTHENTICATED,
    "ExpiredToken": Kind.UNAUTHENTICATED,
    "ExpiredTokenException": Kind.UNAUTHENTICATED,
    "InvalidToken": Kind.UNAUTHENTICATED,
    "TokenRefreshRequired": Kind.UNAUTHENTICATED,
    "InvalidSecurity": Kind.UNAUTHENTICATED,
    "RequestTimeTooSkewed": Kind.UNAUTHENTICATED,
    "SlowDown": Kind.THROTTLED,
    "SlowDownRead": Kind.THROTTLED,  # MinIO
    "SlowDownWrite": Kind.THROTTLED,  # MinIO
    "Throttling": Kind.THROTTLED,
    "RequestLimitExceeded": Kind.THROTTLED,
    "XMinioServerNotInitialized": Kind.UNAVAILABLE,  # a 503 that is no throttling
    "XMinioStorageFull": Kind.STORE_FULL,
    "XMinioAdminBucketQuotaExceeded": Kind.STORE_FULL,
    "QuotaExceeded": Kind.STORE_FULL,  # Ceph
    "BadDigest": Kind.CORRUPT,
    "XAmzContentChecksumMismatch": Kind.CORRUPT,  # MinIO
    "XAmzContentSHA256Mismatch": Kind.CORRUPT,
    "IncompleteBody": Kind.UNAVAILABLE,
    "RequestTimeout": Kind.TIMEOUT,
    "ClientDisconnected": Kind.TIMEOUT,  # MinIO, of a body that paused for long
    "NotImplemented": Kind.NOT_SUPPORTED,
}
STATUSES: dict[int, Kind] = {
    401: Kind.UNAUTHENTICATED,
    403: Kind.FORBIDDEN,
    404: Kind.NOT_FOUND,
    408: Kind.TIMEOUT,
    412: Kind.ALREADY_EXISTS,
    429: Kind.THROTTLED,
    501: Kind.NOT_SUPPORTED,
    503: Kind.THROTTLED,
    507: Kind.STORE_FULL,
}
HINTS: dict[Kind, str] = {
    Kind.NO_BUCKET: "create the bucket, or correct the target",
    Kind.UNAUTHENTICATED: "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY in spec.env, or the service account's role",
    Kind.FORBIDDEN: "allow these credentials to read, write, list and delete there",
    Kind.STORE_FULL: "make room in the store, or delete old backups",
    Kind.CORRUPT: "the bytes that arrived are not the bytes that were sent",
}
CODE_HINTS: dict[str, str] = {
    "RequestTimeTooSkewed": "set the clock of this node",
    "PermanentRedirect": "the bucket is in another region: set AWS_REGION in spec.env",
    "AuthorizationHeaderMalformed": "the bucket is in another region: set AWS_REGION in spec.env",
}
NO_CREDENTIALS = (
    "no credentials found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in spec.env, "
    "or use a service account with a role"
)
_CREDENTIALS: tuple[type[Exception], ...] = (
    sdk.PartialCredentialsError, sdk.ProfileNotFound, sdk.ConfigNotFound, sdk.InvalidConfigError,
    sdk.UnknownCredentialError, sdk.UnauthorizedSSOTokenError, sdk.SSOTokenLoadError,
)  # fmt: skip
_FLEETING: tuple[type[Exception], ...] = (
    sdk.CredentialRetrievalError, sdk.TokenRetrievalError, sdk.MetadataRetrievalError,
)  # fmt: skip
_TIMEOUTS: tuple[type[Exception], ...] = (sdk.ConnectTimeoutError, sdk.ReadTimeoutError, TimeoutError)
_NETWORK: tuple[type[Exception], ...] = (
    sdk.HTTPClientError, sdk.ConnectionError, sdk.IncompleteReadError, sdk.ResponseStreamingError,
    aiohttp.ClientError, OSError,
)  # fmt: skip


def translate(error: Exception, operation: str, store: str, key: str) -> StoreError:
    """The StoreError for ``error``; the caller raises it ``from`` the original."""
    if isinstance(error, StoreError):
        return error
    if isinstance(error, sdk.ClientError):
        return _answered(error, operation, store, key)
    kind, message, retryable = _unanswered(error)
    return StoreError(kind, operation, store, key, message, retryable)


def code_of(error: sdk.ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _answered(error: sdk.ClientError, operation: str, store: str, key: str) -> StoreError:
    """The store (or STS, on the way to it) said no."""
    answer: dict[str, Any] = error.response
    code, text = code_of(error), str(answer.get("Error", {}).get("Message", ""))
    metadata = answer.get("ResponseMetadata", {})
    kind = kind_of(code, int(metadata.get("HTTPStatusCode", 0)))
    if error.operation_name.startswith("AssumeRole"):
        kind = Kind.UNAUTHENTICATED
    after = str(metadata.get("HTTPHeaders", {}).get("retry-after", ""))
    seconds = float(after) if after.isdecimal() else None
    return StoreError(kind, operation, store, key, sentence(code, text, kind), retry_after=seconds)


def sentence(code: str, text: str, kind: Kind) -> str:
    """The store's code and words, and what to do."""
    said = ": ".join(part for part in (code, text) if part and part != "None" and not part.isdecimal())
    hint = CODE_HINTS.get(code) or HINTS.get(kind)
    return f"{said.rstrip('.')} ({hint})" if hint else said


def kind_of(code: str, status: int) -> Kind:
    """Codes first, then the status: what is not known is INVALID below 500 and UNAVAILABLE from there."""
    if code.isdecimal():  # a HEAD has no body; botocore puts the status there
        status = int(code)
    return CODES.get(code) or STATUSES.get(status) or (Kind.UNAVAILABLE if status >= 500 else Kind.INVALID)


def _unanswered(error: Exception) -> tuple[Kind, str, bool | None]:
    """Nothing was sent, or nothing sensible came back: kind, message, retryable (None: as the kind says)."""
    if isinstance(error, sdk.NoCredentialsError):
        return Kind.UNAUTHENTICATED, NO_CREDENTIALS, None
    if isinstance(error, _CREDENTIALS):
        return Kind.UNAUTHENTICATED, f"{error} ({HINTS[Kind.UNAUTHENTICATED]})", None
    if isinstance(error, _FLEETING):
        return Kind.UNAUTHENTICATED, str(error), True
    if isinstance(error, sdk.SSLError):
        hint = _tls_hint(error)
        return Kind.UNAVAILABLE, f"{error} ({hint})" if hint else str(error), not hint
    if isinstance(error, _TIMEOUTS):
        return Kind.TIMEOUT, str(error) or "no answer in time", None
    if isinstance(error, sdk.FlexibleChecksumError):
        return Kind.CORRUPT, str(error), None
    if isinstance(error, _NETWORK):
        return Kind.UNAVAILABLE, str(error) or type(error).__name__, None
    words = " ".join(str(error).split())  # validation errors come in lines
    return Kind.INVALID, f"{type(error).__name__}: {words[:300]}", None


_NOT_TLS = {"WRONG_VERSION_NUMBER", "HTTP_REQUEST"}  # what OpenSSL calls a plain answer; aiohttp's error has no reason


def _tls_hint(error: BaseException | None) -> str:
    """What to do about a refusal that stands until somebody changes something; empty for a broken handshake."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError | aiohttp.ClientConnectorCertificateError):
            return "set AWS_CA_BUNDLE to the store's authority, or insecureSkipVerify to go without"
        if isinstance(error, ssl.SSLError) and getattr(error, "reason", "") in _NOT_TLS:
            return "the endpoint speaks http, not https"
        error = error.__cause__ or error.__context__
    return ""
