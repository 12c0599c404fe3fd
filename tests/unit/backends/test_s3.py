"""What the S3 store sends: bodies and their checksums, where to, in whose name, how many at once."""

from __future__ import annotations

import asyncio
import os
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from backends.base import BytesBody, Endpoint, FileBody, Options
from backends.checksums import crc32c, to_base64
from backends.errors import Kind, StoreError
from backends.s3 import S3Store
from tests.unit.backends.s3_server import ERROR, ETAG, Server, opened

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.mark.parametrize("size", [0, 5, (2 << 20) + 1])
async def test_a_put_on_the_wire(store: S3Store, server: Server, tmp_path: Path, size: int) -> None:
    (tmp_path / "f").write_bytes(b"x" * size)
    await store.put("a+b/c d", FileBody(tmp_path / "f"), if_absent=True)
    headers = server.requests[0].headers
    assert server.requests[0].raw_path == "/bucket/a%2Bb/c%20d"  # path style on a custom endpoint
    assert headers["Content-Length"] == str(size)
    assert headers["x-amz-content-sha256"] == "UNSIGNED-PAYLOAD"
    assert headers["x-amz-checksum-crc32c"] == to_base64(crc32c(b"x" * size))
    assert headers["If-None-Match"] == "*"
    assert not {"Expect", "Transfer-Encoding", "Content-Encoding", "x-amz-trailer"} & headers.keys()
    assert server.bodies == [b"x" * size]


@pytest.mark.parametrize("size", [1, 1 << 20, (2 << 20) + 1])
async def test_a_file_is_read_once_where_trailers_are_known(
    store: S3Store, server: Server, tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = os.urandom(size)
    (tmp_path / "f").write_bytes(data)
    monkeypatch.setattr(FileBody, "measure", None)  # nothing may ask for the pass before
    crc = to_base64(crc32c(data))
    server.answers = [web.Response(headers={**ETAG, "x-amz-checksum-crc32c": crc})]
    meta = await store.put("key", FileBody(tmp_path / "f"))
    assert (meta.size, meta.crc32c, meta.etag) == (size, crc32c(data), "etag")
    headers = server.requests[0].headers
    assert headers["x-amz-content-sha256"] == "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
    assert headers["x-amz-trailer"] == "x-amz-checksum-crc32c"
    assert headers["x-amz-decoded-content-length"] == str(size)
    assert headers["Content-Length"] == str(len(server.bodies[0]))
    assert not {"Expect", "Transfer-Encoding", "x-amz-checksum-crc32c"} & headers.keys()
    assert unframed(server.bodies[0]) == (data, f"x-amz-checksum-crc32c:{crc}")


def unframed(body: bytes) -> tuple[bytes, str]:
    """The data and the trailer of an aws-chunked body."""
    data = b""
    while True:
        size, _, body = body.partition(b"\r\n")
        length = int(size, 16)
        if not length:
            trailer, end, rest = body.partition(b"\r\n\r\n")
            assert end
            assert not rest
            return data, trailer.decode()
        data += body[:length]
        assert body[length : length + 2] == b"\r\n"
        body = body[length + 2 :]


@pytest.mark.parametrize(
    ("status", "code"), [(501, "NotImplemented"), (400, "InvalidArgument"), (411, "MissingContentLength")]
)
async def test_trailers_refused_are_remembered(
    store: S3Store, server: Server, tmp_path: Path, status: int, code: str
) -> None:
    (tmp_path / "f").write_bytes(b"hello")
    crc = to_base64(crc32c(b"hello"))
    text = ERROR.format(code, "x-amz-content-sha256")
    server.answers = [
        web.Response(status=status, text=text, content_type="application/xml"),
        web.Response(headers={**ETAG, "x-amz-checksum-crc32c": crc}),
    ]
    for number in range(2):
        meta = await store.put(f"key-{number}", FileBody(tmp_path / "f"))
        assert meta.crc32c == crc32c(b"hello")
    said = [request.headers.get("x-amz-checksum-crc32c") for request in server.requests]
    assert said == [None, crc, crc]
    assert server.bodies[1:] == [b"hello", b"hello"]


async def test_a_trailer_stored_as_data_is_sent_again(store: S3Store, server: Server, tmp_path: Path) -> None:
    """A store that answers without the checksum may not have understood the framing."""
    (tmp_path / "f").write_bytes(b"hello")
    await store.put("key", FileBody(tmp_path / "f"))
    assert [request.headers["x-amz-content-sha256"] for request in server.requests] == [
        "STREAMING-UNSIGNED-PAYLOAD-TRAILER", "UNSIGNED-PAYLOAD",
    ]  # fmt: skip
    assert server.bodies[-1] == b"hello"


async def test_a_plain_put_has_no_condition(store: S3Store, server: Server) -> None:
    await store.put("key", BytesBody(b"x"))
    assert "If-None-Match" not in server.requests[0].headers


async def test_deletes_go_by_the_thousand(store: S3Store, server: Server) -> None:
    server.answers = [web.Response(text="<DeleteResult/>", content_type="application/xml")]
    await store.delete([f"key-{number}" for number in range(2500)])
    assert [len(re.findall(b"<Key>", body)) for body in server.bodies] == [1000, 1000, 500]


async def test_no_more_requests_than_connections(server: Server, aws: None) -> None:
    running = most = 0
    three = asyncio.Barrier(3)

    async def slow(request: web.BaseRequest) -> web.StreamResponse:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await request.content.read()
        await three.wait()
        running -= 1
        return web.Response(headers=ETAG)

    server.answers = [slow]
    async with opened(server, connections=3) as store:
        await asyncio.gather(*(store.put(f"k{number}", BytesBody(b"x")) for number in range(12)))
    assert (most, len(server.requests)) == (3, 12)


@pytest.mark.parametrize(
    ("variables", "given", "expected"),
    [
        ({}, None, "us-east-1"),
        ({"AWS_DEFAULT_REGION": "eu-west-1"}, None, "eu-west-1"),
        ({"AWS_REGION": "us-west-2", "AWS_DEFAULT_REGION": "eu-west-1"}, None, "us-west-2"),
        ({"AWS_REGION": "us-west-2"}, "ap-south-1", "ap-south-1"),
    ],
)
async def test_the_region(  # noqa: PLR0917
    server: Server,
    aws: None,
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    given: str | None,
    expected: str,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    store = await S3Store.open("bucket", Endpoint(server.url, region=given))
    await store.put("key", BytesBody(b"x"))
    await store.close()
    assert f"/{expected}/s3/aws4_request" in server.requests[0].headers["Authorization"]


@pytest.mark.parametrize(
    ("endpoint", "variables", "style"),
    [
        (Endpoint(), {}, "auto"),
        (Endpoint(url="http://minio"), {}, "path"),
        (Endpoint(), {"AWS_ENDPOINT_URL": "http://minio"}, "path"),
        (Endpoint(), {"AWS_ENDPOINT_URL_S3": "http://minio"}, "path"),
        (Endpoint(), {"AWS_ENDPOINT_URL": "http://minio", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"}, "auto"),
        (Endpoint(url="http://minio", path_style=False), {}, "virtual"),
        (Endpoint(path_style=True), {}, "path"),
    ],
)
async def test_the_addressing_style(
    aws: None, monkeypatch: pytest.MonkeyPatch, endpoint: Endpoint, variables: dict[str, str], style: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    store = await S3Store.open("bucket", endpoint)
    assert store._client.meta.config.s3["addressing_style"] == style
    await store.close()


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"AWS_SECRET_ACCESS_KEY": None}, "AWS_SECRET_ACCESS_KEY"),
        ({"AWS_PROFILE": "nobody"}, "nobody"),
    ],
)
async def test_half_of_the_credentials(
    aws: None, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str | None], said: str
) -> None:
    for name, value in variables.items():
        if value is None:
            monkeypatch.delenv(name)
        else:
            monkeypatch.setenv(name, value)
    with pytest.raises(StoreError, match=said) as caught:
        await S3Store.open("bucket")
    assert (caught.value.kind, caught.value.retryable) == (Kind.UNAUTHENTICATED, False)


async def test_a_store_that_cannot_be_opened_says_which(aws: None) -> None:
    with pytest.raises(StoreError, match="open s3://bucket: the endpoint's URL is not http") as caught:
        await S3Store.open("bucket", Endpoint(url="nonsense"))
    assert caught.value.kind is Kind.INVALID


async def test_credentials_that_end_are_renewed(server: Server, aws: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a role, as a container gets them: each new set is used by the requests that follow, and asked for once."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{server.url}/role")
    issued, lasts = 0, 5.0  # minutes: the SDK renews what ends in less than ten

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        nonlocal issued
        await request.read()
        if request.path != "/role":
            return web.Response(headers=ETAG)
        issued += 1
        end = datetime.now(UTC) + timedelta(minutes=lasts)
        keys = {"AccessKeyId": f"id-{issued}", "SecretAccessKey": "s", "Token": f"token-{issued}"}
        return web.json_response(keys | {"Expiration": end.strftime("%Y-%m-%dT%H:%M:%SZ")})

    server.answers = [answer]
    async with opened(server) as store:
        for number in range(3):
            await store.put(f"key-{number}", BytesBody(b"x"))
        before, lasts = issued, 60.0
        await asyncio.gather(*(store.put(f"key-{number}", BytesBody(b"x")) for number in range(8)))
    puts = [request.headers for request in server.requests if request.path != "/role"]
    tokens = [headers["x-amz-security-token"] for headers in puts]
    assert len(set(tokens[:3])) == 3  # each of these was about to end
    assert issued == before + 1  # eight requests waited for one set
    assert tokens[3:] == [f"token-{issued}"] * 8
    for headers, token in zip(puts, tokens, strict=True):
        assert f"Credential={token.replace('token', 'id')}/" in headers["Authorization"]
        assert "x-amz-security-token" in headers["Authorization"].partition("SignedHeaders=")[2]


async def test_through_a_proxy(server: Server, aws: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HTTP_PROXY", server.url)
    data = os.urandom((2 << 20) + 5)
    (tmp_path / "f").write_bytes(data)
    server.answers = [
        web.Response(headers={**ETAG, "x-amz-checksum-crc32c": to_base64(crc32c(data))}),
        web.Response(body=data, headers=ETAG),
        web.Response(status=403, text=ERROR.format("AccessDenied", "no"), content_type="application/xml"),
    ]
    store = await S3Store.open("bucket", Endpoint("http://store.invalid:9000"))
    meta = await store.put("key", FileBody(tmp_path / "f"))
    assert meta.crc32c == crc32c(data)
    assert b"".join([chunk async for chunk in store.get("key")]) == data
    with pytest.raises(StoreError, match="AccessDenied: no"):
        await store.put("key", BytesBody(b"x"))
    await store.close()
    assert [str(request.headers["Host"]) for request in server.requests] == ["store.invalid:9000"] * 3
    assert unframed(server.bodies[0])[0] == data


async def test_a_body_that_fails_through_a_proxy(server: Server, aws: None, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(BytesBody):
        async def chunks(self) -> AsyncIterator[bytes]:
            yield b"x"
            raise ValueError("the disk is gone")

    monkeypatch.setenv("HTTP_PROXY", server.url)
    store = await S3Store.open("bucket", Endpoint("http://store.invalid:9000"))
    with pytest.raises(ValueError, match="the disk is gone"):
        await store.put("key", Broken(b"xxx"))
    await store.close()


async def test_no_option_adds_a_header(server: Server, aws: None) -> None:
    options = Options(storage_class="STANDARD\r\nx-amz-acl: public-read")
    store = await S3Store.open("bucket", Endpoint(server.url), options)
    with pytest.raises(StoreError, match="no header may have") as caught:
        await store.put("key", BytesBody(b"x"))
    assert caught.value.kind is Kind.INVALID
    await store.close()
    assert not server.requests
