from __future__ import annotations

import pytest

from controller.builtin import PODS, STATEFULSETS
from controller.objects import decode_raw, key_of
from controller.resource import Key, Resource


def test_raw_objects_keep_all_but_the_managed_fields() -> None:
    obj = decode_raw(
        b'{"kind":"Pod","metadata":{"name":"a","namespace":"ns","managedFields":[1],"deletionTimestamp":"T",'
        b'"ownerReferences":[{"apiVersion":"v1","kind":"K","name":"o","uid":"u","controller":true}]},"spec":{"x":1}}'
    )
    assert key_of(obj) == Key("ns", "a")
    assert "managedFields" not in obj.body["metadata"]
    assert obj.body["spec"] == {"x": 1}
    assert obj.metadata.deletion_timestamp == "T"
    assert obj.metadata.owner_references[0].controller
    assert "spec" not in repr(obj)


def test_paths() -> None:
    assert PODS.path() == "/api/v1/pods"
    assert PODS.key_path(Key("ns", "a"), "status") == "/api/v1/namespaces/ns/pods/a/status"
    assert STATEFULSETS.path("ns") == "/apis/apps/v1/namespaces/ns/statefulsets"
    assert Resource("", "v1", "namespaces", "Namespace", namespaced=False).path("", "ns") == "/api/v1/namespaces/ns"
    assert str(Key("ns", "a")) == "ns/a"
    assert str(Key("", "a")) == "a"
    assert (PODS.api_version, STATEFULSETS.api_version, str(STATEFULSETS)) == ("v1", "apps/v1", "statefulsets.apps")
    with pytest.raises(ValueError, match="namespace"):
        PODS.path("", "a")
