"""Uploads in parts to Google Cloud Storage: objects that are composed, and what is left of them.

What fake-gcs-server keeps is tested on it; the rest on ``google.py``, which says what that is.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import unquote

import pytest

from backends.base import BytesBody, Options, Part
from backends.checksums import crc32c
from backends.errors import AlreadyExists, Kind, NotFound, StoreError
from tests.contract.fake_gcs import FakeGcs, new_bucket
from tests.contract.google import Google, everything, store_on

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from backends.gcs import GcsStore


@pytest.fixture
async def store(cloud: Google) -> AsyncIterator[GcsStore]:
    async with store_on(cloud.url) as made:
        yield made


async def composed(store: GcsStore, key: str, parts: list[bytes], **how: bool) -> object:
    upload = await store.create_upload(key)
    sent = [await store.upload_part(key, upload, n, BytesBody(data)) for n, data in enumerate(parts, start=1)]
    return await store.complete_upload(key, upload, sent, **how)


async def test_forty_parts_are_composed_in_two_levels(cloud: Google, store: GcsStore) -> None:
    parts = [bytes([number]) * (number + 1) for number in range(40)]
    meta = await composed(store, "dir/big", parts)
    assert (meta.size, meta.crc32c) == (len(b"".join(parts)), crc32c(b"".join(parts)))  # type: ignore[attr-defined]
    assert cloud.objects["dir/big"][1] == b"".join(parts)
    assert cloud.names() == ["dir/big"], "the parts are gone"
    assert sum(path.endswith("/compose") for _, path, _ in cloud.requests) == 3
    assert not any("/c1-" in unquote(url) for url in cloud.batched), "these went with the last step, for good"
    cloud.batched.clear()
    await composed(store, "dir/small", parts[:32])
    assert [unquote(url).rpartition("/")[2] for url in cloud.batched] == ["start"]


async def test_composing_and_copying_may_take_longer_than_other_requests(cloud: Google) -> None:
    async with store_on(cloud.url, stall=0.3) as store:
        cloud.thinks = 0.6
        await composed(store, "big", [b"a", b"b"])
        await store.copy("big", "copy")
        assert cloud.objects["copy"][1] == b"ab"


async def test_forty_parts_on_fake_gcs_server(fake_gcs: FakeGcs) -> None:
    parts = [bytes([number]) * (number + 1) for number in range(40)]
    async with new_bucket(fake_gcs) as real:
        meta = await composed(real, "dir/big", parts)
        assert meta.crc32c == crc32c(b"".join(parts))  # type: ignore[attr-defined]
        assert await everything(real, "dir/big") == b"".join(parts)
        assert [one.name async for one in real._objects.names("list", "")] == ["dir/big"]


@pytest.mark.parametrize("count", [3, 40])
async def test_of_uploads_completed_at_once_one_wins_and_the_other_stays(
    cloud: Google, store: GcsStore, count: int
) -> None:
    uploads = [await store.create_upload("key") for _ in range(2)]
    sent = [
        [await store.upload_part("key", upload, n, BytesBody(b"%d" % which)) for n in range(1, count + 1)]
        for which, upload in enumerate(uploads)
    ]
    results = await asyncio.gather(
        *(
            store.complete_upload("key", upload, parts, if_absent=True)
            for upload, parts in zip(uploads, sent, strict=True)
        ),
        return_exceptions=True,
    )
    (loser,) = [which for which, result in enumerate(results) if isinstance(result, AlreadyExists)]
    assert cloud.objects["key"][1] == b"%d" % (1 - loser) * count
    assert await store.list_parts("key", uploads[loser]) == sent[loser]
    assert [one.id async for one in store.list_uploads("")] == [uploads[loser]]


@pytest.mark.parametrize("storage_class", ["", "NEARLINE"])
async def test_an_upload_whose_completion_was_not_heard_of(cloud: Google, storage_class: str) -> None:
    async with store_on(cloud.url, Options(storage_class=storage_class)) as store:
        upload = await store.create_upload("key")
        parts = [await store.upload_part("key", upload, 1, BytesBody(b"part"))]
        remove = store._parts._remove
        store._parts._remove = dying  # type: ignore[method-assign]
        with pytest.raises(asyncio.CancelledError):
            await store.complete_upload("key", upload, parts, if_absent=True)
        store._parts._remove = remove  # type: ignore[method-assign]
        assert [one.id async for one in store.list_uploads("")] == [upload]
        assert [one.key async for one in store.list("")] == ["key"]
        meta = await store.complete_upload("key", upload, parts, if_absent=True)
        assert meta.crc32c == crc32c(b"part")
        assert cloud.names() == ["key"]


async def dying(*_: object) -> None:
    raise asyncio.CancelledError


async def test_parts_that_no_upload_began_are_found_and_removed(cloud: Google, store: GcsStore) -> None:
    upload = await store.create_upload("some/dir/key")
    await store.upload_part("some/dir/key", upload, 7, BytesBody(b"x"))
    await store.delete([f"some/dir/.uploads/key/{upload}/start"])
    assert [(one.key, one.id) async for one in store.list_uploads("some/dir/k")] == [("some/dir/key", upload)]
    assert [one.key async for one in store.list_uploads("some/other")] == []
    await store.abort_upload("some/dir/key", upload)
    assert cloud.names() == []


async def test_another_storage_class_than_standard(cloud: Google) -> None:
    cloud.rewrite_steps = 3
    async with store_on(cloud.url, Options(storage_class="nearline", tags={"team": "a"})) as store:
        await store.put("small", BytesBody(b"x"))
        await composed(store, "big", [b"a", b"b"], if_absent=True)
        with pytest.raises(AlreadyExists):
            await composed(store, "big", [b"c"], if_absent=True)
    for name, data in (("small", b"x"), ("big", b"ab")):
        resource, stored = cloud.objects[name]
        assert (resource["storageClass"], resource["metadata"]["team"], stored) == ("NEARLINE", "a", data)
    parts = {path.rpartition("%2F")[2] for method, path, _ in cloud.requests if path.endswith("/compose")}
    assert parts == {"whole/compose"}


async def test_a_part_is_the_one_that_was_sent(cloud: Google, store: GcsStore) -> None:
    upload = await store.create_upload("key")
    part = await store.upload_part("key", upload, 1, BytesBody(b"first"))
    now = await store.upload_part("key", upload, 1, BytesBody(b"again"))
    for wrong in (part, Part(1, 5, part.etag), Part(1, 5, now.etag, 1), Part(1025, 5, now.etag)):
        with pytest.raises(StoreError) as caught:
            await store.complete_upload("key", upload, [wrong])
        assert caught.value.kind is Kind.INVALID
    with pytest.raises(StoreError, match="no part number 1025"):
        await store.upload_part("key", upload, 1025, BytesBody(b"x"))
    for strange in ("", "../../other", "0" * 31, "f" * 32):
        with pytest.raises(NotFound):
            await store.list_parts("key", strange)
        with pytest.raises(NotFound):
            await store.upload_part("key", strange, 1, BytesBody(b"x"))
        await store.abort_upload("key", strange)


async def test_the_folder_of_uploads_is_refused_as_a_key(store: GcsStore) -> None:
    for key in (".uploads/x", "a/.uploads/b"):
        with pytest.raises(StoreError, match="kept for uploads"):
            await store.put(key, BytesBody(b"x"))
    with pytest.raises(StoreError, match="for an upload in parts"):
        await store.create_upload("x" * 1000)
