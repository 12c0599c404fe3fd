"""What the operator says of a backup."""
# ruff: noqa: RUF012  msgspec gives each object its own copy of an empty default

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import msgspec

from controller.conditions import Condition  # noqa: TC001  msgspec reads the annotation at run time
from reconcilers.api import common, kubernetes
from reconcilers.api.access import Access  # noqa: TC001  msgspec reads the annotation at run time
from reconcilers.api.common import Api, Endpoint, ObjectReference
from reconcilers.api.describe import doc


class BackupPhase(StrEnum):
    """A status holds a plain string: a phase of a newer release must not fail decoding."""

    PENDING = "Pending"
    QUEUED = "Queued"
    SNAPSHOTTING = "Snapshotting"
    UPLOADING = "Uploading"
    FINALIZING = "Finalizing"
    COMPLETED = "Completed"
    PARTIALLY_COMPLETED = "PartiallyCompleted"
    FAILED = "Failed"
    FAILED_VALIDATION = "FailedValidation"
    CANCELLED = "Cancelled"
    DELETING = "Deleting"


FINAL_PHASES = frozenset(
    {
        BackupPhase.COMPLETED,
        BackupPhase.PARTIALLY_COMPLETED,
        BackupPhase.FAILED,
        BackupPhase.FAILED_VALIDATION,
        BackupPhase.CANCELLED,
        BackupPhase.DELETING,  # after one of the others: what it left in the store is being removed
    }
)


RESTORABLE = "Restorable"  # the condition: a restore can use the backup
RECORD_GONE = "RecordGone"  # its reason where that was so once: the bucket does not hold the backup any more


class BackupTotals(Api, kw_only=True):
    nodes: Annotated[int, doc("Nodes that the selector found.")] = msgspec.field(default_factory=int)
    completed: Annotated[int, doc("Nodes whose data is in the store.")] = msgspec.field(default_factory=int)
    failed: Annotated[int, doc("Nodes that failed for good.")] = msgspec.field(default_factory=int)
    files: Annotated[int, doc("Files of all nodes.")] = msgspec.field(default_factory=int)
    bytes: Annotated[int, doc("Bytes of all nodes, sent or reused.")] = msgspec.field(default_factory=int)
    bytes_uploaded: Annotated[int, doc("Bytes that this backup sent.")] = msgspec.field(default_factory=int)
    bytes_reused: Annotated[int, doc("Bytes that the store held already.")] = msgspec.field(default_factory=int)


class BackupDatacenter(Api, kw_only=True):
    name: Annotated[str, doc("Name of the CassandraDataCenter.")]
    uid: Annotated[str, doc("Its UID when the backup started.")] = ""
    succeeds: Annotated[
        str, doc("UID of the datacenter of the same name that wrote to the place first, and is gone.")
    ] = ""
    cluster_name: Annotated[str, doc("Name of the Cassandra cluster, a part of the path in the store.")] = ""
    datacenter_name: Annotated[str, doc("Cassandra's name of the datacenter, a part of the path in the store.")] = ""
    nodes: Annotated[int, doc("How many of its nodes are in the backup.")] = 0
    credentials_path: Annotated[
        str, doc("Where its agents have mounted the Secret with the store's credentials, if one is named.")
    ] = ""
    ca_bundle_path: Annotated[
        str, doc("The file that its agents have of the endpoint's caBundleSecretRef, if one is named.")
    ] = ""
    phase: common.Phase = ""
    access: Annotated[
        Access | None, doc("How its store is reached when the datacenter is gone, for the deletion of this backup.")
    ] = None


class BackupNode(Api, kw_only=True):
    pod: Annotated[str, doc("Name of the pod, by which the store knows the node.")]
    uid: Annotated[str, doc("UID of the pod.")] = ""
    datacenter: Annotated[str, doc("Name of its CassandraDataCenter.")] = ""
    rack: Annotated[str, doc("Its rack.")] = ""
    host_id: Annotated[str, doc("Cassandra's host id of the node.")] = ""
    phase: common.Phase = ""
    progress: Annotated[str, doc("Share of the bytes that are done, such as 83%.")] = ""
    files: Annotated[int, doc("Files in its snapshot.")] = 0
    bytes_total: Annotated[int, doc("Bytes in its snapshot.")] = 0
    bytes_done: Annotated[int, doc("Bytes sent or reused so far.")] = 0
    bytes_reused: Annotated[int, doc("Bytes that the store held already.")] = 0
    bytes_per_second: Annotated[int, doc("Bytes a second that it sends or reads back now.")] = 0
    attempts: Annotated[int, doc("How often its work was started.")] = 0
    agent_session: Annotated[str, doc("Session of the agent: another one means that the agent was restarted.")] = ""
    operation_id: Annotated[str, doc("The agent's name of the work under way.")] = ""
    digest: Annotated[str, doc("SHA-256 of the node's manifest in the store, once that is written.")] = ""
    tokens: Annotated[int, doc("How many tokens the node owns.")] = 0
    start_time: Annotated[common.Time, doc("When its work started.")] = ""
    completion_time: Annotated[common.Time, doc("When its work ended.")] = ""
    last_progress_time: Annotated[common.Time, doc("When it last came forward.")] = ""
    reason: Annotated[str, doc("Why it failed, in one CamelCase word.")] = ""
    message: Annotated[str, doc("Why it failed, and what to do.")] = ""


class BackupStorage(Api, kw_only=True):
    """A copy, so that a restore or a deletion works when the spec is gone."""

    backup_type: Annotated[str, doc("Kind of the store.")] = ""
    target: Annotated[str, doc("The target as it was given.")] = ""
    endpoint: Annotated[Endpoint | None, doc("Where the store answers.")] = None
    credentials_secret_ref: Annotated[ObjectReference | None, doc("Secret with the store's credentials.")] = None


class BackupStatus(Api, kw_only=True):
    observed_generation: common.ObservedGeneration = 0
    phase: common.Phase = ""
    reason: Annotated[str, doc("Why the phase is what it is, in one CamelCase word.")] = ""
    message: Annotated[str, doc("The same for people, and what to do.")] = ""
    start_time: Annotated[common.Time, doc("When the backup left the queue.")] = ""
    snapshot_time: Annotated[
        common.Time, doc("When every node's snapshot stood: what was written later is not in it.")
    ] = ""
    completion_time: Annotated[common.Time, doc("When the backup ended.")] = ""
    duration: Annotated[str, doc("From start to end, such as 3m20s.")] = ""
    queue_position: Annotated[int, doc("How many backups and restores are before it, while it is queued.")] = 0
    progress: Annotated[str, doc("Share of the bytes that are done, such as 83%.")] = ""
    progress_percent: Annotated[int, doc("The same as a number, 0 to 100.")] = 0
    rate: Annotated[str, doc("What all nodes send or read back now, such as 85MiB/s.")] = ""
    time_left: Annotated[str, doc("How long the upload will take at that rate, such as 3m20s.")] = ""
    effective_selector: Annotated[str, doc("The label selector that was used.")] = ""
    snapshot_tag: Annotated[str, doc("Name of the backup in the store.")] = ""
    backup_id: Annotated[
        str, doc("By what the store knows who wrote it: of an imported backup, the UID of the object that made it.")
    ] = ""
    location: Annotated[str, doc("Where it is kept, such as s3://bucket/prefix.")] = ""
    layout_version: Annotated[int, doc("Version of the layout in the store.")] = 0
    cassandra_version: Annotated[str, doc("Version of Cassandra, as the nodes said.")] = ""
    schema_version: Annotated[str, doc("Version of the schema, as the nodes said.")] = ""
    operator_session: Annotated[str, doc("Session of the operator that last wrote this status.")] = ""
    nodes_completed: Annotated[str, doc("Nodes done and nodes in all, such as 2/3.")] = ""
    size: Annotated[str, doc("Bytes in all, for people, such as 1.5GiB.")] = ""
    totals: Annotated[BackupTotals | None, doc("Sums over all nodes.")] = None
    datacenters: Annotated[list[BackupDatacenter], doc("The datacenters whose nodes were found.", list_map="name")] = []
    nodes: Annotated[list[BackupNode], doc("The nodes that were found, fixed when the backup starts.")] = []
    storage: Annotated[BackupStorage | None, doc("The store, as the spec had it when the backup started.")] = None
    conditions: Annotated[
        list[Condition],
        doc(
            "Accepted, Running, Complete, Failed, StorageReachable, DestinationShared, Verified, Restorable, Deleting.",
            shape=kubernetes.Condition,
            list_map="type",
        ),
    ] = []
