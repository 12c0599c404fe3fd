"""A node with very many SSTables or very large ones, a store that swallows bytes, and what memory a backup then takes:

python -m tests.unit.agent.scale tebibyte|million|decode|verify|collect|restore DIRECTORY
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

import agent.serve  # noqa: F401  what an agent has loaded
import backends.s3  # noqa: F401
from agent import bundle, catalog, integrity
from agent.backup import BackupHandler
from agent.cache import Cache
from agent.cassandra import Facts
from agent.catalog import TablePath
from agent.integrity import Sums
from agent.job import Job
from agent.journal import Entry, Journal
from agent.layout import Entry as Planned
from agent.protocol import BackupSpec, Kind, Location, Operation, OperationRequest, State
from agent.snapshots import Taken
from agent.sstables import FoundFile, FoundSSTable, FoundTable, Snapshot
from backends.base import BytesBody, Capabilities, ObjectMeta, Part
from backends.checksums import crc32c
from backends.errors import Kind as StoreKind
from backends.errors import StoreError
from tests.fakes.sstables import BIG, table_id
from tests.unit.agent import scale_readers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from backends.base import Body

PAGE = 1000  # keys of a page of a listing, as on S3
TABLES = 25


def snapshot(sstables: int, *, data: int = 3 << 20) -> Snapshot:
    """Eight components each; ``data`` bytes of Data.db. Inodes are numbers, times are of long ago."""
    tables = []
    inode = 1
    for number in range(TABLES):
        table = FoundTable(TablePath("app", f"t{number}", table_id(number)), listed=True)
        directory = f"/data/app/t{number}-{table_id(number)}/snapshots/co-t1"
        for one in range(sstables // TABLES):
            sstable = table.sstables[f"nb-{one}-big"] = FoundSSTable(f"nb-{one}-big")
            for component in BIG:
                size = data if component == "Data.db" else 40 + inode % 4000
                path = f"{directory}/{sstable.name}-{component}"
                sstable.files[component] = FoundFile(component, path, size, 1, inode, 10**18 + inode)
                inode += 1
        tables.append(table)
    return Snapshot(tables)


def crc(path: str | Path) -> int:
    """What a file of that path is taken to have."""
    return crc32c(os.fspath(path).encode())


class Swallowing:
    """A store that keeps sizes, and the bytes of manifests alone. ``requests`` counts as S3 would be asked."""

    name = "swallowing://"
    capabilities = Capabilities()

    def __init__(self) -> None:
        self.sizes: dict[str, int] = {}
        self.kept: dict[str, bytes] = {}
        self.requests = 0
        self.sent = 0
        self._clock = 0

    async def put(self, key: str, body: Body, *, if_absent: bool = False) -> ObjectMeta:
        self.requests += 1
        self._clock += 1
        data = "/data/" in key
        if isinstance(body, BytesBody) and not data:
            self.kept[key] = body._data  # no copy: a real store keeps none in the agent's memory
        self.sent += body.size if data else 0
        self.sizes[key] = body.size
        return ObjectMeta(key, body.size, modified=float(self._clock))

    async def get(self, key: str, *, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        self.requests += 1
        if key not in self.kept:
            raise StoreError(StoreKind.NOT_FOUND, "get", self.name, key, "there is no such object")
        yield self.kept[key]

    async def list(self, prefix: str, *, start_after: str = "") -> AsyncIterator[ObjectMeta]:
        self.requests += 1
        for count, key in enumerate(sorted(key for key in self.sizes if key.startswith(prefix)), start=1):
            self.requests += count % PAGE == 0
            yield ObjectMeta(key, self.sizes[key])

    async def list_uploads(self, prefix: str) -> AsyncIterator[Any]:
        self.requests += 1
        for nothing in ():
            yield nothing

    async def create_upload(self, key: str) -> str:
        self.requests += 1
        return key

    async def upload_part(self, key: str, upload: str, number: int, body: Body) -> Part:
        self.requests += 1
        self.sent += body.size
        return Part(number, body.size, f"{number}", 0)

    async def complete_upload(self, key: str, upload: str, parts: list[Part], *, if_absent: bool = False) -> ObjectMeta:
        self.requests += 1
        self.sizes[key] = sum(part.size for part in parts)
        return ObjectMeta(key, self.sizes[key])

    async def abort_upload(self, key: str, upload: str) -> None:
        self.requests += 1

    async def delete(self, keys: list[str]) -> None:
        self.requests += 1
        for key in keys:
            self.sizes.pop(key, None)
            self.kept.pop(key, None)


class Node:
    """A handler of backups over what ``scan`` finds; its snapshots are there and stay."""

    def __init__(self, root: Path, scan: Callable[[], Snapshot], store: Any = None) -> None:
        self.store = Swallowing() if store is None else store
        self.uploads = root / "uploads"
        self.checksums = Cache(root)
        self._root = root
        self._scan = scan

    async def taken(self, tag: str) -> Taken:
        return Taken(tag=tag, operation="s", at="", facts=Facts(host_id="h", tokens=["1"]))

    async def scan(self, _tag: str) -> Snapshot:
        return await asyncio.to_thread(self._scan)

    async def back_up(self, epoch: str) -> dict[str, Any]:
        @asynccontextmanager
        async def opened(_location: Location) -> AsyncIterator[Any]:
            yield self.store

        spec = BackupSpec(
            location=Location(backup_type="MEMORY", target="x"), cluster="c", datacenter="d", rack="r", node="n",
            tag=f"t-{epoch}", backup_id=epoch, epoch=epoch,
        )  # fmt: skip
        request = OperationRequest(kind=Kind.BACKUP, spec=msgspec.to_builtins(spec))
        operation = Operation(id=epoch, kind=Kind.BACKUP, state=State.RUNNING, revision=0, session="")
        job = Job(Entry(request=request, operation=operation), Journal(self._root / "operations"))
        return await BackupHandler(self, opened).run(job, spec)  # type: ignore[arg-type]


class Listing(Swallowing):
    """Has all of a snapshot but every fiftieth SSTable, which it gets; it knows their names without keeping them."""

    def __init__(self, snapshot_: Snapshot) -> None:
        super().__init__()
        self._snapshot = snapshot_
        self._listed = 0

    async def put(self, key: str, body: Body, *, if_absent: bool = False) -> ObjectMeta:
        meta = await super().put(key, body, if_absent=if_absent)
        if "/data/" in key:
            del self.sizes[key]
        return meta

    async def list(self, prefix: str, *, start_after: str = "") -> AsyncIterator[ObjectMeta]:
        if "/data/" not in prefix:
            async for meta in super().list(prefix):
                yield meta
            return
        self._listed += 1
        for key, size in _keys(self._snapshot, "e0" if self._listed == 1 else "e1"):
            yield ObjectMeta(f"c/d/n/{key}", size)


def _keys(snapshot_: Snapshot, new: str) -> Iterator[tuple[str, int]]:
    """Every fiftieth SSTable has the epoch ``new``; where that is the others', too, it is left out."""
    for table in snapshot_.tables:
        prefix = catalog.table_prefix("h", table.path)
        for number, sstable in enumerate(table.sstables.values()):
            epoch = "e0" if number % 50 else new
            if number % 50 or new != "e0":
                entry = Planned(prefix, sstable, {name: crc(file.path) for name, file in sstable.files.items()})
                for piece in entry.layout():
                    yield f"{entry.directory}{piece.name}-{epoch}", piece.size


def peak() -> int:
    """MiB that this process had at most."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) // 1024


def million(root: Path) -> dict[str, Any]:
    """A fiftieth is new, the rest is there; all is read, as without a cache of earlier backups. Leaves its manifest."""
    integrity.measure = lambda path, size=None, **_: Sums(size or 0, crc(path))  # type: ignore[assignment]
    integrity._data_crc = lambda _sstable, file: crc(file.path)
    bundle.read = lambda item: bytes(item.size)
    found = snapshot(125_000, data=2 << 20)
    node = Node(root, lambda: found, Listing(found))
    result = asyncio.run(node.back_up("e1"))
    told = {"peak": peak(), "files": result["files"]}
    (manifest,) = [data for key, data in node.store.kept.items() if "/manifests/" in key]
    (root / "manifest").write_bytes(manifest)
    return told | {"manifest": len(manifest), "sent": node.store.sent}


def tebibyte(root: Path) -> dict[str, Any]:
    """Four files of 256 GiB, all hole; their bytes are not read, but each of the parts is one."""
    table = FoundTable(TablePath("app", "t", table_id(1)), listed=True)
    for number in range(4):
        sstable = table.sstables[f"nb-{number}-big"] = FoundSSTable(f"nb-{number}-big")
        for component, size in (("Data.db", 256 << 30), ("Digest.crc32", 1)):
            path = root / f"nb-{number}-big-{component}"
            with path.open("wb") as file:
                file.write(b"0")
            os.truncate(path, size)
            sstable.files[component] = FoundFile(component, str(path), size, 1, number + 1, 1)
    node = Node(root, lambda: Snapshot([table]))
    asyncio.run(node.back_up("e1"))
    assert node.store.sent >= 1 << 40, node.store.sent
    return {"requests": node.store.requests}


def decode(root: Path) -> dict[str, Any]:
    """What :func:`million` left."""
    manifest = catalog.decode_manifest((root / "manifest").read_bytes())
    count = sum(len(sstable.components) for table in manifest.tables for sstable in table.sstables)
    assert count == 1_000_000, count
    return {"files": count}


if __name__ == "__main__":
    works = {"tebibyte": tebibyte, "million": million, "decode": decode, **scale_readers.WORKS}
    began = time.monotonic()
    told = works[sys.argv[1]](Path(sys.argv[2]))
    sys.stdout.write(json.dumps({"peak": peak(), "seconds": round(time.monotonic() - began, 1)} | told) + "\n")
