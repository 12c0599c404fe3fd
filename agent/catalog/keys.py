"""The names of objects. The layout is drawn in the package's docstring."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from agent.catalog.encoding import encoded_size, encoding_in
from agent.errors import AgentError, Reason

if TYPE_CHECKING:
    from collections.abc import Iterable

_ODD = re.compile(rb"[^A-Za-z0-9._+-]")
_TAG = re.compile(r"[A-Za-z0-9._-]{1,128}\Z")
_EPOCH_LENGTH, _ATTEMPT_LENGTH = 32, 8
_EPOCH = re.compile(r"[A-Za-z0-9]{1,32}\Z")
_ENCRYPTED = "e[0-9a-f]{16}-[0-9a-f]{32}"
_IDENTITY = re.compile(
    rf"[^~]+/(?:b~(?P<bundle>[0-9]{{1,19}})-(?:[0-9a-f]{{32}}|{_ENCRYPTED})"
    rf"|[^/~]+~(?P<plain>[0-9]{{1,19}})-(?:[0-9a-f]{{8}}|{_ENCRYPTED}))\Z"
)


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


def derived_epoch(epoch: str, attempt: str) -> str:
    """Another epoch of the same backup, for objects whose key with the first one must not be written again."""
    return check_epoch(f"{_stem(epoch)}{attempt}")


def owns_epoch(epoch: str, found: str) -> bool:
    """Whether ``found`` is the backup's epoch, or was derived from it."""
    return found == epoch or found.startswith(_stem(epoch))


def _stem(epoch: str) -> str:
    return f"{epoch[: _EPOCH_LENGTH - _ATTEMPT_LENGTH - 1]}x"


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

    @property
    def manifests(self) -> str:
        """All of them, of every backup."""
        return f"{self.root}manifests/"

    @property
    def pendings(self) -> str:
        """Of all running backups, and of those that died."""
        return f"{self.root}pending/"

    def pendings_of(self, tag: str, epoch: str = "") -> str:
        """A prefix: of all tries of one backup; without ``epoch`` of all backups of that name."""
        return f"{self.pendings}{escape(check_tag(tag))}~{check_epoch(epoch) + '-' if epoch else ''}"

    def pending(self, tag: str, epoch: str, attempt: str) -> str:
        """One try's own, so that no late request of another one can lie over it."""
        return f"{self.pendings_of(tag, epoch)}{check_epoch(attempt)}.json.zst"

    @property
    def collection(self) -> str:
        """What the collector keeps of this node; the datacenter is in it, as two may have pods of one name."""
        return f"{escape(self.cluster)}/_gc/{escape(self.datacenter)}/{escape(self.node)}/"

    def candidates(self, cycle: str) -> str:
        return f"{self.collection}{escape(cycle)}.jsonl.zst"

    def lease(self) -> str:
        return f"{self.collection}lease.json"

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


def stored_size(identity_: str) -> int:
    """The object's size in bytes; -1 for what is no identity."""
    return encoded_size(size, encoding_in(identity_)) if (size := size_in(identity_)) >= 0 else -1


def size_in(identity_: str) -> int:
    """Bytes of what is in the object, which are its own where it is not encoded; -1 for what is no identity."""
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
