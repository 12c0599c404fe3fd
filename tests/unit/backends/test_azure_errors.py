"""How what Azure answers, and what keeps it from answering, reads to a user."""

from __future__ import annotations

import socket
import ssl

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey

from backends.azure_errors import refused, translate
from backends.errors import Kind, StoreError

HOST = ConnectionKey("acc.blob.core.windows.net", 443, True, True, None, None, None)
BODY = (
    "<?xml?><Error><Code>{0}</Code><Message>Azure's own words.\nRequestId:1\nTime:2</Message>"
    "<AuthenticationErrorDetail>{1}</AuthenticationErrorDetail></Error>"
)


def answered(status: int, code: str = "", *, detail: str = "", headers: dict[str, str] | None = None) -> StoreError:
    sent = {"x-ms-request-id": "1", **({"x-ms-error-code": code} if code else {}), **(headers or {})}
    return refused(status, sent, BODY.format(code, detail) if code else "", "put", "azure://c", "key")


@pytest.mark.parametrize(
    ("status", "code", "kind", "retryable"),
    [
        (404, "BlobNotFound", Kind.NOT_FOUND, False),
        (404, "ContainerNotFound", Kind.NO_BUCKET, False),
        (409, "ContainerBeingDeleted", Kind.NO_BUCKET, False),
        (409, "BlobAlreadyExists", Kind.ALREADY_EXISTS, False),
        (412, "ConditionNotMet", Kind.PRECONDITION, False),
        (403, "AuthenticationFailed", Kind.UNAUTHENTICATED, False),
        (403, "KeyBasedAuthenticationNotPermitted", Kind.UNAUTHENTICATED, False),
        (401, "InvalidAuthenticationInfo", Kind.UNAUTHENTICATED, False),
        (403, "AuthorizationFailure", Kind.FORBIDDEN, False),
        (403, "AuthorizationPermissionMismatch", Kind.FORBIDDEN, False),
        (403, "InsufficientAccountPermissions", Kind.FORBIDDEN, False),
        (403, "AccountIsDisabled", Kind.FORBIDDEN, False),
        (409, "PublicAccessNotPermitted", Kind.FORBIDDEN, False),
        (409, "BlobImmutableDueToPolicy", Kind.FORBIDDEN, False),
        (409, "BlobArchived", Kind.FORBIDDEN, False),
        (412, "LeaseIdMissing", Kind.FORBIDDEN, False),
        (503, "ServerBusy", Kind.THROTTLED, True),
        (500, "OperationTimedOut", Kind.TIMEOUT, True),
        (500, "InternalError", Kind.UNAVAILABLE, True),
        (400, "Md5Mismatch", Kind.CORRUPT, True),
        (400, "Crc64Mismatch", Kind.CORRUPT, True),
        (400, "InvalidBlockList", Kind.INVALID, False),
        (400, "SomethingNew", Kind.INVALID, False),
        (500, "SomethingNew", Kind.UNAVAILABLE, True),
        (503, "", Kind.THROTTLED, True),
        (404, "", Kind.NOT_FOUND, False),
    ],
)
def test_codes_and_statuses(status: int, code: str, kind: Kind, retryable: bool) -> None:
    error = answered(status, code)
    assert (error.kind, error.retryable) == (kind, retryable)
    text = str(error)
    assert text.startswith("put azure://c/key: ")
    assert (code or f"HTTP {status}") in text
    assert "\n" not in text
    assert "RequestId" not in text


def test_only_the_first_words_are_told() -> None:
    error = answered(403, "AuthenticationFailed", detail="String to sign was ...&sig=SECRET")
    assert "Azure's own words (check AZURE_STORAGE_ACCOUNT" in str(error)
    assert "SECRET" not in str(error)


def test_a_wrong_clock_is_named() -> None:
    error = answered(403, "AuthenticationFailed", detail="The Date header in the request is incorrect.")
    assert str(error).endswith("(set the clock of this node)")


def test_a_failure_without_a_word_says_where_to_look() -> None:
    """As Azurite's, whose disk is full."""
    error = refused(500, {"Server": "Azurite-Blob/3.37.0"}, "", "put", "azure://c", "key")
    assert (error.kind, error.retryable) == (Kind.UNAVAILABLE, True)
    assert "HTTP 500 (the server does not say why: look into its log, and make room" in str(error)
    assert "log" not in str(answered(500, "InternalError"))


def test_retry_after_is_kept() -> None:
    assert answered(503, "ServerBusy", headers={"Retry-After": "7"}).retry_after == 7.0
    assert answered(503, "ServerBusy").retry_after is None


def test_a_code_can_mean_something_else_for_one_request() -> None:
    headers = {"x-ms-error-code": "InvalidBlockList"}
    error = refused(400, headers, "", "put", "azure://c", "key", {"InvalidBlockList": Kind.UNAVAILABLE})
    assert error.retryable


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (200, Kind.INVALID, "does not speak Azure Blob storage"),
        (301, Kind.INVALID, "does not speak Azure Blob storage"),
        (404, Kind.INVALID, "does not speak Azure Blob storage"),
        (407, Kind.FORBIDDEN, "the proxy wants credentials"),
        (429, Kind.THROTTLED, "HTTP 429"),
        (502, Kind.UNAVAILABLE, "HTTP 502"),
    ],
)
def test_answers_of_something_else(status: int, kind: Kind, words: str) -> None:
    error = refused(status, {"Server": "nginx"}, "<html>", "put", "azure://c", "key")
    assert error.kind is kind
    assert words in str(error)


def dns(number: int) -> Exception:
    return aiohttp.ClientConnectorDNSError(HOST, socket.gaierror(number, "Name or service not known"))


@pytest.mark.parametrize(
    ("error", "kind", "retryable", "words"),
    [
        (dns(socket.EAI_NONAME), Kind.UNAVAILABLE, False, "there is no storage account at acc.blob.core.windows.net"),
        (dns(socket.EAI_AGAIN), Kind.UNAVAILABLE, True, "cannot be looked up now"),
        (aiohttp.ClientConnectorError(HOST, ConnectionRefusedError(111, "refused")), Kind.UNAVAILABLE, True, "refused"),
        (aiohttp.ClientConnectorCertificateError(HOST, ssl.SSLCertVerificationError("self-signed")),
         Kind.UNAVAILABLE, False, "SSL_CERT_FILE"),
        (aiohttp.ClientProxyConnectionError(HOST, OSError(111, "refused")), Kind.UNAVAILABLE, True, "HTTPS_PROXY"),
        (aiohttp.ServerDisconnectedError(), Kind.UNAVAILABLE, True, "Server disconnected"),
        (aiohttp.ClientPayloadError("not enough"), Kind.UNAVAILABLE, True, "the answer ended too early"),
        (TimeoutError(), Kind.TIMEOUT, True, "no answer in time"),
        (ValueError("AccountKey=SECRET"), Kind.INVALID, False, "ValueError"),
    ],
)  # fmt: skip
def test_what_keeps_azure_from_answering(error: Exception, kind: Kind, retryable: bool, words: str) -> None:
    told = translate(error, "head", "azure://c", "key")
    assert (told.kind, told.retryable) == (kind, retryable)
    assert words in str(told)
    assert "SECRET" not in str(told)


def test_our_own_errors_pass() -> None:
    error = StoreError(Kind.NOT_FOUND, "head", "azure://c", "key", "gone")
    assert translate(error, "put", "azure://d", "") is error
