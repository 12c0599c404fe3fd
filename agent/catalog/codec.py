"""Manifests and records as bytes. Everything read from a bucket is hostile until it was checked here."""

from __future__ import annotations

import hashlib
import io
from typing import TYPE_CHECKING, TypeVar

import msgspec
import zstandard

from agent.catalog import stream
from agent.catalog.check import check_manifest, invalid, newer
from agent.catalog.manifest import FORMAT, MANIFEST_FORMAT, Manifest, Pending
from agent.errors import AgentError, Reason
from agent.protocol import ClusterRecord

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.catalog.manifest import SSTable, Table

MAX_MANIFEST = 512 << 20  # bytes, decompressed; 100,000 components take about 15 MB
_OF_ONE_LINE = 32 << 20  # bytes; a larger one of an older agent costs too much memory for what it is worth
_PIECE = 1 << 20
MAX_OBJECT = 64 << 20  # bytes, compressed, of anything that is read whole
# A manifest shrinks to a tenth, or a thirtieth where all names are alike. What shrinks further is a bomb, above a size
# that does no harm.
_RATIO = 200
_HARMLESS = 64 << 20

_T = TypeVar("_T", bound=msgspec.Struct)


class _Format(msgspec.Struct):
    """What every version of a manifest, and of a record, has."""

    format: int


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def encode(value: Manifest | Pending) -> bytes:
    """Compressed JSON. Blocks for large manifests: call it in a thread."""
    return stream.compress(stream.text(value))


def cap(data: bytes, limit: int) -> int:
    """Bytes that may come out of ``data``."""
    return min(limit, max(_HARMLESS, _RATIO * len(data)))


def decompress(data: bytes, limit: int = MAX_MANIFEST) -> bytes:
    """The cap holds for what comes out, whatever the frame's header promises."""
    limit = left = cap(data, limit)
    pieces: list[bytes] = []
    try:
        with zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(io.BytesIO(data)) as reader:
            while piece := reader.read(_PIECE):  # a reader takes the memory for all that it is asked for
                pieces.append(piece)
                if (left := left - len(piece)) < 0:
                    raise invalid(f"it holds more than {limit} bytes")
    except zstandard.ZstdError as error:
        raise invalid(f"it is not zstd ({error})") from error
    return b"".join(pieces)


def decode_manifest(data: bytes, limit: int = MAX_MANIFEST) -> Manifest:
    """Checked: a caller may build paths of its names. Raises ManifestInvalid."""
    in_lines = stream.in_lines(data)
    try:
        manifest = stream.read(data, cap(data, limit)) if in_lines else _whole(data, limit)
    except AgentError as error:
        found = stream.format_of(data) if in_lines else None
        if found is not None and found > MANIFEST_FORMAT:  # its fields may be others
            raise invalid(newer(found, MANIFEST_FORMAT)) from error
        raise
    check_manifest(manifest)
    return manifest


def _whole(data: bytes, limit: int) -> Manifest:
    """One that is all one line."""
    text = decompress(data, limit)
    try:
        return _decode(text, Manifest)
    except ValueError as error:
        if (found := _format(text)) is not None and found > MANIFEST_FORMAT:
            raise invalid(newer(found, MANIFEST_FORMAT)) from error
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
        record = _decode(data, ClusterRecord)
    except ValueError as error:
        found = _format(data)
        what = str(error) if found is None or found <= FORMAT else newer(found, FORMAT)
        raise AgentError(Reason.MANIFEST_INVALID, f"the cluster record cannot be read: {what}") from error
    if record.format != FORMAT:
        what = newer(record.format, FORMAT) if record.format > FORMAT else f"it has format {record.format}"
        raise AgentError(Reason.MANIFEST_INVALID, f"the cluster record cannot be read: {what}")
    return record


def _decode(text: bytes, kind: type[_T]) -> _T:
    """ValueError for all that is no such thing, whatever the decoder makes of it."""
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.MsgspecError as error:
        raise ValueError(str(error)) from error
    except RecursionError:
        raise ValueError("it is nested deeper than anything that an agent writes") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 ({error.reason})") from None


def _format(text: bytes) -> int | None:
    try:
        return _decode(text, _Format).format
    except ValueError:
        return None
