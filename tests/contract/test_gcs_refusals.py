"""How Cloud Storage says no, by every verb: kind, whether to try again, and what to do. And what a download bears."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import socket
import ssl
import time
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest
import uvloop
from aiohttp import web

from backends.base import BytesBody, Encryption, Endpoint, FileBody, LockMode, Options
from backends.checksums import crc32c
from backends.errors import Kind, NotFound, StoreError
from backends.gcs import GcsStore
from tests.contract.certificates import make
from tests.contract.fake_gcs import FakeGcs, new_bucket
from tests.contract.google import Google, error, google
from tests.contract.refusals import LARGE, errors_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.contract.refusals import Calls


async def opened(url: str, bucket: str = "bucket", stall: float = 10.0, **env: str) -> GcsStore:
    return await GcsStore.open(bucket, Endpoint(url), env=env, stall=stall)


async def refused(store: GcsStore, *, leave_out: str = "") -> dict[str, StoreError]:
    """The error of each verb; the store is closed."""
    more: Calls = {
        "copy": lambda: store.copy("key", "other"),
        "upload part": lambda: store.upload_part("key", "0" * 32, 1, BytesBody(b"x")),
        "list parts": lambda: store.list_parts("key", "0" * 32),
        "complete upload": lambda: store.complete_upload("key", "0" * 32, []),
    }
    return await errors_of(store, more, leave_out)


def all_are(errors: dict[str, StoreError], kind: Kind, says: str, *, retryable: bool) -> None:
    for verb, one in errors.items():
        assert (one.kind, one.retryable) == (kind, retryable), (verb, str(one))
        assert says in str(one), (verb, str(one))


async def test_no_bucket_at_google(cloud: Google) -> None:
    errors = await refused(await opened(cloud.url, "no-such-bucket"), leave_out="delete")  # a batch answers by the key
    all_are(errors, Kind.NO_BUCKET, "create the bucket, or correct the target", retryable=False)
    store = await opened(cloud.url, "no-such-bucket")
    cloud.answers.append(
        web.Response(
            body=b"--b\r\nContent-Type: application/http\r\nContent-ID: <response-0>\r\n\r\nHTTP/1.1 404 Not Found\r\n"
            b"Content-Type: application/json\r\n\r\n"
            b'{"error": {"message": "The specified bucket does not exist."}}\r\n--b--',
            headers={"Content-Type": "multipart/mixed; boundary=b"},
        )
    )
    with pytest.raises(StoreError) as caught:
        await store.delete(["key"])
    await store.close()
    assert caught.value.kind is Kind.NO_BUCKET


async def test_no_bucket_on_fake_gcs_server(fake_gcs: FakeGcs) -> None:
    """It says nothing but "Not Found" of objects, and its file backend crashes over a listing of no bucket."""
    store = await opened(fake_gcs.url, "no-such-bucket")
    for verb in (store.put("key", BytesBody(b"x")), store.head("key"), anext(aiter(store.get("key")))):
        with pytest.raises(StoreError) as caught:
            await verb
        assert caught.value.kind is Kind.NO_BUCKET
    await store.close()
    async with new_bucket(fake_gcs) as there:
        for key in ("one", "two"):  # the first asks for the bucket, the second knows
            with pytest.raises(NotFound):
                await there.head(key)


@pytest.mark.parametrize("verb", ["list", "put"])
async def test_a_bucket_that_vanishes_in_the_middle_of_emulators(cloud: Google, verb: str) -> None:
    """They say "Not Found" of it, as of an object."""
    store = await opened(cloud.url)
    await store.put("key", BytesBody(b"x"))
    cloud.answers += [error(404, "Not Found", "notFound") for _ in range(2)]  # of the verb, and of the bucket
    with pytest.raises(StoreError, match=r"there is no bucket gs://bucket") as caught:
        await (anext(aiter(store.list(""))) if verb == "list" else store.put("other", BytesBody(b"x")))
    assert caught.value.kind is Kind.NO_BUCKET
    await store.close()


@pytest.mark.parametrize(
    ("status", "message", "reason", "kind", "says"),
    [
        (403, "x@y does not have storage.objects.create access", "forbidden", Kind.FORBIDDEN, "storage.objectUser"),
        (
            403, "Cloud Storage API has not been used in project 1 before or it is disabled.", "accessNotConfigured",
            Kind.FORBIDDEN, "enable storage.googleapis.com",
        ),
        (
            403, "Request is prohibited by organization's policy. vpcServiceControlsUniqueIdentifier: abc", "forbidden",
            Kind.FORBIDDEN, "vpcServiceControlsUniqueIdentifier: abc [forbidden] (let these credentials into the VPC",
        ),
        (
            403, "The billing account for the owning project is disabled in state absent", "accountDisabled",
            Kind.FORBIDDEN, "enable billing",
        ),
        (
            400, "Bucket is a requester pays bucket but no user project provided.", "required", Kind.INVALID,
            "no user project provided",
        ),
        (429, "The rate is too high.", "rateLimitExceeded", Kind.THROTTLED, "The rate is too high"),
        (408, "Timed out", "", Kind.TIMEOUT, "Timed out"),
        (409, "A conflict", "conflict", Kind.UNAVAILABLE, "A conflict"),
        (500, "Backend", "internalError", Kind.UNAVAILABLE, "Backend"),
        (503, "Backend", "backendError", Kind.THROTTLED, "Backend"),
        (504, "Gateway", "", Kind.TIMEOUT, "Gateway"),
    ],
)  # fmt: skip
async def test_refusals_keep_googles_words(  # noqa: PLR0917  one table
    cloud: Google, status: int, message: str, reason: str, kind: Kind, says: str
) -> None:
    cloud.answers += [error(status, message, reason) for _ in range(12)]
    errors = await refused(await opened(cloud.url))
    all_are(errors, kind, says, retryable=kind in {Kind.THROTTLED, Kind.TIMEOUT, Kind.UNAVAILABLE})


async def test_a_time_to_wait_is_passed_on(cloud: Google) -> None:
    cloud.answers.append(web.Response(status=429, headers={"Retry-After": "7"}, text="slow"))
    store = await opened(cloud.url)
    with pytest.raises(StoreError) as caught:
        await store.head("key")
    await store.close()
    assert caught.value.retry_after == 7


async def test_some_keys_stay(cloud: Google) -> None:
    store = await opened(cloud.url)
    body = "".join(
        f"--b\r\nContent-ID: <response-{number}>\r\n\r\nHTTP/1.1 {status}\r\nX: y\r\n\r\n"
        f'{{"error": {{"message": "kept until May", "errors": [{{"reason": "{reason}"}}]}}}}\r\n'
        for number, status, reason in (
            (2, "403 Forbidden", "retentionPolicyNotMet"), (0, "404 Not Found", "notFound"), (1, "204 No Content", ""),
        )
    )  # fmt: skip
    cloud.answers.append(web.Response(text=body + "--b--", headers={"Content-Type": "multipart/mixed; boundary=b"}))
    with pytest.raises(StoreError) as caught:
        await store.delete(["a", "b", "c", "d"])
    assert str(caught.value) == (
        "delete gs://bucket/c: 2 of 4 keys stayed: kept until May [retentionPolicyNotMet] "
        "(the bucket's retention keeps the object for now)"
    )
    assert (caught.value.kind, caught.value.retryable) == (Kind.FORBIDDEN, False)
    await store.close()


async def test_nobody_listens() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        errors = await refused(await opened(url))
    all_are(errors, Kind.UNAVAILABLE, "127.0.0.1", retryable=True)


async def test_a_host_that_is_not_there() -> None:
    errors = await refused(await opened("http://store.invalid"))
    all_are(errors, Kind.UNAVAILABLE, "check the endpoint's url, or the cluster's DNS", retryable=True)


async def test_a_proxy_that_is_not_there(cloud: Google) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        proxy = f"http://user:a-secret@127.0.0.1:{unused.getsockname()[1]}"
        errors = await refused(await opened(cloud.url, HTTP_PROXY=proxy))
        all_are(errors, Kind.UNAVAILABLE, "check HTTPS_PROXY in spec.env", retryable=True)
        assert all("a-secret" not in str(one) for one in errors.values())
        past = await opened(cloud.url, HTTP_PROXY=proxy, NO_PROXY="127.0.0.1")
        await past.put("key", BytesBody(b"x"))
        await past.close()


@asynccontextmanager
async def saying(answer: bytes) -> AsyncIterator[str]:
    """A server that answers everything so."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"\r\nContent-Length: (\d+)", head)
            await reader.readexactly(int(length[1]) if length else 0)
            writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()
    await server.wait_closed()


def http_answer(status: str, content: str, body: bytes) -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {content}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body


@pytest.mark.parametrize(
    ("status", "content", "body"),
    [
        ("200 OK", "text/html", b"<html>welcome</html>"),
        ("404 Not Found", "text/html", b"<html><h1>404</h1></html>"),
        ("400 Bad Request", "application/xml", b"<Error><Code>InvalidRequest</Code></Error>"),
    ],
)
async def test_an_endpoint_that_speaks_something_else(status: str, content: str, body: bytes) -> None:
    async with saying(http_answer(status, content, body)) as url:
        errors = await refused(await opened(url))
    says = f"with {content} is no answer of Cloud Storage (check the endpoint's url)"
    all_are(errors, Kind.INVALID, says, retryable=False)


async def test_an_endpoint_that_speaks_no_http() -> None:
    async with saying(b"SSH-2.0-OpenSSH_9.9\r\n") as url:
        errors = await refused(await opened(url))
    all_are(errors, Kind.UNAVAILABLE, "the endpoint does not speak HTTP", retryable=False)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("certificates"))


async def test_over_tls(authority: Path, tmp_path: Path) -> None:
    own, other = str(authority / "public.crt"), str(make(tmp_path) / "public.crt")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(authority / "public.crt", authority / "private.key")
    async with google(context) as cloud:
        errors = await refused(await opened(cloud.url))
        advice = "the Secret of endpoint.caBundleSecretRef or, without one, into what SSL_CERT_FILE says"
        all_are(errors, Kind.UNAVAILABLE, advice, retryable=False)
        astray = await GcsStore.open("bucket", Endpoint(cloud.url, None, None, True, other), env={"SSL_CERT_FILE": own})
        all_are(await refused(astray), Kind.UNAVAILABLE, advice, retryable=False)
        trusting = await opened(cloud.url, SSL_CERT_FILE=own)
        told = await GcsStore.open("bucket", Endpoint(cloud.url, ca_file=own), env={"SSL_CERT_FILE": other})
        careless = await GcsStore.open("bucket", Endpoint(cloud.url, insecure_skip_verify=True), env={})
        for store in (trusting, told, careless):
            await store.put("key", BytesBody(b"x" * LARGE))
            assert b"".join([piece async for piece in store.get("key")]) == b"x" * LARGE
            await store.close()
    with pytest.raises(StoreError, match="SSL_CERT_FILE names /no/such, which holds no certificates") as caught:
        await opened("https://127.0.0.1", SSL_CERT_FILE="/no/such")
    assert caught.value.kind is Kind.INVALID


async def test_http_where_https_was_said(cloud: Google) -> None:
    errors = await refused(await opened(cloud.url.replace("http:", "https:")))
    all_are(errors, Kind.UNAVAILABLE, "speaks http, not https", retryable=False)


@pytest.mark.slow
async def test_a_server_that_stops_reading_or_answering(cloud: Google) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        began = time.monotonic()
        errors = await refused(await opened(url, stall=0.2))
        assert time.monotonic() - began < 15
    all_are(errors, Kind.TIMEOUT, "no answer in time", retryable=True)


@pytest.mark.slow
async def test_a_slow_body_is_no_stall(cloud: Google) -> None:
    class Slow:
        size, crc32c = 5, crc32c(b"hello")

        async def chunks(self) -> AsyncIterator[bytes]:
            for byte in b"hello":
                await asyncio.sleep(0.4)
                yield bytes([byte])

    store = await opened(cloud.url, stall=1.5)
    await store.put("key", Slow())
    await store.close()
    assert cloud.objects["key"][1] == b"hello"


@pytest.mark.parametrize("options", [
    Options(lock_mode=LockMode.GOVERNANCE, lock_days=3), Options(encryption=Encryption.AES256),
    Options(encryption=Encryption.KMS), Options(encryption=Encryption.KMS, kms_key="an-id"),
    Options(kms_key="projects/p/locations/l/keyRings/r/cryptoKeys/k"), Options(requester_pays=True),
    Options(tags={"a": "x" * 9000}),
])  # fmt: skip
async def test_options_that_cloud_storage_has_not(options: Options) -> None:
    with pytest.raises(StoreError) as caught:
        await GcsStore.open("bucket", Endpoint("http://127.0.0.1:1"), options, env={})
    assert (caught.value.kind, caught.value.operation, caught.value.store) == (Kind.INVALID, "open", "gs://bucket")


async def test_a_users_key_encrypts_all_that_is_made(cloud: Google) -> None:
    key = "projects/p/locations/l/keyRings/r/cryptoKeys/k"
    options = Options(encryption=Encryption.KMS, kms_key=key)
    store = await GcsStore.open("bucket", Endpoint(cloud.url), options, env={})
    await store.put("small", BytesBody(b"x"))
    await store.put("large", BytesBody(bytes(LARGE)))
    upload = await store.create_upload("big")
    part = await store.upload_part("big", upload, 1, BytesBody(b"x"))
    await store.complete_upload("big", upload, [part])
    assert {name: cloud.objects[name][0]["kmsKeyName"] for name in cloud.names()} == dict.fromkeys(cloud.names(), key)
    await store.copy("small", "copy")
    await store.close()
    (rewrite,) = [query for _, path, query in cloud.requests if "/rewriteTo/" in path]
    assert rewrite["destinationKmsKeyName"] == key


async def test_what_is_stored_packed_comes_packed(fake_gcs: FakeGcs) -> None:
    packed = gzip.compress(b"hello " * 1000)
    async with new_bucket(fake_gcs) as store:
        fields = store._objects.fields
        store._objects.fields = lambda *_: fields() | {"contentEncoding": "gzip"}  # type: ignore[method-assign]
        await store.put("key", BytesBody(packed))
        assert b"".join([piece async for piece in store.get("key")]) == packed
        assert b"".join([piece async for piece in store.get("key", offset=5, length=9)]) == packed[5:14]


@pytest.mark.parametrize("head", ["Content-Length: 10\r\n", "Transfer-Encoding: chunked\r\n", ""])
async def test_a_download_that_ends_early(head: str) -> None:
    body = b"a\r\nhello" if "chunked" in head else b"hello"
    told = "x-goog-hash: crc32c=AAAAAA==\r\nx-goog-stored-content-length: 10\r\n"
    async with saying(f"HTTP/1.1 200 OK\r\nConnection: close\r\n{head}{told}\r\n".encode() + body) as url:
        store = await opened(url)
        with pytest.raises(StoreError) as caught:
            _ = [piece async for piece in store.get("key")]
        await store.close()
    assert (caught.value.kind, caught.value.retryable) == (Kind.UNAVAILABLE, True)


async def test_an_endpoint_without_ranges(cloud: Google) -> None:
    store = await opened(cloud.url)
    await store.put("key", BytesBody(b"0123456789"))
    cloud.answers.append(web.Response(body=b"0123456789", headers={"x-goog-generation": "1"}))
    with pytest.raises(StoreError, match="does not serve ranges"):
        await anext(aiter(store.get("key", offset=3)))
    await store.close()


def test_on_uvloop_with_files(fake_gcs: FakeGcs, tmp_path: Path) -> None:
    path = tmp_path / "source"
    path.write_bytes(bytes(range(256)) * (11 << 12))

    async def main() -> Any:
        async with new_bucket(fake_gcs) as store:
            await store.put("key", FileBody(path))
            return b"".join([piece async for piece in store.get("key")])

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(main()) == path.read_bytes()


async def test_more_requests_than_connections(fake_gcs: FakeGcs) -> None:
    async with new_bucket(fake_gcs) as made:
        name = made.name.removeprefix("gs://")
        store = await GcsStore.open(name, Endpoint(fake_gcs.url), env={}, connections=2)
        gone = await asyncio.gather(*(anext(aiter(store.get(f"x{n}"))) for n in range(20)), return_exceptions=True)
        assert all(isinstance(one, NotFound) for one in gone)
        missing = await asyncio.gather(*(store.head(f"k{n}") for n in range(20)), return_exceptions=True)
        assert all(isinstance(one, NotFound) for one in missing)
        await asyncio.gather(*(store.put(f"k{n}", BytesBody(json.dumps(n).encode())) for n in range(20)))
        assert len([one async for one in store.list("k")]) == 20
        await store.close()
