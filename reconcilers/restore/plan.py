"""The plan: a ConfigMap with one file a pod, which that pod's init container reads. Pure.

It exists from the moment the mapping is decided until the restore completed. While it exists a pod that it does not
name refuses to start, and one that it names starts with its data; so no node of the datacenter can come up empty.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from agent.protocol import RestorePlan
from controller.builtin import CONFIGMAPS as RESOURCE
from reconcilers import labels
from reconcilers.api.quantity import parse
from reconcilers.datacenter import meta

if TYPE_CHECKING:
    from collections.abc import Iterable

    from reconcilers.api.datacenter import CassandraDataCenter
    from reconcilers.api.restore import CassandraRestore
    from reconcilers.restore.mapping import Pair
    from reconcilers.restore.source import Source

__all__ = ["RESOURCE", "config_map", "operation_id"]


def operation_id(restore: CassandraRestore, pod: str) -> str:
    """As the init container names its work."""
    return f"{restore.metadata.uid}-{pod}"


def config_map(
    restore: CassandraRestore, datacenter: CassandraDataCenter, source: Source, pairs: Iterable[Pair]
) -> dict[str, Any]:
    """Owned by the datacenter, not by the restore: deleting a half-done restore must not let empty nodes start."""
    marks = {labels.OPERATOR: labels.OPERATOR_VALUE, labels.DATACENTER: datacenter.metadata.name}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": meta.metadata(datacenter, labels.restore_plan(datacenter.metadata.name), marks),
        "data": {f"{pair.pod}.json": _plan(restore, source, pair) for pair in pairs},
    }


def _plan(restore: CassandraRestore, source: Source, pair: Pair) -> str:
    spec = restore.spec
    plan = RestorePlan(
        restore_id=restore.metadata.uid,
        location=source.location,
        cluster=source.cluster,
        datacenter=source.datacenter,
        node=pair.source.node,
        tag=source.tag,
        digest=pair.source.digest,
        include_auth=spec.with_auth,
        concurrent_transfers=spec.concurrent_transfers,
        bandwidth=parse(spec.bandwidth) if spec.bandwidth is not None else 0,
    )
    return msgspec.json.encode(plan, order="deterministic").decode()
