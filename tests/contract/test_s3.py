"""S3 alone, on a real MinIO: what it refuses and how that reads, TLS, connections, memory."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import tracemalloc
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from backends import s3_body
from backends.base import BytesBody, Endpoint, FileBody
from backends.checksums import crc32c
from backends.errors import Kind, StoreError
from backends.registry import open_store
from backends.s3 import S3Store
from tests.contract.minio import MinIO, add_user, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from backends.base import Body


async def refused(store: S3Store) -> dict[str, StoreError]:
    """The error of each verb; the store is closed."""
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "put": lambda: store.put("key", BytesBody(b"x")),
        "head": lambda: store.head("key"),
        "get": lambda: anext(aiter(store.get("key"))),
        "list": lambda: anext(aiter(store.list(""))),
        "delete": lambda: store.delete(["key"]),
        "create upload": lambda: store.create_upload("key"),
        "put, large": lambda: store.put("key", BytesBody(bytes(8 << 20))),
    }
    errors = {}
    before = open_sockets(store)
    try:
        for verb, call in calls.items():
            with pytest.raises(StoreError) as caught:
                await call()
            errors[verb] = caught.value
    finally:
        await store.close()
    async with asyncio.timeout(10):  # a body cut short stays in its socket until the server has closed the other end
        while open_sockets(store) > before:  # noqa: ASYNC110  the kernel has no event for it
            await asyncio.sleep(0.01)
    assert all(str(error).startswith(verb.partition(",")[0]) for verb, error in errors.items())
    return errors


def open_sockets(store: S3Store) -> int:
    """This process's connections to the store's port."""
    port = f":{urlsplit(store._client.meta.endpoint_url).port or 0:04X}"
    mine = {str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()}
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[2].endswith(port) and f"socket:[{row[9]}]" in mine for row in rows)


@pytest.mark.slow
async def test_zero_bytes_between_others_on_reused_connections(bucket: S3Store) -> None:
    """boto3, which says ``Expect: 100-continue``, stalls here for 30 s. That we do not say it: unit tests, the wire."""
    async with asyncio.timeout(10):
        for number in range(20):
            await bucket.put(f"k{number}", BytesBody(b"" if number % 2 else b"x" * 100))
            await bucket.put(f"f{number}", FileBody(os.devnull, 0, 0))


async def test_no_credentials(minio: MinIO, aws: pytest.MonkeyPatch) -> None:
    aws.delenv("AWS_ACCESS_KEY_ID")
    aws.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(StoreError, match=r"set AWS_ACCESS_KEY_ID .* in spec\.env, or use a service account") as caught:
        await open_store("AWS_S3", "bucket", Endpoint(minio.url))
    assert (caught.value.kind, caught.value.retryable) == (Kind.UNAUTHENTICATED, False)


@pytest.mark.parametrize(
    ("name", "code"), [("ACCESS_KEY_ID", "InvalidAccessKeyId"), ("SECRET_ACCESS_KEY", "SignatureDoesNotMatch")]
)
async def test_wrong_credentials(minio: MinIO, aws: pytest.MonkeyPatch, name: str, code: str) -> None:
    aws.setenv(f"AWS_{name}", "wrong-secret")
    errors = await refused(await S3Store.open("bucket", Endpoint(minio.url)))
    for verb, error in errors.items():
        assert (error.kind, error.retryable) == (Kind.UNAUTHENTICATED, False), verb
        assert code in str(error), verb
        assert "wrong-secret" not in str(error)


async def test_no_bucket(minio: MinIO, aws: pytest.MonkeyPatch) -> None:
    errors = await refused(await S3Store.open("no-such-bucket", Endpoint(minio.url)))
    for verb, error in errors.items():
        assert (error.kind, error.retryable) == (Kind.NO_BUCKET, False), verb
        assert "s3://no-such-bucket" in str(error)


@pytest.fixture(scope="module")
def stranger(minio: MinIO) -> tuple[str, str]:
    add_user(minio, "stranger", "stranger-password")
    return "stranger", "stranger-password"


async def test_denied(minio: MinIO, bucket: S3Store, aws: pytest.MonkeyPatch, stranger: tuple[str, str]) -> None:
    aws.setenv("AWS_ACCESS_KEY_ID", stranger[0])
    aws.setenv("AWS_SECRET_ACCESS_KEY", stranger[1])
    errors = await refused(await S3Store.open(bucket._bucket, Endpoint(minio.url)))
    for verb, error in errors.items():
        assert (error.kind, error.retryable) == (Kind.FORBIDDEN, False), verb
        assert "Access Denied" in str(error), verb


async def test_nobody_listens(aws: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        errors = await refused(await S3Store.open("bucket", Endpoint(url)))
    for verb, error in errors.items():
        assert (error.kind, error.retryable) == (Kind.UNAVAILABLE, True), verb
        assert url in str(error)


@pytest.mark.parametrize("variable", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
async def test_the_sdks_own_endpoint_variables(
    bucket: S3Store, aws: pytest.MonkeyPatch, minio: MinIO, variable: str
) -> None:
    aws.setenv(variable, minio.url.replace("127.0.0.1", "localhost"))  # a name: only path style reaches it
    store = await open_store("AWS_S3", f"s3://{bucket._bucket}/sub")
    await store.put("key", BytesBody(b"x"))
    await store.close()
    assert [meta.key async for meta in bucket.list("")] == ["sub/key"]


async def test_the_server_verifies_the_checksum(bucket: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    async def unchecked(body: Body, *_names: str) -> AsyncIterator[bytes]:
        async for chunk in body.chunks():
            yield chunk

    monkeypatch.setattr(s3_body, "checked", unchecked)
    upload = await bucket.create_upload("key")
    for attempt in (
        bucket.put("key", BytesBody(b"hello", checksum=5)),
        bucket.upload_part("key", upload, 1, BytesBody(b"hello", checksum=5)),
    ):
        with pytest.raises(StoreError) as caught:
            await attempt
        assert (caught.value.kind, caught.value.retryable) == (Kind.CORRUPT, True)
    assert [meta.key async for meta in bucket.list("")] == []


async def test_the_store_keeps_the_checksum(bucket: S3Store) -> None:
    await bucket.put("key", BytesBody(b"hello"))
    assert (await bucket.head("key")).crc32c == crc32c(b"hello")
    upload = await bucket.create_upload("big")
    parts = [await bucket.upload_part("big", upload, 1, BytesBody(b"hello"))]
    await bucket.complete_upload("big", upload, parts)
    assert (await bucket.head("big")).crc32c == crc32c(b"hello")


@pytest.mark.slow
async def test_a_large_upload_is_streamed(bucket: S3Store, tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.truncate(200 << 20)
    tracemalloc.start()
    try:
        meta = await bucket.put("key", FileBody(path))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert meta.size == 200 << 20
    assert peak < 16 << 20


async def test_more_requests_than_connections(minio: MinIO, bucket: S3Store) -> None:
    store = await S3Store.open(bucket._bucket, Endpoint(minio.url), connections=2)
    await asyncio.gather(*(store.put(f"k{number}", BytesBody(b"x" * 1000)) for number in range(20)))
    assert len([meta async for meta in store.list("")]) == 20
    await store.close()


def test_on_uvloop(minio: MinIO, aws: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "source"
    data = os.urandom(5 << 20)
    path.write_bytes(data)

    async def main() -> bytes:
        store = await S3Store.open("on-uvloop", Endpoint(minio.url))
        await store._client.create_bucket(Bucket="on-uvloop")
        await store.put("key", FileBody(path))
        got = b"".join([chunk async for chunk in store.get("key")])
        await store.close()
        return got

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(main()) == data


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a self-signed certificate for 127.0.0.1 as MinIO wants it: public.crt, private.key."""
    directory = tmp_path_factory.mktemp("certificates")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "MinIO of a test")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (directory / "public.crt").write_bytes(certificate.public_bytes(pem))
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (directory / "private.key").write_bytes(private)
    return directory


@pytest.fixture(scope="module")
def secure(authority: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MinIO]:
    trust = ssl.create_default_context(cafile=str(authority / "public.crt"))
    with running(tmp_path_factory.mktemp("secure") / "server", certificates=authority, trust=trust) as server:
        yield server


async def test_a_certificate_nobody_vouches_for(secure: MinIO, aws: pytest.MonkeyPatch) -> None:
    errors = await refused(await S3Store.open("bucket", Endpoint(secure.url)))
    for verb, error in errors.items():
        assert (error.kind, error.retryable) == (Kind.UNAVAILABLE, False), verb
        assert "AWS_CA_BUNDLE" in str(error)


async def test_http_where_https_was_said(minio: MinIO, aws: pytest.MonkeyPatch) -> None:
    errors = await refused(await S3Store.open("bucket", Endpoint(minio.url.replace("http", "https"))))
    for verb, error in errors.items():
        assert (error.kind, error.retryable) == (Kind.UNAVAILABLE, False), verb
        assert "speaks http" in str(error)


@pytest.mark.parametrize("bundle", [True, False])
async def test_over_tls(secure: MinIO, aws: pytest.MonkeyPatch, authority: Path, tmp_path: Path, bundle: bool) -> None:
    if bundle:
        aws.setenv("AWS_CA_BUNDLE", str(authority / "public.crt"))
    store = await S3Store.open("over-tls", Endpoint(secure.url, insecure_skip_verify=not bundle))
    if bundle:
        await store._client.create_bucket(Bucket="over-tls")
    path = tmp_path / "source"
    path.write_bytes(os.urandom(3 << 20))
    await store.put("key", FileBody(path))
    assert b"".join([chunk async for chunk in store.get("key")]) == path.read_bytes()
    await store.close()
