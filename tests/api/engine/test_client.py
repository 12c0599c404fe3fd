from __future__ import annotations

import base64
from typing import Any

import pytest

from controller import builtin
from controller.client import Client
from controller.errors import AlreadyExists, Conflict, Forbidden, Gone, Invalid, NotFound
from controller.resource import Key
from tests.api.apiserver import ApiServer


def configmap(namespace: str, name: str, **data: str) -> dict[str, Any]:
    return {"metadata": {"namespace": namespace, "name": name}, "data": data}


async def test_create_get_list_delete(client: Client, namespace: str) -> None:
    key = Key(namespace, "a")
    created = await client.create(builtin.CONFIGMAPS, configmap(namespace, "a", x="1"))
    with pytest.raises(AlreadyExists) as e:
        await client.create(builtin.CONFIGMAPS, configmap(namespace, "a"))
    assert e.value.operation == f"create configmaps {key}"
    assert (await client.get(builtin.CONFIGMAPS, key))["data"] == {"x": "1"}
    assert [i["kind"] for i in await client.list(builtin.CONFIGMAPS, namespace)] == ["ConfigMap"]
    with pytest.raises(Conflict):
        await client.delete(builtin.CONFIGMAPS, key, uid="another")
    assert await client.delete(builtin.CONFIGMAPS, key, uid=created["metadata"]["uid"])
    assert not await client.delete(builtin.CONFIGMAPS, key)
    with pytest.raises(NotFound):
        await client.get(builtin.CONFIGMAPS, key)


async def test_json_patch_test_fail(client: Client, namespace: str) -> None:
    from controller.errors import ApiError
    key = Key(namespace, "a")
    await client.create(builtin.CONFIGMAPS, configmap(namespace, "a", x="1"))
    for p in ([{"op": "test", "path": "/metadata/uid", "value": "x"}], [{"op":"replace","path":"/metadata/resourceVersion","value":"1"}],
        [{"op": "add", "path": "/metadata/labels", "value": {"??":"!"}}], [{"op":"remove","path":"/foo/bar"}], [{"op":"test","path":"/metadata/finalizers","value":None}]):
        try:
            await client._transport.checked("patch", "op", "PATCH", builtin.CONFIGMAPS.key_path(key), body=__import__("msgspec").json.encode(p), content_type="application/json-patch+json", timeout=5)
        except ApiError as e:
            print(repr(e), e.status, e.reason)
    assert 0
