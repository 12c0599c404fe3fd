"""What reads the manifest that ``scale million`` left, and what memory it takes. See scale.py.

The store has it, the cluster record, and what the manifest names, as sizes that are listed; of a download it gives
zeros, and the disk swallows them.
"""

from __future__ import annotations

import asyncio
import io
import json
from contextlib import asynccontextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any

import msgspec
import zstandard

from agent import catalog, download, ranges, restore, staged
from agent.catalog import NodePath
from agent.collector import CollectHandler
from agent.job import Job
from agent.journal import Entry, Journal
from agent.protocol import (
    ClusterRecord,
    CollectSpec,
    Kind,
    Level,
    Location,
    Operation,
    OperationRequest,
    RecordedNode,
    RestorePlan,
    State,
    VerifySpec,
)
from agent.turns import Turns
from agent.verify_run import VerifyHandler
from backends.base import Capabilities, ObjectMeta
from backends.errors import Kind as StoreKind
from backends.errors import StoreError
from backends.streams import closing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from agent.operations import Handler
    from backends.streams import Sink

PATH = NodePath("c", "d", "n")
WHERE = Location(backup_type="MEMORY", target="x")
TRANSFERRED = 500  # large files, and bundles, that a restore really fetches; of the rest it knows that it has to


class Bucket:
    """``orphans``: keys that nobody needs are listed beside the others, one for ten."""

    name = "bucket://"
    capabilities = Capabilities()

    def __init__(self, manifest: Path, *, orphans: bool = False) -> None:
        self._manifest = manifest
        self._orphans = orphans
        data = manifest.read_bytes()
        self.digest = catalog.digest(data)
        node = RecordedNode(node="n", rack="r", host_id="h", digest=self.digest)
        record = ClusterRecord(format=1, tag="t-e1", backup_id="e1", cluster="c", datacenter="d", nodes=[node])
        self.small = {catalog.record_key("c", "t-e1", "d"): msgspec.json.encode(record)}
        self._key = PATH.manifest("t-e1")
        self._size = len(data)

    @asynccontextmanager
    async def opened(self, _location: Location) -> AsyncIterator[Any]:
        yield self

    async def get(self, key: str, *, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        if "/data/" in key:
            yield bytes(length or 0)
        elif key == self._key:
            with self._manifest.open("rb") as file:
                while piece := file.read(1 << 20):
                    yield piece
        elif key in self.small:
            yield self.small[key]
        else:
            raise StoreError(StoreKind.NOT_FOUND, "get", self.name, key, "there is no such object")

    async def pour(self, key: str, sink: Sink, *, offset: int = 0, length: int | None = None) -> AsyncIterator[int]:
        async with closing(self.get(key, offset=offset, length=length)) as chunks:
            async for chunk in chunks:
                sink(chunk)
                yield len(chunk)

    async def list(self, prefix: str, *, start_after: str = "") -> AsyncIterator[ObjectMeta]:
        for key in sorted([*self.small, self._key]):
            if key.startswith(prefix):
                yield ObjectMeta(key, self._size, modified=1.0)
        if PATH.root.startswith(prefix):
            for number, (key, size) in enumerate(_objects(self._manifest)):
                yield ObjectMeta(PATH.root + key, size, modified=1.0)
                if self._orphans and number % 10 == 0:
                    yield ObjectMeta(f"{PATH.root}{key}x", size, modified=1.0)

    async def list_uploads(self, prefix: str) -> AsyncIterator[Any]:
        for nothing in ():
            yield nothing


def _objects(manifest: Path) -> Iterator[tuple[str, int]]:
    """(key, size), a line at a time."""
    with manifest.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as reader:
        for line in io.BufferedReader(reader, 1 << 16):
            if line.startswith(b'["h/data/'):
                key, size, *_ = json.loads(line.rstrip(b",\n"))
                yield key, size


def _run(root: Path, handler: Handler, kind: Kind, spec: Any) -> dict[str, Any]:
    request = OperationRequest(kind=kind, spec=msgspec.to_builtins(spec))
    operation = Operation(id="o", kind=kind, state=State.RUNNING, revision=0, session="")
    job = Job(Entry(request=request, operation=operation), Journal(root / "operations"))
    return asyncio.run(handler.run(job, spec))


def verify(root: Path) -> dict[str, Any]:
    """Names and sizes of all, and a little is read, as each day."""
    bucket = Bucket(root / "manifest")
    spec = VerifySpec(location=WHERE, cluster="c", datacenter="d", node="n", level=Level.READ, share=1e-6)
    found = _run(root, VerifyHandler(bucket.opened, [], root), Kind.VERIFY, spec)
    assert (found["objects"], found["missing"]) == (250_000, 0), found
    return {"objects": found["objects"]}


def collect(root: Path) -> dict[str, Any]:
    bucket = Bucket(root / "manifest", orphans=True)
    spec = CollectSpec(location=WHERE, cluster="c", datacenter="d", node="n", dry_run=True)
    found = _run(root, CollectHandler(bucket.opened, Turns()), Kind.COLLECT, spec)
    assert (found["live"], found["candidates"]) == (250_000, 25_000), found
    return {"objects": found["objects"]}


class _Swallowed(staged.Staged):
    def __init__(self, path: Path, size: int, *, large: bool) -> None:
        self.path = path
        self.direct = False
        self.descriptor = self._direct = -1  # none is open

    def flush(self) -> None: ...
    def publish(self) -> None: ...


class _Writer(ranges.RangeWriter):
    """The checksum is what is expected, the bytes go nowhere."""

    def __call__(self, data: bytes | memoryview, /) -> None:
        self._position += len(data)


def restoring(root: Path) -> dict[str, Any]:
    fetched = []

    class Downloader(download.Downloader):
        async def fetch(self, large: Any, small: Any) -> None:
            await super().fetch(islice(large, TRANSFERRED), islice(small, TRANSFERRED))
            fetched.append(
                await asyncio.to_thread(lambda: sum(1 for _ in large) + sum(len(one.files) for one in small))
            )

    def release(file: Any, *_: str) -> staged.Staged | None:
        return file._staged if len(file.sums) * file.range >= file.wanted.component.size else None

    restore.Downloader = Downloader  # type: ignore[misc]
    restore._verify_sstable = lambda *_: None
    restore._check_space = lambda *_: None
    download.RangeWriter = _Writer  # type: ignore[misc]
    download.Staged = _Swallowed  # type: ignore[misc]
    download._Large.release = release  # type: ignore[method-assign]
    download._wrong = lambda *_: []
    download.write_members = lambda _data, members: [_Swallowed(path, 0, large=False) for _, path, _ in members]
    bucket = Bucket(root / "manifest")
    plan = RestorePlan(
        restore_id="r", location=WHERE, cluster="c", datacenter="d", node="n", tag="t-e1", digest=bucket.digest
    )
    handler = restore.RestoreHandler(bucket.opened, (root / "data",), root / "state")
    assert _run(root, handler, Kind.RESTORE, plan) == {"restored": True}
    (left,) = fetched
    assert left == 1_000_000 - TRANSFERRED * 8, left
    return {"files": 1_000_000}


WORKS = {"verify": verify, "collect": collect, "restore": restoring}
