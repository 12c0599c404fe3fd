"""The S3 store against a server that answers as each test says: the wire, and what MinIO never answers."""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from backends.base import BytesBody, Endpoint, FileBody
from backends.errors import Kind, StoreError
from backends.retry import Policy, RetryStore
from backends.s3 import S3Store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from backends.base import ObjectStore

ERROR = "<Error><Code>{}</Code><Message>{}</Message></Error>"
ETAG = {"ETag": '"etag"'}


class Server:
    """``answers`` are given in turn, the last for ever; ``requests`` keeps what came."""

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[web.BaseRequest] = []
        self.bodies: list[bytes] = []
        self.over = asyncio.Event()
        self.answers: list[Callable[[web.BaseRequest], Awaitable[web.StreamResponse]] | web.Response] = []

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if not isinstance(answer, web.Response):
            return await answer(request)
        self.bodies.append(await request.content.read())
        return web.Response(status=answer.status, body=answer.body, headers=answer.headers)

    def says(self, status: int, code: str = "", message: str = "", **headers: str) -> None:
        text = ERROR.format(code, message) if code else ""
        self.answers = [web.Response(status=status, text=text, headers={"Content-Type": "application/xml", **headers})]


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "the-id", "AWS_SECRET_ACCESS_KEY": "the-secret", "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": str(tmp_path / "no"), "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "no"),
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    fake = Server()
    fake.answers = [web.Response(headers=ETAG)]
    runner = web.ServerRunner(web.Server(fake.handle, lingering_time=0), shutdown_timeout=0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    fake.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield fake
    fake.over.set()
    await runner.cleanup()


@asynccontextmanager
async def opened(server: Server, **options: float) -> AsyncIterator[S3Store]:
    store = await S3Store.open("bucket", Endpoint(server.url), **options)  # type: ignore[arg-type]
    try:
        yield store
    finally:
        await store.close()


@pytest.fixture
async def store(server: Server, aws: None) -> AsyncIterator[S3Store]:
    async with opened(server) as store:
        yield store


@pytest.mark.parametrize("size", [0, 5, (2 << 20) + 1])
async def test_a_put_on_the_wire(store: S3Store, server: Server, tmp_path: Path, size: int) -> None:
    (tmp_path / "f").write_bytes(b"x" * size)
    await store.put("a+b/c d", FileBody(tmp_path / "f"), if_absent=True)
    headers = server.requests[0].headers
    assert server.requests[0].raw_path == "/bucket/a%2Bb/c%20d"  # path style on a custom endpoint
    assert headers["Content-Length"] == str(size)
    assert headers["x-amz-content-sha256"] == "UNSIGNED-PAYLOAD"
    assert len(headers["x-amz-checksum-crc32c"]) == 8
    assert headers["If-None-Match"] == "*"
    assert not {"Expect", "Transfer-Encoding", "Content-Encoding", "x-amz-trailer"} & headers.keys()
    assert server.bodies == [b"x" * size]


async def test_a_plain_put_has_no_condition(store: S3Store, server: Server) -> None:
    await store.put("key", BytesBody(b"x"))
    assert "If-None-Match" not in server.requests[0].headers


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
        (501, "NotImplemented", Kind.NOT_SUPPORTED, False),
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


async def test_deletes_go_by_the_thousand(store: S3Store, server: Server) -> None:
    server.answers = [web.Response(text="<DeleteResult/>", content_type="application/xml")]
    await store.delete([f"key-{number}" for number in range(2500)])
    assert [len(re.findall(b"<Key>", body)) for body in server.bodies] == [1000, 1000, 500]


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


async def test_a_slow_body_is_no_stall(store: S3Store, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each chunk taken moves the deadline."""
    deadlines: list[asyncio.Timeout] = []
    moments: list[float] = []
    real = asyncio.timeout

    def timeout(seconds: float) -> asyncio.Timeout:
        deadlines.append(real(seconds))
        return deadlines[-1]

    class Watched(BytesBody):
        async def chunks(self) -> AsyncIterator[bytes]:
            for _ in range(4):
                moments.append(deadlines[0].when() or 0.0)  # the later ones are aiohttp's
                yield b"x"

    monkeypatch.setattr(asyncio, "timeout", timeout)
    await store.put("key", Watched(b"xxxx"))
    assert moments[1] < moments[2] < moments[3] < (deadlines[0].when() or 0.0)
    assert server.bodies == [b"xxxx"]


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
    with pytest.raises(StoreError, match="open s3://bucket: ValueError: Invalid endpoint: nonsense") as caught:
        await S3Store.open("bucket", Endpoint(url="nonsense"))
    assert caught.value.kind is Kind.INVALID
