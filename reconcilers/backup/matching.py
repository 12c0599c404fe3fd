"""Which datacenters a backup means, whether they have pods or not. Pure: what the API server does with a selector."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconcilers.backup.selection import own_labels
from reconcilers.datacenter import pod
from reconcilers.datacenter.layout import layout_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reconcilers.api.backup import CassandraBackup
    from reconcilers.api.datacenter import CassandraDataCenter
    from reconcilers.api.kubernetes import SelectorRequirement


def means(backup: CassandraBackup, datacenter: CassandraDataCenter) -> bool:
    """Whether the backup's selector finds the pods that the datacenter has, or would have."""
    names = {"cluster_name": datacenter.status.cluster_name or "-", "datacenter_name": "-"}
    layout = layout_of(datacenter, **names)
    return any(selects(backup, pod.template(datacenter, layout, rack)["metadata"]["labels"]) for rack in layout.racks)


def selects(backup: CassandraBackup, labels: Mapping[str, str]) -> bool:
    """An empty selector never means everything."""
    selector = backup.spec.selector
    if selector is None:
        equal, terms = own_labels(backup.metadata.labels), []
    else:
        equal, terms = selector.match_labels, selector.match_expressions
    if not equal and not terms:
        return False
    return equal.items() <= labels.items() and all(_holds(term, labels) for term in terms)


def _holds(term: SelectorRequirement, labels: Mapping[str, str]) -> bool:
    value = labels.get(term.key)
    match term.operator:
        case "In":
            return value in term.values
        case "NotIn":
            return value not in term.values
        case "Exists":
            return value is not None
        case _:
            return value is None
