"""Broken wires, damaged bytes, refusals, slowness: what a store on a network must bear. Real servers, a bad wire."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest

from backends.base import BytesBody, FileBody
from backends.checksums import crc32c
from backends.errors import AlreadyExists, Kind, NotFound, StoreError
from backends.helpers import read_all
from backends.retry import RetryStore
from tests.contract.conftest import AT_ONCE
from tests.contract.wired import STALL, WIRED, Wired
from tests.fakes.faulty_wire import Fault

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from backends.base import ObjectStore

SMALL = bytes(range(256)) * 8  # 2 KiB
LARGE = bytes(range(256)) * (3 << 12)  # 3 MiB: several chunks
REQUEST_BREAKS: dict[str, dict[str, Any]] = {
    "in its head": {"cut_head": True},
    "before its body": {"cut_body": 0},
    "in the middle of its body": {"cut_body": 1 << 20},
    "before its last byte": {"cut_body": -1},
    "before its answer": {"lose_answer": True},
    "in the answer's head": {"cut_answer_head": True},
}
ANSWER_BREAKS: dict[str, dict[str, Any]] = {
    "before the first byte": {"cut_answer": 0},
    "after the first byte": {"cut_answer": 1},
    "in the middle": {"cut_answer": 1 << 20},
    "before the last byte": {"cut_answer": -1},
    "in the answer's head": {"cut_answer_head": True},
    "before the answer": {"lose_answer": True},
}


@pytest.fixture(params=WIRED)
async def wired(request: pytest.FixtureRequest) -> AsyncIterator[Wired]:
    """A bare store on a real server behind a wire, and the server's own way of saying no."""
    async with WIRED[request.param](request) as made:
        yield made


def put_fault(wired: Wired, **how: Any) -> Fault:
    """Of the request that carries an object's bytes."""
    return wired.wire.will(Fault(method=wired.put_method, path="key", **how))


def retried(wired: Wired) -> ObjectStore:
    return RetryStore(wired.store, AT_ONCE)


@pytest.mark.slow
@pytest.mark.parametrize("where", REQUEST_BREAKS)
async def test_a_put_whose_wire_breaks(wired: Wired, where: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(LARGE)
    fault = put_fault(wired, **REQUEST_BREAKS[where])
    with pytest.raises(StoreError) as caught:
        await wired.store.put("key", BytesBody(LARGE))
    assert caught.value.retryable
    assert caught.value.kind in {Kind.UNAVAILABLE, Kind.TIMEOUT}
    fault.times += 1
    body = FileBody(tmp_path / "file")
    meta = await retried(wired).put("key", body)
    assert (meta.size, meta.crc32c) == (len(LARGE), crc32c(LARGE))
    assert fault.hit == 2
    assert await read_all(wired.store, "key", len(LARGE)) == LARGE


@pytest.mark.slow
async def test_a_conditional_put_whose_answer_is_lost_is_its_writers(wired: Wired) -> None:
    fault = put_fault(wired, lose_answer=True)
    meta = await retried(wired).put("key", BytesBody(SMALL), if_absent=True)
    assert (meta.size, fault.hit) == (len(SMALL), 1)
    with pytest.raises(AlreadyExists):
        await retried(wired).put("key", BytesBody(b"another"), if_absent=True)
    assert await read_all(wired.store, "key", 1 << 20) == SMALL


@pytest.mark.slow
@pytest.mark.parametrize("where", REQUEST_BREAKS)
async def test_a_part_whose_wire_breaks(wired: Wired, where: str) -> None:
    store = retried(wired)
    upload = await store.create_upload("key")
    fault = wired.wire.will(Fault(method=wired.part_method, **REQUEST_BREAKS[where]))
    parts = [await store.upload_part("key", upload, 1, BytesBody(LARGE))]
    assert fault.hit == 1
    assert [(part.number, part.size) for part in await store.list_parts("key", upload)] == [(1, len(LARGE))]
    meta = await store.complete_upload("key", upload, parts)
    assert (meta.size, meta.crc32c) == (len(LARGE), crc32c(LARGE))
    assert await read_all(wired.store, "key", len(LARGE)) == LARGE


@pytest.mark.slow
@pytest.mark.parametrize("if_absent", [False, True])
async def test_a_completion_whose_answer_is_lost(wired: Wired, *, if_absent: bool) -> None:
    store = retried(wired)
    upload = await store.create_upload("key")
    parts = [await store.upload_part("key", upload, 1, BytesBody(SMALL))]
    fault = wired.wire.will(Fault(method=wired.complete_method, path=wired.complete_path, lose_answer=True))
    meta = await store.complete_upload("key", upload, parts, if_absent=if_absent)
    assert (meta.size, fault.hit) == (len(SMALL), 1)
    assert await read_all(wired.store, "key", 1 << 20) == SMALL


@pytest.mark.slow
@pytest.mark.parametrize("where", ANSWER_BREAKS)
async def test_a_get_goes_on_where_its_wire_broke(wired: Wired, where: str) -> None:
    """aiohttp asks once more by itself where no byte of an answer came (RFC 9110, 9.2.2), so it breaks thrice."""
    await wired.store.put("key", BytesBody(LARGE))
    fault = wired.wire.will(Fault(method="GET", path="key", times=3, **ANSWER_BREAKS[where]))
    with pytest.raises(StoreError) as caught:
        await read_all(wired.store, "key", len(LARGE))
    assert caught.value.retryable
    assert await read_all(retried(wired), "key", len(LARGE)) == LARGE
    assert fault.hit == 3


@pytest.mark.slow
@pytest.mark.parametrize("where", [1000, 1 << 20, (3 << 20) - 1])
async def test_bytes_damaged_on_the_way_there_are_refused(wired: Wired, where: int, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(LARGE)
    fault = put_fault(wired, flip_body=where)
    with pytest.raises(StoreError) as caught:
        await wired.store.put("key", FileBody(tmp_path / "file"))
    assert caught.value.kind is Kind.CORRUPT
    assert caught.value.retryable
    with pytest.raises(NotFound):
        await wired.store.head("key")
    fault.times += 1
    await retried(wired).put("key", FileBody(tmp_path / "file"))
    assert await read_all(wired.store, "key", len(LARGE)) == LARGE


@pytest.mark.slow
async def test_a_part_damaged_on_the_way_is_refused(wired: Wired) -> None:
    upload = await wired.store.create_upload("key")
    wired.wire.will(Fault(method=wired.part_method, flip_body=1000))
    with pytest.raises(StoreError) as caught:
        await wired.store.upload_part("key", upload, 1, BytesBody(LARGE))
    assert caught.value.kind is Kind.CORRUPT
    assert await wired.store.list_parts("key", upload) == []
    part = await wired.store.upload_part("key", upload, 1, BytesBody(LARGE))
    await wired.store.complete_upload("key", upload, [part])
    assert await read_all(wired.store, "key", len(LARGE)) == LARGE


REFUSALS = {
    403: (Kind.FORBIDDEN, False), 404: (Kind.NOT_FOUND, False), 409: (None, None), 412: (Kind.ALREADY_EXISTS, False),
    429: (Kind.THROTTLED, True), 500: (Kind.UNAVAILABLE, True), 503: (Kind.THROTTLED, True),
}  # fmt: skip


@pytest.mark.parametrize("status", REFUSALS)
async def test_a_refusal_is_told_for_what_it_is(wired: Wired, status: int) -> None:
    kind, retryable = REFUSALS[status]
    wired.wire.will(Fault(method=wired.put_method, path="key", answer=wired.refusal(status)))
    with pytest.raises(StoreError) as caught:
        await wired.store.put("key", BytesBody(SMALL), if_absent=status == 412)
    error = caught.value
    if kind is not None:
        assert (error.kind, error.retryable) == (kind, retryable), error
    assert wired.store.name in str(error)
    assert error.operation == "put"
    assert len(wired.wire.requests) - wired.before == 1, "a bare store asks once"
    assert "Traceback" not in str(error)
    assert "\n" not in str(error)


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_what_may_pass_is_asked_again(wired: Wired, status: int) -> None:
    fault = wired.wire.will(Fault(path="key", times=3, answer=wired.refusal(status)))
    await retried(wired).put("key", BytesBody(SMALL))
    assert fault.hit == 3
    fault.times += 3
    assert await read_all(retried(wired), "key", 1 << 20) == SMALL
    fault.times += 2
    assert (await retried(wired).head("key")).size == len(SMALL)
    assert fault.hit == 8


async def test_retry_after_is_heard(wired: Wired) -> None:
    wired.wire.will(Fault(path="key", answer=wired.refusal(503, b"Retry-After: 7\r\n")))
    with pytest.raises(StoreError) as caught:
        await wired.store.put("key", BytesBody(SMALL))
    assert caught.value.retry_after == 7.0


NONSENSE = {
    "a page": b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 22\r\nConnection: close\r\n\r\n"
    b"<html>Welcome!</html>\n",
    "another protocol": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "noise": bytes(range(128, 256)) * 4,
}


@pytest.mark.parametrize("what", NONSENSE)
async def test_an_endpoint_that_speaks_something_else(wired: Wired, what: str) -> None:
    wired.wire.will(Fault(times=99, answer=NONSENSE[what]))
    with pytest.raises(StoreError) as caught:
        async for _ in wired.store.list("some/"):
            pass
    assert caught.value.kind in {Kind.INVALID, Kind.UNAVAILABLE, Kind.NOT_SUPPORTED}
    assert wired.store.name in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.slow
async def test_a_server_that_never_answers(wired: Wired) -> None:
    """The time limit is ``stall`` seconds without progress; the fixture opens stores with one second."""
    wired.wire.will(Fault(path="key", hold=True, times=3))
    for attempt in (
        wired.store.put("key", BytesBody(LARGE)), wired.store.head("key"), read_all(wired.store, "key", 9),
    ):  # fmt: skip
        began = time.monotonic()
        with pytest.raises(StoreError) as caught:
            await attempt
        assert caught.value.kind is Kind.TIMEOUT
        assert caught.value.retryable
        assert time.monotonic() - began < 4 * STALL


@pytest.mark.slow
async def test_an_answer_that_drips_in(wired: Wired) -> None:
    """A head that comes byte by byte runs into the store's limit; a body that does, into the caller's."""
    await wired.store.put("key", BytesBody(LARGE))
    wired.wire.will(Fault(method="GET", path="key", trickle_head=0.4))
    with pytest.raises(StoreError) as caught:
        await read_all(wired.store, "key", len(LARGE))
    assert caught.value.kind is Kind.TIMEOUT
    wired.wire.will(Fault(method="GET", path="key", trickle_body=0.2))
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1.0):
            await read_all(wired.store, "key", len(LARGE))
    assert time.monotonic() - began < 10, "the caller's deadline is kept"
    assert await read_all(wired.store, "key", len(LARGE)) == LARGE, "and the connection is not in the way"


@pytest.mark.slow
async def test_a_slow_reader_is_no_dead_one(wired: Wired) -> None:
    """A server that takes the body in pieces for longer than ``stall`` makes progress all the time."""
    wired.wire.will(Fault(method=wired.put_method, path="key", trickle_request=0.02))
    began = time.monotonic()
    meta = await wired.store.put("key", BytesBody(bytes(7 << 20)))
    assert meta.size == 7 << 20
    assert time.monotonic() - began > STALL, "it took longer than a server that stands still may"


@pytest.mark.slow
async def test_a_server_that_is_not_there(wired: Wired) -> None:
    await wired.wire.stop()
    with pytest.raises(StoreError) as caught:
        await wired.store.head("key")
    assert caught.value.kind is Kind.UNAVAILABLE
    assert caught.value.retryable
