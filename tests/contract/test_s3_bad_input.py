"""What a user gets wrong, and what he is told: one sentence with the store, the verb and what to do, and no secret.

Where no real server can be had that says so, a loopback server says what the real one would.
"""

from __future__ import annotations

import gzip
import logging
import re
import socket
import ssl
import time
from email.utils import formatdate
from typing import TYPE_CHECKING

import pytest

from backends.base import BytesBody, Endpoint
from backends.errors import Kind, StoreError
from backends.registry import open_store
from backends.s3 import S3Store
from tests.contract import certificates
from tests.contract.odd_server import error, http, saying
from tests.contract.refusals import refused

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

HTML = b"<!DOCTYPE html>\n<html><head><title>Welcome</title></head><body>secret-in-a-page</body></html>"
STORED = http("200 OK", ETag='"etag"')
LISTED = http("200 OK", b"<ListBucketResult/>")
EXPIRED = error("400 Bad Request", "ExpiredToken", "The provided token has expired.")
SECRETS = {
    "AWS_ACCESS_KEY_ID": "AKIAPLANTEDPLANTED99",
    "AWS_SECRET_ACCESS_KEY": "pLanted/Secret/0123456789ABCDEFabcdefghi",
    "AWS_SESSION_TOKEN": "FwoGZXIvYXdzEPlantedTokenPlantedTokenPlantedToken0123456789==",
}


def told(errors: dict[str, StoreError], kind: Kind, retryable: bool, said: str, verbs: str = "") -> None:
    """Every verb (or those named): the kind, whether it may be tried again, and the words, all in one line."""
    for verb, failure in errors.items():
        text = str(failure)
        if verbs and verb not in verbs.split(", "):
            continue
        assert (failure.kind, failure.retryable) == (kind, retryable), text
        assert re.search(said, text), text
        assert "s3://bucket" in text
        assert "\n" not in text
        assert "Traceback" not in text
        assert len(text) < 500, text


@pytest.mark.parametrize(
    ("answer", "kind", "retryable", "said"),
    [
        pytest.param(EXPIRED, Kind.UNAUTHENTICATED, False, "has ended: give new credentials, or a role", id="expired"),
        pytest.param(
            error("403 Forbidden", "AllAccessDisabled"), Kind.FORBIDDEN, False, "owner has to open it", id="disabled"
        ),
        pytest.param(
            error("403 Forbidden", "NotSignedUp"), Kind.FORBIDDEN, False, "this account|no S3", id="not-signed-up"
        ),
        pytest.param(
            error("403 Forbidden", "AccessDenied", "Access Denied"),
            Kind.FORBIDDEN, False, r"allow s3:\w+ .*another account's", id="denied",
        ),
        pytest.param(
            error("301 Moved Permanently", "PermanentRedirect", x_amz_bucket_region="eu-central-1"),
            Kind.INVALID, False, "another region, eu-central-1: set AWS_REGION", id="301",
        ),
        pytest.param(
            error("400 Bad Request", "AuthorizationHeaderMalformed", more="<Region>eu-west-3</Region>"),
            Kind.INVALID, False, "another region, eu-west-3: set AWS_REGION", id="region",
        ),
        pytest.param(
            error("400 Bad Request", "AuthorizationHeaderMalformed", "a non-empty Access Key must be provided"),
            Kind.INVALID, False, "check AWS_ACCESS_KEY_ID", id="malformed-key",
        ),
        pytest.param(
            error("400 Bad Request", "KMS.NotFoundException", "Key 'x' does not exist"),
            Kind.INVALID, False, "check encryption.kmsKeyId", id="kms",
        ),
        pytest.param(
            lambda _: error("403 Forbidden", "RequestTimeTooSkewed", date=formatdate(time.time() - 7200, usegmt=True)),
            Kind.UNAUTHENTICATED, False, r"the clock of this node is (71|72)\d\d s ahead: set it", id="clock",
        ),
        pytest.param(
            http("200 OK", HTML, content_type="text/html"),
            Kind.INVALID, False, "answered 200 with (an HTML page|no ETag).*correct endpoint.url", id="html",
        ),
        pytest.param(
            http("404 Not Found", HTML, content_type="text/html"),
            Kind.INVALID, False, "answered 404 with an HTML page, .*correct endpoint.url", id="html-404",
        ),
        pytest.param(
            http("503 Service Unavailable", HTML, content_type="text/html"),
            Kind.UNAVAILABLE, True, "answered 503 with an HTML page", id="html-503",
        ),
        pytest.param(
            http("404 Not Found", b'{"kind":"Status","code":404}', content_type="application/json"),
            Kind.INVALID, False, "with JSON, which is not S3 .*correct endpoint.url", id="json",
        ),
        pytest.param(
            http("200 OK", gzip.compress(b"x" * 99), content_encoding="gzip"),
            Kind.INVALID, False, "which is not S3 .*correct endpoint.url", id="gzip",
        ),
        pytest.param(
            http("400 Bad Request", b"Client sent an HTTP request to an HTTPS server.\n"),
            Kind.INVALID, False, "speaks https, not http", id="https-server",
        ),
        pytest.param(
            http("308 Permanent Redirect", location="https://elsewhere.example/bucket/key"),
            Kind.INVALID, False, "redirects to https://elsewhere.example: set endpoint.url", id="redirect",
        ),
    ],
)  # fmt: skip
async def test_what_an_endpoint_may_answer(
    aws: pytest.MonkeyPatch, answer: bytes, kind: Kind, retryable: bool, said: str
) -> None:
    async with saying(answer) as odd:
        errors = await refused(await S3Store.open("bucket", Endpoint(odd.url)))
    bodiless = "head"  # an answer to HEAD has no words; the GET that asks why has
    told(errors, kind, retryable, said, ", ".join(set(errors) - {bodiless}))
    assert errors[bodiless].kind is not Kind.NOT_FOUND


@pytest.mark.parametrize(
    "greeting",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"220 mail.example ESMTP\r\n",
        b"\x15\x03\x03\x00\x02\x02\x46",
        gzip.compress(b"noise"),
    ],
    ids=["ssh", "smtp", "tls-alert", "noise"],
)
async def test_what_does_not_speak_http(aws: pytest.MonkeyPatch, greeting: bytes) -> None:
    async with saying(greeting + b"\r\n\r\n", at_once=True) as odd:
        errors = await refused(await S3Store.open("bucket", Endpoint(odd.url)))
    told(errors, Kind.INVALID, False, "does not speak HTTP .*correct endpoint.url, or AWS_ENDPOINT_URL in spec.env")


async def test_what_hangs_up(aws: pytest.MonkeyPatch) -> None:
    async with saying(b"") as odd:
        errors = await refused(await S3Store.open("bucket", Endpoint(odd.url)))
    told(errors, Kind.UNAVAILABLE, True, "closed")


@pytest.mark.parametrize(
    ("host", "ended", "trusted", "said"),
    [
        ("store.example", False, True, "is another host's .*correct endpoint.url, or AWS_ENDPOINT_URL in spec.env"),
        ("127.0.0.1", True, True, "has expired: renew it"),
        ("127.0.0.1", False, False, "is from an authority that is not trusted .*AWS_CA_BUNDLE_PEM"),
    ],
    ids=["host", "expired", "authority"],
)
async def test_a_certificate_that_is_wrong(  # noqa: PLR0917  the table's columns
    aws: pytest.MonkeyPatch, tmp_path: Path, host: str, ended: bool, trusted: bool, said: str
) -> None:
    certificates.make(tmp_path, host, ended=ended)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(tmp_path / "public.crt", tmp_path / "private.key")
    if trusted:
        aws.setenv("AWS_CA_BUNDLE", str(tmp_path / "public.crt"))
    async with saying(STORED, tls=tls) as odd:
        errors = await refused(await S3Store.open("bucket", Endpoint(odd.url)))
        assert not odd.requests
    told(errors, Kind.UNAVAILABLE, False, f"the certificate.* {odd.url} {said}")


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("AWS_CA_BUNDLE", "/no/such/file", "/no/such/file cannot be read: No such file"),
        ("AWS_CA_BUNDLE", "{here}/empty", "empty holds no certificates"),
        ("AWS_CA_BUNDLE_PEM", "/etc/ssl/certs", "AWS_CA_BUNDLE_PEM holds no certificates"),
        ("AWS_CA_BUNDLE_PEM", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", "holds no certificates"),
    ],
)
async def test_authorities_that_are_none(
    aws: pytest.MonkeyPatch, tmp_path: Path, variable: str, value: str, said: str
) -> None:
    (tmp_path / "empty").write_text("nothing")
    aws.setenv(variable, value.replace("{here}", str(tmp_path)))
    with pytest.raises(StoreError, match=said) as caught:
        await S3Store.open("bucket", Endpoint("https://127.0.0.1:9"))
    assert (caught.value.kind, caught.value.retryable) == (Kind.INVALID, False)


async def test_a_store_that_answered_before_is_one_that_is_broken_now(aws: pytest.MonkeyPatch) -> None:
    """What makes an endpoint the wrong one at first is a proxy's page, or a stray byte, later: it is asked again."""
    page, noise = http("404 Not Found", HTML), b"SSH-2.0-OpenSSH_9.6\r\n\r\n"
    for good, call in (  # our own requests, and the SDK's
        (STORED, lambda store: store.put("key", BytesBody(b"x"))),
        (LISTED, lambda store: anext(aiter(store.list("")), None)),
    ):
        answers = [good, page, noise]
        async with saying(lambda _, answers=answers: answers.pop(0)) as odd:  # type: ignore[misc]
            store = await S3Store.open("bucket", Endpoint(odd.url))
            await call(store)
            for said in ("HTML page", "does not speak HTTP"):
                with pytest.raises(StoreError, match=said) as caught:
                    await call(store)
                assert (caught.value.kind, caught.value.retryable) == (Kind.UNAVAILABLE, True)
            await store.close()


@pytest.mark.parametrize("body", [b"", b"<?xml version='1.0'?><rss><channel/></rss>"], ids=["nothing", "another-xml"])
async def test_a_page_without_objects_is_no_empty_bucket(aws: pytest.MonkeyPatch, body: bytes) -> None:
    async with saying(http("200 OK", body)) as odd:
        store = await S3Store.open("bucket", Endpoint(odd.url))
        for attempt in (
            anext(aiter(store.list(""))), anext(aiter(store.list_uploads(""))),
            store.list_parts("key", "upload"), store.create_upload("key"),
        ):  # fmt: skip
            with pytest.raises(
                StoreError, match=r"with no result of \w+, which is not S3 .*correct endpoint.url"
            ) as caught:
                await attempt
            assert (caught.value.kind, caught.value.retryable) == (Kind.INVALID, False)
        await store.close()


async def test_another_region_is_said_and_not_asked(aws: pytest.MonkeyPatch) -> None:
    async with saying(error("301 Moved Permanently", "PermanentRedirect", x_amz_bucket_region="eu-west-1")) as odd:
        store = await S3Store.open("bucket", Endpoint(odd.url, region="us-east-2"))
        with pytest.raises(StoreError, match="another region, eu-west-1"):
            await anext(aiter(store.list("")))
        await store.close()
        assert len(odd.requests) == 1
        assert b"/us-east-2/s3/" in odd.requests[0]


async def test_deleting_carries_the_checksum_that_every_store_knows(aws: pytest.MonkeyPatch) -> None:
    async with saying(http("200 OK", b"<DeleteResult/>")) as odd:
        store = await S3Store.open("bucket", Endpoint(odd.url))
        await store.delete(["key"])
        await store.close()
        assert re.search(rb"(?i)\r\ncontent-md5: [\w+/]{22}==\r\n", odd.requests[0])


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy"])
async def test_a_proxy_that_is_not_there(aws: pytest.MonkeyPatch, variable: str) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        aws.setenv(variable, f"http://user:planted-password@127.0.0.1:{unused.getsockname()[1]}")
        errors = await refused(await S3Store.open("bucket", Endpoint("http://store.example")))
    told(errors, Kind.UNAVAILABLE, True, "the proxy http://.*127.0.0.1:.* does not answer: correct HTTPS_PROXY")
    assert not any("planted-password" in str(failure) for failure in errors.values())


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("407 Proxy Authentication Required", "wants a name and a password"),
        ("403 Forbidden", "answered 403 .*NO_PROXY"),
    ],
)
async def test_a_proxy_that_says_no(aws: pytest.MonkeyPatch, answer: str, said: str) -> None:
    async with saying(http(answer)) as proxy:
        aws.setenv("HTTPS_PROXY", proxy.url)
        errors = await refused(await S3Store.open("bucket", Endpoint("https://store.example")))
        assert proxy.requests[0].startswith(b"CONNECT store.example:443 ")
    told(errors, Kind.FORBIDDEN, False, said)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("minio.example:9000", "not http://host"), ("ftp://minio.example", "not http://host"),
        ("http://", "not http://host"), ("http://host:port", "not http://host"),
        ("http://user:planted@host", "not http://host"),
    ],
)  # fmt: skip
async def test_an_endpoint_that_is_no_url(aws: pytest.MonkeyPatch, url: str, said: str) -> None:
    aws.setenv("AWS_ENDPOINT_URL_S3", url)
    for endpoint in (Endpoint(url), Endpoint()):
        with pytest.raises(Exception, match=said) as caught:
            await open_store("AWS_S3", "bucket", endpoint)
        assert "planted" not in str(caught.value)


async def test_a_name_that_is_no_buckets(aws: pytest.MonkeyPatch) -> None:
    errors = await refused(await S3Store.open("bucket of mine", Endpoint("http://127.0.0.1:9")))
    for failure in errors.values():
        assert (failure.kind, failure.retryable) == (Kind.INVALID, False), failure
        assert "3 to 63 lower-case letters" in str(failure)


async def test_no_secret_is_ever_said(
    aws: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """A server that repeats everything it was told, in the message that S3 shows."""
    for name, value in SECRETS.items():
        aws.setenv(name, value)

    def parrot(head: bytes) -> bytes:
        heard = head.decode("latin-1").replace("&", "&amp;").replace("<", "&lt;")
        kept = " ".join(SECRETS.values())
        url = "https://b.s3.amazonaws.com/k?X-Amz-Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"
        return error("400 Bad Request", "InvalidArgument", f"{kept} {url.replace('&', '&amp;')} {heard}")

    with caplog.at_level(logging.INFO):
        async with saying(parrot) as odd:
            errors = await refused(await S3Store.open("bucket", Endpoint(odd.url)))
            signatures = [re.search(rb"Signature=([0-9a-f]+)", head)[1].decode() for head in odd.requests]  # type: ignore[index]
    captured = capfd.readouterr()
    everything = "".join(map(str, errors.values())) + caplog.text + captured.out + captured.err
    assert "InvalidArgument" in everything
    for secret in (*SECRETS.values(), *signatures, "5d672d79c15b1316"):
        assert secret not in everything, secret


async def test_a_token_file_that_is_not_there(aws: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        aws.delenv(name)
    aws.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/backup")
    aws.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", f"{tmp_path}/token")
    aws.setenv("AWS_REGION", "eu-west-1")
    errors = await refused(await S3Store.open("bucket", Endpoint("http://127.0.0.1:9")))
    told(errors, Kind.UNAUTHENTICATED, False, "/token cannot be read: No such file")
