"""How objects are kept, on moto, which imitates AWS, and on MinIO where that has it: locks, versions, refusals."""

from __future__ import annotations

import re
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from backends.base import BytesBody, Encryption, Endpoint, LockMode, Options
from backends.errors import AlreadyExists, Kind, NotFound, StoreError
from backends.registry import open_store
from backends.s3 import S3Store
from tests.contract.odd_server import error, saying
from tests.contract.refusals import refused

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.contract.minio import MinIO
    from tests.contract.moto_server import Moto

pytestmark = pytest.mark.slow

KEY = "arn:aws:kms:us-east-1:123456789012:key/00000000-0000-0000-0000-000000000001"
LOCKED = Options(lock_mode=LockMode.GOVERNANCE, lock_days=2)
_buckets = count(1)


@asynccontextmanager
async def new_bucket(
    server: Moto | MinIO, options: Options, *, lock: bool = False, versions: bool = False
) -> AsyncIterator[S3Store]:
    name = f"kept-{next(_buckets)}"
    store = await S3Store.open(name, Endpoint(server.url), options)
    try:
        await store._client.create_bucket(Bucket=name, **({"ObjectLockEnabledForBucket": True} if lock else {}))
        if versions:
            kept = {"Status": "Enabled"}
            await store._client.put_bucket_versioning(Bucket=name, VersioningConfiguration=kept)
        yield store
    finally:
        await store.close()


async def three_ways(store: S3Store) -> list[str]:
    """Keys of a put, of an upload in parts and of a copy."""
    await store.put("put", BytesBody(b"x"))
    upload = await store.create_upload("parts")
    await store.complete_upload("parts", upload, [await store.upload_part("parts", upload, 1, BytesBody(b"x"))])
    await store.copy("put", "copy")
    return ["put", "parts", "copy"]


async def head(store: S3Store, key: str) -> dict[str, Any]:
    answer: dict[str, Any] = await store._client.head_object(Bucket=store._bucket, Key=key)
    return answer


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        (Options(storage_class="STANDARD_IA"), {"StorageClass": "STANDARD_IA"}),
        (Options(storage_class="GLACIER_IR"), {"StorageClass": "GLACIER_IR"}),
        (Options(encryption=Encryption.AES256), {"ServerSideEncryption": "AES256"}),
        (Options(encryption=Encryption.KMS, kms_key=KEY), {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": KEY}),
    ],
    ids=["class", "instant", "AES256", "KMS"],
)
async def test_class_and_encryption(
    moto: Moto, aws: pytest.MonkeyPatch, options: Options, kept: dict[str, str]
) -> None:
    async with new_bucket(moto, options) as store:
        for key in await three_ways(store):
            answer = await head(store, key)
            assert {name: answer.get(name) for name in kept} == kept, key


@pytest.mark.parametrize("server", ["moto", "minio"])
async def test_tags(request: pytest.FixtureRequest, aws: pytest.MonkeyPatch, server: str) -> None:
    tags = {"team": "data + co", "a/b:c": "a=b"}
    async with new_bucket(request.getfixturevalue(server), Options(tags=tags)) as store:
        for key in await three_ways(store):
            answer = await store._client.get_object_tagging(Bucket=store._bucket, Key=key)
            assert {tag["Key"]: tag["Value"] for tag in answer["TagSet"]} == tags, key


@pytest.mark.parametrize("server", ["moto", "minio"])
async def test_a_lock(request: pytest.FixtureRequest, aws: pytest.MonkeyPatch, server: str) -> None:
    async with new_bucket(request.getfixturevalue(server), LOCKED, lock=True) as store:
        keys = ["put"]
        if server == "minio":  # moto forgets the lock of an upload in parts, and takes no copy
            keys = await three_ways(store)
        else:
            await store.put("put", BytesBody(b"x"))
        for key in keys:
            answer = await head(store, key)
            assert answer["ObjectLockMode"] == "GOVERNANCE", key
            left = answer["ObjectLockRetainUntilDate"] - datetime.now(UTC)
            assert timedelta(days=1, hours=23) < left < timedelta(days=2), key
            with pytest.raises(Exception, match=r"(?i)WORM protected|AccessDenied"):
                await store._client.delete_object(Bucket=store._bucket, Key=key, VersionId=answer["VersionId"])
        await store.delete(["put"])  # which leaves a marker, and the version
        assert [meta.key async for meta in store.list("")] == sorted(keys[1:])


@pytest.mark.parametrize("server", ["moto", "minio"])
async def test_a_bucket_with_versions(request: pytest.FixtureRequest, aws: pytest.MonkeyPatch, server: str) -> None:
    async with new_bucket(request.getfixturevalue(server), Options(), versions=True) as store:
        await store.put("key", BytesBody(b"first"))
        await store.put("key", BytesBody(b"second"))
        await store.delete(["key", "never-there"])
        assert [meta.key async for meta in store.list("")] == []
        with pytest.raises(NotFound):
            await store.head("key")
        with pytest.raises(NotFound):
            await anext(aiter(store.get("key")))
        answer = await store._client.list_object_versions(Bucket=store._bucket, Prefix="key")
        assert (len(answer["Versions"]), len(answer["DeleteMarkers"])) == (2, 1)
        await store.put("key", BytesBody(b"third"), if_absent=True)  # what is deleted is not there
        assert b"".join([chunk async for chunk in store.get("key")]) == b"third"


async def test_conditional_puts_on_moto(moto: Moto, aws: pytest.MonkeyPatch) -> None:
    async with new_bucket(moto, Options()) as store:
        await store.put("key", BytesBody(b"first"), if_absent=True)
        with pytest.raises(AlreadyExists):
            await store.put("key", BytesBody(b"second"), if_absent=True)
        assert b"".join([chunk async for chunk in store.get("key")]) == b"first"


async def test_who_asks_pays(aws: pytest.MonkeyPatch) -> None:
    async with saying(error("403 Forbidden", "AccessDenied")) as odd:
        await refused(await S3Store.open("bucket", Endpoint(odd.url), Options(requester_pays=True)))
        asked = [re.search(rb"(?i)\r\nx-amz-request-payer: requester\r\n", head) for head in odd.requests]
        signed = [re.search(rb"SignedHeaders=[^,]*x-amz-request-payer", head) for head in odd.requests]
    assert len(asked) >= 9
    assert all(asked)
    assert all(signed)


async def test_who_does_not_ask_does_not_pay(aws: pytest.MonkeyPatch) -> None:
    async with saying(error("403 Forbidden", "InvalidPayer")) as odd:
        errors = await refused(await S3Store.open("bucket", Endpoint(odd.url)))
        assert not any(b"request-payer" in head.lower() for head in odd.requests)
    assert "set endpoint.requesterPays" in str(errors["put"])


@pytest.mark.parametrize(
    ("options", "kind", "said"),
    [
        (Options(encryption=Encryption.KMS, kms_key="k"), Kind.NOT_SUPPORTED, "set a key up in the store, or leave"),
        (Options(encryption=Encryption.AES256), Kind.NOT_SUPPORTED, "set a key up in the store, or leave"),
        (LOCKED, Kind.INVALID, "create the bucket with Object Lock, or leave objectLock out"),
        (Options(storage_class="NO_SUCH"), Kind.INVALID, "correct storageClass"),
        (Options(tags={"key": "a*b"}), Kind.INVALID, "correct tags"),
    ],
    ids=["KMS", "AES256", "lock", "class", "tag"],
)
async def test_what_minio_cannot_keep(minio: MinIO, bucket: S3Store, options: Options, kind: Kind, said: str) -> None:
    store = await S3Store.open(bucket._bucket, Endpoint(minio.url), options)
    for attempt in (store.put("key", BytesBody(b"x")), store.create_upload("key")):
        with pytest.raises(StoreError, match=said) as caught:
            await attempt
        assert (caught.value.kind, caught.value.retryable) == (kind, False), caught.value
    await store.close()
    assert [meta.key async for meta in bucket.list("")] == []


async def test_options_that_no_store_has_are_refused_at_once(aws: pytest.MonkeyPatch) -> None:
    with pytest.raises(StoreError, match=r"open s3://bucket: .*kmsKeyId") as caught:
        await open_store("AWS_S3", "bucket/prefix", Endpoint("http://127.0.0.1:9"), Options(encryption=Encryption.KMS))
    assert caught.value.kind is Kind.INVALID
