from __future__ import annotations

import pytest

from controller import finalizer
from controller.builtin import CONFIGMAPS
from controller.errors import Conflict
from controller.objects import RawObject, raw_object
from controller.resource import Key
from tests.fakes.client import FakeClient

KEY = Key("ns", "a")
OURS = "example.com/ours"


async def made(client: FakeClient, *finalizers: str) -> RawObject:
    metadata = {"namespace": "ns", "name": "a"} | ({"finalizers": [*finalizers]} if finalizers else {})
    return raw_object(await client.create(CONFIGMAPS, {"metadata": metadata}))


def present(client: FakeClient) -> list[str]:
    return client.objects[CONFIGMAPS, KEY]["metadata"].get("finalizers", [])  # type: ignore[no-any-return]


@pytest.mark.parametrize("others", [[], ["other"], ["other", "another"]])
async def test_add_and_remove_touch_nobody_elses(others: list[str]) -> None:
    client = FakeClient()
    obj = await made(client, *others)
    assert await finalizer.add(client, CONFIGMAPS, obj, OURS)  # type: ignore[arg-type]
    assert present(client) == [*others, OURS]
    obj = raw_object(await client.get(CONFIGMAPS, KEY))
    assert not await finalizer.add(client, CONFIGMAPS, obj, OURS)  # type: ignore[arg-type]
    assert await finalizer.remove(client, CONFIGMAPS, obj, OURS)  # type: ignore[arg-type]
    assert present(client) == others
    obj = raw_object(await client.get(CONFIGMAPS, KEY))
    assert not await finalizer.remove(client, CONFIGMAPS, obj, OURS)  # type: ignore[arg-type]


async def test_what_changed_meanwhile_conflicts() -> None:
    client = FakeClient()
    old = await made(client, OURS, "other")
    client.objects[CONFIGMAPS, KEY]["metadata"]["finalizers"] = ["other", OURS]
    with pytest.raises(Conflict):
        await finalizer.remove(client, CONFIGMAPS, old, OURS)  # type: ignore[arg-type]
    with pytest.raises(Conflict):
        await finalizer.add(client, CONFIGMAPS, old, "example.com/more")  # type: ignore[arg-type]
    client.objects[CONFIGMAPS, KEY]["metadata"].update(uid="recreated", finalizers=[OURS, "other"])
    with pytest.raises(Conflict):
        await finalizer.remove(client, CONFIGMAPS, old, OURS)  # type: ignore[arg-type]
    with pytest.raises(Conflict):
        await finalizer.add(client, CONFIGMAPS, old, "example.com/more")  # type: ignore[arg-type]
    assert present(client) == [OURS, "other"]


async def test_nothing_is_removed_when_something_else_changed() -> None:
    """What is to be cleaned up may be another thing by then."""
    client = FakeClient()
    old = await made(client, OURS)
    await client.patch(CONFIGMAPS, KEY, {"data": {"policy": "Delete"}})
    with pytest.raises(Conflict):
        await finalizer.remove(client, CONFIGMAPS, old, OURS)  # type: ignore[arg-type]
    assert present(client) == [OURS]


async def test_remove_from_what_is_gone() -> None:
    client = FakeClient()
    old = await made(client, OURS)
    client.objects.clear()
    assert not await finalizer.remove(client, CONFIGMAPS, old, OURS)  # type: ignore[arg-type]
