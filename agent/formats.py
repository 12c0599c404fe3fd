"""What an SSTable of each format is made of, by names and sizes alone. Pure.

``<version>-<id>-<format>``: BIG (``ma`` to ``me`` of 3.x, ``na`` and ``nb`` of 4.x, ``nb`` and ``oa`` of 5.0) and BTI
(``da`` of 5.0). A version or a component that is not known here is kept as bytes, and judged as the known ones of its
format. Of a format that is not known nothing may be missing that its TOC names, and it has to have one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.catalog import DATA

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

TOC = "TOC.txt"
VERSIONS = {"big": frozenset({"la", "lb", "ma", "mb", "mc", "md", "me", "na", "nb", "oa"}), "bti": frozenset({"da"})}
# Cassandra rebuilds or does without every other component; without one of these it does not open the SSTable.
_ALWAYS = {
    "big": (DATA, "Statistics.db", "Index.db"),
    "bti": (DATA, "Statistics.db", "Partitions.db", "Rows.db"),
}
_CHUNKS = "CompressionInfo.db"  # where compressed chunks begin; without compression there is CRC.db
_MAY_BE_EMPTY = frozenset({"Rows.db"})  # while every partition is short
_NEWER_BIG = "oa"  # a node in the mode CASSANDRA_4 does not open BIG from here on


def split(sstable: str) -> tuple[str, str, str]:
    """(version, id, format)."""
    version, _, rest = sstable.partition("-")
    identifier, _, kind = rest.rpartition("-")
    return version, identifier, kind


def missing(sstable: str, sizes: Mapping[str, int], toc: Collection[str] | None) -> list[str]:
    """Components without which this is no whole SSTable; ``toc``: what its TOC names, None without one.

    An SSTable that was streamed as a whole has no TOC (SSTableZeroCopyWriter writes none; seen on 5.0.6 after a
    bootstrap): then it must have what says how its Data.db is to be read.
    """
    kind = split(sstable)[2]
    if kind not in _ALWAYS:
        if not toc:
            return [TOC]
        return [name for name in sorted({DATA, *toc}) if name not in sizes or (name == DATA and not sizes[name])]
    needed = list(_ALWAYS[kind])
    if toc is None:
        needed += [_CHUNKS] if "CRC.db" not in sizes else []
    elif _CHUNKS in toc:
        needed.append(_CHUNKS)
    return [name for name in needed if not (name in sizes if name in _MAY_BE_EMPTY else sizes.get(name))]


def unknown(sstables: Iterable[str]) -> list[str]:
    """``<version>-<format>`` of those that this agent was not made for, each once."""
    found = {(version, kind) for version, _, kind in map(split, sstables)}
    return sorted(f"{version}-{kind}" for version, kind in found if version not in VERSIONS.get(kind, ()))


def has_uuid_id(sstable: str) -> bool:
    """Such files need ``uuid_sstable_identifiers_enabled``: a node without it does not start (CASSANDRA-17048)."""
    return "_" in split(sstable)[1]


def needs_cassandra_5(sstable: str) -> bool:
    """Such files need another ``storage_compatibility_mode`` than the default."""
    version, _, kind = split(sstable)
    return kind == "big" and version >= _NEWER_BIG
