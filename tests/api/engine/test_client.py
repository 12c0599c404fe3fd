"""What the client promises, asked of a real API server."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pytest

from controller import builtin, finalizer
from controller.errors import (
    AlreadyExists,
    ApiError,
    Conflict,
    ConnectionFailed,
    Forbidden,
    Invalid,
    NotFound,
    NotLeading,
    Timeout,
)
from controller.objects import raw_object
from controller.resource import Key

if TYPE_CHECKING:
    from controller.client import Client
    from tests.api.apiserver import ApiServer

MAPS = builtin.CONFIGMAPS


def configmap(namespace: str, name: str, **data: str) -> dict[str, Any]:
    return {"metadata": {"namespace": namespace, "name": name}, "data": data}


async def test_create_get_list_delete(client: Client, namespace: str) -> None:
    key = Key(namespace, "a")
    created = await client.create(MAPS, configmap(namespace, "a", x="1"))
    with pytest.raises(AlreadyExists) as e:
        await client.create(MAPS, configmap(namespace, "a"))
    assert e.value.operation == f"create configmaps {key}"
    assert (await client.get(MAPS, key))["data"] == {"x": "1"}
    assert [i["kind"] for i in await client.list(MAPS, namespace)] == ["ConfigMap"]
    with pytest.raises(Conflict):
        await client.delete(MAPS, key, uid="another")
    with pytest.raises(Conflict):
        await client.delete(MAPS, key, resource_version="1")
    assert await client.delete(MAPS, key, uid=created["metadata"]["uid"])
    assert not await client.delete(MAPS, key)
    with pytest.raises(NotFound):
        await client.get(MAPS, key)


async def test_apply_makes_and_changes_and_takes_away(client: Client, namespace: str) -> None:
    key = Key(namespace, "a")
    await client.apply(MAPS, configmap(namespace, "a", x="1", y="2"))
    await client.apply(MAPS, configmap(namespace, "a", x="3"))
    found = await client.get(MAPS, key)
    assert found["data"] == {"x": "3"}
    [manager] = found["metadata"]["managedFields"]
    assert (manager["manager"], manager["operation"]) == ("cassandra-operator", "Apply")


async def test_apply_takes_a_field_of_another_only_with_force(client: Client, namespace: str) -> None:
    body = configmap(namespace, "a", x="theirs")
    await client.raw(
        "PATCH",
        MAPS.key_path(Key(namespace, "a")),
        query={"fieldManager": "another"},
        headers={"Content-Type": "application/apply-patch+yaml"},
        body=b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{"x":"theirs"}}',
    )
    body["data"] = {"x": "ours"}
    with pytest.raises(Conflict, match="another"):
        await client.apply(MAPS, body, force=False)
    assert (await client.apply(MAPS, body))["data"] == {"x": "ours"}


async def test_patch_status_replaces_the_whole_status(client: Client, namespace: str) -> None:
    key = Key(namespace, "a")
    claim = {
        "metadata": {"namespace": namespace, "name": "a"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    uid = (await client.create(builtin.PVCS, claim))["metadata"]["uid"]
    first = await client.patch_status(
        builtin.PVCS,
        key,
        {"phase": "Pending", "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"]},
        uid=uid,
    )
    version = first["metadata"]["resourceVersion"]
    second = await client.patch_status(builtin.PVCS, key, {"phase": "Bound"}, uid=uid, resource_version=version)
    assert second["status"] == {"phase": "Bound"}
    with pytest.raises(Conflict):
        await client.patch_status(builtin.PVCS, key, {"phase": "Lost"}, uid=uid, resource_version=version)
    with pytest.raises(Conflict):
        await client.patch_status(builtin.PVCS, key, {"phase": "Lost"}, uid="another")
    with pytest.raises(NotFound):
        await client.patch_status(builtin.PVCS, Key(namespace, "b"), {}, uid=uid)
    assert (await client.get(builtin.PVCS, key))["status"] == {"phase": "Bound"}


async def test_patches(client: Client, namespace: str) -> None:
    key = Key(namespace, "a")
    created = await client.create(MAPS, configmap(namespace, "a", x="1"))
    merged = await client.patch(MAPS, key, {"data": {"x": None, "y": "2"}})
    assert merged["data"] == {"y": "2"}
    with pytest.raises(Conflict):
        await client.patch(MAPS, key, {"metadata": {"resourceVersion": created["metadata"]["resourceVersion"]}})
    with pytest.raises(Conflict):
        await client.patch(MAPS, key, [{"op": "test", "path": "/data/y", "value": "3"}])
    with pytest.raises(Invalid):
        await client.patch(MAPS, key, [{"op": "remove", "path": "/data/nothing"}])
    with pytest.raises(Invalid):
        await client.patch(MAPS, key, {"metadata": {"labels": {"?": "!"}}})


async def test_finalizers(client: Client, namespace: str) -> None:
    key, ours = Key(namespace, "a"), "example.com/ours"
    body = configmap(namespace, "a")
    body["metadata"]["finalizers"] = ["example.com/theirs"]
    obj = raw_object(await client.create(MAPS, body))
    assert await finalizer.add(client, MAPS, obj, ours)
    with pytest.raises(Conflict):  # the object as it was before
        await finalizer.add(client, MAPS, obj, "example.com/more")
    bare = raw_object(await client.create(MAPS, configmap(namespace, "b")))
    assert await finalizer.add(client, MAPS, bare, ours)
    obj = raw_object(await client.get(MAPS, key))
    assert obj.metadata.finalizers == ["example.com/theirs", ours]
    await client.delete(MAPS, key)
    with pytest.raises(Conflict):  # it was not being deleted yet
        await finalizer.remove(client, MAPS, obj, ours)
    obj = raw_object(await client.get(MAPS, key))
    assert await finalizer.remove(client, MAPS, obj, ours)
    obj = raw_object(await client.get(MAPS, key))
    assert await finalizer.remove(client, MAPS, obj, "example.com/theirs")
    with pytest.raises(NotFound):
        await client.get(MAPS, key)
    assert not await finalizer.remove(client, MAPS, obj, "example.com/theirs")


async def test_a_refused_secret_is_not_quoted(client: Client, namespace: str) -> None:
    body: dict[str, Any] = {"metadata": {"namespace": namespace, "name": "a"}}
    for write in (client.create, client.apply):
        for wrong in ({"stringData": {"p": 424242}}, {"data": {"p": "424242!"}}, {"data": {"p": ["424242"]}}):
            with pytest.raises(ApiError, match="withheld") as e:
                await write(builtin.SECRETS, body | wrong)
            assert "424242" not in f"{e.value!r} {e.value.message} {e.value.__cause__!r}"
    good = {**body, "data": {"p": base64.b64encode(b"x").decode()}}
    assert await client.create(builtin.SECRETS, good)


async def test_without_rights(connect: Any, namespace: str) -> None:
    async with connect("nobody", user="nobody") as (client, _):
        with pytest.raises(Forbidden) as e:
            await client.list(MAPS, namespace)
        assert not e.value.retryable
        with pytest.raises(Forbidden):
            await client.create(MAPS, configmap(namespace, "a"))


async def test_no_answer(connect: Any, namespace: str) -> None:
    async with connect("cut") as (client, wire):
        await client.list(MAPS, namespace)
        wire.hold()
        with pytest.raises(Timeout) as timeout:
            await client.get(MAPS, Key(namespace, "a"), timeout=0.2)
        wire.cut()
        with pytest.raises(ConnectionFailed) as failed:
            await client.get(MAPS, Key(namespace, "a"))
        assert timeout.value.retryable
        assert failed.value.retryable
        wire.mend()
        with pytest.raises(NotFound):
            await client.get(MAPS, Key(namespace, "a"))


async def test_a_guard_stops_writes_and_no_reads(client: Client, apiserver: ApiServer, namespace: str) -> None:
    def refuse() -> None:
        raise NotLeading("not now")

    client.set_guard(refuse)
    for write in (
        client.create(MAPS, configmap(namespace, "a")),
        client.apply(MAPS, configmap(namespace, "a")),
        client.patch(MAPS, Key(namespace, "a"), {}),
        client.delete(MAPS, Key(namespace, "a")),
        client.raw("PUT", "/api/v1/anything"),
    ):
        with pytest.raises(NotLeading):
            await write
    assert await client.list(MAPS, namespace) == []
    assert apiserver.writes(namespace) == []
    await client.unguarded().create(MAPS, configmap(namespace, "a"))
    assert len(apiserver.writes(namespace)) == 1


async def test_raw_gives_any_status_and_bounds_the_body(client: Client, namespace: str) -> None:
    answer = await client.raw("GET", f"/api/v1/namespaces/{namespace}/pods/none:4567/proxy/healthz")
    assert answer.status == 404
    assert b"none" in answer.body
    assert answer.headers["content-type"] == "application/json"
    with pytest.raises(ApiError, match="longer than 1000 bytes"):
        await client.raw("GET", "/openapi/v2", limit=1000)
