"""Which pods a backup means: pure functions over labels and pods.

The user's document selects by the backup's own labels; ``spec.selector`` replaces them. Labels that deployment tools
put on everything are left out, since no pod carries them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from reconcilers import labels

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from reconcilers.api.backup import CassandraBackup
    from reconcilers.api.common import LabelSelector

_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?\Z")
_PREFIX = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*\Z")


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


def ignored(backup: CassandraBackup) -> list[str]:
    """Labels of the object that select nothing, where its labels are the selector."""
    if backup.spec.selector is not None:
        return []
    return sorted(backup.metadata.labels.keys() - own_labels(backup.metadata.labels).keys())


def problem(selector: LabelSelector | None) -> str:
    """What the API server would not say, or not so clearly: a value that is none would end one term and begin another.
    Empty where nothing is wrong.
    """
    if selector is None:
        return ""
    said = [_key(key) or _value(key, value) for key, value in sorted(selector.match_labels.items())]
    for one in selector.match_expressions:
        wants = one.operator in ("In", "NotIn")
        said.append(_key(one.key))
        said += [_value(one.key, value) for value in one.values]
        if wants != bool(one.values):
            said.append(f"{one.operator} of {one.key} takes {'values' if wants else 'no values'}")
    return "; ".join(filter(None, said))


def _key(key: str) -> str:
    prefix, slash, name = key.rpartition("/")
    good = _NAME.match(name) and (not slash or (_PREFIX.match(prefix) and len(prefix) <= 253))
    return "" if good else f"{key!r} is no label's key"


def _value(key: str, value: str) -> str:
    return "" if not value or _NAME.match(value) else f"{value!r} is no value that the label {key} can have"


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
        if not _is_node(own, {c["name"] for c in pod["spec"].get("containers", [])}):
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


def _is_node(own: Mapping[str, str], containers: set[str]) -> bool:
    """Helpers run the same image, and a user's Job may carry any label; a node has a datacenter and Cassandra."""
    helper = labels.INSPECTOR in own or any(label in own for label in labels.JOB_LABELS)
    ours = own.get(labels.OPERATOR) == labels.OPERATOR_VALUE and bool(own.get(labels.DATACENTER))
    return ours and not helper and {labels.SIDECAR_CONTAINER, labels.CASSANDRA_CONTAINER} <= containers
