"""SigV4, against AWS's published examples and the SDK's own signer."""

from __future__ import annotations

import calendar
import time
from types import SimpleNamespace
from urllib.parse import unquote

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials
from hypothesis import given
from hypothesis import strategies as st

from backends.s3_sign import UNSIGNED, Signer, query_of, quoted

EXAMPLE = ReadOnlyCredentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", None, None)
NOTHING = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.mark.parametrize(
    ("method", "path", "query", "headers", "signature"),
    [
        (
            "GET", "/test.txt", [], {"range": "bytes=0-9", "x-amz-content-sha256": NOTHING},
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        ),
        (
            "PUT", "/test$file.text", [],
            {
                "date": "Fri, 24 May 2013 00:00:00 GMT", "x-amz-storage-class": "REDUCED_REDUNDANCY",
                "x-amz-content-sha256": "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
            },
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
        ),
        (
            "GET", "/", [("lifecycle", "")], {"x-amz-content-sha256": NOTHING},
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
        ),
        (
            "GET", "/", [("prefix", "J"), ("max-keys", "2")], {"x-amz-content-sha256": NOTHING},
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        ),
    ],
)  # fmt: skip
def test_the_examples_of_the_s3_api_reference(
    method: str, path: str, query: list[tuple[str, str]], headers: dict[str, str], signature: str
) -> None:
    signed = {"host": "examplebucket.s3.amazonaws.com", **headers}
    now = calendar.timegm((2013, 5, 24, 0, 0, 0))
    Signer("us-east-1").sign(method, quoted(path), query_of(query), signed, EXAMPLE, now)
    assert signed["x-amz-date"] == "20130524T000000Z"
    assert signed["authorization"].endswith(f"Signature={signature}")
    assert "Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request" in signed["authorization"]


TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20)
VALUE = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30).map(str.strip)
KEY = TEXT.filter(lambda key: {"", ".", ".."}.isdisjoint(key.split("/")))


@pytest.mark.slow
@given(
    method=st.sampled_from(["GET", "PUT", "HEAD"]),
    key=KEY,
    query=st.dictionaries(st.sampled_from(["partNumber", "uploadId", "x-id", "acl"]), TEXT),
    headers=st.dictionaries(st.sampled_from(["x-amz-tagging", "if-none-match", "range", "content-md5"]), VALUE),
    secret=TEXT,
    token=st.none() | st.text("abc+/=", min_size=1),
    region=st.sampled_from(["us-east-1", "eu-west-3"]),
)
def test_as_the_sdk_signs(  # noqa: PLR0917
    method: str,
    key: str,
    query: dict[str, str],
    headers: dict[str, str],
    secret: str,
    token: str | None,
    region: str,
) -> None:
    path, pairs = quoted("/bucket/" + key), query_of(query.items())
    assert unquote(path) == "/bucket/" + key
    keys = ReadOnlyCredentials("AKID", secret, token, None)
    request = AWSRequest(method, f"https://store:9000{path}{'?' + pairs if pairs else ''}", dict(headers))
    request.context["client_config"] = SimpleNamespace(s3={"payload_signing_enabled": False})
    S3SigV4Auth(keys, "s3", region).add_auth(request)
    moment = calendar.timegm(time.strptime(request.context["timestamp"], "%Y%m%dT%H%M%SZ"))
    ours = {"host": "store:9000", "x-amz-content-sha256": UNSIGNED, **headers}
    Signer(region).sign(method, path, pairs, ours, keys, moment)
    assert ours["authorization"] == request.headers["Authorization"]
    assert ours.get("x-amz-security-token") == token


def test_the_key_follows_the_day_and_the_secret() -> None:
    signer = Signer("us-east-1")

    def sign(with_: Signer, secret: str, now: float) -> str:
        headers = {"host": "h", "x-amz-content-sha256": UNSIGNED}
        with_.sign("GET", "/", "", headers, ReadOnlyCredentials("AKID", secret, None, None), now)
        return headers["authorization"]

    for secret, now in (("a", 0), ("a", 86399), ("a", 86400), ("b", 86400), ("a", 0)):
        assert sign(signer, secret, now) == sign(Signer("us-east-1"), secret, now)
