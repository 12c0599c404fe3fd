"""S3's hot requests on a real MinIO: trailers, zero bytes on kept connections, copies in parts."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING

import pytest

from backends import s3, s3_body, s3_copy
from backends.base import BytesBody, Endpoint, FileBody
from backends.checksums import crc32c
from backends.errors import Kind, StoreError
from backends.s3 import S3Store
from backends.s3_probe import Checksums

if TYPE_CHECKING:
    from pathlib import Path

    from tests.contract.minio import MinIO


@pytest.mark.slow
async def test_zero_bytes_between_others_on_few_connections(bucket: S3Store, minio: MinIO) -> None:
    """With ``Expect: 100-continue`` the request after one of zero bytes stalls for 30 s."""
    store = await S3Store.open(bucket._bucket, Endpoint(minio.url), connections=2)
    slowest = 0.0

    async def put(number: int) -> None:
        nonlocal slowest
        body = BytesBody(b"" if number % 3 == 0 else b"x" * 1000)
        async with slots:
            began = time.monotonic()
            await store.put(f"key-{number:03}", body)
            slowest = max(slowest, time.monotonic() - began)

    slots = asyncio.Semaphore(2)
    await asyncio.gather(*map(put, range(200)))
    assert slowest < 15
    sizes = [meta.size async for meta in store.list("")]
    assert sizes == [0 if number % 3 == 0 else 1000 for number in range(200)]
    await store.close()


@pytest.mark.parametrize("size", [1, (1 << 20) - 1, 1 << 20, (5 << 20) + 1])
async def test_a_file_whose_checksum_follows_it(
    bucket: S3Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(FileBody, "measure", None)  # read once: nothing may ask for a pass before
    data = os.urandom(size)
    (tmp_path / "file").write_bytes(data)
    meta = await bucket.put("key", FileBody(tmp_path / "file"))
    assert (meta.size, meta.crc32c) == (size, crc32c(data))
    head = await bucket.head("key")
    assert (head.size, head.crc32c) == (size, crc32c(data))
    assert b"".join([chunk async for chunk in bucket.get("key")]) == data
    assert bucket._probe.best is Checksums.TRAILER


async def test_parts_whose_checksums_follow_them(bucket: S3Store, tmp_path: Path) -> None:
    data = os.urandom(11 << 20)
    path = tmp_path / "file"
    path.write_bytes(data)
    upload = await bucket.create_upload("key")
    half = 6 << 20
    parts = [
        await bucket.upload_part("key", upload, 2, FileBody(path, half)),
        await bucket.upload_part("key", upload, 1, FileBody(path, 0, half)),
    ]
    assert bucket._probe.best is Checksums.TRAILER
    meta = await bucket.complete_upload("key", upload, parts)
    assert meta.crc32c == (await bucket.head("key")).crc32c == crc32c(data)


async def test_a_wrong_trailer_is_refused(bucket: S3Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"hello")
    monkeypatch.setattr(s3_body, "to_base64", lambda _: "AAAAAQ==")
    upload = await bucket.create_upload("key")
    for attempt in (
        bucket.put("key", FileBody(tmp_path / "file")),
        bucket.upload_part("key", upload, 1, FileBody(tmp_path / "file")),
    ):
        with pytest.raises(StoreError) as caught:
            await attempt
        assert (caught.value.kind, caught.value.retryable) == (Kind.CORRUPT, True)
    assert [meta.key async for meta in bucket.list("")] == []
    assert await bucket.list_parts("key", upload) == []


@pytest.mark.slow
async def test_a_copy_in_parts(bucket: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of objects over 5 GiB; S3's limit and the size of a part made small."""
    monkeypatch.setattr(s3, "MAX_COPY", 10 << 20)
    monkeypatch.setattr(s3_copy, "PART", 5 << 20)
    data = os.urandom(12 << 20)
    await bucket.put("dir/source é", BytesBody(data))
    meta = await bucket.copy("dir/source é", "target")
    assert (meta.key, meta.size) == ("target", len(data))
    assert b"".join([chunk async for chunk in bucket.get("target")]) == data
    assert [upload async for upload in bucket.list_uploads("")] == []


async def test_a_copy_in_parts_that_fails_leaves_nothing(bucket: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "MAX_COPY", 10)
    monkeypatch.setattr(s3_copy, "PART", 10)  # MinIO wants 5 MiB of all but the last
    await bucket.put("source", BytesBody(bytes(25)))
    with pytest.raises(StoreError) as caught:
        await bucket.copy("source", "target")
    assert caught.value.kind is Kind.INVALID
    assert [upload async for upload in bucket.list_uploads("")] == []
    assert [meta.key async for meta in bucket.list("")] == ["source"]
