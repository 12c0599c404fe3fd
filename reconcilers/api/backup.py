"""CassandraBackup: one backup of every node its selector finds."""
# ruff: noqa: RUF012  msgspec gives each object its own copy of an empty default

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

import msgspec

from controller.conditions import get_condition
from controller.resource import Resource
from reconcilers.api import common
from reconcilers.api.backup_status import FINAL_PHASES, RESTORABLE, BackupPhase, BackupStatus
from reconcilers.api.common import NO_CREDENTIALS_RULE, TARGET_RULE, Api, BackupType, Endpoint, Kind, LabelSelector
from reconcilers.api.describe import Rule, doc
from reconcilers.labels import API_GROUP

BACKUPS = Resource(API_GROUP, common.VERSION, "cassandrabackups", "CassandraBackup")


class Type(StrEnum):
    INCREMENTAL = "Incremental"
    FULL = "Full"


class NodeFailurePolicy(StrEnum):
    FAIL = "Fail"
    ALLOW_PARTIAL = "AllowPartial"


class DeletionPolicy(StrEnum):
    RETAIN = "Retain"
    DELETE = "Delete"


class Verify(StrEnum):
    NONE = "None"
    SIZE = "Size"
    HASH = "Hash"


class ServerSideEncryption(StrEnum):
    NONE = "none"
    AES256 = "AES256"
    KMS = "KMS"


class Encryption(Api, kw_only=True):
    RULES: ClassVar = (
        Rule("!has(self.sse) || self.sse != 'KMS' || has(self.kmsKeyId)", "sse KMS needs kmsKeyId, the key's name"),
    )
    sse: Annotated[ServerSideEncryption, doc("How the store encrypts: none, AES256 or KMS. none by default.")] = (
        ServerSideEncryption.NONE
    )
    kms_key_id: Annotated[
        str,
        doc(
            "Name of the key, with KMS: an id or ARN on S3, a resource name on GCS, an encryption scope on Azure.",
            maxLength=2048,
        ),
    ] = ""


class LockMode(StrEnum):
    GOVERNANCE = "GOVERNANCE"
    COMPLIANCE = "COMPLIANCE"


class ObjectLock(Api, kw_only=True):
    mode: Annotated[
        LockMode, doc("GOVERNANCE, which some may lift, or COMPLIANCE, which nobody can. The bucket needs Object Lock.")
    ]
    days: Annotated[int, doc("Days that nothing of the backup can be deleted or replaced.", minimum=1, maximum=36500)]


_NAME = "[A-Za-z0-9_]+"
_ENTITY = rf"{_NAME}(\.{_NAME})?"
_OWN = "system and system_traces"
_NOT_OWN = "{0} != 'system' && {0} != 'system_traces'"
_OF_A_RUN = (
    "keyspaces", "tables", "entities", "encryption", "storageClass", "tags", "objectLock", "nodeFailurePolicy",
    "minNodes",
)  # fmt: skip
_IMPORTS = "has(self.importExisting) && self.importExisting"
IMPORT_RULES = (
    Rule(
        f"!({_IMPORTS}) || !({' || '.join(f'has(self.{field})' for field in _OF_A_RUN)})",
        f"importExisting takes a backup as it is: leave out {', '.join(_OF_A_RUN)}",
    ),
    Rule(
        f"({_IMPORTS}) || !(has(self.sourceCluster) || has(self.sourceDatacenter))",
        "sourceCluster and sourceDatacenter have a meaning with importExisting only",
    ),
)


class BackupSpec(Api, kw_only=True):
    RULES: ClassVar = (
        TARGET_RULE,
        Rule("!(has(self.keyspaces) && has(self.tables))", "keyspaces and tables exclude each other: give one of them"),
        Rule(
            "!(has(self.entities) && (has(self.keyspaces) || has(self.tables)))",
            "entities is another spelling of keyspaces and tables: give one of the three",
        ),
        Rule(
            f"!has(self.keyspaces) || self.keyspaces.all(k, {_NOT_OWN.format('k')})",
            f"keyspaces cannot name {_OWN}: they are each node's own and never in a backup",
        ),
        Rule(
            "!has(self.minNodes) || (has(self.nodeFailurePolicy) && self.nodeFailurePolicy == 'AllowPartial')",
            "minNodes has a meaning with nodeFailurePolicy AllowPartial only",
        ),
        Rule(
            "!has(self.backupType) || self.backupType != 'FILE' || !(has(self.storageClass) || has(self.tags) || "
            "(has(self.encryption) && has(self.encryption.sse) && self.encryption.sse != 'none'))",
            "a directory has no storageClass, tags or encryption: leave them out with FILE",
        ),
        Rule(
            "!has(self.objectLock) || (has(self.backupType) && self.backupType == 'AWS_S3')",
            "objectLock is for AWS_S3; elsewhere set the retention on the bucket or container",
        ),
        *IMPORT_RULES,
        NO_CREDENTIALS_RULE,
    )
    backup_type: Annotated[BackupType, doc("Kind of the store: AWS_S3, GCP_BLOB, AZURE_BLOB or FILE.")]
    target: common.Target
    selector: Annotated[
        LabelSelector | None,
        doc(
            "Which pods are backed up. Without it the labels of this object are the selector, all of them, but for "
            "those that tools such as Helm and Argo CD put on everything."
        ),
    ] = None
    snapshot_tag: Annotated[
        str,
        doc(
            "Name of the backup in the store, and of the snapshot on the nodes. The name of this object by default.",
            pattern=common.TAG_PATTERN,
            maxLength=common.TAG_LENGTH,
        ),
    ] = ""
    keyspaces: Annotated[
        list[Annotated[str, doc("Name of a keyspace.", pattern=f"^{_NAME}$", maxLength=222)]],
        doc(
            "Keyspaces to back up; all by default. system_schema and system_auth are always with them, so that a "
            "restored cluster can be read.",
            maxItems=256,
        ),
    ] = []
    tables: Annotated[
        list[Annotated[str, doc("Name of a table.", pattern=rf"^{_NAME}\.{_NAME}$", maxLength=445)]],
        doc("Tables to back up, as keyspace.table; all by default. As with keyspaces, schema and roles are with them.",
            maxItems=1024),
    ] = []  # fmt: skip
    entities: Annotated[
        str,
        doc(
            "Keyspaces and tables, separated by commas: an older spelling of keyspaces and tables.",
            pattern=rf"^( *{_ENTITY} *(, *{_ENTITY} *)*)?$",
            maxLength=65536,
        ),
    ] = ""
    type: Annotated[
        Type,
        doc(
            "Incremental, the default, sends what the store does not hold yet. Full sends everything again. Either one "
            "can be restored by itself."
        ),
    ] = Type.INCREMENTAL
    endpoint: Annotated[Endpoint | None, doc("Where the store answers, if not at its provider's own address.")] = None
    credentials_secret_ref: common.CredentialsSecret = None
    encryption: Annotated[Encryption | None, doc("How the store encrypts what it keeps.")] = None
    storage_class: Annotated[
        str,
        doc(
            "The store's storage class or access tier, in its own words. The bucket's own by default. A restore needs "
            "one that can be read at once.",
            maxLength=64,
        ),
    ] = ""
    tags: Annotated[
        dict[str, Annotated[str, doc("The tag's value.", maxLength=256)]],
        doc("Tags on every object of the backup (metadata on GCS). None by default.", maxProperties=10),
    ] = {}
    object_lock: Annotated[
        ObjectLock | None, doc("How long nobody can delete the backup's objects. As the bucket is set, by default.")
    ] = None
    bandwidth: common.Bandwidth = None
    concurrent_transfers: common.ConcurrentTransfers = 0
    finish_within_seconds: Annotated[
        int,
        doc(
            "Seconds in which a node should have sent its data: it then sends no faster than that takes, so that "
            "Cassandra feels it least. bandwidth still bounds it. 0, the default, is as fast as it goes.",
            minimum=0,
        ),
    ] = 0
    parallelism: Annotated[
        int,
        doc(
            "How many nodes upload at a time; 0, the default, is all of them. Snapshots are always taken together "
            "first.",
            minimum=0,
            maximum=10000,
        ),
    ] = 0
    node_failure_policy: Annotated[
        NodeFailurePolicy,
        doc(
            "Fail, the default, fails the backup when a node fails for good, and waits for all to be up before. "
            "AllowPartial goes on without such nodes while minNodes are left, and ends as PartiallyCompleted: its data "
            "is kept, but no cluster is restored from it."
        ),
    ] = NodeFailurePolicy.FAIL
    min_nodes: Annotated[
        int | str | None,
        doc(
            "Fewest nodes, as a number or a percentage of all, that a partial backup may have, with one of each "
            "datacenter among them. By default more than half of them.",
            pattern="^(100|[1-9]?[0-9])%$",
            maxLength=4,
            minimum=1,
        ),
    ] = None
    retries: common.Retries = 3
    starting_deadline_seconds: Annotated[
        int,
        doc(
            "Seconds after its creation by which the backup must have started, else it fails. 600 by default.",
            minimum=1,
        ),
    ] = 600
    active_deadline_seconds: common.ActiveDeadline = 86400
    node_progress_deadline_seconds: common.ProgressDeadline = 900
    deletion_policy: Annotated[
        DeletionPolicy,
        doc(
            "What becomes of the data in the store when this object is deleted: Retain, the default, keeps it. "
            "May be changed."
        ),
    ] = DeletionPolicy.RETAIN
    ttl_seconds_after_finished: Annotated[
        int | None,
        doc(
            "Seconds after its end at which this object is deleted, as if by hand. Never by default. May be changed.",
            minimum=0,
        ),
    ] = None
    cancel: Annotated[bool, doc("Set to true to stop the backup. It cannot be set back.")] = False
    verify: Annotated[
        Verify,
        doc(
            "What is compared before the backup is recorded: Size, the default, is each object's, by a listing; Hash "
            "reads every byte back and makes each checksum anew, and sends again what is not right. None says nothing "
            "of it."
        ),
    ] = Verify.SIZE
    import_existing: Annotated[
        bool,
        doc(
            "Whether this object only registers the backup of its tag that the store holds already. The selector then "
            "finds a datacenter whose credentials reach the store. False by default."
        ),
    ] = False
    source_cluster: Annotated[
        str, doc("With importExisting: the cluster whose backup is meant, where several have this tag.", maxLength=253)
    ] = ""
    source_datacenter: Annotated[
        str,
        doc(
            "With importExisting: the datacenter whose backup is meant, by its name in Cassandra, where several have "
            "this tag.",
            maxLength=253,
        ),
    ] = ""
    status: Annotated[str, doc("Ignored. Accepted because early versions of this API had it here.")] = ""


MUTABLE = ("deletionPolicy", "ttlSecondsAfterFinished", "cancel", "status")


class CassandraBackup(Kind, kw_only=True):
    resource: ClassVar = BACKUPS
    kind: str = BACKUPS.kind
    spec: Annotated[
        BackupSpec,
        doc(
            "What to back up, and to where. It cannot be changed, but for deletionPolicy, ttlSecondsAfterFinished and "
            "cancel.",
            rules=common.immutable(BackupSpec, MUTABLE),
        ),
    ]
    status: Annotated[BackupStatus, doc("How far the backup is. Written by the operator.")] = msgspec.field(
        default_factory=BackupStatus
    )

    @property
    def tag(self) -> str:
        """The backup's name in the store."""
        return self.spec.snapshot_tag or self.metadata.name

    @property
    def ended(self) -> bool:
        """Its phase is one that is never left."""
        return self.status.phase in FINAL_PHASES

    @property
    def good(self) -> bool:
        """Completed, and nobody has seen that the bucket has lost it."""
        restorable = get_condition(self.status.conditions, RESTORABLE)
        lost = restorable is not None and restorable.status == "False"
        return self.status.phase == BackupPhase.COMPLETED and not lost
