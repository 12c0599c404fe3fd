from __future__ import annotations

import msgspec

from agent.protocol import Location, RecordedNode, RestorePlan
from controller.objects import ObjectMeta
from reconcilers import labels
from reconcilers.api.datacenter import CassandraDataCenter, DataCenterSpec
from reconcilers.api.restore import CassandraRestore, RestoreSpec
from reconcilers.restore import plan
from reconcilers.restore.mapping import Pair
from reconcilers.restore.source import Source

SOURCE = Source(
    location=Location(backup_type="AWS_S3", target="bucket"), uri="s3://bucket", cluster="c", datacenter="d", tag="t"
)
DATACENTER = CassandraDataCenter(
    metadata=ObjectMeta(namespace="ns", name="bar", uid="dc-uid"),
    spec=DataCenterSpec(replicas=2, cassandra_image="c", sidecar_image="s"),
)
PAIRS = [
    Pair(f"cassandra-bar-{i}", "rack1", RecordedNode(node=f"foo-{i}", rack="rack1", host_id="h", digest=f"digest-{i}"))
    for i in range(2)
]


def restore(**spec: object) -> CassandraRestore:
    return CassandraRestore(
        metadata=ObjectMeta(namespace="ns", name="r", uid="restore-uid"), spec=RestoreSpec(datacenter="bar", **spec)
    )


def test_the_whole_plan() -> None:
    assert plan.config_map(restore(), DATACENTER, SOURCE, PAIRS) == {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": "bar-restore-plan",
            "namespace": "ns",
            "labels": {labels.OPERATOR: labels.OPERATOR_VALUE, labels.DATACENTER: "bar"},
            "ownerReferences": [
                {
                    "apiVersion": "stable.instaclustr.com/v1",
                    "kind": "CassandraDataCenter",
                    "name": "bar",
                    "uid": "dc-uid",
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
        "data": {
            f"cassandra-bar-{i}.json": '{"restoreId":"restore-uid","location":{"backupType":"AWS_S3",'
            f'"target":"bucket"}},"cluster":"c","datacenter":"d","node":"foo-{i}","tag":"t","digest":"digest-{i}"}}'
            for i in range(2)
        },
    }


def test_what_the_restore_says_is_in_it() -> None:
    made = plan.config_map(
        restore(bandwidth="1Mi", concurrent_transfers=7, include_auth=False), DATACENTER, SOURCE, PAIRS
    )
    read = msgspec.json.decode(made["data"]["cassandra-bar-1.json"], type=RestorePlan)
    assert (read.bandwidth, read.concurrent_transfers, read.include_auth) == (1 << 20, 7, False)
    assert (read.node, read.digest) == ("foo-1", "digest-1")


def test_the_operation_is_named_as_the_init_container_names_it() -> None:
    assert plan.operation_id(restore(), "cassandra-bar-0") == "restore-uid-cassandra-bar-0"
