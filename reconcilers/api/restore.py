"""CassandraRestore: a backup's data into a datacenter."""
# ruff: noqa: RUF012  msgspec gives each object its own copy of an empty default

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

import msgspec

from controller.conditions import Condition  # noqa: TC001  msgspec reads the annotation at run time
from controller.resource import Resource
from reconcilers.api import common, kubernetes
from reconcilers.api.backup import Verify
from reconcilers.api.common import NO_CREDENTIALS_RULE, TARGET_RULE, Api, BackupType, Endpoint, Kind, ObjectReference
from reconcilers.api.describe import Rule, doc
from reconcilers.labels import API_GROUP

RESTORES = Resource(API_GROUP, common.VERSION, "cassandrarestores", "CassandraRestore")


class Mode(StrEnum):
    NEW_CLUSTER = "NewCluster"
    IN_PLACE = "InPlace"
    IMPORT = "Import"


class TopologyPolicy(StrEnum):
    STRICT = "Strict"
    RESTORE_THEN_SCALE = "RestoreThenScale"


class RestorePhase(StrEnum):
    """A status holds a plain string: a phase of a newer release must not fail decoding."""

    PENDING = "Pending"
    VALIDATING = "Validating"
    PREPARING = "Preparing"
    DOWNLOADING = "Downloading"
    VERIFYING = "Verifying"
    STARTING = "Starting"
    IMPORTING = "Importing"
    SCALING = "Scaling"
    COMPLETED = "Completed"
    FAILED = "Failed"
    CANCELLED = "Cancelled"


FINAL_PHASES = frozenset({RestorePhase.COMPLETED, RestorePhase.FAILED, RestorePhase.CANCELLED})


class RestoreSource(Api, kw_only=True):
    """A backup in a store, with no object in Kubernetes that knows of it."""

    RULES: ClassVar = (TARGET_RULE, NO_CREDENTIALS_RULE)
    backup_type: Annotated[BackupType, doc("Kind of the store: AWS_S3, GCP_BLOB, AZURE_BLOB or FILE.")]
    target: common.Target
    cluster_name: Annotated[
        str,
        doc(
            "Name of the backed-up Cassandra cluster, as in the path in the store.",
            minLength=1,
            maxLength=253,
        ),
    ]
    datacenter_name: Annotated[
        str,
        doc("Name of the backed-up datacenter, as in the path in the store.", minLength=1, maxLength=253),
    ]
    snapshot_tag: Annotated[
        str, doc("Name of the backup in the store.", pattern=common.TAG_PATTERN, maxLength=common.TAG_LENGTH)
    ]
    endpoint: Annotated[Endpoint | None, doc("Where the store answers, if not at its provider's own address.")] = None
    credentials_secret_ref: common.CredentialsSecret = None


class NodeMapping(Api, kw_only=True):
    node: Annotated[str, doc("Name of the pod that receives the data.", minLength=1, maxLength=253)]
    source: Annotated[str, doc("Name of the backed-up pod, or its host id.", minLength=1, maxLength=253)]


class RestoreOptions(Api, kw_only=True):
    """What a restore and the ``restore`` of a new datacenter share."""

    source_datacenter: Annotated[
        str,
        doc(
            "Which datacenter of the backup is restored, by its name in Cassandra. Needed only where the backup has "
            "several.",
            maxLength=253,
        ),
    ] = ""
    topology_policy: Annotated[
        TopologyPolicy,
        doc(
            "Strict, the default, asks for as many nodes in each rack as the backup has. RestoreThenScale restores the "
            "backup's nodes and scales to replicas afterwards."
        ),
    ] = TopologyPolicy.STRICT
    mapping: Annotated[
        list[NodeMapping],
        doc(
            "Which node receives which node's data. By rack and ordinal by default; status shows what was chosen.",
            list_map="node",
            maxItems=1000,
        ),
    ] = []
    include_auth: Annotated[
        bool | None,
        doc("Whether roles and permissions are restored. True by default with mode NewCluster, else false."),
    ] = None
    allow_partial: Annotated[bool, doc("Whether a backup that lacks nodes may be restored. False by default.")] = False
    bandwidth: common.Bandwidth = None
    concurrent_transfers: common.ConcurrentTransfers = 0
    verify: Annotated[Verify, doc("What is compared after the download: Hash (the default), Size or None.")] = (
        Verify.HASH
    )
    active_deadline_seconds: common.ActiveDeadline = 86400
    node_progress_deadline_seconds: common.ProgressDeadline = 900
    retries: common.Retries = 3


class RestoreSpec(RestoreOptions, kw_only=True):
    RULES: ClassVar = (
        Rule(
            "has(self.backup) != has(self.source)", "give exactly one of backup (an object's name) and source (a store)"
        ),
        Rule(
            "!(has(self.keyspaces) || has(self.tables) || has(self.rename)) || (has(self.mode) && self.mode == "
            "'Import')",
            "keyspaces, tables and rename have a meaning with mode Import only",
        ),
        Rule("!(has(self.keyspaces) && has(self.tables))", "keyspaces and tables exclude each other: give one of them"),
        Rule(
            "!has(self.mode) || self.mode != 'InPlace' || (has(self.confirm) && self.confirm == self.datacenter)",
            "mode InPlace replaces the data of a running datacenter: repeat the datacenter's name in confirm",
        ),
        Rule("!has(self.pointInTime)", "pointInTime is reserved: restoring to a point in time is not possible in v1"),
    )
    datacenter: Annotated[
        str,
        doc(
            "Name of the CassandraDataCenter that receives the data, in the same namespace.", minLength=1, maxLength=253
        ),
    ]
    backup: Annotated[ObjectReference | None, doc("The CassandraBackup to restore. Either this or source.")] = None
    source: Annotated[
        RestoreSource | None,
        doc(
            "A backup in a store, by its place: for data whose CassandraBackup is gone, or was in another Kubernetes "
            "cluster. Either this or backup."
        ),
    ] = None
    mode: Annotated[
        Mode,
        doc(
            "NewCluster, the default, fills the empty volumes of a new datacenter. InPlace stops the datacenter and "
            "replaces its data. Import loads tables into running nodes."
        ),
    ] = Mode.NEW_CLUSTER
    keyspaces: Annotated[common.Names, doc("Keyspaces to import; all by default. Mode Import only.", maxItems=256)] = []
    tables: Annotated[
        common.Names, doc("Tables to import, as keyspace.table; all by default. Mode Import only.", maxItems=1024)
    ] = []
    rename: Annotated[
        dict[str, Annotated[str, doc("The new name, as keyspace.table.", maxLength=255)]],
        doc("New names of tables, by the old ones, as keyspace.table. Mode Import only.", maxProperties=256),
    ] = {}
    confirm: Annotated[str, doc("The datacenter's name once more, which mode InPlace asks for.", maxLength=253)] = ""
    point_in_time: Annotated[str, doc("Reserved for restoring to a point in time; refused in v1.", maxLength=64)] = ""
    cancel: Annotated[bool, doc("Set to true to stop the restore. It cannot be set back.")] = False

    @property
    def with_auth(self) -> bool:
        """``includeAuth``, whose default depends on the mode."""
        return self.mode == Mode.NEW_CLUSTER if self.include_auth is None else self.include_auth


class RestoreTotals(Api, kw_only=True):
    nodes: Annotated[int, doc("Nodes to restore.")] = msgspec.field(default_factory=int)
    completed: Annotated[int, doc("Nodes that are restored.")] = msgspec.field(default_factory=int)
    files: Annotated[int, doc("Files of all nodes.")] = msgspec.field(default_factory=int)
    bytes: Annotated[int, doc("Bytes of all nodes.")] = msgspec.field(default_factory=int)
    bytes_done: Annotated[int, doc("Bytes fetched so far.")] = msgspec.field(default_factory=int)


class RestoreNodeSource(Api, kw_only=True):
    host_id: Annotated[str, doc("Cassandra's host id of the backed-up node.")] = ""
    pod: Annotated[str, doc("Name of the backed-up pod.")] = ""
    rack: Annotated[str, doc("Rack of the backed-up node.")] = ""


class RestoreNode(Api, kw_only=True):
    pod: Annotated[str, doc("Name of the pod that receives the data.")]
    source: Annotated[RestoreNodeSource | None, doc("The node whose data it receives.")] = None
    phase: common.Phase = ""
    bytes_total: Annotated[int, doc("Bytes to fetch.")] = 0
    bytes_done: Annotated[int, doc("Bytes fetched so far.")] = 0
    attempts: Annotated[int, doc("How often its work was started.")] = 0
    last_progress_time: Annotated[common.Time, doc("When it last came forward.")] = ""
    message: Annotated[str, doc("What is wrong, and what to do.")] = ""


class RestoreStatus(Api, kw_only=True):
    observed_generation: common.ObservedGeneration = 0
    phase: common.Phase = ""
    reason: Annotated[str, doc("Why the phase is what it is, in one CamelCase word.")] = ""
    message: Annotated[str, doc("The same for people, and what to do.")] = ""
    start_time: Annotated[common.Time, doc("When the restore started.")] = ""
    completion_time: Annotated[common.Time, doc("When the restore ended.")] = ""
    progress: Annotated[str, doc("Share of the bytes that are done, such as 83%.")] = ""
    restore_id: Annotated[str, doc("Mark of this restore on the volumes it fills.")] = ""
    snapshot_tag: Annotated[str, doc("Name of the backup in the store.")] = ""
    location: Annotated[str, doc("Where the backup is kept, such as s3://bucket/prefix.")] = ""
    source_cluster_name: Annotated[str, doc("Name of the backed-up Cassandra cluster.")] = ""
    source_datacenter_name: Annotated[
        str, doc("Cassandra's name of the backed-up datacenter, which the new one takes over where it is given none.")
    ] = ""
    mapping: Annotated[
        list[NodeMapping], doc("Which node receives which node's data, as it was chosen.", list_map="node")
    ] = []
    nodes_completed: Annotated[str, doc("Nodes done and nodes in all, such as 2/3.")] = ""
    totals: Annotated[RestoreTotals | None, doc("Sums over all nodes.")] = None
    nodes: Annotated[list[RestoreNode], doc("The nodes that receive data.")] = []
    schema_version: Annotated[str, doc("Version of the schema, once the restored nodes agree on it.")] = ""
    conditions: Annotated[
        list[Condition],
        doc(
            "Validated, Downloaded, NodesStarted, SchemaAgreed, Complete, Failed.",
            shape=kubernetes.Condition,
            list_map="type",
        ),
    ] = []


class CassandraRestore(Kind, kw_only=True):
    resource: ClassVar = RESTORES
    kind: str = RESTORES.kind
    spec: Annotated[
        RestoreSpec,
        doc(
            "What to restore, and where to. It cannot be changed, but for cancel.",
            rules=common.immutable(RestoreSpec, ("cancel",)),
        ),
    ]
    status: Annotated[RestoreStatus, doc("How far the restore is. Written by the operator.")] = msgspec.field(
        default_factory=RestoreStatus
    )

    @property
    def ended(self) -> bool:
        """Its phase is one that is never left."""
        return self.status.phase in FINAL_PHASES
