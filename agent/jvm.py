"""Pure: the JVM's options for a memory limit, and how they get into the files that the image brought.

Figures: with 512 MiB, the user's own limit, ``-Xmx176M`` and the small settings below gave 350 MB of anonymous memory
on Cassandra 5.0 with JDK 17 (docs/design, test bed); the textbook half does not fit. From 4 GiB on it is the textbook:
a half, 16 GiB at most, and 31 GiB where 64 GiB and more are given (compressed pointers end at 32).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MIB = 1 << 20
BEGIN = "# --- the agent's, rendered anew at every start; lines above that spoke of heap or collector were dropped"
END = "# --- end of the agent's"

_TINY = 1024  # MiB; below, the code cache and stacks matter
_TEXTBOOK = 4096
_SERIAL = 2048
_OVERHEAD = 160  # MiB that a JVM with Cassandra takes beside heap and buffers
# Heap sizes and the choice of a collector, in every spelling of 3.11 to 5.0; G1's and CMS's own switches go with it.
_CHOICE = re.compile(
    r"\s*(-Xm[snx]\S+|-XX:[+-]?(Use(Serial|Parallel|ParallelOld|G1|ConcMarkSweep|ParNew|Z|Shenandoah)GC|G1\w+|CMS\w+"
    r"|UseCMS\w+|MaxGCPauseMillis|InitiatingHeapOccupancyPercent|ParallelGCThreads|ConcGCThreads|SurvivorRatio"
    r"|MaxTenuringThreshold|ParallelRefProcEnabled|InitialHeapSize|MaxHeapSize|MaxDirectMemorySize|MaxRAMPercentage"
    r"|ZGenerational)\b.*)\Z"
)
_TINY_CHOICE = re.compile(r"\s*(-Xss\S+|-XX:[+-]?(AlwaysPreTouch|ReservedCodeCacheSize|TieredStopAtLevel)\b.*)\Z")


@dataclass(frozen=True, slots=True)
class Memory:
    """In MiB. None for a cache: Cassandra's own default."""

    heap: int
    options: tuple[str, ...]
    file_cache: int | None = None
    networking_cache: int | None = None
    tiny: bool = False


def memory(limit: int | None) -> Memory | None:
    """For Cassandra's memory limit in bytes. None without one: then the image's own defaults hold."""
    if limit is None:
        return None
    total = limit // MIB
    if total >= _TEXTBOOK:
        most = 31 if total >= 64 * 1024 else 16
        heap = min(total // 2, most * 1024)
        options = (f"-Xms{heap}M", f"-Xmx{heap}M", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=300")
        return Memory(heap, options)
    heap = max(64, (total - _OVERHEAD) // 2)
    direct = max(32, total // 8)
    collector = "-XX:+UseSerialGC" if total < _SERIAL else "-XX:+UseG1GC"
    options = (f"-Xms{heap // 2}M", f"-Xmx{heap}M", collector, f"-XX:MaxDirectMemorySize={direct}M")
    caches = max(8, total // 32), max(4, total // 64)
    if total >= _TINY:
        return Memory(heap, options, *caches)
    small = ("-XX:TieredStopAtLevel=1", "-XX:ReservedCodeCacheSize=48M", "-Xss320k")
    return Memory(heap, options + small, *caches, tiny=True)


def without_choices(text: str, chosen: Memory | None) -> str:
    """An options file of the image, without our own block and without what ours replaces."""
    kept = []
    ours = False
    for line in text.splitlines():
        if line == BEGIN:
            ours = True
        elif line == END:
            ours = False
        elif not ours and not (chosen and (_CHOICE.match(line) or (chosen.tiny and _TINY_CHOICE.match(line)))):
            kept.append(line)
    return "\n".join(kept).rstrip("\n") + "\n"


def with_options(text: str, chosen: Memory | None, extra: tuple[str, ...]) -> str:
    """The main options file: the image's lines, then ours. Rendering it again changes nothing."""
    lines = [*(chosen.options if chosen else ()), *extra]
    block = "\n".join([BEGIN, *lines, END])
    return f"{without_choices(text, chosen)}{block}\n"
