"""Labels and owner of everything that a datacenter owns. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from reconcilers import labels
from reconcilers.api.common import API_VERSION

if TYPE_CHECKING:
    from reconcilers.api.datacenter import CassandraDataCenter
    from reconcilers.datacenter.layout import Layout, Rack

_MAX_LABEL = 63


def selector(layout: Layout, rack: Rack | None = None) -> dict[str, str]:
    """What a selector may rely on: it never changes, so a StatefulSet's (immutable) selector stays right. The UID is
    left out: pods outlive an object that was deleted with ``--cascade=orphan``, and are taken over by its successor.
    """
    fixed = {labels.OPERATOR: labels.OPERATOR_VALUE, labels.DATACENTER: layout.datacenter}
    return fixed if rack is None else {**fixed, labels.RACK: rack.name}


def child_labels(layout: Layout, rack: Rack | None = None) -> dict[str, str]:
    """The operator's own labels, on every child."""
    return {
        **selector(layout, rack),
        labels.SEED_DATACENTER: layout.datacenter,
        labels.CLUSTER: label_value(layout.cluster_name),
        labels.DATACENTER_UID: layout.uid,
    }


def pod_labels(cdc: CassandraDataCenter, layout: Layout, rack: Rack) -> dict[str, str]:
    """A pod carries the datacenter's own labels too: a backup that says ``app: cassandra`` means the pods of every
    datacenter with that label.
    """
    return {**inherited(cdc.metadata.labels), **child_labels(layout, rack)}


def inherited(own: dict[str, str]) -> dict[str, str]:
    """The user's labels, without those that tools put on everything and those that are the operator's."""
    return {key: value for key, value in own.items() if not _reserved(key)}


def _reserved(key: str) -> bool:
    return (
        key in (labels.OPERATOR, labels.SEED_DATACENTER)
        or key in labels.FOREIGN_LABELS
        or key.startswith((f"{labels.PREFIX}/", *labels.FOREIGN_LABEL_PREFIXES))
    )


def label_value(name: str) -> str:
    """A cluster's name may hold what a label's value may not: those characters become dashes.

    >>> label_value("Test Cluster!")
    'Test-Cluster'
    """
    return re.sub(r"[^A-Za-z0-9._-]", "-", name)[:_MAX_LABEL].strip("._-")


def owner(cdc: CassandraDataCenter) -> dict[str, Any]:
    return {
        "apiVersion": API_VERSION,
        "kind": "CassandraDataCenter",
        "name": cdc.metadata.name,
        "uid": cdc.metadata.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def metadata(
    cdc: CassandraDataCenter, name: str, marks: dict[str, str], annotations: dict[str, str] | None = None
) -> dict[str, Any]:
    """The metadata of a child called ``name``."""
    meta: dict[str, Any] = {
        "name": name,
        "namespace": cdc.metadata.namespace,
        "labels": marks,
        "ownerReferences": [owner(cdc)],
    }
    return {**meta, "annotations": annotations} if annotations else meta
