"""What a bucket holds, found by skipping from name to name."""

from __future__ import annotations

import pytest

from agent import catalog, discovery
from agent.catalog import NodePath
from agent.cli import catalogs
from agent.errors import AgentError
from backends.base import BytesBody
from backends.errors import Kind
from backends.memory import MemoryStore
from backends.prefix import PrefixStore
from tests.fakes.faulty_store import Fault, FaultyStore
from tests.fakes.faulty_store import error as store_error

NAMES = ["a", "a b", "a-b", "a.b", "a0", "a00", "b", "ümlaut", "_odd"]


async def fill(store: MemoryStore, *keys: str) -> None:
    for key in keys:
        await store.put(key, BytesBody(b"x"))


async def test_names_next_to_each_other_are_all_found() -> None:
    memory = MemoryStore()
    for name in NAMES:
        await fill(memory, *(f"below/{catalog.escape(name)}/{number}/x" for number in range(3)))
    await fill(memory, "below/file", "below/zz!9", "below/zz!XX/x", "other/z/x")
    for store, prefix in ((memory, "below/"), (PrefixStore(memory, "below"), "")):
        found = [name async for name in discovery.segments(store, prefix)]
        assert sorted(found) == sorted(NAMES)


async def test_one_request_a_name() -> None:
    memory = MemoryStore()
    await fill(memory, *(f"a/{number:04}" for number in range(1000)), "b/x")
    store = FaultyStore(memory)
    assert [name async for name in discovery.segments(store)] == ["a", "b"]
    assert store.calls["list"] == 3


async def test_clusters_are_those_with_a_backup() -> None:
    store = MemoryStore()
    await fill(
        store, "half/dc1/node/manifests/t.json.zst", f"{catalog.backups_prefix('whole')}t/dc1.json", "medusa/x/y"
    )
    assert await discovery.clusters(store) == ["whole"]
    assert await catalogs.one_cluster(store, None) == "whole"
    assert await catalogs.one_cluster(store, "other") == "other"


async def test_nodes_of_a_tag() -> None:
    store = MemoryStore()
    paths = [NodePath("c", "dc1", name) for name in ("n-1", "n-2", "n-3")]
    await fill(store, paths[0].manifest("t1"), paths[1].manifest("t10"), paths[2].manifest("t1"), paths[0].owner())
    assert await discovery.nodes(store, "c", "dc1", "t1") == ["n-1", "n-3"]


async def test_a_record_of_two_datacenters_is_asked_about() -> None:
    store = MemoryStore()
    record = b'{"format": 1, "tag": "t1", "backupId": "b", "cluster": "c", "datacenter": "%s", "nodes": []}'
    for datacenter in ("dc1", "dc2"):
        await store.put(
            catalog.record_key("c", "t1", datacenter), BytesBody(record.replace(b"%s", datacenter.encode()))
        )
    with pytest.raises(AgentError, match="--datacenter: dc1, dc2"):
        await catalogs.one_record(store, None, "t1", None)
    assert (await catalogs.one_record(store, "c", "t1", "dc2")).datacenter == "dc2"
    with pytest.raises(AgentError, match="no backup t1 of datacenter dc3"):
        await catalogs.one_record(store, "c", "t1", "dc3")


async def test_what_may_pass_is_no_broken_record() -> None:
    memory = MemoryStore()
    await fill(memory, catalog.record_key("c", "t1", "dc1"), catalog.record_key("c", "t2", "dc1"))
    store = FaultyStore(memory)
    store.fail("get", Fault(store_error(Kind.FORBIDDEN), key=catalog.record_key("c", "t1", "dc1")))
    found = [one async for one in discovery.find_records(store, "c")]
    assert [one.reason for one in found if isinstance(one, discovery.Broken)] == ["Forbidden", "ManifestInvalid"]
    store.fail("get")
    with pytest.raises(type(store_error())):
        [one async for one in discovery.find_records(store, "c")]
