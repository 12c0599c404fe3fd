"""Manifests and records as bytes. Everything read from a bucket is hostile until it was checked here."""

from __future__ import annotations

import hashlib
import io
from typing import TYPE_CHECKING, TypeVar

import msgspec
import zstandard

from agent.catalog.check import check_manifest, invalid, newer
from agent.catalog.manifest import FORMAT, MANIFEST_FORMAT, Manifest
from agent.errors import AgentError, Reason
from agent.protocol import ClusterRecord

if TYPE_CHECKING:
    from agent.catalog.manifest import Pending

MAX_MANIFEST = 512 << 20  # bytes, decompressed; 100,000 components take about 15 MB
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
    return zstandard.ZstdCompressor(level=6, write_checksum=True).compress(msgspec.json.encode(value))


def decompress(data: bytes, limit: int = MAX_MANIFEST) -> bytes:
    """The cap holds for what comes out, whatever the frame's header promises."""
    limit = min(limit, max(_HARMLESS, _RATIO * len(data)))
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
    text = decompress(data, limit)
    try:
        manifest = _decode(text, Manifest)
    except ValueError as error:
        if (found := _format(text)) is not None and found > MANIFEST_FORMAT:  # its fields may be others
            raise invalid(newer(found, MANIFEST_FORMAT)) from error
        raise invalid(str(error)) from error
    check_manifest(manifest)
    return manifest


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
