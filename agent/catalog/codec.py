"""Manifests and records as bytes. Everything read from a bucket is hostile until it was checked here."""

from __future__ import annotations

import hashlib
import io

import msgspec
import zstandard

from agent.catalog.check import check_manifest, invalid
from agent.catalog.manifest import FORMAT, Manifest, Pending
from agent.errors import AgentError, Reason
from agent.protocol import ClusterRecord

MAX_MANIFEST = 512 << 20  # bytes, decompressed; 100,000 components take about 15 MB
MAX_OBJECT = 64 << 20  # bytes, compressed, of anything that is read whole


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
