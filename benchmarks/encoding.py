"""What encoding costs: one large component through the agent's own upload and download, plain and encrypted.

    python -m benchmarks.encoding [--size MIB] [--rounds N] [--directory DIR]

The store is a directory (by default of the memory file system), so that what is measured is the agent and not a disk.
CPU seconds are of the whole process, with all its threads.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import tempfile
import time
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from agent import catalog
from agent.catalog import DATA, Component
from agent.coding import Coding
from agent.contents import Contents
from agent.download import Downloader, Wanted
from agent.flow import Flow
from agent.keys import Key, KeyRing
from agent.plan import Item, Member
from agent.sstables import FoundFile
from agent.upload import Uploader
from backends.file import FileStore

if TYPE_CHECKING:
    from collections.abc import Awaitable

CODINGS = {"plain": Coding(), "encrypted": Coding(KeyRing([Key(bytes(range(32)))]))}


class Figure(NamedTuple):
    """Of one step: wall and CPU seconds."""

    wall: float
    cpu: float


async def measured(work: Awaitable[object]) -> Figure:
    wall, cpu = time.perf_counter(), time.process_time()
    await work
    return Figure(time.perf_counter() - wall, time.process_time() - cpu)


async def session(coding: Coding, source: Path, size: int, crc: int, directory: Path) -> tuple[Figure, Figure]:
    """(backup, restore)."""
    identity = coding.name(catalog.identity("h/data/ks/t-1/", "nb-1-big", DATA, size, crc))
    item = Item(identity, size, (Member(FoundFile(DATA, source, size), crc),), bundle=False, epoch="e1")
    (directory / "store").mkdir(exist_ok=True)
    store = await FileStore.open(directory / "store")
    sender = Uploader(store, "r/", Flow(8), count=lambda _: None, done=lambda _: None, coding=coding)
    backup = await measured(sender.send([item]))
    wanted = Wanted(Component(DATA, size, crc, 0), item.key, directory / "restored")
    reader = Downloader(Contents(store, "r/", coding), "r/", Flow(8), count=lambda _: None, done=lambda _: None)
    restore = await measured(reader.fetch([wanted], []))
    (directory / "restored").unlink()
    await store.delete([f"r/{item.key}"])
    await store.close()
    return backup, restore


def source_of(path: Path, size: int) -> int:
    """Noise; its CRC32."""
    crc = 0
    with path.open("wb") as file:
        for _ in range(size):
            piece = os.urandom(1 << 20)
            crc = zlib.crc32(piece, crc)
            file.write(piece)
    return crc


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=512, metavar="MIB")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--directory", type=Path, default=Path("/dev/shm"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.directory) as name:
        directory = Path(name)
        crc = source_of(directory / "source", arguments.size)
        found: dict[tuple[str, str], list[Figure]] = {}
        for _ in range(arguments.rounds):
            for kind, coding in CODINGS.items():
                pair = asyncio.run(session(coding, directory / "source", arguments.size << 20, crc, directory))
                for step, figure in zip(("backup", "restore"), pair, strict=True):
                    found.setdefault((kind, step), []).append(figure)
    gigabytes = arguments.size * (1 << 20) / 1e9
    for (kind, step), figures in found.items():
        wall, cpu = (statistics.median(column) for column in zip(*figures, strict=True))
        print(f"{kind:<10} {step:<8} {gigabytes * 1000 / wall:8.0f} MB/s  {cpu / gigabytes:6.2f} CPU s/GB")


if __name__ == "__main__":
    main()
