"""What every store promises. A backend is done when this passes on it."""

from __future__ import annotations

import asyncio
import errno
import random
import threading
from contextlib import aclosing
from typing import TYPE_CHECKING

import pytest

from backends.base import BytesBody, FileBody, Part
from backends.checksums import crc32c
from backends.errors import AlreadyExists, Kind, NotFound, SourceChanged, StoreError
from backends.helpers import read_all, upload
from tests.fakes.room import Room

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from backends.base import ObjectStore

ODD_KEYS = [
    "a+b", "a b", "a%20b", "a=b&c=d", "~a", "é漢字🜁", "a#b?c", "'\"<>", "a\\b", "a:b;c,d", "(a)!*@$[]{}|^`", "…/x~9-4f",
]  # fmt: skip


class Broken:
    """A body that ends in the middle."""

    size, crc32c = 3 << 20, 1

    async def chunks(self) -> AsyncIterator[bytes]:
        yield bytes(1 << 20)
        raise ValueError("the disk is gone")


async def read(store: ObjectStore, key: str, offset: int = 0, length: int | None = None) -> bytes:
    return b"".join([chunk async for chunk in store.get(key, offset=offset, length=length)])


async def keys(store: ObjectStore, prefix: str = "", start_after: str = "") -> list[str]:
    return [meta.key async for meta in store.list(prefix, start_after=start_after)]


def parts_of(store: ObjectStore) -> list[bytes]:
    """Three parts as small as the store takes them."""
    size = store.capabilities.min_part
    return [b"a" * size, b"b" * size, b"tail"]


async def test_an_object_comes_back_as_it_was_put(store: ObjectStore) -> None:
    put = await store.put("dir/key", BytesBody(b"hello"))
    assert (put.key, put.size, put.crc32c) == ("dir/key", 5, crc32c(b"hello"))
    head = await store.head("dir/key")
    assert (head.key, head.size, head.etag) == ("dir/key", 5, put.etag)
    assert head.crc32c in {None, put.crc32c}
    assert head.modified > 1e9
    assert await read(store, "dir/key") == b"hello"


async def test_a_second_put_replaces(store: ObjectStore) -> None:
    await store.put("key", BytesBody(b"first"))
    await store.put("key", BytesBody(b"second one"))
    assert await read(store, "key") == b"second one"


async def test_ranges_are_cut_to_the_object(store: ObjectStore) -> None:
    await store.put("key", BytesBody(b"0123456789"))
    for offset, length, expected in (
        (0, None, b"0123456789"), (3, None, b"3456789"), (3, 4, b"3456"), (0, 1, b"0"), (9, 5, b"9"),
        (8, 100, b"89"), (10, None, b""), (50, 3, b""), (4, 0, b""),
    ):  # fmt: skip
        assert await read(store, "key", offset, length) == expected, (offset, length)


async def test_pouring_gives_a_sink_what_getting_gives(store: ObjectStore) -> None:
    data = random.Random(5).randbytes((3 << 20) + 17)
    await store.put("key", BytesBody(data))
    for offset, length in ((0, None), (3, None), (100, 2 << 20), (len(data) - 1, 10), (len(data), None), (4, 0)):
        taken = bytearray()
        counts = [count async for count in store.pour("key", taken.extend, offset=offset, length=length)]
        assert taken == data[offset:][:length], (offset, length)
        assert sum(counts) == len(taken)
        assert 0 not in counts
        roomy = Room(70_001)
        async for _ in store.pour("key", roomy, offset=offset, length=length):
            pass
        assert roomy.taken == taken
    with pytest.raises(NotFound):
        await anext(aiter(store.pour("no/such", bytearray().extend)))


async def test_what_a_sink_raises_comes_out_as_it_is(store: ObjectStore) -> None:
    """A full disk is not the store's failure, and is not tried again."""
    full = OSError(errno.ENOSPC, "No space left on device")
    calls = 0

    def sink(_data: bytes | memoryview) -> None:
        nonlocal calls
        calls += 1
        raise full

    await store.put("key", BytesBody(bytes(3 << 20)))
    with pytest.raises(OSError, match="No space") as caught:
        async for _ in store.pour("key", sink):
            pass
    assert caught.value is full
    assert calls == 1
    assert await read(store, "key", 0, 5) == bytes(5)


async def test_a_sink_is_left_alone_after_a_cancellation(store: ObjectStore) -> None:
    """Whoever cancels closes what the sink writes to: a thread that is in it comes out first."""
    entered, leave = threading.Event(), threading.Event()
    inside = calls = 0

    def sink(_data: bytes | memoryview) -> None:
        nonlocal inside, calls
        inside, calls = inside + 1, calls + 1
        entered.set()
        leave.wait(10)
        inside -= 1

    async def pour() -> None:
        async for _ in store.pour("key", sink):
            pass

    await store.put("key", BytesBody(bytes(8 << 20)))
    task = asyncio.create_task(pour())
    await asyncio.to_thread(entered.wait, 10)
    task.cancel()
    await asyncio.sleep(0)  # it is told
    leave.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (inside, calls > 0) == (0, True)
    told = calls
    await store.head("key")
    assert calls == told


async def test_zero_bytes_are_an_object(store: ObjectStore) -> None:
    meta = await store.put("empty", BytesBody(b""))
    assert (meta.size, meta.crc32c) == (0, 0)
    assert (await store.head("empty")).size == 0
    assert await read(store, "empty") == b""
    assert await read(store, "empty", 0, 10) == b""
    assert await keys(store) == ["empty"]


async def test_what_is_not_there_is_not_found(store: ObjectStore) -> None:
    for attempt in (
        store.head("no/such"),
        read(store, "no/such"),
        read(store, "no/such", 0, 0),
        store.copy("no/such", "a"),
    ):
        with pytest.raises(NotFound) as caught:
            await attempt
        assert caught.value.kind is Kind.NOT_FOUND
        assert not caught.value.retryable
        assert "no/such" in str(caught.value) or caught.value.operation == "copy"


async def test_keys_that_climb_or_cannot_be_written_are_refused(store: ObjectStore) -> None:
    for key in ("", "/a", "a//b", "../a", "a/../../b", "a/.", "a/", "a\0b", "a\nb", "x" * 1025, "\ud800"):
        for attempt in (store.put(key, BytesBody(b"x")), store.create_upload(key)):
            with pytest.raises(StoreError) as caught:
                await attempt
            assert caught.value.kind is Kind.INVALID, key
    assert await keys(store) == []


async def test_odd_characters_in_keys(store: ObjectStore) -> None:
    azure = store.name.startswith("azure:")  # makes slashes of backslashes, so its store refuses them: test_azure.py
    odd = [key for key in ODD_KEYS if not (azure and "\\" in key)]
    for number, key in enumerate(odd):
        await store.put(key, BytesBody(b"x" * number))
    assert await keys(store) == sorted(odd)
    for number, key in enumerate(odd):
        assert (await store.head(key)).size == number
        assert await read(store, key) == b"x" * number
        await store.copy(key, f"copy of {key}")
    assert (await store.head(f"copy of {odd[2]}")).size == 2
    upload_id = await store.create_upload(odd[0])
    await store.complete_upload(odd[0], upload_id, [await store.upload_part(odd[0], upload_id, 1, BytesBody(b"u"))])
    assert await read(store, odd[0]) == b"u"
    await store.delete([*odd, *(f"copy of {key}" for key in odd)])
    assert await keys(store) == []


async def test_listings_come_in_key_order_after_start_after(store: ObjectStore) -> None:
    expected = sorted(["a", "b-1", "b/1", "b/2/x", "b/2-x", "b0", "c/1", "é", "漢"])
    for key in reversed(expected):
        await store.put(key, BytesBody(b""))
    assert await keys(store) == expected
    assert await keys(store, "b/") == ["b/1", "b/2-x", "b/2/x"]
    assert await keys(store, "b") == [key for key in expected if key.startswith("b")]
    assert await keys(store, "b/2") == ["b/2-x", "b/2/x"]
    assert await keys(store, "nothing/") == []
    for after in [*expected, "b/", "b/2/", "b/9", "zzz"]:
        assert await keys(store, start_after=after) == [key for key in expected if key > after], after
        assert await keys(store, "b/", after) == [key for key in expected if key.startswith("b/") and key > after], (
            after
        )


async def test_a_listing_left_early_hurts_nobody(store: ObjectStore) -> None:
    for number in range(3):
        await store.put(f"k{number}", BytesBody(b"x"))
    async with aclosing(store.list("")) as found:
        assert (await anext(found)).key == "k0"
    async with aclosing(store.get("k0")) as stream:
        assert await anext(stream) == b"x"
    assert await keys(store) == ["k0", "k1", "k2"]


@pytest.mark.slow
async def test_more_than_one_page(store: ObjectStore) -> None:
    expected = [f"page/{number:05d}" for number in range(1005)]
    slots = asyncio.Semaphore(16)

    async def put(key: str) -> None:
        async with slots:
            await store.put(key, BytesBody(b""))

    await asyncio.gather(*map(put, expected))
    assert await keys(store, "page/") == expected
    assert await keys(store, "page/", expected[2]) == expected[3:]
    await store.delete([*expected[:-1], "page/none"])
    assert await keys(store) == expected[-1:]


async def test_deleting_what_is_not_there_is_fine(store: ObjectStore) -> None:
    await store.put("here", BytesBody(b"x"))
    await store.delete(["here", "not/here", "here"])
    await store.delete([])
    assert await keys(store) == []


async def test_copy_keeps_the_bytes(store: ObjectStore) -> None:
    await store.put("source", BytesBody(b"payload"))
    await store.put("dir/target", BytesBody(b"old"))
    meta = await store.copy("source", "dir/target")
    assert (meta.key, meta.size) == ("dir/target", 7)
    assert await read(store, "dir/target") == await read(store, "source") == b"payload"


async def test_if_absent_keeps_what_is_there(store: ObjectStore) -> None:
    await store.put("key", BytesBody(b"first"), if_absent=True)
    with pytest.raises(AlreadyExists) as caught:
        await store.put("key", BytesBody(b"second"), if_absent=True)
    assert caught.value.kind is Kind.ALREADY_EXISTS
    assert await read(store, "key") == b"first"


async def test_of_conditional_puts_at_once_exactly_one_wins(store: ObjectStore) -> None:
    bodies = [f"writer {number}".encode() for number in range(12)]
    results = await asyncio.gather(
        *(store.put("dir/key", BytesBody(body), if_absent=True) for body in bodies), return_exceptions=True
    )
    won = [body for body, result in zip(bodies, results, strict=True) if not isinstance(result, BaseException)]
    assert len(won) == 1, results
    assert all(isinstance(result, AlreadyExists) for result in results if isinstance(result, BaseException)), results
    assert await read(store, "dir/key") == won[0]


async def test_a_body_that_fails_midway_leaves_nothing(store: ObjectStore) -> None:
    with pytest.raises(ValueError, match="the disk is gone"):
        await store.put("key", Broken())
    upload_id = await store.create_upload("key")
    with pytest.raises(ValueError, match="the disk is gone"):
        await store.upload_part("key", upload_id, 1, Broken())
    assert await store.list_parts("key", upload_id) == []
    await store.abort_upload("key", upload_id)
    assert await keys(store) == []
    await store.put("key", BytesBody(b"fine"))  # the store is as good as before
    assert await read(store, "key") == b"fine"


async def test_a_cancelled_put_leaves_nothing(store: ObjectStore) -> None:
    class Stuck:
        size, crc32c = 3 << 20, 1
        taken = asyncio.Event()

        async def chunks(self) -> AsyncIterator[bytes]:
            yield bytes(1 << 20)
            self.taken.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(store.put("key", Stuck()))
    await Stuck.taken.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await keys(store) == []


async def test_a_body_that_is_not_what_it_says_leaves_nothing(store: ObjectStore) -> None:
    wrong = BytesBody(b"hello", checksum=7)
    with pytest.raises(StoreError) as caught:
        await store.put("key", wrong)
    assert caught.value.kind is Kind.CORRUPT
    short = BytesBody(b"hello")
    short.size = 9
    with pytest.raises(SourceChanged):
        await store.put("key", short)
    assert await keys(store) == []


async def test_a_file_that_shrank_leaves_nothing(store: ObjectStore, tmp_path: Path) -> None:
    path = tmp_path / "source"
    path.write_bytes(bytes(3 << 20))
    body = FileBody(path)
    path.write_bytes(bytes(2 << 20))
    with pytest.raises(SourceChanged):
        await store.put("key", body)
    assert await keys(store) == []


async def test_a_range_of_a_file(store: ObjectStore, tmp_path: Path) -> None:
    path = tmp_path / "source"
    data = bytes(range(256)) * 16384  # 4 MiB
    path.write_bytes(data)
    meta = await store.put("key", FileBody(path, 100, (3 << 20) + 7))
    expected = data[100 : 100 + (3 << 20) + 7]
    assert (meta.size, meta.crc32c) == (len(expected), crc32c(expected))
    assert await read(store, "key") == expected
    assert await read(store, "key", (1 << 20) - 3, 9) == expected[(1 << 20) - 3 : (1 << 20) + 6]


@pytest.mark.slow
async def test_parts_out_of_order_and_one_of_them_twice(store: ObjectStore) -> None:
    first, second, third = parts_of(store)
    upload_id = await store.create_upload("dir/big")
    sent = [await store.upload_part("dir/big", upload_id, 3, BytesBody(third))]
    await store.upload_part("dir/big", upload_id, 1, BytesBody(b"x" * len(first)))
    sent += [await store.upload_part("dir/big", upload_id, n, BytesBody(data)) for n, data in ((2, second), (1, first))]
    assert await keys(store) == []  # not there before it is complete
    meta = await store.complete_upload("dir/big", upload_id, sent)
    whole = first + second + third
    assert (meta.key, meta.size, meta.crc32c) == ("dir/big", len(whole), crc32c(whole))
    head = await store.head("dir/big")
    assert head.size == len(whole)
    assert head.crc32c in {None, crc32c(whole)}
    assert await read(store, "dir/big") == whole
    with pytest.raises(NotFound):
        await store.list_parts("dir/big", upload_id)


@pytest.mark.slow
async def test_an_upload_is_taken_up_by_its_parts(store: ObjectStore) -> None:
    first, second, third = parts_of(store)
    upload_id = await store.create_upload("big")
    for number, data in ((2, second), (1, first)):
        await store.upload_part("big", upload_id, number, BytesBody(data))
    found = await store.list_parts("big", upload_id)  # all that a restarted process knows
    assert [(part.number, part.size, part.crc32c) for part in found] == [
        (1, len(first), crc32c(first)), (2, len(second), crc32c(second)),
    ]  # fmt: skip
    found.append(await store.upload_part("big", upload_id, 3, BytesBody(third)))
    await store.complete_upload("big", upload_id, found)
    assert await read(store, "big") == first + second + third


async def test_aborted_uploads_are_gone(store: ObjectStore) -> None:
    upload_id = await store.create_upload("dir/big")
    part = await store.upload_part("dir/big", upload_id, 1, BytesBody(b"x"))
    await store.create_upload("other/big")
    found = [upload async for upload in store.list_uploads("dir/")]
    assert [(upload.key, upload.id) for upload in found] == [("dir/big", upload_id)]
    assert found[0].started > 1e9
    await store.abort_upload("dir/big", upload_id)
    await store.abort_upload("dir/big", upload_id)
    assert [upload.key async for upload in store.list_uploads("dir/")] == []
    for attempt in (
        store.list_parts("dir/big", upload_id), store.upload_part("dir/big", upload_id, 1, BytesBody(b"x")),
        store.complete_upload("dir/big", upload_id, [part]),
    ):  # fmt: skip
        with pytest.raises(NotFound):
            await attempt
    assert await keys(store) == []


async def test_completing_if_absent_keeps_what_is_there(store: ObjectStore) -> None:
    upload_id = await store.create_upload("big")
    parts = [await store.upload_part("big", upload_id, 1, BytesBody(b"mine"))]
    await store.put("big", BytesBody(b"theirs"))
    with pytest.raises(AlreadyExists):
        await store.complete_upload("big", upload_id, parts, if_absent=True)
    assert await read(store, "big") == b"theirs"
    assert await store.list_parts("big", upload_id) == parts
    await store.delete(["big"])
    await store.complete_upload("big", upload_id, parts, if_absent=True)
    assert await read(store, "big") == b"mine"


async def test_completing_with_parts_never_sent_is_invalid(store: ObjectStore) -> None:
    upload_id = await store.create_upload("big")
    part = await store.upload_part("big", upload_id, 1, BytesBody(b"x"))
    for parts in ([], [Part(1, 1, "another-etag")], [part, part], [part, Part(2, 1, part.etag)]):
        with pytest.raises(StoreError) as caught:
            await store.complete_upload("big", upload_id, parts)
        assert caught.value.kind is Kind.INVALID, parts
    assert await keys(store) == []


@pytest.mark.slow
async def test_the_helper_uploads_in_parts(store: ObjectStore, tmp_path: Path) -> None:
    path = tmp_path / "source"
    data = bytes(range(256)) * (11 << 12)  # 11 MiB
    path.write_bytes(data)
    meta = await upload(store, "big", FileBody(path), part_size=5 << 20, if_absent=True)
    assert (meta.size, meta.crc32c) == (len(data), crc32c(data))
    assert await read_all(store, "big", len(data)) == data
    with pytest.raises(AlreadyExists):
        await upload(store, "big", FileBody(path), part_size=5 << 20, if_absent=True)
    assert [one async for one in store.list_uploads("")] == []
    with pytest.raises(StoreError, match="larger than 10 bytes"):
        await read_all(store, "big", 10)
