from __future__ import annotations

import socket

import aiohttp
import pytest
from botocore import exceptions as sdk

from backends.errors import Kind, NotFound, StoreError
from backends.s3_errors import translate


@pytest.mark.parametrize(
    ("error", "kind", "retryable"),
    [
        (sdk.NoCredentialsError(), Kind.UNAUTHENTICATED, False),
        (sdk.CredentialRetrievalError(provider="iam-role", error_msg="busy"), Kind.UNAUTHENTICATED, True),
        (sdk.EndpointConnectionError(endpoint_url="http://x"), Kind.UNAVAILABLE, True),
        (sdk.ConnectionClosedError(endpoint_url="http://x"), Kind.UNAVAILABLE, True),
        (sdk.ConnectTimeoutError(endpoint_url="http://x"), Kind.TIMEOUT, True),
        (sdk.ReadTimeoutError(endpoint_url="http://x"), Kind.TIMEOUT, True),
        (sdk.SSLError(endpoint_url="http://x", error="handshake broke"), Kind.UNAVAILABLE, True),
        (sdk.IncompleteReadError(actual_bytes=1, expected_bytes=2), Kind.UNAVAILABLE, True),
        (sdk.FlexibleChecksumError(error_msg="no match"), Kind.CORRUPT, True),
        (sdk.ParamValidationError(report="line one\nline two"), Kind.INVALID, False),
        (aiohttp.ClientPayloadError("short"), Kind.UNAVAILABLE, True),
        (ConnectionResetError(), Kind.UNAVAILABLE, True),
        (socket.gaierror(-2, "Name or service not known"), Kind.UNAVAILABLE, True),
        (TimeoutError(), Kind.TIMEOUT, True),
        (ValueError("a bug"), Kind.INVALID, False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_never_reached_the_store(error: Exception, kind: Kind, retryable: bool) -> None:
    made = translate(error, "put", "s3://bucket", "key")
    assert (made.kind, made.retryable, made.operation, made.key) == (kind, retryable, "put", "key")
    assert made.message
    assert "\n" not in made.message


def test_a_role_that_may_not_be_taken_is_a_matter_of_credentials() -> None:
    answer = {
        "Error": {"Code": "AccessDenied", "Message": "Not authorized"},
        "ResponseMetadata": {"HTTPStatusCode": 403},
    }
    made = translate(sdk.ClientError(answer, "AssumeRoleWithWebIdentity"), "put", "s3://bucket", "")
    assert made.kind is Kind.UNAUTHENTICATED


def test_a_store_error_stays_itself() -> None:
    error = StoreError(Kind.NOT_FOUND, "get", "s3://bucket", "key", "gone")
    assert isinstance(error, NotFound)
    assert translate(error, "put", "other", "") is error
