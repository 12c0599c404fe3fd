"""Google's words and aiohttp's, as StoreErrors."""

from __future__ import annotations

import socket
import ssl

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey
from yarl import URL

from backends.errors import Kind, NotFound, StoreError
from backends.gcs_errors import CredentialError, refusal, said, translate

PLACE = ("put", "gs://bucket", "key")
KEY = ConnectionKey("store.invalid", 443, True, True, None, None, None)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"error": {"message": "No.", "errors": [{"reason": "forbidden"}]}}', ("forbidden", "No.")),
        (
            b'{"error": {"message": "No.", "errors": [{"reason": "a"}], "details": [{}, {"reason": "API_OFF"}]}}',
            ("API_OFF", "No."),
        ),
        (b'{"error": "invalid_grant", "error_description": "Bad\\nJWT"}', ("invalid_grant", "Bad JWT")),
        (b"No such object: bucket/key", ("", "No such object: bucket/key")),
        (b"<html><b>502</b>\n Bad Gateway</html>", ("", "502 Bad Gateway")),
        (b"[1]", ("", "[1]")),
        (b"\xff\xfe", ("", "\N{REPLACEMENT CHARACTER}" * 2)),
        (b"", ("", "")),
        (b"x" * 1000, ("", "x" * 300)),
    ],
)
def test_reason_and_words(body: bytes, expected: tuple[str, str]) -> None:
    assert said(body) == expected


@pytest.mark.parametrize(
    ("status", "body", "kind", "retryable"),
    [
        (404, b"No such object: bucket/key", Kind.NOT_FOUND, False),
        (404, b'{"error": {"message": "The specified bucket does not exist."}}', Kind.NO_BUCKET, False),
        (404, b"<html>404</html>", Kind.INVALID, False),
        (401, b"<html>401</html>", Kind.UNAUTHENTICATED, False),
        (407, b"", Kind.UNAVAILABLE, False),
        (410, b"", Kind.UNAVAILABLE, True),
        (412, b"", Kind.ALREADY_EXISTS, False),
        (
            400,
            b'{"error": {"message": "Provided CRC32C \\"a\\" doesn\'t match calculated CRC32C"}}',
            Kind.CORRUPT,
            True,
        ),
        (403, b'{"error": {"message": "", "errors": [{"reason": "rateLimitExceeded"}]}}', Kind.THROTTLED, True),
        (418, b"", Kind.INVALID, False),
        (502, b"<html>Bad Gateway</html>", Kind.UNAVAILABLE, True),
        (507, b"", Kind.STORE_FULL, False),
        (
            500,
            b'{"error": {"message": "write /a: no space left on device", "errors": [{"reason": "internalError"}]}}',
            Kind.STORE_FULL,
            False,
        ),
        (599, b"", Kind.UNAVAILABLE, True),
    ],
)
def test_refusals(status: int, body: bytes, kind: Kind, *, retryable: bool) -> None:
    error = refusal(status, {}, body, PLACE)
    assert (error.kind, error.retryable) == (kind, retryable)
    assert str(error).startswith("put gs://bucket/key: ")
    assert len(error.message) > 5


def test_the_class_follows() -> None:
    assert isinstance(refusal(404, {}, b"No such object: a", PLACE), NotFound)


def of_tls() -> Exception:
    return aiohttp.ClientConnectorCertificateError(KEY, ssl.SSLCertVerificationError("self-signed"))


@pytest.mark.parametrize(
    ("error", "kind", "retryable", "says"),
    [
        (TimeoutError(), Kind.TIMEOUT, True, "no answer in time"),
        (aiohttp.ServerDisconnectedError(), Kind.UNAVAILABLE, True, "Server disconnected"),
        (aiohttp.ClientPayloadError("cut"), Kind.UNAVAILABLE, True, "cut"),
        (ConnectionResetError(), Kind.UNAVAILABLE, True, "ConnectionResetError"),
        (aiohttp.ClientConnectorDNSError(KEY, socket.gaierror("no")), Kind.UNAVAILABLE, True, "cluster's DNS"),
        (aiohttp.ClientProxyConnectionError(KEY, OSError("no")), Kind.UNAVAILABLE, True, "check HTTPS_PROXY"),
        (of_tls(), Kind.UNAVAILABLE, False, "SSL_CERT_FILE"),
        (aiohttp.InvalidURL(URL("x")), Kind.INVALID, False, "correct the endpoint's url"),
        (CredentialError("none", retryable=True), Kind.UNAUTHENTICATED, True, "none"),
        (KeyError("what"), Kind.INVALID, False, "KeyError: 'what'"),
    ],
)
def test_what_aiohttp_raises(error: Exception, kind: Kind, says: str, *, retryable: bool) -> None:
    made = translate(error, PLACE)
    assert (made.kind, made.retryable) == (kind, retryable)
    assert says in str(made)


def test_a_store_error_stays() -> None:
    error = StoreError(Kind.CORRUPT, "get", "gs://b", "k", "x")
    assert translate(error, PLACE) is error
