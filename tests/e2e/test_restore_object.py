"""The lost cluster: no CassandraBackup is left, only the bucket, and a CassandraRestore that somebody wrote by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dev.scenario import nodes
from dev.scenario.cql import Consistency, session
from dev.scenario.demo import CBACK, CDC
from dev.scenario.documents import SMALL
from dev.scenario.waiting import wait_for

if TYPE_CHECKING:
    from tests.e2e.conftest import World

_COPY, _TAG, _ROWS = "copy-cassandra", "before-the-loss", 100
_DEADLINE = 240


def test_a_restore_from_the_bucket_alone_under_another_name(world: World) -> None:
    """The new datacenter's agents know where the store is by ``endpoint`` alone, not by a variable."""
    kubectl, documents = world.kubectl, world.documents
    with session(kubectl, f"cassandra-{SMALL}-0", Consistency.ONE) as cql:
        replication = {"class": "NetworkTopologyStrategy", SMALL: 1}
        cql.do(f"CREATE KEYSPACE IF NOT EXISTS copied WITH replication = {replication}")
        cql.do("CREATE TABLE IF NOT EXISTS copied.numbers (n int PRIMARY KEY)")
        cql.write("INSERT INTO copied.numbers (n) VALUES (?)", [(n,) for n in range(_ROWS)])
    place = {
        "backupType": documents.backup_type,
        "target": f"{documents.scheme}://{world.target}/deep/prefix",
        **({"endpoint": {"url": documents.url}} if documents.url else {}),
    }
    kubectl.apply(documents.other_backup(_TAG, {"cassandra-datacenter": SMALL}, **place))
    wait_for(kubectl, CBACK, _TAG, "Complete", _DEADLINE)
    kubectl.delete(CBACK, _TAG)

    source = {**place, "clusterName": SMALL, "datacenterName": SMALL, "snapshotTag": _TAG}
    kubectl.apply(
        {
            "apiVersion": "stable.instaclustr.com/v1",
            "kind": "CassandraRestore",
            "metadata": {"name": "by-hand"},
            "spec": {"datacenter": _COPY, "source": source},
        }
    )
    copy = documents.other_datacenter(_COPY, 1)
    copy["spec"]["env"] = [each for each in copy["spec"].get("env", []) if each["name"] != documents.url_env]
    try:
        kubectl.apply(copy)
        wait_for(kubectl, "cassandrarestore", "by-hand", "Complete", _DEADLINE)
        wait_for(kubectl, CDC, _COPY, "Ready", _DEADLINE)
        status = kubectl.get(CDC, _COPY)["status"]
        assert (status["clusterName"], status["datacenterName"]) == (_COPY, SMALL)
        with session(kubectl, f"cassandra-{_COPY}-0", Consistency.ONE) as cql:
            assert {n for (n,) in cql.rows("SELECT n FROM copied.numbers")} == set(range(_ROWS))
        again = documents.other_backup("of-the-copy", {"cassandra-datacenter": _COPY}, **place)
        kubectl.apply(again)
        wait_for(kubectl, CBACK, "of-the-copy", "Complete", _DEADLINE)
    finally:
        nodes.delete_with_claims(kubectl, _COPY)
