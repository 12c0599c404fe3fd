"""Many keys and large objects: what a page, a counter or a limit of one request would get wrong."""

from __future__ import annotations

import asyncio
import os
import zlib
from typing import TYPE_CHECKING

import pytest

from agent.flow import each
from backends.base import BytesBody, FileBody
from backends.checksums import combine, crc32c
from backends.file import FileStore
from backends.helpers import upload
from tests.contract import azurite as azure_server
from tests.contract import fake_gcs as gcs_server
from tests.contract import minio as s3_server
from tests.contract.server import server

if TYPE_CHECKING:
    from pathlib import Path

    from backends.base import ObjectStore

MANY = 25_000
AT_ONCE = 32
BARE = ("memory", "file", "s3", "gcs", "azure")  # moto takes minutes, and its listing is S3's


# Servers of their own: 25,000 keys make Azurite thirty times slower for every test after it (it writes them all anew).
minio = server("minio", s3_server.running, "module")
azurite = server("azurite", azure_server.running, "module")
fake_gcs = server("fake_gcs", gcs_server.running, "module")


def key_of(number: int) -> str:
    """In an order that is not that of the numbers, with odd ones between."""
    return f"many/{zlib.crc32(number.to_bytes(4, 'big')):08x}/{'é+ ' if number % 97 == 0 else ''}{number}"


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("store", BARE, indirect=True)
async def test_25_000_keys_are_listed_in_order(store: ObjectStore) -> None:
    if isinstance(store, FileStore):
        await asyncio.to_thread(_plant, store)
    else:
        await each(range(MANY), AT_ONCE, lambda number: _put(store, key_of(number)))
    expected = sorted((key_of(number) for number in range(MANY)), key=str.encode)
    assert [meta.key async for meta in store.list("many/")] == expected
    middle = MANY // 2
    assert [meta.key async for meta in store.list("many/", start_after=expected[middle])] == expected[middle + 1 :]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("store", ["file", "s3", "gcs", "azure"], indirect=True)
async def test_more_than_5_gib(store: ObjectStore, tmp_path: Path) -> None:
    """One byte more than S3 takes in one request, of a file that is nearly all hole."""
    path, size = tmp_path / "sparse", (5 << 30) + 1
    with path.open("wb") as file:
        file.truncate(size)
        os.pwrite(file.fileno(), b"in the middle", size // 2)
        os.pwrite(file.fileno(), b"!", size - 1)
    meta = await upload(store, "big", FileBody(path), part_size=192 << 20)  # 27: fake-gcs-server composes once
    path.unlink()
    head = await store.head("big")
    assert meta.size == head.size == size
    expected = (size // 2, 13), (size - 1, 13), (5 << 30, 1)
    assert [await _read(store, *where) for where in expected] == [b"in the middle", b"!", b"!"]
    middle = crc32c(b"in the middle")
    zeros = size // 2, size - 1 - size // 2 - 13
    crc = combine(
        [(_crc_of_zeros(zeros[0]), zeros[0]), (middle, 13), (_crc_of_zeros(zeros[1]), zeros[1]), (crc32c(b"!"), 1)]
    )
    assert meta.crc32c == crc
    assert head.crc32c in {None, crc}
    await store.delete(["big"])


async def _read(store: ObjectStore, offset: int, length: int) -> bytes:
    return b"".join([chunk async for chunk in store.get("big", offset=offset, length=length)])


def _crc_of_zeros(size: int) -> int:
    """By doubling."""
    block, length = crc32c(b"\0"), 1
    crc, done = 0, 0
    while size:
        if size & 1:
            crc, done = combine([(crc, done), (block, length)]), done + length
        block, length, size = combine([(block, length), (block, length)]), length * 2, size >> 1
    return crc


def _plant(store: FileStore) -> None:
    """Its own puts, each safe on the disk, take half a minute."""
    for number in range(MANY):
        path = store._tree.path(key_of(number), "put")
        path.parent.mkdir(parents=True)
        path.touch()


async def _put(store: ObjectStore, key: str) -> None:
    await store.put(key, BytesBody(b""))
