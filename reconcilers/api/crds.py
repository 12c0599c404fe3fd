"""Writes the CustomResourceDefinitions: ``python -m reconcilers.api.crds [--check] [DIRECTORY]``.

``--check`` writes nothing, and exits 1 with a diff where the files are not what the Structs say.
"""

from __future__ import annotations

import argparse
import difflib
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from reconcilers.api.backup import CassandraBackup
from reconcilers.api.common import CATEGORY, Kind
from reconcilers.api.datacenter import CassandraDataCenter
from reconcilers.api.openapi import Schema, object_schema
from reconcilers.api.restore import CassandraRestore
from reconcilers.api.schedule import CassandraBackupSchedule

if TYPE_CHECKING:
    from collections.abc import Sequence

DIRECTORY = Path(__file__).parents[2] / "manifests" / "crds"
_HEADER = "# Generated from reconcilers/api by python -m reconcilers.api.crds: do not edit.\n"


@dataclass(frozen=True)
class Column:
    """A column of ``kubectl get``; one that is not ``wide`` is always shown."""

    name: str
    path: str
    type: str = "string"
    wide: bool = False

    def body(self) -> dict[str, Any]:
        column: dict[str, Any] = {"name": self.name, "type": self.type, "jsonPath": self.path}
        return {**column, "priority": 1} if self.wide else column


_AGE = Column("Age", ".metadata.creationTimestamp", "date")


@dataclass(frozen=True)
class Definition:
    """What a CustomResourceDefinition says beside the schema."""

    kind: type[Kind]
    description: str
    short_names: list[str]
    columns: list[Column]
    subresources: dict[str, Any] = field(default_factory=dict)


DEFINITIONS = (
    Definition(
        CassandraDataCenter,
        "CassandraDataCenter is a datacenter of Apache Cassandra: its nodes, their volumes and the agents beside them.",
        ["cdc"],
        [
            Column("Replicas", ".spec.replicas", "integer"),
            Column("Ready", ".status.readyReplicas", "integer"),
            Column("Phase", ".status.phase"),
            Column("Last-Backup", ".status.lastBackup.completionTime", "date"),
            Column("Restore", ".status.restore.phase", wide=True),
            Column("Message", '.status.conditions[?(@.type=="Ready")].message', wide=True),
            _AGE,
        ],
        {
            "scale": {
                "specReplicasPath": ".spec.replicas",
                "statusReplicasPath": ".status.replicas",
                "labelSelectorPath": ".status.selector",
            }
        },
    ),
    Definition(
        CassandraBackup,
        "CassandraBackup is one backup of the Cassandra nodes that its selector, or else its labels, find.",
        ["cback", "cbk"],
        [
            Column("Status", ".status.phase"),
            Column("Progress", ".status.progress"),
            Column("Left", ".status.timeLeft"),
            Column("Nodes", ".status.nodesCompleted"),
            Column("Size", ".status.size"),
            Column("Rate", ".status.rate", wide=True),
            Column("Location", ".status.location", wide=True),
            Column("Started", ".status.startTime", "date", wide=True),
            Column("Completed", ".status.completionTime", "date"),
            Column("Reason", ".status.reason", wide=True),
            Column("Restorable", '.status.conditions[?(@.type=="Restorable")].status', wide=True),
            _AGE,
        ],
    ),
    Definition(
        CassandraBackupSchedule,
        "CassandraBackupSchedule makes a CassandraBackup at every time its schedule names, and removes old ones.",
        ["cbs"],
        [
            Column("Schedule", ".spec.schedule"),
            Column("Zone", ".spec.timeZone", wide=True),
            Column("Suspend", ".spec.suspend", "boolean"),
            Column("Last-Success", ".status.lastSuccessfulTime", "date"),
            Column("Next", ".status.nextScheduleTime"),  # a date in the future is printed as <invalid>
            Column("Failures", ".status.consecutiveFailures", "integer"),
            _AGE,
        ],
    ),
    Definition(
        CassandraRestore,
        "CassandraRestore brings the data of a backup into a datacenter.",
        ["crs"],
        [
            Column("Datacenter", ".spec.datacenter"),
            Column("Backup", ".spec.backup.name"),
            Column("Mode", ".spec.mode", wide=True),
            Column("Status", ".status.phase"),
            Column("Progress", ".status.progress"),
            Column("Nodes", ".status.nodesCompleted"),
            Column("Completed", ".status.completionTime", "date"),
            _AGE,
        ],
    ),
)


def _root_schema(definition: Definition) -> Schema:
    schema = object_schema(definition.kind)
    properties = schema["properties"]
    properties["apiVersion"] = {"description": "Version of the API: stable.instaclustr.com/v1.", "type": "string"}
    properties["kind"] = {"description": f"Kind of the object: {definition.kind.resource.kind}.", "type": "string"}
    properties["metadata"] = {"type": "object"}  # the API server knows the rest, and refuses to be told
    schema["required"] = ["spec"]
    return {"description": definition.description, **schema}


def manifest(definition: Definition) -> dict[str, Any]:
    """The CustomResourceDefinition."""
    resource = definition.kind.resource
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{resource.plural}.{resource.group}"},
        "spec": {
            "group": resource.group,
            "scope": "Namespaced",
            "names": {
                "kind": resource.kind,
                "listKind": f"{resource.kind}List",
                "plural": resource.plural,
                "singular": resource.kind.lower(),
                "shortNames": definition.short_names,
                "categories": [CATEGORY],
            },
            "versions": [
                {
                    "name": resource.version,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}, **definition.subresources},
                    "additionalPrinterColumns": [column.body() for column in definition.columns],
                    "schema": {"openAPIV3Schema": _root_schema(definition)},
                }
            ],
        },
    }


class _Dumper(yaml.SafeDumper):
    """Without anchors: kubectl reads them, people do not."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002  the signature is PyYAML's
        return True


def files() -> dict[str, str]:
    """Text by file name."""
    return {
        f"{definition.kind.resource.plural}.yaml": _HEADER
        + yaml.dump(manifest(definition), Dumper=_Dumper, sort_keys=False, width=120)
        for definition in DEFINITIONS
    }


def drift(directory: Path) -> list[str]:
    """The lines of a diff from what ``directory`` holds to what it should hold; empty where they agree."""
    lines: list[str] = []
    wanted = files()
    for name in sorted(wanted.keys() | {path.name for path in directory.glob("*.yaml")}):
        path = directory / name
        found = path.read_text() if path.exists() else ""
        lines += difflib.unified_diff(
            found.splitlines(), wanted.get(name, "").splitlines(), f"{name} (found)", f"{name} (generated)", lineterm=""
        )
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m reconcilers.api.crds")
    parser.add_argument("--check", action="store_true", help="write nothing, exit 1 where the files differ")
    parser.add_argument("directory", nargs="?", type=Path, default=DIRECTORY)
    options = parser.parse_args(arguments)
    if options.check:
        lines = drift(options.directory)
        sys.stdout.writelines(f"{line}\n" for line in lines)
        return 1 if lines else 0
    options.directory.mkdir(parents=True, exist_ok=True)
    for name, text in files().items():
        (options.directory / name).write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
