"""What manifests and records say, as types. Who reads them from a bucket goes through ``codec``, which checks them."""

from __future__ import annotations

import msgspec

from agent.catalog.keys import TablePath
from agent.protocol import Wire

FORMAT = 1  # of records and pending lists
# 1 had an object a component; 2 has bundles, and those as well; 3 has encoded objects, where there are any.
MANIFEST_FORMAT = 3
PLAIN_FORMAT = 2
DATA = "Data.db"
BUNDLED = 1 << 20  # bytes; a larger component is an object of its own
BUNDLE = 16 << 20  # bytes; what does not fit goes into another bundle: they are sent from memory


class Component(msgspec.Struct, array_like=True):
    """A file of an SSTable.

    ``object`` indexes ``Manifest.objects``; -1: a file of no bytes, which has no object.
    ``crc`` is CRC32 for Data.db and CRC32C for the rest; of what is encrypted it is masked (agent/coding.py).
    ``offset`` is where it starts in its object, a bundle, before that was encoded.
    """

    name: str
    size: int
    crc: int = 0
    object: int = -1
    offset: int = 0


class SSTable(msgspec.Struct, array_like=True):
    """``name`` is ``<version>-<id>-<format>``."""

    name: str
    components: list[Component]


class Table(Wire):
    """A table's SSTables. ``schema`` is the CREATE statement of Cassandra's snapshot."""

    keyspace: str
    name: str
    id: str
    index: str = ""
    sstables: list[SSTable] = msgspec.field(default_factory=list)
    schema: str = ""

    @property
    def path(self) -> TablePath:
        return TablePath(self.keyspace, self.name, self.id, self.index)


class StoredObject(msgspec.Struct, array_like=True):
    """``key`` is relative to the node's root. ``size`` and ``crc32c`` are of the object as the store has it.

    ``crc32c`` where its components do not tell it, as with a Data.db in it; -1: not known.
    """

    key: str
    size: int
    crc32c: int = -1


class Totals(Wire, omit_defaults=False):
    """Counts of components and their bytes; ``new_bytes`` were sent, ``reused_bytes`` were there."""

    files: int = 0
    bytes: int = 0
    new_bytes: int = 0
    reused_bytes: int = 0
    dropped_sstables: int = 0


class Manifest(Wire):
    """A node's commit point (agent.md §4)."""

    format: int
    agent_version: str
    backup_id: str
    tag: str
    cluster: str
    datacenter: str
    rack: str
    node: str
    host_id: str
    tokens: list[str]
    started: str
    finished: str
    tables: list[Table]
    objects: list[StoredObject]
    ip: str = ""
    partitioner: str = ""
    cassandra_version: str = ""
    schema_version: str = ""
    snapshot_at: str = ""
    settings: dict[str, str | int | bool | None] = msgspec.field(
        default_factory=dict
    )  # of cassandra.yaml, what a restore must carry over
    totals: Totals = msgspec.field(default_factory=Totals)
    entities: list[str] = msgspec.field(default_factory=list)  # that the backup is of (agent/scope.py); none is all
    key_ids: list[str] = msgspec.field(default_factory=list)  # without these keys it cannot be restored


class Pending(Wire):
    """One try of a running backup: what it means to reuse, and the epoch of what it sends.

    ``reuse`` is None until the listing was read. A collector goes by the time at which the store took the record;
    ``heartbeat`` is for people.
    """

    format: int
    backup_id: str
    started: str
    heartbeat: str
    reuse: list[str] | None = None
    tag: str = ""
    epoch: str = ""


class Owner(Wire):
    """Who wrote under this path first: the datacenter's UID and where it lives."""

    owner: str
    namespace: str = ""
    created_at: str = ""
