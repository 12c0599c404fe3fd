"""What the operator says of a datacenter."""
# ruff: noqa: RUF012  msgspec gives each object its own copy of an empty default

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import msgspec

from controller.conditions import Condition  # noqa: TC001  msgspec reads the annotation at run time
from reconcilers.api import common, kubernetes
from reconcilers.api.common import Api
from reconcilers.api.describe import doc


class DataCenterPhase(StrEnum):
    """A status holds a plain string: a phase of a newer release must not fail decoding."""

    CREATING = "Creating"
    READY = "Ready"
    SCALING = "Scaling"
    UPDATING = "Updating"
    RESTORING = "Restoring"
    DEGRADED = "Degraded"
    STOPPED = "Stopped"
    DELETING = "Deleting"


class RackStatus(Api, kw_only=True):
    name: Annotated[str, doc("Name of the rack.")]
    replicas: Annotated[int, doc("How many nodes it has.")] = msgspec.field(default_factory=int)
    ready: Annotated[int, doc("How many of them serve clients.")] = msgspec.field(default_factory=int)
    updated: Annotated[int, doc("How many of them run the current template.")] = msgspec.field(default_factory=int)


class NodeStatus(Api, kw_only=True):
    pod: Annotated[str, doc("Name of the pod.")]
    rack: Annotated[str, doc("Its rack.")] = ""
    host_id: Annotated[str, doc("Cassandra's host id of the node.")] = ""
    state: Annotated[
        str, doc("Cassandra's word for its state, such as NORMAL or JOINING; DOWN where it is silent.")
    ] = ""
    agent_version: Annotated[str, doc("Version of its agent.")] = ""


class OperationStatus(Api, kw_only=True):
    """The intent is written before the deed, so that a restarted operator finishes what was begun."""

    type: Annotated[str, doc("What is done, such as Decommission.")]
    node: Annotated[str, doc("Name of the pod it is done to.")] = ""
    started_at: Annotated[common.Time, doc("When it began.")] = ""
    detail: Annotated[str, doc("How far it is.")] = ""


class BackupSummary(Api, kw_only=True):
    name: Annotated[str, doc("Name of the CassandraBackup.")]
    completion_time: Annotated[common.Time, doc("When it ended.")] = ""


class RestoreSummary(Api, kw_only=True):
    name: Annotated[str, doc("Name of the CassandraRestore.")]
    phase: common.Phase = ""
    progress: Annotated[str, doc("Share of the bytes that are done, such as 83%.")] = ""


class DataCenterStatus(Api, kw_only=True):
    observed_generation: common.ObservedGeneration = 0
    phase: common.Phase = ""
    replicas: Annotated[int, doc("How many nodes there are.")] = msgspec.field(default_factory=int)
    ready_replicas: Annotated[int, doc("How many of them serve clients.")] = msgspec.field(default_factory=int)
    updated_replicas: Annotated[int, doc("How many of them run the current template.")] = msgspec.field(
        default_factory=int
    )
    selector: Annotated[str, doc("Label selector of the nodes' pods, for the scale subresource.")] = ""
    cluster_name: Annotated[str, doc("Name of the Cassandra cluster, fixed when the first node is made.")] = ""
    datacenter_name: Annotated[str, doc("Cassandra's name of the datacenter, fixed when the first node is made.")] = ""
    current_revision: Annotated[str, doc("Revision of the template that every node ran last.")] = ""
    update_revision: Annotated[str, doc("Revision of the template that the nodes are brought to.")] = ""
    racks: Annotated[list[RackStatus], doc("The racks.", list_map="name", maxItems=16)] = []
    nodes: Annotated[list[NodeStatus], doc("The nodes.", list_map="pod", maxItems=1000)] = []
    operation: Annotated[OperationStatus | None, doc("What is being done to a node.")] = None
    last_backup: Annotated[BackupSummary | None, doc("The last backup that completed.")] = None
    last_failed_backup: Annotated[BackupSummary | None, doc("The last backup that failed.")] = None
    restore: Annotated[RestoreSummary | None, doc("The restore that filled, or fills, the datacenter.")] = None
    conditions: Annotated[
        list[Condition],
        doc(
            "Ready, Available, Progressing, Degraded, SpecValid, Ephemeral, ScalingUp, ScalingDown, Updating, "
            "RequiresUpdate, Restored, LastBackupSucceeded, CatalogSynced, BackupCredentialsVerified, Paused.",
            shape=kubernetes.Condition,
            list_map="type",
        ),
    ] = []
