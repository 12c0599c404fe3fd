"""One node's SSTables, from Medusa's objects to ours: the small ones read and bundled, the large ones copied."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from isal.isal_zlib import crc32

from agent import formats
from agent.catalog import BUNDLED, DATA, size_in
from agent.errors import AgentError, Reason
from agent.flow import each
from agent.formats import TOC
from agent.plan import Plan
from agent.sstables import DIGEST, FoundFile, FoundSSTable, FoundTable, Snapshot
from backends.base import BytesBody
from backends.checksums import crc32c

if TYPE_CHECKING:
    from agent.catalog import NodePath, TablePath
    from agent.cli.medusa.layout import Entry, Files
    from agent.cli.medusa.source import MedusaNode, Source
    from agent.cli.medusa.stores import Stores
    from agent.flow import Flow
    from agent.job import Job
    from agent.plan import Planned
    from agent.reservation import Reservation

HOST_ID = "medusa"  # in place of what Medusa does not record; below it lies what was migrated
_WORKERS = 16


@dataclass(frozen=True, slots=True)
class Tools:
    """What every step of one migration needs."""

    job: Job
    epoch: str
    stores: Stores
    source: Source
    flow: Flow


class Copier:
    """One node's SSTables. ``plan`` has them all afterwards; ``known`` is what the store had before, and keeps."""

    def __init__(self, tools: Tools, path: NodePath, known: dict[str, str], claim: Reservation) -> None:
        self._condemned, self._other = claim.condemned, claim.other_epoch()
        self.plan = Plan(HOST_ID, tools.epoch, full=False, condemned=self._condemned, other=self._other)
        self._tools = tools
        self._path = path
        self._known = known
        self._dropped = 0

    async def copy(self, node: MedusaNode) -> Snapshot:
        """The node's tables as a backup sees a snapshot."""
        tables = {path: FoundTable(path) for path in sorted(node.tables)}
        todo = [(path, name, files) for path, table in node.tables.items() for name, files in sorted(table.items())]

        async def one(item: tuple[TablePath, str, Files]) -> None:
            path, name, files = item
            if (sstable := await self._sstable(tables[path], name, files)) is not None:
                tables[path].sstables[name] = sstable
            else:
                self._dropped += 1

        await each(todo, _WORKERS, one)
        return Snapshot(list(tables.values()), self._dropped)

    async def _sstable(self, table: FoundTable, name: str, entries: Files) -> FoundSSTable | None:
        """None for one that was still being written when Medusa's snapshot was taken."""
        small = [one for one in entries if 0 < entries[one].size <= BUNDLED]
        async with self._tools.flow.slot(sum(entries[one].size for one in small), whole=True):
            data = {one: await self._read(entries[one]) for one in small}
            if missing := _missing(name, entries, data.get(TOC)):
                if TOC not in entries:
                    return None
                message = f"{name} of {table.path.relative} has no {', '.join(missing)} in the Medusa backup"
                raise AgentError(Reason.CORRUPT, f"{message} of {self._path.node}: a restore of it fails too")
            crcs = await self._checksums(name, table, entries, data)
            sstable = FoundSSTable(name)
            for one, entry in sorted(entries.items()):
                sstable.files[one] = FoundFile(one, entry.path, entry.size)
            single = Plan(HOST_ID, self._tools.epoch, full=False, condemned=self._condemned, other=self._other)
            for plan in (single, self.plan):
                plan.add(table, sstable, crcs)
            for identity in list(single.identities()):
                if epoch := self._known.get(identity):
                    single.see(f"{identity}-{epoch}", size_in(identity))
            send, reuse = single.settle()
            self._tools.job.reused(reuse.files, reuse.size)
            for item in send:
                await self._send(item, entries, data)
        self._tools.job.file_done(len(entries) - reuse.files - sum(item.count for item in send))
        return sstable

    async def _read(self, entry: Entry) -> bytes:
        await self._tools.flow.bucket.take(entry.size)
        return await self._tools.source.read(entry)

    async def _checksums(self, name: str, table: FoundTable, entries: Files, data: dict[str, bytes]) -> dict[str, int]:
        """Of every component with bytes; a small Data.db is held to its Digest."""
        crcs = {one: crc32(content) if one == DATA else crc32c(content) for one, content in data.items()}
        digest = _digest(data.get(DIGEST))
        if digest is not None and crcs.get(DATA, digest) != digest:
            message = f"{name}-{DATA} of {table.path.relative} in the Medusa backup of {self._path.node} is damaged"
            raise AgentError(Reason.CORRUPT, f"{message}: it does not match its Digest.crc32; migrate another backup")
        for one, entry in entries.items():
            if entry.size > BUNDLED:
                is_data = one == DATA
                known = digest if is_data else None
                crcs[one] = await self._tools.source.checksum(entry, data=is_data) if known is None else known
        return crcs

    async def _send(self, item: Planned, entries: Files, data: dict[str, bytes]) -> None:
        tools, key = self._tools, self._path.root + item.key
        if item.bundle:
            body = BytesBody(b"".join([data[member.file.component] for member in item.members]))
            await tools.stores.target.put(key, body)
            tools.job.count(item.size)
        else:
            (member,) = item.members
            await tools.stores.copy(
                entries[member.file.component], key, bucket=tools.flow.bucket, count=tools.job.count
            )
        tools.job.file_done(len(item.members))


def _missing(sstable: str, entries: Files, toc: bytes | None) -> list[str]:
    """As ``FoundSSTable.missing``: what Cassandra does not open the SSTable without."""
    named = None if toc is None else toc.decode("ascii", errors="replace").split()
    return formats.missing(sstable, {name: entry.size for name, entry in entries.items()}, named)


def _digest(text: bytes | None) -> int | None:
    try:
        value = int((text or b"").decode("ascii").strip())
    except ValueError:
        return None
    return value if 0 <= value < 1 << 32 else None
