"""Checksums of files, read in threads. CRC32C is what stores speak; CRC32 is what Cassandra wrote into Digest.crc32."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from awscrt import checksums
from isal.isal_zlib import crc32

from agent.catalog import DATA
from agent.errors import AgentError, Reason, reading
from agent.sstables import DIGEST
from backends.checksums import crc32c

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from agent.cache import Known
    from agent.sstables import FoundFile, FoundSSTable
    from backends.body import Encoder

    StrPath = str | Path

BUFFER = 1 << 20


@dataclass(frozen=True, slots=True)
class Sums:
    """Of a range of ``size`` bytes; ``crc32`` is None where it was not asked for.

    ``stored`` is the CRC32C of what they are encoded to, None where that is the same.
    """

    size: int
    crc32c: int
    crc32: int | None = None
    stored: int | None = None


def measure(
    path: StrPath, size: int | None = None, *, offset: int = 0, digest: bool = False, encoder: Encoder | None = None
) -> Sums:
    """One pass over ``size`` bytes from ``offset`` on (all of the file). Blocks.

    SnapshotGone when it is gone or too short. ``digest`` also computes CRC32, which only Data.db needs. With an
    ``encoder`` a range begins where one of its chunks does.
    """
    with reading(path):
        return _measure(path, size, offset, digest=digest, encoder=encoder)


def _measure(path: StrPath, size: int | None, offset: int, *, digest: bool, encoder: Encoder | None) -> Sums:
    castagnoli, plain, stored, position = 0, 0, 0, 0
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise changed(path, "it is gone") from error
    try:
        end = os.fstat(descriptor).st_size - offset if size is None else size
        if offset:
            os.lseek(descriptor, offset, os.SEEK_SET)
        buffer = memoryview(bytearray(min(BUFFER, end)))
        while position < end:
            count = os.readv(descriptor, [buffer[: end - position]])
            if not count:
                raise changed(path, "it is shorter than it was")
            piece = buffer[:count]
            castagnoli = crc32c(piece, castagnoli)
            if digest:
                plain = crc32(piece, plain)
            if encoder is not None:
                stored = crc32c(encoder(offset + position, piece), stored)
            position += count
    finally:
        os.close(descriptor)
    return Sums(position, castagnoli, plain if digest else None, None if encoder is None else stored)


def combine(pieces: Sequence[Sums]) -> Sums:
    """Sums of the concatenation, in order; not of what is stored."""
    size, castagnoli, plain = 0, 0, 0
    for piece in pieces:
        castagnoli = checksums.combine_crc32c(castagnoli, piece.crc32c, piece.size)
        plain = checksums.combine_crc32(plain, piece.crc32 or 0, piece.size)
        size += piece.size
    digest = all(piece.crc32 is not None for piece in pieces)
    return Sums(size, castagnoli, plain if digest else None)


def read_digest(path: StrPath) -> int | None:
    """Digest.crc32 holds the CRC32 of Data.db as decimal text. None when it cannot be read as that."""
    try:
        value = int(Path(path).read_text(encoding="ascii").strip())
    except (FileNotFoundError, ValueError):  # UnicodeDecodeError is a ValueError
        return None
    return value if 0 <= value < 1 << 32 else None


def identities(sstable: FoundSSTable, known: Known) -> dict[str, int]:
    """The ``crc`` of each component with bytes. Reads what ``known`` does not have, but of Data.db only its Digest.

    Blocks. A Data.db without a readable Digest is read as well.
    """
    crcs: dict[str, int] = {}
    for name, file in sstable.files.items():
        if not file.size:
            continue
        crc = known.get(file)
        if crc is None:
            crc = _data_crc(sstable, file) if name == DATA else measure(file.path, file.size).crc32c
            known.add(file, crc)
        crcs[name] = crc
    return crcs


def _data_crc(sstable: FoundSSTable, data: FoundFile) -> int:
    digest = sstable.files.get(DIGEST)
    crc = read_digest(digest.path) if digest else None
    return measure(data.path, data.size, digest=True).crc32 or 0 if crc is None else crc


class ContentSum:
    """Of a range of a component, as it is read to be sent: an Inspector of a FileBody. ``value``: of the last whole
    pass; a CRC32 of Data.db (``digest``), else a CRC32C.

    ``check`` is told of it before the last bytes are handed out: what it raises keeps them from becoming an object.
    """

    def __init__(self, check: Callable[[int], None] = lambda _crc: None, *, digest: bool = True) -> None:
        self.value = 0
        self.check = check
        self.function = crc32 if digest else crc32c

    def start(self) -> _Pass:
        return _Pass(self)


class _Pass:
    def __init__(self, whole: ContentSum) -> None:
        self._whole = whole
        self._value = 0

    def update(self, data: bytes) -> None:
        self._value = self._whole.function(data, self._value)

    def finish(self) -> None:
        self._whole.check(self._value)
        self._whole.value = self._value


def check_data(path: StrPath, planned: int, crc: int) -> None:
    """``crc`` of the bytes read, against the ``planned`` one. Corrupt when Cassandra's Digest says so, else changed."""
    if crc == planned:
        return
    text = os.fspath(path)
    digest = read_digest(f"{text.removesuffix(DATA)}{DIGEST}")
    if digest is None or digest == crc:
        raise changed(path, "its bytes are not the ones that were read before")
    raise corrupt_data(text, crc, digest)


def check(path: StrPath, planned: int, crc: int, *, digest: bool) -> None:
    """As :func:`check_data`, of any component; SnapshotGone for another one than Data.db."""
    if digest:
        check_data(path, planned, crc)
    elif crc != planned:
        raise changed(path, "its bytes are not the ones that were read before")


def corrupt_data(path: StrPath, crc: int | None, digest: int) -> AgentError:
    directory, name = os.path.split(path)
    message = (
        f"{name} in {directory} does not match its Digest.crc32 ({crc or 0:08x}, not {digest:08x}):"
        " the disk or Cassandra damaged it; scrub the table or rebuild the node, then back up again"
    )
    return AgentError(Reason.CORRUPT, message)


def changed(path: StrPath, what: str) -> AgentError:
    message = f"{os.fspath(path)} changed under the backup: {what}; the snapshot was removed or written to"
    return AgentError(Reason.SNAPSHOT_GONE, message, retryable=True)
