# ruff: noqa: ASYNC110, ASYNC240, PT012  a test may block its loop; threads have no events for it
from __future__ import annotations

import asyncio
import os
import threading
from contextlib import aclosing
from typing import TYPE_CHECKING

import pytest

from backends import body as module
from backends.body import CHUNK, BytesBody, FileBody, checked, checksum_of
from backends.checksums import crc32c
from backends.errors import Kind, SourceChanged, StoreError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from backends.base import Body


async def read(body: Body) -> bytes:
    return b"".join([chunk async for chunk in body.chunks()])


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(os.urandom(2 * CHUNK + 100))
    return path


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK])
async def test_every_pass_starts_at_the_first_byte(tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    (tmp_path / "f").write_bytes(data)
    for body in (BytesBody(data), FileBody(tmp_path / "f")):
        assert body.size == size
        assert await read(body) == await read(body) == data
        assert body.crc32c == crc32c(data) or not size
        assert all([len(chunk) <= CHUNK async for chunk in body.chunks()])


@pytest.mark.parametrize(("offset", "size"), [(0, 10), (5, CHUNK), (CHUNK - 1, 2), (2 * CHUNK + 99, 1), (7, None)])
async def test_a_range(source: Path, offset: int, size: int | None) -> None:
    body = FileBody(source, offset, size)
    expected = source.read_bytes()[offset:][:size]
    assert await read(body) == expected
    assert body.crc32c == crc32c(expected) == await FileBody(source, offset, size).measure()


async def test_parts(source: Path) -> None:
    data = source.read_bytes()
    for body in (FileBody(source, 10), BytesBody(data[10:])):
        part = body.part(5, CHUNK)
        assert await read(part) == data[15 : 15 + CHUNK]
        assert part.size == CHUNK


async def test_the_loop_never_reads(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = set()

    def watched(function):
        def call(*args):
            threads.add(threading.current_thread())
            return function(*args)

        return call

    for name in ("open", "pread", "preadv"):
        monkeypatch.setattr(module.os, name, watched(getattr(os, name)))
    await read(FileBody(source))
    await FileBody(source).measure()
    assert threads
    assert threading.main_thread() not in threads


async def test_one_chunk_is_read_ahead(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the first chunk is on its way, the second is being read."""
    second = threading.Event()
    real = os.pread

    def pread(descriptor: int, size: int, offset: int) -> bytes:
        if offset:
            second.set()
        return real(descriptor, size, offset)

    monkeypatch.setattr(module.os, "pread", pread)
    async with aclosing(FileBody(source).chunks()) as chunks:
        await anext(chunks)
        assert await asyncio.to_thread(second.wait, 5)


async def test_shrunk_or_gone(source: Path) -> None:
    body = FileBody(source)
    source.write_bytes(bytes(CHUNK))
    for attempt in (read(body), body.measure()):
        with pytest.raises(SourceChanged, match="shorter"):
            await attempt
    source.unlink()
    for attempt in (read(body), body.measure()):
        with pytest.raises(SourceChanged, match="gone"):
            await attempt


async def test_other_bytes_than_before_are_never_handed_out_whole(source: Path) -> None:
    body = FileBody(source)
    size = source.stat().st_size
    await body.measure()
    source.write_bytes(bytes(size))
    got = 0
    with pytest.raises(SourceChanged, match="not the ones"):
        async for chunk in body.chunks():
            got += len(chunk)
    assert got < size


@pytest.mark.parametrize("taken", [0, 1, 2, 3])
async def test_no_file_stays_open(source: Path, taken: int) -> None:
    before = open_files()
    async with aclosing(FileBody(source).chunks()) as chunks:
        for _ in range(taken):
            await anext(chunks)
    async with asyncio.timeout(10):
        while open_files() > before:  # a read in its thread ends first
            await asyncio.sleep(0)


async def test_a_cancelled_read_leaves_no_file_open(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entered, go = threading.Event(), threading.Event()
    real = os.pread

    def pread(descriptor: int, size: int, offset: int) -> bytes:
        entered.set()
        go.wait(5)
        return real(descriptor, size, offset)  # a closed descriptor would raise here, or read another file

    monkeypatch.setattr(module.os, "pread", pread)
    before = open_files()
    task = asyncio.create_task(read(FileBody(source)))
    await asyncio.to_thread(entered.wait, 5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert open_files() > before
    go.set()
    async with asyncio.timeout(10):
        while open_files() > before:
            await asyncio.sleep(0)


class Lying:
    def __init__(self, chunks: list[bytes], size: int, crc: int | None) -> None:
        self.size, self.crc32c, self.passes = size, crc, 0
        self._chunks = chunks

    async def chunks(self) -> AsyncIterator[bytes]:
        self.passes += 1
        for chunk in self._chunks:
            yield chunk


@pytest.mark.parametrize(
    ("size", "crc", "kind"), [(7, None, Kind.SOURCE_CHANGED), (5, None, Kind.SOURCE_CHANGED), (6, 1, Kind.CORRUPT)]
)
async def test_checked_holds_the_last_chunk_back(size: int, crc: int | None, kind: Kind) -> None:
    got = []
    with pytest.raises(StoreError) as caught:
        async for chunk in checked(Lying([b"abc", b"def"], size, crc), "put", "memory://", "key"):
            got.append(chunk)  # noqa: PERF401  what came before the error counts
    assert caught.value.kind is kind
    assert got == [b"abc"]


async def test_checksum_of_a_body(source: Path) -> None:
    known, unknown = Lying([b"abc"], 3, 42), Lying([b"abc"], 3, None)
    assert await checksum_of(known) == 42
    assert await checksum_of(unknown) == crc32c(b"abc")
    assert (known.passes, unknown.passes) == (0, 1)
    assert await checksum_of(FileBody(source)) == crc32c(source.read_bytes())
