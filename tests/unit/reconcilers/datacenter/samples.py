"""Datacenters, pods and StatefulSets as tests want them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import yaml

from controller.objects import RawObject, raw_object
from reconcilers import labels
from reconcilers.api.datacenter import CassandraDataCenter
from reconcilers.api.restore import CassandraRestore
from reconcilers.datacenter.bootstrap import Gate
from reconcilers.datacenter.layout import Layout, layout_of, racks_of
from reconcilers.datacenter.observed import PodState, RackState
from reconcilers.datacenter.status import View

EXAMPLES = Path(__file__).resolve().parents[4] / "manifests" / "examples"
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
UID = "11111111-2222-3333-4444-555555555555"
Object = dict[str, Any]


def cdc(
    *, name: str = "foo-cassandra", status: Object | None = None, marks: Object | None = None, **spec: Any
) -> CassandraDataCenter:
    """The user's datacenter as the API server would hold it, with ``spec`` laid over; None leaves a field out."""
    body = yaml.safe_load((EXAMPLES / "datacenter.yaml").read_text())
    body["metadata"] |= {"name": name, "namespace": "ns", "uid": UID, "generation": 2, "resourceVersion": "7"}
    body["metadata"]["labels"] |= marks or {}
    body["spec"] = {key: value for key, value in {**body["spec"], **spec}.items() if value is not None}
    body["status"] = status or {}
    return msgspec.convert(body, CassandraDataCenter)


def layout(given: CassandraDataCenter) -> Layout:
    return layout_of(given, cluster_name="Test Cluster", datacenter_name="dc1")


def view(
    given: CassandraDataCenter, *states: RackState, pods: tuple[PodState, ...] = (), gate: Gate | None = None
) -> View:
    racks = list(zip(racks_of(given), states, strict=True))
    return View(cdc=given, layout=layout(given), racks=racks, pods=pods, gate=gate or Gate(open=True))


def rack(replicas: int, ready: int, *, updated: int | None = None) -> RackState:
    return RackState(
        replicas=replicas,
        ready=ready,
        updated=replicas if updated is None else updated,
        settled=replicas == ready,
        exists=True,
        update_revision="new",
    )


def pod(name: str, **fields: Any) -> PodState:
    given = {"uid": f"uid-{name}", "rack": "rack1", "ready": True, "agent_ready": True, "revision": "new", **fields}
    return PodState(name=name, **given)


def raw_pod(status: Object, *, name: str = "cassandra-foo-cassandra-0", **metadata: Any) -> RawObject:
    marks = {
        labels.RACK: "rack1",
        labels.DATACENTER: "foo-cassandra",
        labels.DATACENTER_UID: UID,
        "controller-revision-hash": "new",
    }
    meta = {"name": name, "namespace": "ns", "uid": f"uid-{name}", "labels": marks, **metadata}
    return raw_object({"metadata": meta, "status": status})


def restore(
    phase: str = "", *, name: str = "foo-cassandra-bootstrap", owner: str = UID, mode: str = "NewCluster", **status: Any
) -> CassandraRestore:
    owners = [{"apiVersion": "v1", "kind": "CassandraDataCenter", "name": "x", "uid": owner, "controller": True}]
    body = {
        "kind": "CassandraRestore",
        "metadata": {"name": name, "namespace": "ns", "uid": "restore", "ownerReferences": owners if owner else []},
        "spec": {"datacenter": "foo-cassandra", "backup": {"name": "b"}, "mode": mode},
        "status": {"phase": phase, **status},
    }
    return msgspec.convert(body, CassandraRestore)
