from __future__ import annotations

import pytest

from controller.objects import RawObject, raw_object
from reconcilers import labels
from reconcilers.datacenter import meta
from reconcilers.datacenter.run import own, taken
from tests.unit.reconcilers.datacenter.samples import UID, cdc


@pytest.mark.parametrize(
    ("key", "kept"),
    [
        ("app", True),
        ("app.kubernetes.io/name", True),
        ("app.kubernetes.io/managed-by", False),
        ("helm.sh/chart", False),
        ("argocd.argoproj.io/instance", False),
        ("kustomize.toolkit.fluxcd.io/name", False),
        ("stable.instaclustr.com/x", False),
        (labels.OPERATOR, False),
        (labels.SEED_DATACENTER, False),
        (labels.DATACENTER, False),
        (labels.RACK, False),
    ],
)
def test_which_labels_pods_inherit(key: str, kept: bool) -> None:
    assert (key in meta.inherited({key: "v"})) == kept


@pytest.mark.parametrize(
    ("name", "value"),
    [("plain", "plain"), ("Test Cluster", "Test-Cluster"), ("-x-", "x"), ("é" * 70, ""), ("a" * 70, "a" * 63)],
)
def test_a_label_holds_what_it_may(name: str, value: str) -> None:
    assert meta.label_value(name) == value


def child(*, uid: str = "", label: str = "") -> RawObject:
    owners = [{"uid": uid, "controller": True}] if uid else []
    marks = {labels.DATACENTER: label} if label else {}
    return raw_object({"metadata": {"name": "x", "ownerReferences": owners, "labels": marks}})


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (child(uid=UID), False),
        (child(uid=UID, label="other"), False),
        (child(uid="another", label="foo-cassandra"), True),
        (child(label="foo-cassandra"), False),  # orphaned on purpose
        (child(label="other"), True),
        (child(), True),
    ],
)
def test_whose_a_child_is(found: RawObject, expected: bool) -> None:
    assert taken(found, cdc()) == expected
    assert (own(found, cdc()) is None) == expected
    assert own(None, cdc()) is None
