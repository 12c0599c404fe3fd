"""Manifests and records as bytes. Everything read from a bucket is hostile until it was checked here."""

from __future__ import annotations

import hashlib
import io
from typing import TYPE_CHECKING

import msgspec
import zstandard

from agent.catalog import stream
from agent.catalog.check import check_manifest, invalid
from agent.catalog.manifest import FORMAT, Manifest, Pending
from agent.errors import AgentError, Reason
from agent.protocol import ClusterRecord

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.catalog.manifest import SSTable, Table

MAX_MANIFEST = 512 << 20  # bytes, decompressed; 100,000 components take about 15 MB
_OF_ONE_LINE = 32 << 20  # bytes; a larger one of an older agent costs too much memory for what it is worth
_PIECE = 1 << 20
MAX_OBJECT = 64 << 20  # bytes, compressed, of anything that is read whole


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def encode(value: Manifest | Pending) -> bytes:
    """Compressed JSON. Blocks for large manifests: call it in a thread."""
    return stream.compress(stream.text(value))


def decompress(data: bytes, limit: int = MAX_MANIFEST) -> bytes:
    """The cap holds for what comes out, whatever the frame's header promises."""
    pieces: list[bytes] = []
    try:
        with zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(io.BytesIO(data)) as reader:
            while piece := reader.read(_PIECE):  # a reader takes the memory for all that it is asked for
                pieces.append(piece)
                if (limit := limit - len(piece)) < 0:
                    raise invalid("it holds more than it may")
    except zstandard.ZstdError as error:
        raise invalid(f"it is not zstd ({error})") from error
    return b"".join(pieces)


def decode_manifest(data: bytes, limit: int = MAX_MANIFEST) -> Manifest:
    """Checked: a caller may build paths of its names. Raises ManifestInvalid."""
    manifest = stream.read(data, limit) if stream.in_lines(data) else _decode(data, limit)
    check_manifest(manifest)
    return manifest


def _decode(data: bytes, limit: int) -> Manifest:
    """One that is all one line."""
    try:
        return msgspec.json.decode(decompress(data, limit), type=Manifest)
    except msgspec.MsgspecError as error:
        raise invalid(str(error)) from error


def find_sstables(
    data: bytes, wants: Callable[[Table, str], bool], limit: int = MAX_MANIFEST
) -> list[tuple[Table, SSTable, dict[int, str]]]:
    """Those SSTables of a manifest that are wanted, by table and name, with the keys of their objects by index.

    Of a large manifest in little memory, and therefore not checked. ManifestInvalid for what cannot be read.
    """
    if stream.in_lines(data):
        return list(stream.find(data, wants, limit))
    manifest = decode_manifest(data, min(limit, _OF_ONE_LINE))
    keys = {index: stored.key for index, stored in enumerate(manifest.objects)}
    return [
        (table, sstable, keys) for table in manifest.tables for sstable in table.sstables if wants(table, sstable.name)
    ]


def decode_pending(data: bytes) -> Pending:
    """Raises ManifestInvalid."""
    try:
        pending = msgspec.json.decode(decompress(data), type=Pending)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise invalid(str(error)) from error
    if pending.format != FORMAT:
        raise invalid(f"it has format {pending.format}, this agent reads {FORMAT}")
    return pending


def decode_record(data: bytes) -> ClusterRecord:
    try:
        record = msgspec.json.decode(data, type=ClusterRecord)
    except msgspec.MsgspecError as error:
        raise AgentError(Reason.MANIFEST_INVALID, f"the cluster record cannot be read: {error}") from error
    if record.format != FORMAT:
        raise AgentError(Reason.MANIFEST_INVALID, f"the cluster record has format {record.format}, this agent {FORMAT}")
    return record
