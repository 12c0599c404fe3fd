"""The agent without a Cassandra beside it: what it does in a bucket, over its API."""

from __future__ import annotations

import asyncio
import dataclasses
import shutil
from typing import TYPE_CHECKING, Any

import msgspec

from agent import catalog
from agent.protocol import Kind
from agent.serve import inspect
from agent.settings import Settings
from backends.base import BytesBody
from backends.registry import open_store
from tests.unit.agent.bucket import DAY, object_key
from tests.unit.agent.test_forget import NODES, Cluster
from tests.unit.agent.test_server import QUERY, SNAPSHOT, Api, serving

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from tests.unit.agent.conftest import World

WHERE = {"cluster": "c", "datacenter": "dc"}


def serving_in(world: World, open_store: Any) -> AbstractAsyncContextManager[Api]:
    return serving(world, lambda stop: inspect(world.settings, stop, open_store=open_store))


async def do(api: Api, name: str, kind: Kind, **spec: Any) -> dict[str, Any]:
    """To its end."""
    location = spec.pop("location", {"backupType": "MEMORY", "target": "bucket"})
    body = {"kind": kind.value, "spec": {"location": location, **WHERE, **spec}}
    status, found = await api("PUT", f"/v1/operations/{name}", json=body)
    assert status in (200, 201), found
    while found["state"] not in ("Succeeded", "Failed"):
        _, found = await api("GET", f"/v1/operations/{name}?since={found['revision']}&wait=10")
    return dict(found)


async def test_it_has_the_catalog_and_nothing_of_a_node(world: World) -> None:
    async with serving_in(world, world.open_store) as api:
        assert (await api("GET", "/v1/catalog/backups", params=QUERY))[1] == []
        assert (await api("GET", "/readyz", headers={}))[0] == 200
        status, refusal = await api("PUT", "/v1/operations/a", json=SNAPSHOT)
        assert (status, refusal["error"]) == (400, "this agent does no snapshot")
        assert (await api("GET", "/v1/node"))[0] == 404
        assert (await api("PUT", "/v1/operations/a", json=SNAPSHOT, headers={}))[0] == 401


async def test_it_forgets_and_collects(world: World) -> None:
    cluster = await Cluster().filled()
    cluster.now += DAY
    async with serving_in(world, cluster.open_store) as api:
        found = await do(api, "f", Kind.FORGET, tag="t1", backupId="uid-1")
        assert (found["result"]["manifests"], sorted(found["result"]["empty"])) == (4, sorted(NODES))
        verified = await do(api, "v", Kind.VERIFY, node="n")
        assert verified["state"] == "Succeeded"
        refused = await do(api, "c0", Kind.COLLECT, node="n")
        assert refused["error"]["reason"] == "CollectRefused", "nobody said that this was the last one on purpose"
        for cycle in ("c1", "c2"):
            result = (await do(api, cycle, Kind.COLLECT, node="n", allowEmpty=True))["result"]
            cluster.now += DAY
        assert (result["candidates"], result["deleted"]) == (1, 1)
    assert f"c/dc/n/{object_key('nb-1-big')}" not in await cluster.all()


async def test_what_it_was_at_goes_on_after_a_restart(world: World) -> None:
    """The pod's volume outlives its container."""
    cluster = await Cluster().filled()
    opened = asyncio.Event()

    class Hanging:
        async def __aenter__(self) -> None:
            opened.set()
            await asyncio.Event().wait()

        async def __aexit__(self, *_: object) -> None: ...

    async with serving_in(world, lambda _: Hanging()) as api:
        body = msgspec.to_builtins({"kind": "forget", "spec": _forget("t1")})
        assert (await api("PUT", "/v1/operations/f", json=body))[0] == 201
        await opened.wait()
    shutil.rmtree(world.settings.credentials_dir)
    async with serving_in(world, cluster.open_store) as api:
        found = await do(api, "f", Kind.FORGET, tag="t1", backupId="uid-1")
    assert (found["state"], found["attempts"]) == ("Succeeded", 2)
    assert await cluster.manifests() == []


async def test_it_forgets_in_a_directory(world: World, tmp_path: Path) -> None:
    """With a driver of its own: nobody hands it a store."""
    cluster = await Cluster().filled()
    target = tmp_path / "store"
    target.mkdir()
    store = await open_store("FILE", str(target))
    for key in await cluster.all():
        await store.put(key, BytesBody(cluster.memory._objects[key][1]))
    async with serving_in(world, None) as api:
        found = await do(
            api, "f", Kind.FORGET, tag="t1", backupId="uid-1", location={"backupType": "FILE", "target": str(target)}
        )
    assert found["state"] == "Succeeded", found
    assert found["result"]["manifests"] == 4
    left = [meta.key async for meta in store.list("")]
    await store.close()
    assert catalog.record_key("c", "t1", "dc") not in left
    assert len([key for key in left if "/data/" in key]) == 4


async def test_a_grace_that_is_too_short_is_refused_unless_the_pod_allows_it(world: World) -> None:
    cluster = await Cluster().filled()
    async with serving_in(world, cluster.open_store) as api:
        where = {name: _forget("t1")[name] for name in ("location", "cluster", "datacenter")}
        body = {"kind": "collect", "spec": {**where, "node": "n", "grace": 60}}
        status, refusal = await api("PUT", "/v1/operations/c", json=body)
        assert (status, refusal["reason"]) == (400, "InvalidSpec")
    shutil.rmtree(world.settings.credentials_dir)
    world.settings = dataclasses.replace(world.settings, least_grace=60)
    async with serving_in(world, cluster.open_store) as api:
        assert (await do(api, "c", Kind.COLLECT, node="n", grace=60))["state"] == "Succeeded"


def test_the_least_grace_is_an_hour() -> None:
    assert Settings.from_env({}).least_grace == 3600
    assert Settings.from_env({"AGENT_LEAST_GRACE": "60"}).least_grace == 60


def _forget(tag: str) -> dict[str, Any]:
    location = {"backupType": "MEMORY", "target": "bucket"}
    return {"location": location, **WHERE, "tag": tag, "backupId": "uid-1"}
