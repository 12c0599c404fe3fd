"""The CEL rules of a datacenter.

A rule with ``oldSelf`` does not run where its field is added or removed, so those that guard data stand on the parent.
``size`` of an absent list is that of an empty one: charts render ``racks: []``.
"""

from __future__ import annotations

from reconcilers.api.describe import Rule, unchanged

RACK_PATTERN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"  # a part of a StatefulSet's name

# A pod's label controller-revision-hash holds "<StatefulSet>-<hash of 10>" in 63 characters, so cassandra-<dc>-<rack>
# may have 52.
_NAME_AND_RACK = 52 - len("cassandra--")

DATACENTER_KIND = (
    Rule("size(self.metadata.name) <= 40", "metadata.name has at most 40 characters: names of pods are made from it"),
    Rule(
        "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
        "metadata.name starts with a letter and has lower-case letters, digits and '-' only: host names are made "
        "from it",
    ),
    Rule(
        "!has(self.spec.racks) || "
        f"self.spec.racks.all(rack, size(self.metadata.name) + size(rack.name) <= {_NAME_AND_RACK})",
        f"metadata.name and the name of a rack have at most {_NAME_AND_RACK} characters together: names of pods are "
        "made from them",
    ),
    *(
        Rule(
            f"!has(self.spec.{name}) || !has(self.status) || !has(self.status.{name}) || "
            f"self.spec.{name} == self.status.{name}",
            f"{name} cannot be changed once Cassandra runs under it",
        )
        for name in ("clusterName", "datacenterName")
    ),
)

DATACENTER = (
    Rule(
        "!has(oldSelf.racks) || "
        "oldSelf.racks.all(old, has(self.racks) && self.racks.exists(rack, rack.name == old.name))",
        "a rack cannot be removed: its nodes hold data",
    ),
    Rule(
        "!has(self.racks) || size(self.racks) == 0 || (has(oldSelf.racks) && size(oldSelf.racks) > 0)",
        "racks cannot be given to a datacenter that was made without: its nodes are in the one rack rack1",
    ),
    Rule(
        "!has(self.racks) || self.replicas == 0 || self.replicas >= size(self.racks)",
        "replicas is smaller than the number of racks: give each rack a node",
    ),
    Rule(
        "has(self.dataVolumeClaim) == has(oldSelf.dataVolumeClaim)",
        "dataVolumeClaim cannot be added or removed: the nodes' data is on their volumes",
    ),
    Rule(
        "!has(self.restore) || !has(self.restoreFromBackup) || self.restoreFromBackup == ''",
        "restore and restoreFromBackup exclude each other: give restore only",
    ),
)

ONE_SOURCE = (
    Rule(
        "[has(self.backupName) && self.backupName != '', has(self.backupRef), has(self.source)]"
        ".filter(given, given).size() <= 1",
        "give at most one of backupName, backupRef and source",
    ),
)


def _has_storage(claim: str) -> str:
    requests = f"{claim}.resources.requests"
    return f"has({claim}.resources) && has({requests}) && 'storage' in {requests}"


def _storage(claim: str) -> str:
    return f"quantity(string({claim}.resources.requests['storage']))"


CLAIM = (
    Rule(
        f"!({_has_storage('oldSelf')}) || "
        f"({_has_storage('self')} && {_storage('self')}.compareTo({_storage('oldSelf')}) >= 0)",
        "storage cannot shrink: a volume only grows",
    ),
    *(
        unchanged(field, f"{field} of dataVolumeClaim cannot be changed")
        for field in ("accessModes", "storageClassName", "volumeMode", "volumeName")
    ),
)
