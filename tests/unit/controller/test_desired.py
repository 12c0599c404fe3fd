from __future__ import annotations

from copy import deepcopy
from decimal import Decimal
from typing import Any

import pytest

from controller.builtin import CONFIGMAPS
from controller.desired import APPLIED, digest, ensure, first_difference, matches, quantity, stamped
from controller.objects import RawObject, raw_object
from controller.resource import Key
from tests.fakes.client import FakeClient


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("500m", "0.5"),
        ("1Gi", "1073741824"),
        ("1024Mi", "1073741824"),
        ("1e3", "1000"),
        ("1E", "1e18"),
        ("2k", "2000"),
        (2, "2"),
        (0.5, "0.5"),
        ("100n", "1e-7"),
    ],
)
def test_quantity(text: object, value: str) -> None:
    assert quantity(text) == Decimal(value)


@pytest.mark.parametrize("text", ["", "abc", "1.2.3", "1Q", None, True, "Gi", []])
def test_not_a_quantity(text: object) -> None:
    assert quantity(text) is None


POD = {"containers": [{"name": "c", "image": "i", "resources": {"limits": {"cpu": "0.5", "memory": "1Gi"}}}]}


@pytest.mark.parametrize(
    ("desired", "observed", "difference"),
    [
        # the API server adds defaults at every depth
        ({"spec": {"a": 1}}, {"spec": {"a": 1, "b": 2}, "status": {}}, ""),
        (POD, {"containers": [{**POD["containers"][0], "terminationMessagePath": "/dev/termination-log"}]}, ""),
        ({"spec": {"a": 1}}, {"spec": {"a": 2}}, ".spec.a"),
        ({"spec": {"a": 1}}, {}, ".spec"),
        ({"a": "1"}, {"a": 1}, ".a"),
        ({"a": True}, {"a": 1}, ".a"),
        # lists
        ({"args": ["x", "y"]}, {"args": ["x", "y"]}, ""),
        ({"args": ["x"]}, {"args": ["x", "y"]}, ".args"),
        ({"args": ["y", "x"]}, {"args": ["x", "y"]}, ".args[0]"),
        ({"ports": [{"port": 1}]}, {"ports": [{"port": 1, "protocol": "TCP"}]}, ""),
        # quantities, and only where there are some
        ({"limits": {"cpu": "0.5", "memory": "1Gi"}}, {"limits": {"cpu": "500m", "memory": "1024Mi"}}, ""),
        ({"limits": {"cpu": 1}}, {"limits": {"cpu": "1"}}, ""),
        ({"limits": {"cpu": "0.5"}}, {"limits": {"cpu": "501m"}}, ".limits.cpu"),
        ({"emptyDir": {"sizeLimit": "1Gi"}}, {"emptyDir": {"sizeLimit": "1024Mi"}}, ""),
        ({"data": {"heap": "1Gi"}}, {"data": {"heap": "1024Mi"}}, ".data.heap"),
        # what the API server leaves out
        ({"labels": {}, "args": [], "x": None, "flag": False, "text": ""}, {}, ""),
        ({"x": None}, {"x": {}}, ""),
        ({"flag": False}, {"flag": True}, ".flag"),
        ({"volumes": [{"name": "t", "emptyDir": {}}]}, {"volumes": [{"name": "t"}]}, ".volumes[0].emptyDir"),
        # others may own it, too
        ({"metadata": {"finalizers": ["a"]}}, {"metadata": {"finalizers": ["b", "a"]}}, ""),
        ({"metadata": {"finalizers": ["a"]}}, {"metadata": {"finalizers": ["b"]}}, ".metadata.finalizers[0]"),
        (
            {"metadata": {"ownerReferences": [{"uid": "1"}]}},
            {"metadata": {"ownerReferences": [{"uid": "2"}, {"uid": "1", "name": "n"}]}},
            "",
        ),
        # never in items of a list, never given back
        ({"apiVersion": "v1", "kind": "Secret", "stringData": {"a": "b"}}, {}, ""),
    ],
)
def test_matches(desired: dict[str, Any], observed: dict[str, Any], difference: str) -> None:
    assert first_difference(desired, observed) == difference
    assert matches(desired, observed) == (difference == "")


def test_the_digest_is_of_the_content() -> None:
    assert digest({"a": 1, "b": {"c": 2, "d": 3}}) == digest({"b": {"d": 3, "c": 2}, "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})


DESIRED = {"metadata": {"namespace": "ns", "name": "a", "labels": {"l": "1"}}, "data": {"x": "1", "y": "2"}}


def observed(client: FakeClient) -> RawObject:
    return raw_object(deepcopy(client.objects[CONFIGMAPS, Key("ns", "a")]))


async def test_ensure_writes_once_then_nothing() -> None:
    client = FakeClient()
    before = deepcopy(DESIRED)
    assert await ensure(client, CONFIGMAPS, DESIRED, None)  # type: ignore[arg-type]
    assert before == DESIRED
    calls = len(client.calls)
    assert not await ensure(client, CONFIGMAPS, DESIRED, observed(client))  # type: ignore[arg-type]
    assert len(client.calls) == calls
    assert observed(client).metadata.annotations == {APPLIED: digest(DESIRED)}


@pytest.mark.parametrize("drift", [{"data": {"x": "9", "y": "2"}}, {"metadata": {"labels": {"l": "2"}}}])
async def test_ensure_mends_drift(drift: dict[str, Any]) -> None:
    client = FakeClient()
    await ensure(client, CONFIGMAPS, DESIRED, None)  # type: ignore[arg-type]
    await client.patch(CONFIGMAPS, Key("ns", "a"), drift)
    assert await ensure(client, CONFIGMAPS, DESIRED, observed(client))  # type: ignore[arg-type]
    assert not await ensure(client, CONFIGMAPS, DESIRED, observed(client))  # type: ignore[arg-type]


async def test_ensure_notices_a_field_that_is_no_longer_wanted() -> None:
    client = FakeClient()
    await ensure(client, CONFIGMAPS, DESIRED, None)  # type: ignore[arg-type]
    less = {**DESIRED, "data": {"x": "1"}}
    assert matches(less, observed(client).body)
    assert await ensure(client, CONFIGMAPS, less, observed(client))  # type: ignore[arg-type]


def test_stamped_keeps_other_annotations() -> None:
    with_one = {"metadata": {"name": "a", "annotations": {"k": "v"}}}
    assert stamped(with_one)["metadata"]["annotations"] == {"k": "v", APPLIED: digest(with_one)}
