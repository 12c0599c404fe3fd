"""Checksums of files, read in threads. CRC32C is what stores speak; CRC32 is what Cassandra wrote into Digest.crc32."""

from __future__ import annotations

import asyncio
import os
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from awscrt import checksums

from agent.catalog import DATA
from agent.errors import AgentError, Reason
from backends.checksums import crc32c

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from agent.sstables import FoundSSTable

BUFFER = 1 << 20


@dataclass(frozen=True, slots=True)
class Sums:
    """Of a range of ``size`` bytes; ``crc32`` is None where it was not asked for."""

    size: int
    crc32c: int
    crc32: int | None = None


def measure(path: Path, offset: int = 0, size: int | None = None, *, digest: bool = False) -> Sums:
    """One pass over a range (to the end of the file). Blocks. Raises SnapshotGone when it is gone or too short.

    ``digest`` also computes CRC32: zlib's is slower, and only Data.db needs it.
    """
    buffer = memoryview(bytearray(BUFFER))
    castagnoli, plain, position = 0, 0, offset
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise _changed(path, "gone") from error
    try:
        end = os.fstat(descriptor).st_size if size is None else offset + size
        while position < end:
            count = os.preadv(descriptor, [buffer[: min(BUFFER, end - position)]], position)
            if not count:
                raise _changed(path, "shorter than it was")
            piece = buffer[:count]
            castagnoli = crc32c(piece, castagnoli)
            if digest:
                plain = zlib.crc32(piece, plain)
            position += count
    finally:
        os.close(descriptor)
    return Sums(position - offset, castagnoli, plain if digest else None)


async def measured(path: Path, offset: int = 0, size: int | None = None, *, digest: bool = False) -> Sums:
    return await asyncio.to_thread(lambda: measure(path, offset, size, digest=digest))


def combine(pieces: Sequence[Sums]) -> Sums:
    """Sums of the concatenation, in order."""
    size, castagnoli, plain = 0, 0, 0
    for piece in pieces:
        castagnoli = checksums.combine_crc32c(castagnoli, piece.crc32c, piece.size)
        plain = checksums.combine_crc32(plain, piece.crc32 or 0, piece.size)
        size += piece.size
    digest = all(piece.crc32 is not None for piece in pieces)
    return Sums(size, castagnoli, plain if digest else None)


def read_digest(path: Path) -> int | None:
    """Digest.crc32 holds the CRC32 of Data.db as decimal text. None when it cannot be read as that."""
    try:
        value = int(path.read_text(encoding="ascii").strip())
    except (FileNotFoundError, ValueError):  # UnicodeDecodeError is a ValueError
        return None
    return value if 0 <= value < 1 << 32 else None


def identities(sstable: FoundSSTable, digest_file: str) -> dict[str, int]:
    """The ``crc`` of each component's key. Reads every byte but Data.db's, whose checksum Cassandra left in its Digest.

    Blocks. A Data.db without a readable Digest is read as well.
    """
    crcs: dict[str, int] = {}
    for name, file in sstable.files.items():
        if name == DATA:
            digest = sstable.files.get(digest_file)
            crc = read_digest(digest.path) if digest else None
            crcs[name] = measure(file.path, digest=True).crc32 or 0 if crc is None else crc
        elif file.size:
            crcs[name] = measure(file.path, 0, file.size).crc32c
    return crcs


def corrupt_data(path: Path, crc: int | None, digest: int) -> AgentError:
    message = (
        f"{path.name} in {path.parent} does not match its Digest.crc32 ({crc or 0:08x}, not {digest:08x}):"
        " the disk or Cassandra damaged it; scrub the table or rebuild the node, then back up again"
    )
    return AgentError(Reason.CORRUPT, message)


def _changed(path: Path, what: str) -> AgentError:
    return AgentError(Reason.SNAPSHOT_GONE, f"{path} is {what}: the snapshot was removed under us", retryable=True)
