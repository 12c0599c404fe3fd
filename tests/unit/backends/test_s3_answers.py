"""What a server may answer the S3 store, and MinIO never does: refusals, redirects, silence, streams that break."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from backends.base import BytesBody, FileBody
from backends.checksums import to_base64
from backends.errors import Kind, StoreError
from backends.retry import Policy, RetryStore
from tests.unit.backends.s3_server import ETAG, Server, opened

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from backends.base import ObjectStore
    from backends.s3 import S3Store


async def test_another_checksum_in_the_answer_is_corruption(store: S3Store, server: Server) -> None:
    server.answers = [web.Response(headers={**ETAG, "x-amz-checksum-crc32c": to_base64(1)})]
    with pytest.raises(StoreError, match="AAAAAQ==") as caught:
        await store.put("key", BytesBody(b"x"))
    assert (caught.value.kind, caught.value.retryable) == (Kind.CORRUPT, True)


@pytest.mark.parametrize(
    ("status", "code", "kind", "retryable"),
    [
        (503, "SlowDown", Kind.THROTTLED, True),
        (503, "", Kind.THROTTLED, True),
        (429, "TooManyRequests", Kind.THROTTLED, True),
        (503, "XMinioServerNotInitialized", Kind.UNAVAILABLE, True),
        (500, "InternalError", Kind.UNAVAILABLE, True),
        (502, "", Kind.UNAVAILABLE, True),
        (507, "XMinioStorageFull", Kind.STORE_FULL, False),
        (507, "", Kind.STORE_FULL, False),
        (403, "AccessDenied", Kind.FORBIDDEN, False),
        (403, "", Kind.FORBIDDEN, False),
        (400, "ExpiredToken", Kind.UNAUTHENTICATED, False),
        (403, "RequestTimeTooSkewed", Kind.UNAUTHENTICATED, False),
        (409, "ConditionalRequestConflict", Kind.UNAVAILABLE, True),
        (412, "PreconditionFailed", Kind.ALREADY_EXISTS, False),
        (400, "BadDigest", Kind.CORRUPT, True),
        (400, "RequestTimeout", Kind.TIMEOUT, True),
        (400, "InvalidStorageClass", Kind.INVALID, False),
        (404, "NoSuchBucket", Kind.NO_BUCKET, False),
    ],
)
async def test_what_a_store_may_say(  # noqa: PLR0917
    store: S3Store, server: Server, status: int, code: str, kind: Kind, retryable: bool
) -> None:
    server.says(status, code, "the store's own words")
    with pytest.raises(StoreError) as caught:
        await store.put("key", BytesBody(b"x"))
    assert (caught.value.kind, caught.value.retryable) == (kind, retryable)
    assert len(server.requests) == 1  # the SDK does not retry
    if code:
        assert "the store's own words" in str(caught.value)
    assert str(caught.value).startswith("put s3://bucket/key: ")


async def test_a_store_that_verifies_nothing(store: S3Store, server: Server) -> None:
    """Each way of checksums is tried, and the refusal told when none is left."""
    server.says(501, "NotImplemented", "A header you provided implies functionality that is not implemented")
    with pytest.raises(StoreError) as caught:
        await store.put("key", BytesBody(b"x"))
    assert (caught.value.kind, caught.value.retryable) == (Kind.NOT_SUPPORTED, False)
    checksums = [
        {"x-amz-checksum-crc32c", "content-md5"} & {name.lower() for name in request.headers}
        for request in server.requests
    ]
    assert checksums == [{"x-amz-checksum-crc32c"}, {"content-md5"}, set()]


async def test_retry_after_is_heard(store: S3Store, server: Server) -> None:
    server.says(503, "SlowDown", "slowly", **{"Retry-After": "3"})
    with pytest.raises(StoreError) as caught:
        await store.put("key", BytesBody(b"x"))
    assert caught.value.retry_after == 3.0


async def test_a_proxy_in_between(store: S3Store, server: Server) -> None:
    server.answers = [web.Response(status=502, text="<html><body>Bad Gateway</body></html>", content_type="text/html")]
    for attempt in (store.put("key", BytesBody(b"x")), store.head("key"), anext(aiter(store.list("")))):
        with pytest.raises(StoreError) as caught:
            await attempt
        assert (caught.value.kind, caught.value.retryable) == (Kind.UNAVAILABLE, True)


async def test_a_failure_inside_a_200(store: S3Store, server: Server) -> None:
    """S3 sends the status first, then finds out."""
    server.says(200, "InternalError", "try again")
    for attempt in (
        store.complete_upload("key", "id", [await _part(store, server)]),
        store.copy("a", "b"),
    ):
        server.says(200, "InternalError", "try again")
        with pytest.raises(StoreError) as caught:
            await attempt
        assert (caught.value.kind, caught.value.retryable) == (Kind.UNAVAILABLE, True)


async def _part(store: S3Store, server: Server):
    server.answers = [web.Response(headers=ETAG)]
    return await store.upload_part("key", "id", 1, BytesBody(b"x"))


async def test_keys_that_would_not_go(store: S3Store, server: Server) -> None:
    text = "<DeleteResult><Error><Key>b</Key><Code>AccessDenied</Code><Message>locked</Message></Error></DeleteResult>"
    server.answers = [web.Response(text=text, content_type="application/xml")]
    with pytest.raises(StoreError, match="1 of 3 keys stayed: AccessDenied: locked") as caught:
        await store.delete(["a", "b", "c"])
    assert (caught.value.kind, caught.value.key) == (Kind.FORBIDDEN, "b")


async def test_a_redirect_is_not_followed(store: S3Store, server: Server) -> None:
    """A signature is good for one host, and the credentials are for nobody else."""
    where = server.url.replace("127.0.0.1", "localhost")
    server.answers = [web.Response(status=307, headers={"Location": f"{where}/bucket/key?secret=1"})]
    for attempt in (store.put("key", BytesBody(b"x")), anext(aiter(store.get("key")))):
        with pytest.raises(StoreError, match=f"redirects to {where}: set") as caught:
            await attempt
        assert (caught.value.kind, caught.value.retryable) == (Kind.INVALID, False)
        assert "secret" not in str(caught.value)
    assert len(server.requests) == 2


async def test_a_bucket_in_another_region(store: S3Store, server: Server) -> None:
    server.says(301, "PermanentRedirect", "use another endpoint", **{"x-amz-bucket-region": "eu-west-3"})
    for attempt in (store.put("key", BytesBody(b"x")), anext(aiter(store.get("key")))):
        with pytest.raises(StoreError, match=r"another region, eu-west-3: set AWS_REGION") as caught:
            await attempt
        assert (caught.value.kind, caught.value.retryable) == (Kind.INVALID, False)
    assert len(server.requests) == 2


async def test_a_store_that_ignores_ranges(store: S3Store, server: Server) -> None:
    server.answers = [web.Response(body=b"0123456789", headers=ETAG)]
    for offset, length in ((5, None), (0, 3), (5, 5)):
        with pytest.raises(StoreError, match="does not know ranges"):
            await anext(aiter(store.get("key", offset=offset, length=length)))
    assert await anext(aiter(store.get("key", length=10))) == b"0123456789"


async def test_a_server_that_never_answers(server: Server, aws: None) -> None:
    async def silent(_: web.BaseRequest) -> web.StreamResponse:
        await server.over.wait()
        return web.Response()

    server.answers = [silent]
    async with opened(server, stall=0.2) as store:
        for attempt in (store.put("key", BytesBody(b"x")), store.head("key"), anext(aiter(store.get("key")))):
            with pytest.raises(StoreError) as caught:
                await attempt
            assert (caught.value.kind, caught.value.retryable) == (Kind.TIMEOUT, True)


async def test_a_server_that_stops_reading(server: Server, aws: None, tmp_path: Path) -> None:
    """aiohttp starts its own timeout only after the body, which never ends here."""

    async def deaf(request: web.BaseRequest) -> web.StreamResponse:
        await request.content.read(1)
        await server.over.wait()
        return web.Response()

    server.answers = [deaf]
    with (tmp_path / "f").open("wb") as file:
        file.truncate(64 << 20)
    async with opened(server, stall=0.3) as store:
        with pytest.raises(StoreError) as caught:
            await store.put("key", FileBody(tmp_path / "f"))
        assert caught.value.kind is Kind.TIMEOUT


@pytest.mark.slow
async def test_a_slow_body_is_no_stall(server: Server, aws: None) -> None:
    class Slow(BytesBody):
        async def chunks(self) -> AsyncIterator[bytes]:
            for _ in range(2):
                await asyncio.sleep(0.7)
                yield b"x" * (1 << 20)

    async with opened(server, stall=0.6) as store:
        await store.put("key", Slow(b"x" * (2 << 20)))
    assert [len(body) for body in server.bodies] == [2 << 20]


async def test_a_stream_that_stops(server: Server, aws: None) -> None:
    async def half(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "10", **ETAG})
        await response.prepare(request)
        await response.write(b"01234")
        await server.over.wait()
        return response

    server.answers = [half]
    async with opened(server, stall=0.2) as store:
        stream = aiter(store.get("key"))
        assert await anext(stream) == b"01234"
        with pytest.raises(StoreError) as caught:
            await anext(stream)
        assert caught.value.kind is Kind.TIMEOUT


async def test_a_stream_that_breaks_is_continued(store: S3Store, server: Server) -> None:
    async def broken(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "10", **ETAG})
        await response.prepare(request)
        await response.write(b"01234")
        assert request.transport is not None
        request.transport.close()
        return response

    async def at_once(_: float) -> None: ...

    rest = web.Response(status=206, body=b"56789", headers={**ETAG, "Content-Range": "bytes 5-9/10"})
    server.answers = [broken, rest]
    retrying: ObjectStore = RetryStore(store, Policy(sleep=at_once))
    assert b"".join([chunk async for chunk in retrying.get("key")]) == b"0123456789"
    assert [request.headers.get("Range") for request in server.requests] == [None, "bytes=5-"]
