"""The agent's API: what the operator and the agent say to each other (HTTPS, JSON, camelCase).

    PUT    /v1/operations/{id}  OperationRequest   -> Operation       201 started, 200 known, 409 another spec,
                                                                      410 cancelled before it came
    GET    /v1/operations/{id}?since=REV&wait=SEC  -> Operation       long poll: answers when revision > since
    DELETE /v1/operations/{id}                     -> Operation       cancels; 404 unknown
    GET    /v1/node                                -> Node
    GET    /v1/catalog/backups?backupType=&target=&... -> [ClusterRecord] ; /v1/catalog/backups/{tag}
    GET    /v1/catalog/names?backupType=&target=&limit= -> BackupNames

An operation's id is chosen by the operator and names the work for ever: the same id is the same work, and one that was
cancelled while nobody knew it is never begun, however late the request for it arrives. A backup of one node is three
operations, so that every node's snapshot stands before the first byte is sent: ``snapshot`` on all nodes, ``backup`` on
all nodes, ``commit`` on one; ``clear-snapshots`` undoes the first.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

TOKEN_HEADER = "X-Agent-Token"  # noqa: S105  the name of a header; the API server's proxy strips Authorization
DEFAULT_PORT = 4567


class Wire(msgspec.Struct, rename="camel", kw_only=True, omit_defaults=True):
    """Base of everything on the wire."""


class Asked(Wire, forbid_unknown_fields=True):
    """Base of what is asked of an agent. A field that it does not know yet is refused, as what it stands for would not
    be done; of an answer, and of what lies in a bucket, it is left alone.
    """


class Kind(StrEnum):
    """What an operation does; each has its spec below."""

    PROBE = "probe"
    SNAPSHOT = "snapshot"
    BACKUP = "backup"
    COMMIT = "commit"
    CLEAR_SNAPSHOTS = "clear-snapshots"
    RESTORE = "restore"
    COLLECT = "collect"
    FORGET = "forget"
    MIGRATE = "migrate"
    VERIFY = "verify"


class State(StrEnum):
    """Succeeded, Failed and Cancelled are final."""

    PENDING = "Pending"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    CANCELLED = "Cancelled"

    @property
    def final(self) -> bool:
        return self in (State.SUCCEEDED, State.FAILED, State.CANCELLED)


class Endpoint(Asked):
    """Where an S3-compatible (or emulated) store answers; None fields mean the SDK's own default chain."""

    url: str | None = None
    region: str | None = None
    path_style: bool | None = None
    insecure_skip_verify: bool = False
    ca_file: str = ""  # a file of the agent's with the only authorities that count, in PEM; empty: the usual ones


class StoreOptions(Asked):
    """How objects are kept; empty is the bucket's own setting. See ``Options`` in backends/base.py."""

    storage_class: str = ""
    encryption: str = ""  # AES256 or KMS
    kms_key: str = ""
    tags: dict[str, str] = {}
    requester_pays: bool = False
    lock_mode: str = ""  # GOVERNANCE or COMPLIANCE
    lock_days: int = 0


class Location(Asked):
    """A user's target: a bucket, a bucket and prefix, or a URI."""

    backup_type: str
    target: str
    endpoint: Endpoint | None = None
    options: StoreOptions | None = None
    credentials: str = ""  # a directory of the agent's that holds them; empty: as the provider's own tools find them


class ProbeSpec(Asked):
    """Proves credentials, bucket and write permission, and that ``tag`` is free or ours, before anything is touched."""

    location: Location
    cluster: str
    datacenter: str
    tag: str
    backup_id: str  # the CassandraBackup's UID
    owner: str = ""  # the CassandraDataCenter's UID; given, the result says {"owner", "shared"}
    entities: list[str] = []  # as in SnapshotSpec: each of them is there


class SnapshotSpec(Asked):
    """Hard links of tables under ``tag``, taken by Cassandra.

    ``entities`` are ``keyspace`` or ``keyspace.table``; none is all. Schema and roles are always with them.
    """

    tag: str
    entities: list[str] = []


class BackupSpec(Asked):
    """Uploads the snapshot ``tag`` and commits the node's manifest; clears the snapshot on every way out."""

    location: Location
    cluster: str
    datacenter: str
    rack: str
    node: str  # the pod's name: identity is the path
    tag: str
    backup_id: str
    epoch: str  # short, sortable, the same for every retry of one backup
    full: bool = False  # True: send everything again
    concurrent_transfers: int = 0  # 0 adapts to the store; else the most there will be
    bandwidth: int = 0  # bytes a second, 0 is unlimited
    finish_within: int = 0  # seconds; the rate is what it takes to be done by then, 0 is as fast as it goes
    entities: list[str] = []  # of the snapshot, which has no other tables


class NodeDigest(Wire):
    """One node's commit point, as its backup operation returned it in ``Operation.result``."""

    node: str
    rack: str
    host_id: str
    digest: str  # sha256, hex, of the manifest object's bytes
    tokens: int
    files: int
    bytes: int


class MissingNode(Wire):
    """A node that a partial backup goes without. ``node`` is empty where it is not known which pod has the host id."""

    node: str
    rack: str
    host_id: str = ""
    tokens: list[str] = []  # found out by who commits, and told to the bucket alone


class CommitSpec(Asked):
    """Writes the cluster record last: with it the backup exists, without it there is none."""

    location: Location
    cluster: str
    datacenter: str
    tag: str
    backup_id: str
    nodes: list[NodeDigest]
    missing: list[MissingNode] = []  # the datacenter's other nodes; with one of them the backup is partial


class ClearSpec(Asked):
    """Clears the snapshot ``tag``; one that is not there is cleared."""

    tag: str


class CollectSpec(Asked):
    """One cycle of the collector over one node's path, which need not be this agent's node, nor one that still is.

    What no manifest and no running backup names becomes a candidate, and is deleted by a cycle that comes ``grace``
    or more after the one that found it. ``Operation.result`` is a ``Collected``.
    """

    location: Location
    cluster: str
    datacenter: str
    node: str
    dry_run: bool = False  # says what it would do, and writes nothing at all
    grace: int = 86_400  # seconds; what is younger is left alone, whatever names it
    limit: float = 0.5  # candidates, as a share of all objects; with more of them nothing is deleted
    expected: int = 0  # candidates that ``limit`` does not count: who asks has given up as many, and knows it
    allow_empty: bool = False  # the node has no backup left, on purpose: everything goes, whatever ``limit`` says
    ended: list[str] = []  # epochs of runs that are over and will be no backups: who asks has run them
    allow_ended: bool = False  # as allow_empty, if those runs have sent all that is there


class Told(Wire):
    """One key, and why it is not kept."""

    key: str
    size: int
    why: str  # Delete: now, as it was a candidate; Candidate: from now on


class Collected(Wire, omit_defaults=False):
    """What a cycle saw and did; of a dry run, what it would do. Objects and their bytes, of this node's data."""

    dry_run: bool = False
    cycle: str = ""  # the name of the list that was written; empty where the last one is younger than the grace
    objects: int = 0
    bytes: int = 0
    live: int = 0  # named by a manifest or a running backup
    missing: int = 0  # named, and not there
    owned: int = 0  # sent by a running backup, which has no manifest yet
    young: int = 0  # named by nobody, and younger than the grace
    candidates: int = 0  # named by nobody, and older
    candidate_bytes: int = 0
    deleted: int = 0  # of those
    deleted_bytes: int = 0
    left: int = 0  # would have been deleted, had the time not run out: the next cycle's
    uploads: int = 0  # that were begun, are owned by nobody, and are aborted
    keys: list[Told] = []  # the first ones
    keys_not_told: int = 0


class ForgetSpec(Asked):
    """Takes a backup out of the bucket: its cluster record first, then its nodes' manifests. What only it needed is
    left to the collector. Refused while the backup runs, and where the tag is another backup's. ``Operation.result`` is
    a ``Forgotten``.
    """

    location: Location
    cluster: str
    datacenter: str
    tag: str
    backup_id: str


class Forgotten(Wire, omit_defaults=False):
    """``manifests``: how many went now; none where it had been forgotten before."""

    manifests: int = 0
    empty: list[str] = []  # nodes of the datacenter that have no manifest left, of whatever backup


class Level(StrEnum):
    """How closely a verification looks. Each begins with the listing."""

    SIZE = "Size"  # every object is there, and as large as it was
    HASH = "Hash"  # and the checksum that the store keeps of it is the manifest's
    READ = "Read"  # and a share of them is read, and every component's checksum made anew


class VerifySpec(Asked):
    """Holds what the bucket has of one node against its manifests. ``Operation.result`` is a ``Verified``."""

    location: Location
    cluster: str
    datacenter: str
    node: str
    tag: str = ""  # one backup; empty: every complete one that has this node
    digest: str = ""  # of the node's manifest under ``tag``, of a backup that has no record yet
    level: Level = Level.SIZE
    share: float = 1.0  # of the bytes, for Read: one run goes on where the last one ended, so 1/share runs read all
    heal: bool = False  # put right what this node's disk still has
    concurrent_transfers: int = 0  # as in BackupSpec
    bandwidth: int = 0


class Fault(StrEnum):
    """What is wrong with an object, or with what names objects."""

    MISSING = "Missing"
    WRONG_SIZE = "WrongSize"
    DAMAGED = "Damaged"  # its bytes, or the store's checksum of them, are not the manifest's
    UNREADABLE = "Unreadable"  # the store lists it and does not give it
    MANIFEST_MISSING = "ManifestMissing"
    MANIFEST_CHANGED = "ManifestChanged"
    MANIFEST_INVALID = "ManifestInvalid"
    RECORD_INVALID = "RecordInvalid"


class Healing(StrEnum):
    """What became of a fault. Only Healed is over."""

    NOT_TRIED = ""
    HEALED = "Healed"  # sent again, and looked at again
    NOT_ON_DISK = "NotOnDisk"  # this node has no file of these bytes any more
    REFUSED = "Refused"  # the store lets nobody overwrite it
    FAILED = "Failed"


class Finding(Wire):
    """One fault. ``components`` are files as Cassandra names them, and ``backups`` tags; both are cut where long."""

    object: str  # its key in the bucket
    fault: Fault
    detail: str
    backups: list[str]
    table: str = ""  # <keyspace>.<table>
    components: list[str] = []
    backups_in_all: int = 0
    healing: Healing = Healing.NOT_TRIED
    healing_detail: str = ""


class Verified(Wire, omit_defaults=False):
    """What a verification saw. ``missing``, ``damaged`` and ``manifests`` are so still, after the healing."""

    level: Level
    backups: int = 0
    objects: int = 0  # that they name, each once
    bytes: int = 0
    compared: int = 0  # objects whose checksum the store keeps, and the manifests know
    not_comparable: int = 0  # the others, of level Hash
    read_objects: int = 0
    read_bytes: int = 0
    missing: int = 0
    damaged: int = 0  # also of a wrong size, or unreadable
    manifests: int = 0  # manifests and records that are gone or cannot be used
    healed: int = 0
    findings: list[Finding] = []
    findings_not_listed: int = 0

    @property
    def intact(self) -> bool:
        return not (self.missing or self.damaged or self.manifests)


class RestorePlan(Asked):
    """What one pod's init container does, read from ``<plan dir>/<pod>.json``. Also the spec of a ``restore``."""

    restore_id: str  # the CassandraRestore's UID; the marker on the volume carries it
    location: Location
    cluster: str  # of the source
    datacenter: str
    node: str
    tag: str
    digest: str  # of the node's manifest, from the cluster record
    include_auth: bool = True
    concurrent_transfers: int = 0  # as in BackupSpec
    bandwidth: int = 0


class MigrateSpec(Asked):
    """Makes a backup of ours out of one of cassandra-medusa's, by copies inside the store where that is possible."""

    location: Location
    source: Location  # where Medusa's nodes are: its bucket and prefix
    backup: str  # Medusa's name of it
    cluster: str  # which Medusa does not record
    tag: str
    backup_id: str  # the same for every try
    epoch: str  # as in BackupSpec
    dry_run: bool = False
    concurrent_transfers: int = 0  # as in BackupSpec
    bandwidth: int = 0  # bytes a second of what is read


class Progress(Wire, omit_defaults=False):
    """Counts of the running phase. ``bytes_done`` counts sent (or fetched) and reused bytes alike."""

    files: int = 0
    files_done: int = 0
    bytes: int = 0
    bytes_done: int = 0
    bytes_reused: int = 0
    rate: float = 0.0  # bytes a second, of the last seconds


class Failure(Wire):
    """Why an operation failed: a stable CamelCase reason, and one sentence that says what to do."""

    reason: str
    message: str
    retryable: bool = False


class OperationRequest(Wire):
    kind: Kind
    spec: dict[str, Any]


class Operation(Wire):
    """An operation as it stands. ``revision`` grows with each change worth a look, at most once a second in a phase."""

    id: str
    kind: Kind
    state: State
    revision: int
    session: str  # of the agent's process: another session means a restarted agent
    phase: str = ""
    attempts: int = 1
    progress: Progress = msgspec.field(default_factory=Progress)
    error: Failure | None = None
    result: dict[str, Any] = msgspec.field(default_factory=dict)
    started_at: str = ""  # RFC 3339, UTC
    finished_at: str = ""
    last_progress_at: str = ""


class DataDirectory(Wire):
    path: str
    free: int
    total: int


class Node(Wire):
    """``GET /v1/node``. Cassandra's own words; empty where Cassandra does not answer."""

    session: str
    agent_version: str
    pod: str = ""
    host_id: str = ""
    state: str = ""  # StorageService.OperationMode: NORMAL, JOINING, ... or DOWN where Jolokia does not answer
    cassandra_version: str = ""
    schema_version: str = ""
    cluster: str = ""
    tokens: list[str] = []
    live: list[str] = []
    unreachable: list[str] = []
    joining: list[str] = []
    schema_versions: dict[str, list[str]] = {}  # schema version -> addresses, as this node sees its peers
    data_directories: list[DataDirectory] = []


class RecordedNode(Wire):
    """A node in the cluster record."""

    node: str
    rack: str
    host_id: str
    digest: str
    tokens: int = 0
    files: int = 0
    bytes: int = 0


class ClusterRecord(Wire):
    """``_backups/<tag>/<dc>.json``: written last, once, and only with the digest of every node that is not ``missing``.

    With missing nodes it is a partial backup: its data is kept as any other's, and no cluster is restored from it.
    """

    format: int
    tag: str
    backup_id: str
    cluster: str
    datacenter: str
    nodes: list[RecordedNode]
    cassandra_version: str = ""
    schema_version: str = ""
    partitioner: str = ""
    created_at: str = ""
    entities: list[str] = []  # keyspaces and tables that it is of; none is all
    missing: list[MissingNode] = []


class BackupName(Wire):
    """By what a bucket knows one datacenter's backup."""

    cluster: str
    datacenter: str
    tag: str


class BackupNames(Wire):
    """What a target holds, of every cluster: the newest first, and how many there are beside those."""

    names: list[BackupName]
    total: int
