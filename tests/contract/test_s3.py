"""S3 alone, on a real MinIO: what it refuses and how that reads, TLS, connections, memory."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import ssl
import tracemalloc
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
import uvloop

from agent import protocol
from agent.stores import Stores
from backends import s3_body
from backends.base import BytesBody, Endpoint, FileBody, LockMode, Options
from backends.checksums import crc32c
from backends.errors import Kind, StoreError
from backends.helpers import read_all
from backends.registry import open_store
from backends.s3 import S3Store
from tests.contract import certificates
from tests.contract.minio import MinIO, add_user, running
from tests.contract.refusals import refused
from tests.contract.server import ROOT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from backends.base import Body

LOCKED = Options(lock_mode=LockMode.GOVERNANCE, lock_days=1)


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


@pytest.mark.slow
async def test_a_bucket_that_is_read_only(minio: MinIO, bucket: S3Store, aws: pytest.MonkeyPatch) -> None:
    await bucket.put("there", BytesBody(b"x"))
    add_user(minio, "reader", "reader-password", "s3:GetObject", "s3:ListBucket")
    aws.setenv("AWS_ACCESS_KEY_ID", "reader")
    aws.setenv("AWS_SECRET_ACCESS_KEY", "reader-password")
    store = await S3Store.open(bucket._bucket, Endpoint(minio.url))
    assert [meta.key async for meta in store.list("")] == ["there"]
    assert (await store.head("there")).size == 1
    for attempt, permission in (
        (store.put("key", BytesBody(b"x")), "allow s3:PutObject"),
        (store.create_upload("key"), "allow s3:PutObject"),
        (anext(aiter(store.list_uploads(""))), "allow s3:ListBucketMultipartUploads"),
        (store.delete(["there"]), "1 of 1 keys stayed: AccessDenied"),
    ):
        with pytest.raises(StoreError, match=permission) as caught:
            await attempt
        assert (caught.value.kind, caught.value.retryable) == (Kind.FORBIDDEN, False)
    await store.close()


@pytest.mark.slow
@pytest.mark.parametrize("kept", [Options(), Options(tags={"a": "b"}), LOCKED], ids=["plain", "tags", "lock"])
async def test_the_permissions_that_the_documentation_names(
    minio: MinIO, aws: pytest.MonkeyPatch, kept: Options
) -> None:
    bucket = f"documented-{bool(kept.tags):d}{kept.lock_days}"
    root = await S3Store.open(bucket, Endpoint(minio.url))
    await root._client.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=bool(kept.lock_days))
    await root.close()
    text = (ROOT / "docs/stores-s3.md").read_text()
    policy = json.loads(text.partition("```json\n")[2].partition("```")[0])
    actions = [action for statement in policy["Statement"] for action in statement["Action"]]
    more = {"s3:PutObjectTagging": kept.tags, "s3:PutObjectRetention": kept.lock_days}
    actions += [action for action, wanted in more.items() if wanted]
    assert all(f"`{action}`" in text for action in more)
    add_user(minio, bucket, "documented-password", *actions)
    aws.setenv("AWS_ACCESS_KEY_ID", bucket)
    aws.setenv("AWS_SECRET_ACCESS_KEY", "documented-password")
    store = await S3Store.open(bucket, Endpoint(minio.url), kept)
    await store.put("key", BytesBody(b"x"), if_absent=True)
    await store.copy("key", "copy")
    upload = await store.create_upload("parts")
    part = await store.upload_part("parts", upload, 1, BytesBody(b"x"))
    assert await store.list_parts("parts", upload) == [part]
    assert [found.id async for found in store.list_uploads("parts")] == [upload]
    await store.complete_upload("parts", upload, [part])
    await store.abort_upload("parts", await store.create_upload("parts"))
    assert [chunk async for chunk in store.get("parts")] == [b"x"]
    assert [meta.key async for meta in store.list("")] == ["copy", "key", "parts"]
    await store.delete(["copy", "key", "parts"])
    await store.close()


@pytest.mark.slow
async def test_a_bucket_in_another_region(aws: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with running(tmp_path / "server", region="eu-central-1") as server:
        errors = await refused(await S3Store.open("bucket", Endpoint(server.url, region="eu-west-1")))
        for verb, error in errors.items():
            assert (error.kind, error.retryable) == (Kind.INVALID, False), verb
            assert "in another region, eu-central-1: set AWS_REGION" in str(error), verb
        aws.setenv("AWS_REGION", "eu-central-1")
        store = await S3Store.open("bucket", Endpoint(server.url))
        with pytest.raises(StoreError, match="NoSuchBucket"):
            await store.head("key")
        await store.close()


async def test_a_clock_that_is_wrong(minio: MinIO, bucket: S3Store, aws: pytest.MonkeyPatch) -> None:
    late = datetime.now(UTC) - timedelta(hours=3)
    aws.setattr("botocore.crt.auth.get_current_datetime", lambda **_: late)
    aws.setattr("backends.s3_wire.time", SimpleNamespace(time=late.timestamp))
    for attempt in (anext(aiter(bucket.list(""))), bucket.delete(["key"])):  # one that we sign, one that the SDK does
        with pytest.raises(StoreError, match=r"RequestTimeTooSkewed: .*\(.*clock of this node.* set it\)") as caught:
            await attempt
        assert (caught.value.kind, caught.value.retryable) == (Kind.UNAUTHENTICATED, False)


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
    return certificates.make(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def secure(authority: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MinIO]:
    trust = ssl.create_default_context(cafile=str(authority / "public.crt"))
    with running(tmp_path_factory.mktemp("secure") / "server", certificates=authority, trust=trust) as server:
        yield server


@pytest.mark.parametrize("given", [True, False])
async def test_a_certificate_nobody_vouches_for(
    secure: MinIO, aws: pytest.MonkeyPatch, authority: Path, tmp_path: Path, given: bool
) -> None:
    """An endpoint's own authorities are the wrong ones, and neither the right ones beside them count nor anybody."""
    own = str(certificates.make(tmp_path) / "public.crt") if given else ""
    if given:
        aws.setenv("AWS_CA_BUNDLE", str(authority / "public.crt"))
    errors = await refused(await S3Store.open("bucket", Endpoint(secure.url, None, None, given, own)))
    for verb, error in errors.items():
        assert (error.kind, error.retryable) == (Kind.UNAVAILABLE, False), verb
        assert "from an authority that is not trusted" in str(error)
        assert "into the Secret of endpoint.caBundleSecretRef or, without one, into what AWS_CA_BUNDLE" in str(error)


async def test_http_where_https_was_said(minio: MinIO, aws: pytest.MonkeyPatch) -> None:
    errors = await refused(await S3Store.open("bucket", Endpoint(minio.url.replace("http", "https"))))
    for verb, error in errors.items():
        assert (error.kind, error.retryable) == (Kind.UNAVAILABLE, False), verb
        assert "speaks http" in str(error)


async def test_https_where_http_was_said(secure: MinIO, aws: pytest.MonkeyPatch) -> None:
    errors = await refused(await S3Store.open("bucket", Endpoint(secure.url.replace("https", "http"))))
    del errors["head"]  # its answer has no words
    for verb, error in errors.items():
        assert (error.kind, error.retryable) == (Kind.INVALID, False), verb
        assert re.search("speaks https, not http|as one of https does to http", str(error)), str(error)


async def test_over_tls_by_the_agent(secure: MinIO, aws: pytest.MonkeyPatch, authority: Path, tmp_path: Path) -> None:
    """As it is told: the authority stands in the location, and the environment has another. Both ways to the store."""
    aws.setenv("AWS_CA_BUNDLE", str(certificates.make(tmp_path) / "public.crt"))
    told = protocol.Endpoint(url=secure.url, ca_file=str(authority / "public.crt"))
    where = protocol.Location(backup_type="AWS_S3", target="by-the-agent", endpoint=told)
    bare = await S3Store.open("by-the-agent", Endpoint(secure.url, ca_file=str(authority / "public.crt")))
    await bare._client.create_bucket(Bucket="by-the-agent")
    await bare.close()
    data = os.urandom(5 << 20)
    async with Stores().opened(where) as store:
        upload = await store.create_upload("key")
        parts = [await store.upload_part("key", upload, number, BytesBody(data)) for number in (1, 2)]
        await store.complete_upload("key", upload, parts)
        assert await read_all(store, "key", 10 << 20) == data + data
        assert [meta.key async for meta in store.list("")] == ["key"]
        await store.delete(["key"])


@pytest.mark.parametrize("trust", ["path", "pem", "none"])
async def test_over_tls(secure: MinIO, aws: pytest.MonkeyPatch, authority: Path, tmp_path: Path, trust: str) -> None:
    if trust == "path":
        aws.setenv("AWS_CA_BUNDLE", str(authority / "public.crt"))
    if trust == "pem":
        aws.setenv("AWS_CA_BUNDLE_PEM", (authority / "public.crt").read_text())
    store = await S3Store.open(f"over-tls-{trust}", Endpoint(secure.url, insecure_skip_verify=trust == "none"))
    await store._client.create_bucket(Bucket=f"over-tls-{trust}")
    path = tmp_path / "source"
    path.write_bytes(os.urandom(3 << 20))
    await store.put("key", FileBody(path))
    assert b"".join([chunk async for chunk in store.get("key")]) == path.read_bytes()
    await store.close()
