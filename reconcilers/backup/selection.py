"""Which pods a backup means: pure functions over labels and pods.

The user's document selects by the backup's own labels; ``spec.selector`` replaces them. Labels that deployment tools
put on everything are left out, since no pod carries them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from reconcilers import labels

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from reconcilers.api.backup import CassandraBackup


@dataclass(frozen=True, slots=True)
class SelectedPod:
    """A Cassandra pod that a backup covers."""

    name: str
    uid: str
    datacenter: str  # the CassandraDataCenter's name
    datacenter_uid: str
    rack: str


def own_labels(metadata_labels: Mapping[str, str]) -> dict[str, str]:
    """The labels that say something: not those of Helm, Argo, Flux, or ours."""
    return {
        key: value
        for key, value in metadata_labels.items()
        if key not in labels.FOREIGN_LABELS and not key.startswith(labels.FOREIGN_LABEL_PREFIXES)
    }


def effective_selector(backup: CassandraBackup) -> str:
    """The selector in the API server's own syntax; empty where nothing is selected, which never means everything."""
    selector = backup.spec.selector
    if selector is None:
        return _equalities(own_labels(backup.metadata.labels))
    terms = [_equalities(selector.match_labels)] if selector.match_labels else []
    terms += [_expression(e.key, e.operator, e.values) for e in selector.match_expressions]
    return ",".join(terms)


def _equalities(wanted: Mapping[str, str]) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted(wanted.items()))


def _expression(key: str, operator: str, values: Iterable[str]) -> str:
    match operator:
        case "In":
            return f"{key} in ({','.join(sorted(values))})"
        case "NotIn":
            return f"{key} notin ({','.join(sorted(values))})"
        case "Exists":
            return key
        case _:
            return f"!{key}"


def cassandra_pods(pods: Iterable[Mapping[str, Any]]) -> list[SelectedPod]:
    """Of the pods that match, those that are ours and run an agent, ordered by name; helpers never are."""
    chosen = []
    for pod in pods:
        meta = pod["metadata"]
        own = meta.get("labels", {})
        containers = {c["name"] for c in pod["spec"].get("containers", [])}
        if own.get(labels.OPERATOR) != labels.OPERATOR_VALUE or labels.SIDECAR_CONTAINER not in containers:
            continue
        chosen.append(
            SelectedPod(
                name=meta["name"],
                uid=meta["uid"],
                datacenter=own.get(labels.DATACENTER, ""),
                datacenter_uid=own.get(labels.DATACENTER_UID, ""),
                rack=own.get(labels.RACK, ""),
            )
        )
    return sorted(chosen, key=lambda p: (p.datacenter, len(p.name), p.name))
