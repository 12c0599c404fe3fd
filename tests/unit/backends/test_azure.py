"""What Azure does and Azurite does not, on a loopback server that answers as the test says."""

from __future__ import annotations

import base64
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from backends.azure import AzureStore
from backends.azure_credentials import Token
from backends.base import BytesBody, Encryption, Endpoint, Options
from backends.errors import AlreadyExists, Kind, NotFound, StoreError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

ENV = {"AZURE_STORAGE_ACCOUNT": "acc", "AZURE_STORAGE_KEY": base64.b64encode(b"key").decode()}
LARGE = (1 << 20) + 1
EMPTY = b"<EnumerationResults><Blobs/><NextMarker/></EnumerationResults>"


class Server:
    """``asked``: of each request, its method, path with query, and headers."""

    def __init__(self, answer: Callable[[web.Request], web.Response]) -> None:
        self.asked: list[tuple[str, str, Any]] = []
        self._answer = answer

    async def __call__(self, request: web.BaseRequest) -> web.Response:
        assert isinstance(request, web.BaseRequest)
        async for _ in request.content.iter_any():  # ``read`` has a limit
            pass
        self.asked.append((request.method, request.path_qs, request.headers.copy()))
        answer = self._answer(request)  # type: ignore[arg-type]  # a low-level server's requests are as good
        if "Server" not in answer.headers:
            answer.headers["x-ms-request-id"] = "1"
        return answer


@asynccontextmanager
async def opened(
    answer: Callable[[web.Request], web.Response], options: Options | None = None, *, url: str = ""
) -> AsyncIterator[tuple[AzureStore, Server]]:
    server = Server(answer)
    runner = web.ServerRunner(web.Server(server))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    store = await AzureStore.open("con", Endpoint(url or f"http://127.0.0.1:{port}/acc"), options, env=ENV)
    try:
        yield store, server
    finally:
        await store.close()
        await runner.cleanup()


def refusal(status: int, code: str) -> web.Response:
    return web.Response(status=status, headers={"x-ms-error-code": code})


def listing(*names: str) -> web.Response:
    blobs = "".join(
        f"<Blob><Name>{name}</Name><Properties><Content-Length>1</Content-Length></Properties></Blob>" for name in names
    )
    return web.Response(body=f"<EnumerationResults><Blobs>{blobs}</Blobs></EnumerationResults>".encode())


async def test_a_server_without_start_from_lists_all() -> None:
    def answer(request: web.Request) -> web.Response:
        if "startFrom" in request.query:
            return refusal(400, "InvalidHeaderValue")
        return listing("a", "b", "c")

    async with opened(answer) as (store, server):
        for _ in range(2):
            assert [meta.key async for meta in store.list("", start_after="a")] == ["b", "c"]
    assert ["startFrom" in path for _, path, _ in server.asked] == [True, False, False]  # and is not asked again


async def test_open_uploads_are_hidden() -> None:
    async with opened(lambda _: listing(".uploads/0", "a")) as (store, _):
        assert [meta.key async for meta in store.list("")] == ["a"]


async def test_an_account_without_batches_deletes_one_by_one() -> None:
    def answer(request: web.Request) -> web.Response:
        return refusal(400, "UnsupportedHeader") if request.method == "POST" else web.Response(status=202)

    async with opened(answer) as (store, server):
        for _ in range(2):
            await store.delete(["a", "b"])
    assert [method for method, _, _ in server.asked] == ["POST", "DELETE", "DELETE", "DELETE", "DELETE"]


async def test_a_batch_says_which_keys_stayed() -> None:
    part = "--m\r\nContent-ID: {0}\r\n\r\nHTTP/1.1 {1} x\r\nx-ms-error-code: {2}\r\n\r\n"
    body = part.format(0, 404, "BlobNotFound") + part.format(1, 409, "BlobImmutableDueToPolicy") + "--m--"

    def answer(_: web.Request) -> web.Response:
        return web.Response(status=202, text=body, headers={"Content-Type": "multipart/mixed; boundary=m"})

    async with opened(answer) as (store, _):
        with pytest.raises(StoreError) as caught:
            await store.delete(["a", "b", "c"])
    assert (caught.value.kind, caught.value.key) == (Kind.FORBIDDEN, "b")
    assert "2 of 3 keys stayed: BlobImmutableDueToPolicy (an immutability policy" in str(caught.value)  # c: no answer


async def test_headers_of_what_is_written() -> None:
    options = Options(
        storage_class="Cold", encryption=Encryption.KMS, kms_key="scope", tags={"a": "b"}
    )  # fmt: skip
    async with opened(lambda _: web.Response(status=201), options) as (store, server):
        await store.put("small", BytesBody(b"x"))
        await store.put("large", BytesBody(bytes(LARGE)))
        await store.create_upload("key")
    small, block, commit, marker = (headers for _, _, headers in server.asked)
    for headers in (small, commit):
        assert headers["x-ms-access-tier"] == "Cold"
        assert headers["x-ms-encryption-scope"] == "scope"
        assert headers["x-ms-tags"] == "a=b"
        assert headers["x-ms-meta-crc32c"]
    assert block["x-ms-encryption-scope"] == "scope"
    assert not {"x-ms-access-tier", "x-ms-tags"} & set(block)
    assert "x-ms-access-tier" not in marker  # it is deleted in a while
    for headers in (small, block, commit):
        assert "Expect" not in headers


async def test_a_condition_that_fails_says_that_it_is_there() -> None:
    def answer(request: web.Request) -> web.Response:
        return web.Response(status=201) if request.query.get("comp") == "block" else refusal(412, "ConditionNotMet")

    async with opened(answer) as (store, server):
        for size in (1, LARGE):
            with pytest.raises(AlreadyExists):
                await store.put("key", BytesBody(bytes(size)), if_absent=True)
        with pytest.raises(StoreError) as caught:
            await store.put("key", BytesBody(b"x"))
        assert caught.value.kind is Kind.PRECONDITION
    assert [headers.get("If-None-Match") for _, _, headers in server.asked] == ["*", None, "*", None]


async def test_a_put_whose_block_another_write_threw_away_can_be_tried_again() -> None:
    def answer(request: web.Request) -> web.Response:
        gone = request.query.get("comp") == "blocklist"
        return refusal(400, "InvalidBlockList") if gone else web.Response(status=201)

    async with opened(answer) as (store, _):
        with pytest.raises(StoreError) as caught:
            await store.put("key", BytesBody(bytes(LARGE)))
    assert (caught.value.kind, caught.value.retryable) == (Kind.UNAVAILABLE, True)
    assert "another write of this blob" in str(caught.value)


async def test_other_bytes_at_the_server_are_an_error() -> None:
    answer = web.Response(status=201, headers={"x-ms-content-crc64": "AAAAAAAAAAA="})
    async with opened(lambda _: answer) as (store, server):
        with pytest.raises(StoreError) as caught:
            await store.put("key", BytesBody(bytes(LARGE)))
    assert (caught.value.kind, caught.value.retryable) == (Kind.CORRUPT, True)
    assert len(server.asked) == 1  # nothing was committed


class Uploading:
    """A server on which an upload of ``key`` is open, and the commit answers ``code``."""

    def __init__(self, status: int, code: str = "", owner: str = "") -> None:
        self.status, self.code, self.owner = status, code, owner
        self.forbidden = False

    def __call__(self, request: web.Request) -> web.Response:
        if "/.uploads/" in request.path:
            if request.method == "DELETE" and self.forbidden:
                return refusal(403, "AuthorizationPermissionMismatch")
            return web.Response(headers={"x-ms-meta-key": base64.b64encode(b"key").decode()})
        if request.query.get("comp") == "blocklist":
            if request.method == "GET":
                return refusal(404, "BlobNotFound")
            return refusal(self.status, self.code) if self.code else web.Response(status=self.status)
        if request.method == "HEAD":
            return web.Response(headers={"x-ms-meta-upload": self.owner, "ETag": '"e"', "Content-Length": "7"})
        return web.Response(status=201)


async def test_an_upload_completed_before_is_known_as_its_own() -> None:
    server = Uploading(409, "BlobAlreadyExists")
    async with opened(server) as (store, seen):
        upload = await store.create_upload("key")
        part = await store.upload_part("key", upload, 1, BytesBody(b"x"))
        with pytest.raises(AlreadyExists):
            await store.complete_upload("key", upload, [part], if_absent=True)
        assert seen.asked[-1][0] != "DELETE"  # the upload stays
        server.owner = upload  # now the first commit had gone through, and its answer was lost
        meta = await store.complete_upload("key", upload, [part], if_absent=True)
        assert (meta.size, meta.etag) == (7, "e")
        assert seen.asked[-1][0] == "DELETE"


async def test_who_may_not_delete_can_complete() -> None:
    server = Uploading(201)
    server.forbidden = True
    async with opened(server) as (store, _):
        upload = await store.create_upload("key")
        part = await store.upload_part("key", upload, 1, BytesBody(b"x"))
        assert (await store.complete_upload("key", upload, [part])).size == 1


async def test_parts_that_another_write_threw_away_are_missing() -> None:
    async with opened(Uploading(400, "InvalidBlockList")) as (store, _):
        upload = await store.create_upload("key")
        part = await store.upload_part("key", upload, 1, BytesBody(b"x"))
        assert await store.list_parts("key", upload) == []
        with pytest.raises(StoreError, match="another write of this blob threw it away") as caught:
            await store.complete_upload("key", upload, [part])
        assert caught.value.kind is Kind.INVALID


async def test_a_copy_by_token_shows_the_token_for_the_source() -> None:
    class Identity:
        async def get_token(self, _scope: str) -> Any:
            return SimpleNamespace(token="a-token", expires_on=1e12)

        async def close(self) -> None:
            pass

    def answer(request: web.Request) -> web.Response:
        if request.method == "HEAD":
            return web.Response(headers={"ETag": '"e"', "Content-Length": str(600 << 20)})
        return web.Response(status=201)

    async with opened(answer) as (store, server):
        store._wire.credential = Token(Identity(), "azure://con")
        await store.copy("from here", "to")
    blocks = [headers for method, path, headers in server.asked if "comp=block&" in path]
    assert [headers["x-ms-source-range"] for headers in blocks] == [
        "bytes=0-268435455", "bytes=268435456-536870911", "bytes=536870912-629145599",
    ]  # fmt: skip
    for headers in blocks:
        assert headers["x-ms-copy-source-authorization"] == headers["Authorization"] == "Bearer a-token"
        assert headers["x-ms-copy-source"].endswith("/acc/con/from%20here")
        assert headers["x-ms-source-if-match"] == '"e"'


@pytest.mark.parametrize(
    "answer",
    [
        web.Response(body=b"<html>welcome", headers={"Server": "nginx"}),
        web.Response(status=302, headers={"Server": "nginx", "Location": "http://127.0.0.1:1/login"}),
        web.Response(status=404, headers={"Server": "nginx"}),
    ],
)
@pytest.mark.parametrize("verb", ["head", "list", "put"])
async def test_something_else_answers(answer: web.Response, verb: str) -> None:
    def fresh(_: web.Request) -> web.Response:
        return web.Response(status=answer.status, body=answer.body, headers=answer.headers)

    async with opened(fresh) as (store, server):
        calls: dict[str, Callable[[], Any]] = {
            "head": lambda: store.head("key"), "list": lambda: anext(aiter(store.list(""))),
            "put": lambda: store.put("key", BytesBody(b"x")),
        }  # fmt: skip
        with pytest.raises(StoreError, match="does not speak Azure Blob storage") as caught:
            await calls[verb]()
    assert (caught.value.kind, caught.value.retryable) == (Kind.INVALID, False)
    assert len(server.asked) == 1  # no redirect is followed


async def test_the_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    async with opened(lambda _: refusal(404, "BlobNotFound")) as (store, server):
        here = store._wire.url("").removesuffix("/acc/con")
        monkeypatch.setenv("http_proxy", here)
        there = await AzureStore.open("con", Endpoint("http://acc.blob.example"), env=ENV)
        with pytest.raises(NotFound):
            await there.head("key")
        await there.close()
        assert server.asked[0][2]["Host"] == "acc.blob.example"


async def test_a_range_is_asked_for_once() -> None:
    def answer(_: web.Request) -> web.Response:
        return web.Response(status=206, body=b"345")

    async with opened(answer) as (store, server):
        assert [piece async for piece in store.get("key", offset=3, length=3)] == [b"345"]
    assert [headers["x-ms-range"] for _, _, headers in server.asked] == ["bytes=3-5"]
