from __future__ import annotations

from typing import Any

import pytest

from controller.objects import ObjectMeta
from reconcilers.api.backup import BackupSpec, CassandraBackup
from reconcilers.api.common import BackupType, LabelSelector
from reconcilers.api.datacenter import CassandraDataCenter, DataCenterSpec, Rack
from reconcilers.api.kubernetes import SelectorRequirement
from reconcilers.backup import matching

OWN = {"app": "cassandra", "team": "data"}


def backup(own: dict[str, str] | None = None, selector: LabelSelector | None = None) -> CassandraBackup:
    spec = BackupSpec(backup_type=BackupType.AWS_S3, target="bucket", selector=selector)
    return CassandraBackup(metadata=ObjectMeta(namespace="ns", name="b", labels=own or {}), spec=spec)


def expression(key: str, operator: str, *values: str) -> LabelSelector:
    return LabelSelector(match_expressions=[SelectorRequirement(key=key, operator=operator, values=list(values))])


@pytest.mark.parametrize(
    ("selector", "found"),
    [
        (LabelSelector(), False),
        (LabelSelector(match_labels={"app": "cassandra"}), True),
        (LabelSelector(match_labels={"app": "cassandra", "team": "other"}), False),
        (expression("team", "In", "data", "web"), True),
        (expression("team", "In", "web"), False),
        (expression("none", "In", ""), False),
        (expression("team", "NotIn", "web"), True),
        (expression("none", "NotIn", "web"), True),
        (expression("team", "NotIn", "data"), False),
        (expression("team", "Exists"), True),
        (expression("none", "Exists"), False),
        (expression("team", "DoesNotExist"), False),
        (expression("none", "DoesNotExist"), True),
    ],
)
def test_a_selector_means_what_the_api_server_takes_it_for(selector: LabelSelector, found: bool) -> None:
    assert matching.selects(backup(selector=selector), OWN) is found


def test_its_own_labels_are_the_selector() -> None:
    assert matching.selects(backup({"app": "cassandra", "app.kubernetes.io/managed-by": "Helm"}), OWN)
    assert not matching.selects(backup({"app.kubernetes.io/managed-by": "Helm"}), OWN)


@pytest.mark.parametrize(
    ("own", "found"),
    [
        ({"cassandra-datacenter": "foo"}, True),
        ({"cassandra-datacenter": "bar"}, False),
        ({"app": "cassandra"}, True),
        ({"cassandra-operator.instaclustr.com/rack": "b"}, True),
        ({"cassandra-operator.instaclustr.com/rack": "c"}, False),
    ],
)
def test_a_datacenter_is_meant_by_what_its_pods_carry(own: dict[str, str], found: bool) -> None:
    fields: dict[str, Any] = {"replicas": 0, "cassandra_image": "c", "sidecar_image": "s"}
    spec = DataCenterSpec(**fields, racks=[Rack(name="a"), Rack(name="b")])
    datacenter = CassandraDataCenter(
        metadata=ObjectMeta(namespace="ns", name="foo", uid="u", labels={"app": "cassandra"}), spec=spec
    )
    assert matching.means(backup(own), datacenter) is found
