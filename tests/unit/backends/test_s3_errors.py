"""What S3, the SDK and the network say, in our words."""

from __future__ import annotations

import socket
import time
from email.utils import formatdate

import aiohttp
import pytest
from aiohttp.http_exceptions import BadStatusLine
from botocore import exceptions as sdk
from botocore.parsers import ResponseParserError

from backends.errors import Kind, NotFound, StoreError
from backends.redact import redact
from backends.s3_errors import code_of_body, refusal, translate
from backends.s3_faults import RENEWED

REGION = {"x-amz-bucket-region": "eu-west-1"}


def xml(code: str, message: str = "words", more: str = "") -> str:
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message>{more}</Error>"


@pytest.mark.parametrize(
    ("error", "kind", "retryable"),
    [
        (sdk.NoCredentialsError(), Kind.UNAUTHENTICATED, False),
        (sdk.CredentialRetrievalError(provider="iam-role", error_msg="busy"), Kind.UNAUTHENTICATED, True),
        (sdk.ConfigParseError(path="~/.aws/config"), Kind.UNAUTHENTICATED, False),
        (sdk.UnauthorizedSSOTokenError(), Kind.UNAUTHENTICATED, False),
        (FileNotFoundError(2, "No such file or directory", "/token"), Kind.UNAUTHENTICATED, False),
        (PermissionError(13, "Permission denied", "/token"), Kind.UNAUTHENTICATED, False),
        (
            RuntimeError("Credentials were refreshed, but the refreshed credentials are still expired."),
            Kind.UNAUTHENTICATED,
            False,
        ),
        (sdk.NoRegionError(), Kind.INVALID, False),
        (sdk.EndpointConnectionError(endpoint_url="http://x"), Kind.UNAVAILABLE, True),
        (sdk.ConnectionClosedError(endpoint_url="http://x"), Kind.UNAVAILABLE, True),
        (sdk.ProxyConnectionError(proxy_url="http://x"), Kind.UNAVAILABLE, True),
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
        (BadStatusLine("SSH-2.0"), Kind.INVALID, False),
        (ResponseParserError("no XML"), Kind.INVALID, False),
        (ValueError("a bug"), Kind.INVALID, False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_never_reached_the_store(error: Exception, kind: Kind, retryable: bool) -> None:
    made = translate(error, "put", "s3://bucket", "key")
    assert (made.kind, made.retryable, made.operation, made.key) == (kind, retryable, "put", "key")
    assert made.message
    assert "\n" not in made.message


@pytest.mark.parametrize("error", [BadStatusLine("noise"), ResponseParserError("half of it")], ids=["line", "xml"])
def test_an_endpoint_that_has_answered_before_may_be_asked_again(error: Exception) -> None:
    made = translate(error, "put", "s3://bucket", "key", seen=True)
    assert (made.kind, made.retryable) == (Kind.UNAVAILABLE, True)


def test_the_url_without_its_path_and_query() -> None:
    error = sdk.EndpointConnectionError(endpoint_url="https://host:9000/bucket/a-key?X-Amz-Signature=abc")
    assert str(translate(error, "put", "s3://bucket", "")).endswith("no answer from https://host:9000")


def refused_call(operation: str, status: int, **said: object) -> StoreError:
    answer = {
        "Error": {"Code": "AccessDenied", "Message": "No", **said},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return translate(sdk.ClientError(answer, operation), "put", "s3://bucket", "")  # type: ignore[arg-type]


@pytest.mark.parametrize("operation", ["AssumeRole", "AssumeRoleWithWebIdentity", "GetRoleCredentials"])
def test_a_role_that_may_not_be_taken_is_a_matter_of_credentials(operation: str) -> None:
    made = refused_call(operation, 403)
    assert (made.kind, made.retryable) == (Kind.UNAUTHENTICATED, False)
    assert f"{operation} was refused: AccessDenied: No" in made.message


def test_credentials_that_are_late_may_be_asked_for_again() -> None:
    assert refused_call("AssumeRoleWithWebIdentity", 400, Code="IDPCommunicationError").retryable
    assert refused_call("AssumeRole", 503, Code="ServiceUnavailable").retryable


def test_a_request_that_other_keys_will_sign_may_be_sent_again() -> None:
    assert not refused_call("PutObject", 400, Code="ExpiredToken").retryable
    made = refused_call("PutObject", 400, Code="ExpiredToken", **{RENEWED: True})
    assert (made.kind, made.retryable) == (Kind.UNAUTHENTICATED, True)


def test_a_store_error_stays_itself() -> None:
    error = StoreError(Kind.NOT_FOUND, "get", "s3://bucket", "key", "gone")
    assert isinstance(error, NotFound)
    assert translate(error, "put", "other", "") is error


@pytest.mark.parametrize(
    ("status", "body", "headers", "kind", "said"),
    [
        (404, xml("NoSuchKey", "Gone"), {}, Kind.NOT_FOUND, "NoSuchKey: Gone"),
        (404, "", {}, Kind.NOT_FOUND, "the store answered 404"),
        (404, xml("NoSuchBucket", "a &lt;b&gt;"), {}, Kind.NO_BUCKET, "a <b> (create the bucket"),
        (403, xml("AccessDenied", "Access Denied."), {}, Kind.FORBIDDEN, "(allow s3:PutObject to these"),
        (403, xml("AccessDenied", "no kms:GenerateDataKey"), {}, Kind.FORBIDDEN, "encryption.kmsKeyId"),
        (301, xml("PermanentRedirect", "x"), REGION, Kind.INVALID, "eu-west-1: set"),
        (301, "", REGION, Kind.INVALID, "another region, eu-west-1: set"),
        (
            400, xml("AuthorizationHeaderMalformed", "the region 'a' is wrong; expecting 'eu-west-2'"), {},
            Kind.INVALID, "another region, eu-west-2: set",
        ),
        (
            400, xml("IllegalLocationConstraintException", "x", "<Region>af-south-1</Region>"), {},
            Kind.INVALID, "another region, af-south-1: set",
        ),
        (403, xml("InvalidObjectState", "Archived"), {}, Kind.FORBIDDEN, "restore it in the store"),
        (400, xml("InvalidRequest", "No Object Lock here"), {}, Kind.INVALID, "leave objectLock"),
        (501, xml("NotImplemented", "KMS is off"), {}, Kind.NOT_SUPPORTED, "leave encryption"),
        (503, xml("SlowDown", "Reduce"), {}, Kind.THROTTLED, "SlowDown: Reduce"),
        (500, "<html><body>oops</body></html>", {}, Kind.UNAVAILABLE, "answered 500 with an HTML page"),
        (400, "<html><body>oops</body></html>", {}, Kind.INVALID, "answered 400 with an HTML page"),
        (407, "<html><body>oops</body></html>", {}, Kind.FORBIDDEN, "the proxy wants a name and a password"),
        (400, "", {}, Kind.INVALID, "which is not S3"),
        (400, "", {"x-amz-request-id": "1"}, Kind.INVALID, "the store answered 400"),
        (403, "", {}, Kind.FORBIDDEN, "allow s3:PutObject"),
    ],
)  # fmt: skip
def test_a_refusal_on_the_wire(status: int, body: str, headers: dict[str, str], kind: Kind, said: str) -> None:
    made = refusal(status, headers, body.encode(), "put", "s3://bucket", "key")
    assert made.kind is kind
    assert said in made.message
    assert str(made).startswith("put s3://bucket/key: ")
    assert "\n" not in made.message


@pytest.mark.parametrize(("offset", "said"), [(-7200, "7200 s ahead"), (300, "300 s behind")])
def test_a_clock_that_is_wrong(offset: float, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backends.s3_errors.time.time", lambda: 1.7e9)
    date = {"date": formatdate(1.7e9 + offset, usegmt=True)}
    body = xml("RequestTimeTooSkewed", "Too large").encode()
    assert f"the clock of this node is {said}: set it" in refusal(403, date, body, "put", "s3://bucket", "").message
    assert "set the clock of this node" in refusal(403, {}, body, "put", "s3://bucket", "").message
    assert time.time() == 1.7e9


def test_how_long_to_wait() -> None:
    made = refusal(503, {"retry-after": "7"}, xml("SlowDown", "").encode(), "put", "s3://bucket", "")
    assert (made.retry_after, made.retryable) == (7.0, True)


def test_the_code_of_a_body() -> None:
    assert code_of_body(xml("ExpiredToken", "x").encode()) == "ExpiredToken"
    assert not code_of_body(b"<html>")
    assert not code_of_body(b"\xff\x00")


@pytest.mark.parametrize(
    "secret",
    [
        "https://name:a-password@proxy.example:3128",
        "https://b.s3.amazonaws.com/k?X-Amz-Credential=AKIAEXAMPLE%2F2026&X-Amz-Signature=0a1b2c&X-Amz-Security-Token=Fwo",
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20260101, SignedHeaders=host, Signature=0a1b2c",
        "Authorization: Bearer 0a1b2c-a-password",
        "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJrIn0.c2lnbmF0dXJl",
        "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "secret_access_key=0a1b2c",
        '{"SecretAccessKey": "0a1b2c", "sessionToken": "a-password"}',
    ],
)
def test_secrets_are_taken_out(secret: str) -> None:
    text = redact(f"before {secret} after")
    assert text.startswith("before ")
    assert text.endswith(" after")
    for part in ("a-password", "AKIA", "0a1b2c", "Fwo", "eyJ", "wJalr", "EXAMPLEKEY"):
        assert part not in text


@pytest.mark.parametrize(
    "text",
    [
        "put s3://bucket/host/data/ks/table-8f3a6c1e0b9d11ee8c990242ac120002/nb-1-big/b~1024-0f1e2d3c4b5a69788796a5b4c3d2e1f0-ab",
        "User: arn:aws:sts::123456789012:assumed-role/backup-role/agent is not authorized to perform: s3:PutObject",
        "no answer from https://minio.storage.svc.cluster.local:9000",
        "/var/run/secrets/eks.amazonaws.com/serviceaccount/token cannot be read",
        "arn:aws:kms:eu-west-1:123456789012:key/0a1b2c3d-0000-4000-8000-0123456789ab",
        "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY in spec.env",
    ],
)
def test_words_are_left_in(text: str) -> None:
    assert redact(text) == text
