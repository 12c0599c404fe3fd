"""What Azure Blob storage answers and aiohttp raises, as StoreErrors. Tables, so that a code is added in one line.

Codes: https://learn.microsoft.com/rest/api/storageservices/blob-service-error-codes and common-rest-api-error-codes.
"""

from __future__ import annotations

import re
import socket
import ssl
from typing import TYPE_CHECKING

import aiohttp

from backends import authorities
from backends.errors import Kind, StoreError

if TYPE_CHECKING:
    from collections.abc import Mapping

CODES: dict[str, Kind] = {
    "BlobNotFound": Kind.NOT_FOUND,
    "ContainerNotFound": Kind.NO_BUCKET,
    "ContainerDisabled": Kind.NO_BUCKET,
    "ContainerBeingDeleted": Kind.NO_BUCKET,
    "ResourceNotFound": Kind.NO_BUCKET,  # a container's operations answer so in some clouds
    "BlobAlreadyExists": Kind.ALREADY_EXISTS,
    "ConditionNotMet": Kind.PRECONDITION,
    "TargetConditionNotMet": Kind.PRECONDITION,
    "SourceConditionNotMet": Kind.PRECONDITION,
    "AuthenticationFailed": Kind.UNAUTHENTICATED,
    "InvalidAuthenticationInfo": Kind.UNAUTHENTICATED,
    "NoAuthenticationInformation": Kind.UNAUTHENTICATED,
    "KeyBasedAuthenticationNotPermitted": Kind.UNAUTHENTICATED,
    "AuthorizationFailure": Kind.FORBIDDEN,
    "AuthorizationPermissionMismatch": Kind.FORBIDDEN,
    "AuthorizationProtocolMismatch": Kind.FORBIDDEN,
    "AuthorizationSourceIPMismatch": Kind.FORBIDDEN,
    "AuthorizationServiceMismatch": Kind.FORBIDDEN,
    "AuthorizationResourceTypeMismatch": Kind.FORBIDDEN,
    "InsufficientAccountPermissions": Kind.FORBIDDEN,
    "PublicAccessNotPermitted": Kind.FORBIDDEN,
    "AccountIsDisabled": Kind.FORBIDDEN,
    "BlobImmutableDueToPolicy": Kind.FORBIDDEN,
    "BlobImmutableDueToLegalHold": Kind.FORBIDDEN,
    "BlobArchived": Kind.FORBIDDEN,
    "BlobBeingRehydrated": Kind.FORBIDDEN,
    "LeaseIdMissing": Kind.FORBIDDEN,
    "SnapshotsPresent": Kind.FORBIDDEN,
    "ServerBusy": Kind.THROTTLED,
    "InternalError": Kind.UNAVAILABLE,
    "OperationTimedOut": Kind.TIMEOUT,
    "RequestBodyTimeout": Kind.TIMEOUT,
    "Md5Mismatch": Kind.CORRUPT,
    "Crc64Mismatch": Kind.CORRUPT,
    "IncompleteBody": Kind.UNAVAILABLE,
    "InvalidBlockList": Kind.INVALID,
    "FeatureVersionMismatch": Kind.NOT_SUPPORTED,
}
STATUSES: dict[int, Kind] = {
    401: Kind.UNAUTHENTICATED,
    403: Kind.FORBIDDEN,
    404: Kind.NOT_FOUND,
    408: Kind.TIMEOUT,
    412: Kind.PRECONDITION,
    429: Kind.THROTTLED,
    501: Kind.NOT_SUPPORTED,
    503: Kind.THROTTLED,
    507: Kind.STORE_FULL,
}
HINTS: dict[Kind, str] = {
    Kind.NO_BUCKET: "create the container, or correct the target",
    Kind.UNAUTHENTICATED: "check AZURE_STORAGE_ACCOUNT and AZURE_STORAGE_KEY in spec.env, or the pod's identity",
    Kind.FORBIDDEN: "allow these credentials to read, write, list and delete there: Storage Blob Data Contributor",
    Kind.STORE_FULL: "make room in the account, or delete old backups",
    Kind.CORRUPT: "the bytes that arrived are not the bytes that were sent",
}
CODE_HINTS: dict[str, str] = {
    "ContainerBeingDeleted": "the container is being deleted: wait, and create it again",
    "KeyBasedAuthenticationNotPermitted": "the account refuses keys: use a workload identity or a managed identity",
    "AuthorizationFailure": "check the key, the SAS's rights, and that the account's firewall admits this cluster",
    "AuthorizationProtocolMismatch": "the SAS is for https alone",
    "AuthorizationSourceIPMismatch": "the SAS does not admit this address",
    "AccountIsDisabled": "the storage account is disabled",
    "PublicAccessNotPermitted": "the request carried no credentials",
    "BlobImmutableDueToPolicy": "an immutability policy holds it until its time is over",
    "BlobImmutableDueToLegalHold": "a legal hold keeps it",
    "BlobArchived": "rehydrate the blob first: what is in the Archive tier cannot be read or replaced",
    "BlobBeingRehydrated": "the blob is being rehydrated: try again when it is done",
    "LeaseIdMissing": "somebody holds a lease on it: break the lease",
    "SnapshotsPresent": "the blob has snapshots: delete those first",
    "InvalidBlockList": "a part named was never sent, or another write of this blob threw it away",
    "InvalidBlobOrBlock": "something else has uncommitted blocks at this blob: delete the blob, or wait a week",
}
UNTOLD = "the server does not say why: look into its log, and make room if it has none"
CLOCK = "set the clock of this node"
NOT_AZURE = "this endpoint does not speak Azure Blob storage: correct the target or the endpoint"
CERTIFICATE = authorities.advice("SSL_CERT_FILE")
_MESSAGE = re.compile(r"<Message>([^<\n\r]*)")  # its first line; what follows are the request's id and time
_CODE = re.compile(r"<Code>(\w+)")
_SKEW = re.compile(r"date header|clock", re.IGNORECASE)
_NOT_TLS = {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"}


def refused(  # noqa: PLR0917  an answer, and what it is the answer to
    status: int,
    headers: Mapping[str, str],
    text: str,
    operation: str,
    store: str,
    key: str,
    kinds: Mapping[str, Kind] | None = None,
) -> StoreError:
    """The answer was not the one wanted. ``text`` is its body, of which only the code and first words are used.

    ``kinds``: of codes that mean something else for this request.
    """
    if not is_azure(headers) and status < 500:
        return _stranger(status, operation, store, key)
    found = _CODE.search(text)
    code = headers.get("x-ms-error-code") or (found[1] if found else "")
    kind = (kinds or {}).get(code) or kind_of(code, status)
    seconds = headers.get("Retry-After", "")
    said = _MESSAGE.search(text)
    words = said[1].strip() if said else ""
    hint = CODE_HINTS.get(code) or HINTS.get(kind, "")
    if kind is Kind.UNAVAILABLE and not code and not words:
        hint = UNTOLD
    if kind is Kind.UNAUTHENTICATED and _SKEW.search(text):
        hint = CLOCK
    return StoreError(
        kind, operation, store, key, sentence(code or f"HTTP {status}", words, hint),
        retry_after=float(seconds) if seconds.isdecimal() else None,
    )  # fmt: skip


def kind_of(code: str, status: int) -> Kind:
    """Codes first, then the status: what is not known is INVALID below 500 and UNAVAILABLE from there."""
    return CODES.get(code) or STATUSES.get(status) or (Kind.UNAVAILABLE if status >= 500 else Kind.INVALID)


def sentence(code: str, words: str, hint: str) -> str:
    said = ": ".join(part for part in (code, words.rstrip(".")) if part)
    return f"{said} ({hint})" if hint else said


def is_azure(headers: Mapping[str, str]) -> bool:
    return "x-ms-request-id" in headers or "x-ms-error-code" in headers or "x-ms-version" in headers


def _stranger(status: int, operation: str, store: str, key: str) -> StoreError:
    """Something that is not Azure answered: a proxy, a portal, another server."""
    if status == 407:
        return StoreError(Kind.FORBIDDEN, operation, store, key, "the proxy wants credentials: put them in HTTPS_PROXY")
    if status in {408, 429}:  # a gateway in between
        return StoreError(STATUSES[status], operation, store, key, f"HTTP {status}")
    return StoreError(Kind.INVALID, operation, store, key, f"HTTP {status} ({NOT_AZURE})")


def translate(error: Exception, operation: str, store: str, key: str) -> StoreError:
    """Anything raised below a verb, with the sentence a user reads. A StoreError passes."""
    if isinstance(error, StoreError):
        return error
    kind, message, retryable = _unanswered(error)
    return StoreError(kind, operation, store, key, message, retryable)


def _unanswered(error: Exception) -> tuple[Kind, str, bool | None]:
    """Nothing was sent, or nothing sensible came back: kind, message, retryable (None: as the kind says)."""
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return Kind.UNAVAILABLE, f"the proxy {error.host}:{error.port} cannot be reached (correct HTTPS_PROXY)", None
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        if error.os_error.errno == socket.EAI_AGAIN:
            return Kind.UNAVAILABLE, f"the name {error.host} cannot be looked up now", None
        hint = "correct AZURE_STORAGE_ACCOUNT or the endpoint"
        return Kind.UNAVAILABLE, f"there is no storage account at {error.host} ({hint})", False
    if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError):
        hint = _tls_hint(error)
        return Kind.UNAVAILABLE, f"{_words(error)} ({hint})" if hint else _words(error), not hint
    if isinstance(error, TimeoutError):
        return Kind.TIMEOUT, _words(error) or "no answer in time", None
    if isinstance(error, aiohttp.ClientPayloadError):
        return Kind.UNAVAILABLE, "the answer ended too early", None
    if isinstance(error, aiohttp.ClientResponseError | aiohttp.InvalidURL):
        return Kind.INVALID, NOT_AZURE, None
    if isinstance(error, aiohttp.ClientError | OSError):
        return Kind.UNAVAILABLE, _words(error) or type(error).__name__, None
    return Kind.INVALID, type(error).__name__, None


def _words(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]


def _tls_hint(error: BaseException | None) -> str:
    """What to do about a refusal that stands until somebody changes something; empty for a broken handshake."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError | aiohttp.ClientConnectorCertificateError):
            return CERTIFICATE
        if isinstance(error, ssl.SSLError) and getattr(error, "reason", "") in _NOT_TLS:
            return "the endpoint speaks http, not https"
        error = error.__cause__ or error.__context__
    return ""
