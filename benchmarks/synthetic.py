"""Sets that no Cassandra made, with files as one would name them: many small ones, and one that is huge.

The bytes are noise, real ones: a sparse file would be read out of nothing, and zeros in the wrong order look right.
"""

from __future__ import annotations

import json
import os
import random
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

BLOCK = 4096  # bytes of each file of ``many``
_PER_TABLE = 250
_COMPONENTS = ("Data.db", "Index.db", "Summary.db", "Filter.db", "Statistics.db", "CompressionInfo.db")
_PIECE = 64 << 20


def many(work: Path, sstables: int) -> None:
    """Eight files of 4 KiB an SSTable; the text files are padded, which their readers overlook."""
    noise = random.Random(20)
    for table, first in enumerate(range(0, sstables, _PER_TABLE), start=1):
        directory = _table(work, f"many_{table:02}", table)
        names = [f"nb-{number}-big" for number in range(1, min(_PER_TABLE, sstables - first) + 1)]
        for name in names:
            _sstable(directory, name, noise)
        _listed(directory, names)


def huge(work: Path, size: int) -> None:
    directory = _table(work, "huge", 99)
    name = "nb-1-big"
    _sstable(directory, name, random.Random(8))
    crc, left = 0, size
    with (directory / f"{name}-Data.db").open("wb") as file:
        while left:
            piece = os.urandom(min(_PIECE, left))
            crc = zlib.crc32(piece, crc)
            left -= file.write(piece)
    _digest(directory, name, crc)
    _listed(directory, [name])


def _table(work: Path, name: str, number: int) -> Path:
    directory = work / "a" / "bench" / f"{name}-{number:032x}"
    directory.mkdir(parents=True)
    (directory / "schema.cql").write_text(f"CREATE TABLE bench.{name} (id bigint PRIMARY KEY);\n")
    return directory


def _sstable(directory: Path, name: str, noise: random.Random) -> None:
    for component in _COMPONENTS:
        content = noise.randbytes(BLOCK)
        (directory / f"{name}-{component}").write_bytes(content)
        if component == "Data.db":
            _digest(directory, name, zlib.crc32(content))
    contents = "\n".join([*_COMPONENTS, "Digest.crc32", "TOC.txt"])
    (directory / f"{name}-TOC.txt").write_text(contents.ljust(BLOCK, "\n"))


def _digest(directory: Path, name: str, crc: int) -> None:
    (directory / f"{name}-Digest.crc32").write_text(str(crc).ljust(BLOCK, "\n"))


def _listed(directory: Path, names: list[str]) -> None:
    (directory / "manifest.json").write_text(json.dumps({"files": [f"{name}-Data.db" for name in names]}))
