"""Prefix, observe, and what holds for every wrapper."""

from __future__ import annotations

from contextlib import aclosing

import pytest

from backends.base import BytesBody, ObjectStore
from backends.errors import Kind, NotFound, StoreError
from backends.memory import MemoryStore
from backends.observe import ObserveStore, Statistics
from backends.prefix import PrefixStore
from backends.retry import RetryStore
from tests.fakes.faulty_store import FaultyStore, error

VERBS = {name for name in vars(ObjectStore) if not name.startswith("_")}


@pytest.mark.parametrize("wrapper", [PrefixStore, RetryStore, ObserveStore, FaultyStore])
def test_no_wrapper_forgets_a_verb(wrapper: type) -> None:
    assert {"put", "list", "close"} <= VERBS
    assert vars(wrapper).keys() >= VERBS - {"name"}


@pytest.mark.parametrize(
    "wrap", [lambda s: PrefixStore(s, "p"), RetryStore, ObserveStore], ids=["prefix", "retry", "observe"]
)
async def test_close_reaches_the_store(wrap) -> None:
    inner = FaultyStore(MemoryStore())
    await wrap(inner).close()
    assert inner.closed


async def test_a_prefix_is_a_store_of_its_own() -> None:
    whole = MemoryStore("memory://bucket")
    one, two = PrefixStore(whole, "a/b"), PrefixStore(whole, "a/b2")
    for store in (one, two):
        await store.put("key", BytesBody(b"x"))
    assert one.name == "memory://bucket/a/b"
    assert [meta.key async for meta in whole.list("")] == ["a/b/key", "a/b2/key"]
    assert [meta.key async for meta in one.list("")] == ["key"]
    await one.delete(["key"])
    assert [meta.key async for meta in two.list("")] == ["key"]


@pytest.mark.parametrize("prefix", ["", "/a", "a/", "../a", "a/../b"])
def test_a_prefix_cannot_climb(prefix: str) -> None:
    with pytest.raises(StoreError) as caught:
        PrefixStore(MemoryStore(), prefix)
    assert caught.value.kind is Kind.INVALID


async def test_reading_and_deleting_cannot_climb_out_of_a_prefix() -> None:
    whole = MemoryStore()
    await whole.put("secret", BytesBody(b"x"))
    store = PrefixStore(whole, "a")
    with pytest.raises(NotFound):
        await store.head("../secret")
    await store.delete(["../secret"])
    assert (await whole.head("secret")).size == 1


async def test_requests_bytes_and_failures_are_counted() -> None:
    seen: list[StoreError] = []
    faulty = FaultyStore(MemoryStore())
    statistics = Statistics(on_error=seen.append)
    store = ObserveStore(faulty, statistics)
    await store.put("key", BytesBody(b"12345"))
    upload = await store.create_upload("big")
    await store.upload_part("big", upload, 1, BytesBody(b"123"))
    async with aclosing(store.get("key")) as stream:
        assert statistics.in_flight == 0
        await anext(stream)
        assert statistics.in_flight == 1
    faulty.fail("put", error(Kind.THROTTLED))
    with pytest.raises(StoreError):
        await store.put("key", BytesBody(b"lost"))
    assert statistics.requests == {"put": 2, "create_upload": 1, "upload_part": 1, "get": 1}
    assert (statistics.sent, statistics.received, statistics.in_flight) == (8, 5, 0)
    assert statistics.errors == {("put", "Throttled"): 1}
    assert [one.kind for one in seen] == [Kind.THROTTLED]
    assert statistics.seconds.keys() == statistics.requests.keys()


async def test_every_try_counts() -> None:
    async def at_once(_: float) -> None: ...

    from backends.retry import Policy

    faulty = FaultyStore(MemoryStore())
    observed = ObserveStore(faulty)
    faulty.fail("put")
    await RetryStore(observed, Policy(sleep=at_once)).put("key", BytesBody(b"x"))
    assert observed.statistics.requests["put"] == 2
