"""S3 keys in a directory, exchanged while a store is open: a mounted Secret that somebody rotates."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from backends.base import BytesBody, Endpoint
from backends.errors import Kind, StoreError
from backends.registry import open_store
from tests.contract.conftest import AT_ONCE
from tests.contract.minio import MinIO, add_user, disable_user
from tests.unit.backends.test_mounted import swap

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from backends.base import ObjectStore
    from backends.s3 import S3Store

PART = 5 << 20


def files(name: str) -> dict[str, str]:
    return {"AWS_ACCESS_KEY_ID": f"{name}\n", "AWS_SECRET_ACCESS_KEY": f"password-of-{name}\n"}


@pytest.fixture
async def store(
    minio: MinIO, bucket: S3Store, aws: pytest.MonkeyPatch, tmp_path: Path, request: pytest.FixtureRequest
) -> AsyncIterator[tuple[ObjectStore, Path, str]]:
    """Open with the first of two users' keys; the environment has keys that are of no use."""
    aws.setenv("AWS_ACCESS_KEY_ID", "nobody")
    aws.setenv("AWS_SECRET_ACCESS_KEY", "nothing-at-all")
    mark = f"{abs(hash(request.node.name)) % 10**8}"
    for name in ("first", "second"):
        add_user(minio, f"{name}-{mark}", f"password-of-{name}-{mark}", "s3:*")
    directory = tmp_path / "mounted"
    directory.mkdir()
    swap(directory, files(f"first-{mark}"), "v1")
    opened = await open_store(
        "AWS_S3", bucket._bucket, Endpoint(url=minio.url), policy=AT_ONCE, credentials=str(directory)
    )
    yield opened, directory, mark
    await opened.close()


async def test_keys_that_are_exchanged_in_the_middle_of_an_upload(
    minio: MinIO, store: tuple[ObjectStore, Path, str]
) -> None:
    opened, directory, mark = store
    upload = await opened.create_upload("large")
    first = await opened.upload_part("large", upload, 1, BytesBody(b"a" * PART))
    swap(directory, files(f"second-{mark}"), "v2")
    disable_user(minio, f"first-{mark}")
    second = await opened.upload_part("large", upload, 2, BytesBody(b"b"))
    await opened.complete_upload("large", upload, [first, second])
    assert [meta.size async for meta in opened.list("")] == [PART + 1]
    await opened.delete(["large"])


async def test_keys_that_are_no_longer_good(minio: MinIO, store: tuple[ObjectStore, Path, str]) -> None:
    opened, _, mark = store
    await opened.put("key", BytesBody(b"x"))
    disable_user(minio, f"first-{mark}")
    with pytest.raises(StoreError) as e:
        await opened.put("other", BytesBody(b"x"))
    assert e.value.kind is Kind.UNAUTHENTICATED
    assert "password" not in str(e.value)
