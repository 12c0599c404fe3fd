"""Google Cloud Storage alone: sessions taken up again, preconditions, and what a checksum finds out.

What fake-gcs-server keeps is tested on it; the rest on ``google.py``, which says what that is.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest

from backends.base import BytesBody, FileBody
from backends.checksums import crc32c
from backends.errors import AlreadyExists, Kind, StoreError
from backends.retry import RetryStore
from tests.contract.conftest import AT_ONCE
from tests.contract.google import STEP, Google, error, everything, store_on
from tests.fakes.proxy import Wire, wire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from backends.base import Body
    from backends.gcs import GcsStore

LARGE = 12 << 20  # bytes: more than one request takes


@pytest.fixture
async def store(cloud: Google) -> AsyncIterator[GcsStore]:
    async with store_on(cloud.url) as made:
        yield made


class Cutting:
    """A body whose first pass cuts the wire when the server has 4 MiB; whole and honest after that."""

    def __init__(self, body: BytesBody | FileBody, cloud: Google, link: Wire) -> None:
        self._body = body
        self._cloud = cloud
        self._link = link
        cloud.mark = 4 << 20
        self.size, self.crc32c = body.size, body.crc32c
        self.passes = 0
        self.inspector: object = None
        self.parts: list[tuple[int, int]] = []

    async def chunks(self) -> AsyncIterator[bytes]:
        self.passes += 1
        given = 0
        async for chunk in self._body.chunks():
            if self.passes == 1 and given >= 10 << 20:
                await self._cloud.marked.wait()
                self._link.cut()
                self._link.mend()
            yield chunk
            given += len(chunk)


class CuttingSliceable(Cutting):
    def part(self, offset: int, size: int) -> Body:
        self.parts.append((offset, size))
        return self._body.part(offset, size)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Cutting, CuttingSliceable])
async def test_a_second_put_goes_on_where_the_wire_broke(cloud: Google, kind: type[Cutting]) -> None:
    data = os.urandom(LARGE)
    async with wire(int(cloud.url.rpartition(":")[2])) as link, store_on(f"http://127.0.0.1:{link.port}") as broken:
        body = kind(BytesBody(data), cloud, link)
        with pytest.raises(StoreError) as caught:
            await broken.put("key", body)
        assert (caught.value.kind, caught.value.retryable) == (Kind.UNAVAILABLE, True)
        assert cloud.names() == []
        meta = await broken.put("key", body)
    assert (meta.size, meta.crc32c) == (LARGE, crc32c(data))
    assert cloud.objects["key"][1] == data
    assert len(cloud.sessions) == 1
    assert cloud.received - LARGE < STEP, "no more passed twice than the server throws away"
    if kind is CuttingSliceable:
        ((offset, size),) = body.parts
        assert body.passes == 1
        assert offset + size == LARGE
        assert offset >= 3 << 20
    else:
        assert body.passes == 2


@pytest.mark.slow
@pytest.mark.parametrize("why", ["checksum", "inspector"])
async def test_what_must_be_seen_whole_is_read_again_but_not_sent_again(
    cloud: Google, tmp_path: Path, why: str
) -> None:
    path = tmp_path / "source"
    path.write_bytes(os.urandom(LARGE))
    known = None if why == "checksum" else crc32c(path.read_bytes())
    async with wire(int(cloud.url.rpartition(":")[2])) as link, store_on(f"http://127.0.0.1:{link.port}") as broken:
        body = CuttingSliceable(FileBody(path, checksum=known), cloud, link)
        body.inspector = object() if why == "inspector" else None
        with pytest.raises(StoreError):
            await broken.put("key", body)
        await broken.put("key", body)
    assert cloud.received - LARGE < STEP
    assert (body.passes, body.parts) == (2, []), "the second pass sums up the whole"
    assert cloud.objects["key"][1] == path.read_bytes()


@pytest.mark.slow
async def test_a_lost_answer_costs_one_question(cloud: Google, store: GcsStore) -> None:
    body = BytesBody(bytes(LARGE))
    meta = await RetryStore(Losing(store, cloud), AT_ONCE).put("key", body, if_absent=True)
    assert meta.crc32c == crc32c(bytes(LARGE))
    assert cloud.received == LARGE
    assert [query.get("upload_id") is not None for method, _, query in cloud.requests if method == "PUT"] == [True] * 2


class Losing:
    """The store, whose first put is done and then said to have failed, as the store's own client would."""

    def __init__(self, store: GcsStore, cloud: Google) -> None:
        self.name = store.name
        self._store = store
        self._cloud = cloud

    async def put(self, key: str, body: Body, *, if_absent: bool = False) -> object:
        uploader = self._store._objects._uploader
        send = uploader._send

        async def lost(*given: object) -> object:
            uploader._send = send
            await send(*given)
            raise StoreError(Kind.UNAVAILABLE, "put", self.name, key, "the answer is lost")

        if not self._cloud.sessions:
            uploader._send = lost
        return await self._store.put(key, body, if_absent=if_absent)


@pytest.mark.slow
async def test_a_session_that_is_over_begins_again(cloud: Google) -> None:
    data = os.urandom(LARGE)
    async with wire(int(cloud.url.rpartition(":")[2])) as link, store_on(f"http://127.0.0.1:{link.port}") as broken:
        body = CuttingSliceable(BytesBody(data), cloud, link)
        with pytest.raises(StoreError):
            await broken.put("key", body)
        cloud.sessions.clear()
        await broken.put("key", body)
    assert cloud.objects["key"][1] == data


@pytest.mark.slow
async def test_a_server_that_keeps_less_is_sent_the_rest(cloud: Google, store: GcsStore) -> None:
    cloud.forget = LARGE // 2
    body = CountedParts(os.urandom(LARGE))
    await store.put("key", body)
    assert body.parts == [(LARGE // 2, LARGE // 2)]
    assert cloud.objects["key"][1] == body.data


class CountedParts(BytesBody):
    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.data = data
        self.parts: list[tuple[int, int]] = []

    def part(self, offset: int, size: int) -> BytesBody:
        self.parts.append((offset, size))
        return super().part(offset, size)


@pytest.mark.slow
async def test_an_answer_before_the_body_came(cloud: Google, store: GcsStore) -> None:
    """What is left of the body must not be the beginning of the next request."""
    cloud.early = True
    for number in range(5):
        cloud.answers.append(error(412, "Too late.", "conditionNotMet"))
        with pytest.raises(StoreError) as caught:
            await store.put("key", BytesBody(b"x" * (7 << 20)), if_absent=True)
        assert caught.value.kind in {Kind.ALREADY_EXISTS, Kind.UNAVAILABLE}  # or the wire broke first
        await RetryStore(store, AT_ONCE).put(f"other-{number}", BytesBody(b"y" * 100_000))  # the server may hang up
        assert await everything(store, f"other-{number}") == b"y" * 100_000


async def puts_at_once(store: GcsStore, key: str, *bodies: bytes) -> list[object]:
    jobs = (store.put(key, BytesBody(body), if_absent=True) for body in bodies)
    return list(await asyncio.gather(*jobs, return_exceptions=True))


@pytest.mark.slow
async def test_large_conditional_puts(cloud: Google, store: GcsStore) -> None:
    bodies = [bytes([number]) * LARGE for number in range(3)]
    results = await puts_at_once(store, "key", *bodies)
    assert sorted(type(result).__name__ for result in results) == ["AlreadyExists", "AlreadyExists", "ObjectMeta"]


async def test_a_put_needs_the_generation_that_it_names(cloud: Google, store: GcsStore) -> None:
    first = await store.put("key", BytesBody(b"first"))
    second = await store.put("key", BytesBody(b"second"))
    assert first.etag != second.etag
    assert (await store.head("key")).etag == second.etag
    with pytest.raises(AlreadyExists):
        await store.put("key", BytesBody(b"third"), if_absent=True)
    assert await everything(store, "key") == b"second"


@pytest.mark.parametrize("size", [100, pytest.param(LARGE, marks=pytest.mark.slow)])
async def test_a_store_that_spoils_bytes_is_found_out(
    cloud: Google, store: GcsStore, size: int, tmp_path: Path
) -> None:
    path = tmp_path / "source"
    path.write_bytes(bytes(size))
    cloud.spoil = True
    for body in (BytesBody(bytes(size)), FileBody(path)):  # declared before, and compared after
        with pytest.raises(StoreError) as caught:
            await store.put("key", body)
        assert (caught.value.kind, caught.value.retryable) == (Kind.CORRUPT, True)
        assert cloud.names() == []
        cloud.spoil = False
        await store.put("key", body)
        assert cloud.objects.pop("key")[1] == bytes(size)
        cloud.spoil = True


async def test_only_the_spoilt_generation_is_removed(cloud: Google, store: GcsStore, tmp_path: Path) -> None:
    path = tmp_path / "source"
    path.write_bytes(b"x" * 100)
    cloud.spoil = True
    original = cloud.store

    def overtaken(*given: object) -> object:
        answer = original(*given)  # type: ignore[arg-type]
        cloud.spoil = False
        original({"name": "key"}, b"another writer's", {})
        return answer

    cloud.store = overtaken  # type: ignore[assignment,method-assign]
    with pytest.raises(StoreError, match="removed"):
        await store.put("key", FileBody(path))
    assert cloud.objects["key"][1] == b"another writer's"


async def test_a_read_that_lost_a_bit_is_found_out(cloud: Google, store: GcsStore) -> None:
    """By who retries, too: it would ask for what comes after the wrong bytes."""
    await store.put("key", BytesBody(b"hello"))
    resource, _ = cloud.objects["key"]
    cloud.objects["key"] = (resource, b"hellO")
    for reading in (store.get("key"), RetryStore(store, AT_ONCE).get("key")):
        with pytest.raises(StoreError) as caught:
            _ = [piece async for piece in reading]
        assert caught.value.kind is Kind.CORRUPT
