"""The one module that knows the layout of the bucket: the names of objects, and what manifests say.

    <cluster>/<dc>/<node>/<host id>/data/<ks>/<table>-<id>[/.<index>]/<sstable>/<component>~<size>-<crc>-<epoch>
                                                                              /b~<size>-<hash>-<epoch>
                         /manifests/<tag>.json.zst     the node's commit point: written last, never overwritten
                         /pending/<tag>.json.zst       what a running backup means to reuse
              /<dc>/_owner.json                        who wrote here first
              /_backups/<tag>/<dc>.json                the cluster record: with it the backup exists
                             /<dc>.cql                 the tables' schema, for people

A key carries size, checksum and epoch, so no object is ever overwritten: equal up to the epoch means equal bytes, and
another upload of them gets another key. ``crc`` is Cassandra's own Digest (CRC32) for ``Data.db``, CRC32C for the rest.

``b~…`` is a bundle: the components of one SSTable that have at most ``BUNDLED`` bytes each, one after the other in the
order of their names, with nothing before, between or after them. The manifest says where each begins. ``hash`` is the
first 32 hex digits of the SHA-256 of ``<name> <size> <crc>`` and a newline for each member (crc as 8 hex digits). A
component of no bytes is in the manifest alone.

Everything read from a bucket is hostile until :func:`decode_manifest` has seen it: its names become paths on a disk.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import zstandard

from agent.errors import AgentError, Reason
from agent.protocol import ClusterRecord, Wire

if TYPE_CHECKING:
    from collections.abc import Iterable

FORMAT = 1  # of records and pending lists
MANIFEST_FORMAT = 2  # 1 had an object a component; 2 has bundles, and those as well
MAX_MANIFEST = 512 << 20  # bytes, decompressed; 100,000 components take about 15 MB
MAX_OBJECT = 64 << 20  # bytes, compressed, of anything that is read whole
DATA = "Data.db"
BUNDLED = 1 << 20  # bytes; a larger component is an object of its own
BUNDLE = 16 << 20  # bytes; what does not fit goes into another bundle: they are sent from memory

_ODD = re.compile(rb"[^A-Za-z0-9._+-]")
_TAG = re.compile(r"[A-Za-z0-9._-]{1,128}\Z")
_EPOCH = re.compile(r"[A-Za-z0-9]{1,32}\Z")
_IDENTITY = re.compile(r"[^~]+/(?:b~(?P<bundle>[0-9]{1,19})-[0-9a-f]{32}|[^/~]+~(?P<plain>[0-9]{1,19})-[0-9a-f]{8})\Z")
_KEYSPACE = re.compile(r"[A-Za-z0-9_]{1,222}\Z")
_TABLE_ID = re.compile(r"[0-9a-f]{32}\Z")
_INDEX = re.compile(r"\.[A-Za-z0-9_][A-Za-z0-9_.-]{0,221}\Z")
_SSTABLE = re.compile(r"[a-z]{2}-[0-9a-z_]{1,64}-[a-z]{1,16}\Z")
_COMPONENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,221}\Z")


# --- names -----------------------------------------------------------------------------------------------------------


def escape(name: str) -> str:
    """``name`` as one segment of a key: odd bytes, a leading ``_`` (ours) and bare dots become ``!XX`` (hex).

    ``!`` is safe in every store's keys, while ``%`` and spaces are decoded once too often by some.
    """
    if not name:
        raise AgentError(Reason.INVALID_SPEC, "a name in the backup's path is empty")
    text = _ODD.sub(lambda found: b"!%02X" % found[0][0], name.encode()).decode()
    if text in {".", ".."} or text[0] == "_":
        text = f"!{ord(text[0]):02X}{text[1:]}"
    return text


def unescape(segment: str) -> str:
    """What :func:`escape` was given. Raises ValueError for what it never wrote."""
    first, *rest = segment.split("!")
    return (first.encode() + b"".join(bytes.fromhex(part[:2]) + part[2:].encode() for part in rest)).decode()


def check_tag(tag: str) -> str:
    """A tag is part of keys and of directory names on the nodes."""
    if not _TAG.match(tag) or not tag.strip("."):
        raise AgentError(Reason.INVALID_SPEC, f"the tag {tag!r} must be 1 to 128 of A-Z a-z 0-9 . _ -")
    return tag


def check_epoch(epoch: str) -> str:
    if not _EPOCH.match(epoch):
        raise AgentError(Reason.INVALID_SPEC, f"the epoch {epoch!r} must be 1 to 32 letters and digits")
    return epoch


class NodePath(NamedTuple):
    """The keys of one node. Keys inside manifests are relative to ``root``."""

    cluster: str
    datacenter: str
    node: str

    @property
    def root(self) -> str:
        return f"{escape(self.cluster)}/{escape(self.datacenter)}/{escape(self.node)}/"

    def manifest(self, tag: str) -> str:
        return f"{self.root}manifests/{escape(check_tag(tag))}.json.zst"

    def pending(self, tag: str) -> str:
        return f"{self.root}pending/{escape(check_tag(tag))}.json.zst"

    def owner(self) -> str:
        return f"{escape(self.cluster)}/{escape(self.datacenter)}/_owner.json"


def backups_prefix(cluster: str, tag: str | None = None) -> str:
    """All cluster records, or those of one backup; ends with ``/``, so ``daily-1`` never finds ``daily-10``."""
    prefix = f"{escape(cluster)}/_backups/"
    return prefix if tag is None else f"{prefix}{escape(check_tag(tag))}/"


def record_key(cluster: str, tag: str, datacenter: str) -> str:
    return f"{backups_prefix(cluster, tag)}{escape(datacenter)}.json"


def schema_key(cluster: str, tag: str, datacenter: str) -> str:
    return f"{backups_prefix(cluster, tag)}{escape(datacenter)}.cql"


def data_prefix(host_id: str) -> str:
    """Relative to the node's root."""
    return f"{escape(host_id)}/data/"


def table_prefix(host_id: str, table: TablePath) -> str:
    """Of everything of a table, relative to the node's root."""
    parts = [escape(table.keyspace), escape(f"{table.name}-{table.id}")]
    if table.index:
        parts.append(escape(table.index))
    return f"{data_prefix(host_id)}{'/'.join(parts)}/"


def identity(prefix: str, sstable: str, component: str, size: int, crc: int) -> str:
    """A key without the epoch: equal identities are equal bytes. ``prefix`` is the table's."""
    return f"{prefix}{escape(sstable)}/{escape(component)}~{size}-{crc:08x}"


def bundle_identity(prefix: str, sstable: str, members: Iterable[tuple[str, int, int]]) -> str:
    """As :func:`identity`, of a bundle. ``members`` are (component, size, crc) in order of name."""
    size, lines = 0, []
    for name, length, crc in members:
        size += length
        lines.append(f"{name} {length} {crc:08x}\n")
    hashed = hashlib.sha256("".join(lines).encode()).hexdigest()[:32]
    return f"{prefix}{escape(sstable)}/b~{size}-{hashed}"


def split_key(key: str) -> tuple[str, str]:
    """(identity, epoch) of a data object's key; ("", "") for a key that is none."""
    head, _, epoch = key.rpartition("-")
    return (head, epoch) if _EPOCH.match(epoch) and _IDENTITY.match(head) else ("", "")


def size_in(identity_: str) -> int:
    """The object's size in bytes; -1 for what is no identity."""
    found = _IDENTITY.match(identity_)
    return int(found["bundle"] or found["plain"]) if found else -1


def is_bundle(identity_: str) -> bool:
    found = _IDENTITY.match(identity_)
    return found is not None and found["bundle"] is not None


@dataclass(frozen=True, order=True, slots=True)
class TablePath:
    """A table's directory, or that of one of its hidden index tables (``.<index>`` below it)."""

    keyspace: str
    name: str
    id: str
    index: str = ""

    @property
    def relative(self) -> str:
        """Below a data directory."""
        base = f"{self.keyspace}/{self.name}-{self.id}"
        return f"{base}/{self.index}" if self.index else base


def file_name(sstable: str, component: str) -> str:
    """As Cassandra names it on disk."""
    return f"{sstable}-{component}"


# --- manifests -------------------------------------------------------------------------------------------------------


class Component(msgspec.Struct, array_like=True):
    """A file of an SSTable.

    ``object`` indexes ``Manifest.objects``; -1: a file of no bytes, which has no object.
    ``crc`` is CRC32 for Data.db and CRC32C for the rest. ``offset`` is where it starts in its object, a bundle.
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
    """``key`` is relative to the node's root."""

    key: str
    size: int


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


class Pending(Wire):
    """A running backup: what it means to reuse. ``reuse`` is None until the listing was read."""

    format: int
    backup_id: str
    started: str
    heartbeat: str
    reuse: list[str] | None = None


class Owner(Wire):
    """Who wrote under this path first: the datacenter's UID and where it lives."""

    owner: str
    namespace: str = ""
    created_at: str = ""


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def encode(value: Manifest | Pending) -> bytes:
    """Compressed JSON. Blocks for large manifests: call it in a thread."""
    return zstandard.ZstdCompressor(level=6, write_checksum=True).compress(msgspec.json.encode(value))


def decompress(data: bytes, limit: int = MAX_MANIFEST) -> bytes:
    """The cap holds for what comes out, whatever the frame's header promises."""
    try:
        with zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(io.BytesIO(data)) as reader:
            text = reader.read(limit + 1)
    except zstandard.ZstdError as error:
        raise invalid(f"it is not zstd ({error})") from error
    if len(text) > limit:
        raise invalid(f"it holds more than {limit} bytes")
    return text


def decode_manifest(data: bytes, limit: int = MAX_MANIFEST) -> Manifest:
    """Checked: a caller may build paths of its names. Raises ManifestInvalid."""
    try:
        manifest = msgspec.json.decode(decompress(data, limit), type=Manifest)
    except msgspec.MsgspecError as error:
        raise invalid(str(error)) from error
    check_manifest(manifest)
    return manifest


def decode_record(data: bytes) -> ClusterRecord:
    try:
        record = msgspec.json.decode(data, type=ClusterRecord)
    except msgspec.MsgspecError as error:
        raise AgentError(Reason.MANIFEST_INVALID, f"the cluster record cannot be read: {error}") from error
    if record.format != FORMAT:
        raise AgentError(Reason.MANIFEST_INVALID, f"the cluster record has format {record.format}, this agent {FORMAT}")
    return record


def check_manifest(manifest: Manifest) -> None:
    """Names that climb out, sizes that do not add up, objects that are not there: ManifestInvalid."""
    if not 1 <= manifest.format <= MANIFEST_FORMAT:
        raise invalid(f"it has format {manifest.format}, this agent reads 1 to {MANIFEST_FORMAT}")
    bundles = [_check_object(stored) for stored in manifest.objects]
    seen: set[tuple[TablePath, str]] = set()
    taken: list[tuple[int, int, int]] = []  # (object, begin, end)
    for table in manifest.tables:
        _check_table(table)
        for sstable in table.sstables:
            if not _SSTABLE.match(sstable.name) or (table.path, sstable.name) in seen:
                raise invalid(f"odd SSTable {sstable.name!r}, or one that is in it twice")
            seen.add((table.path, sstable.name))
            if len({component.name for component in sstable.components}) < len(sstable.components):
                raise invalid(f"a component of {sstable.name} is in it twice")
            for component in sstable.components:
                _check_component(component, manifest.objects, bundles)
            taken += [(one.object, one.offset, one.offset + one.size) for one in sstable.components if one.size]
    taken.sort()
    for (one, _, end), (other, begin, _) in itertools.pairwise(taken):
        if one == other and begin < end:
            raise invalid(f"two components lie over each other in {manifest.objects[one].key}")


def _check_object(stored: StoredObject) -> bool:
    """True for a bundle."""
    found, _ = split_key(stored.key)
    if not found or not {"", ".", ".."}.isdisjoint(stored.key.split("/")) or stored.size != size_in(found):
        raise invalid(f"odd object {stored.key!r} of {stored.size} bytes")
    return is_bundle(found)


def _check_table(table: Table) -> None:
    good = _KEYSPACE.match(table.keyspace) and _KEYSPACE.match(table.name) and _TABLE_ID.match(table.id)
    if not good or (table.index and not _INDEX.match(table.index)):
        raise invalid(f"odd table {table.path.relative!r}")


def _check_component(component: Component, objects: list[StoredObject], bundles: list[bool]) -> None:
    """One of no bytes has no object. A plain object is one component, a bundle's members lie inside of it."""
    if not _COMPONENT.match(component.name):
        raise invalid(f"odd component {component.name!r}")
    if component.size == 0 and component.object == -1:
        return
    if not 0 <= component.object < len(objects) or component.size <= 0 or not 0 <= component.crc < 1 << 32:
        raise invalid(f"{component.name} points at no object")
    whole = objects[component.object].size
    if component.offset < 0 or component.offset + component.size > whole:
        raise invalid(f"{component.name} reaches past its object")
    if not bundles[component.object] and component.size != whole:
        raise invalid(f"{component.name} is a part of an object that is no bundle")


def invalid(what: str) -> AgentError:
    return AgentError(Reason.MANIFEST_INVALID, f"the node's manifest cannot be used: {what}")
