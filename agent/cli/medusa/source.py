"""A Medusa backup in its bucket: which nodes it has, and whether what its manifests name is still there."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING, NamedTuple

from isal.isal_zlib import crc32

from agent import discovery, records
from agent.cli.medusa import layout
from agent.errors import AgentError, Reason
from backends.checksums import crc32c
from backends.helpers import read_all
from backends.streams import closing

if TYPE_CHECKING:
    from agent.cli.medusa.layout import Entry, Place, Tables
    from backends.base import ObjectStore

MAX_MANIFEST = 512 << 20


class MedusaNode(NamedTuple):
    name: str
    place: Place
    tables: Tables
    version: str
    schema: bytes
    made: float  # epoch seconds: when its manifest was written

    @property
    def files(self) -> int:
        return sum(len(components) for table in self.tables.values() for components in table.values())

    @property
    def bytes(self) -> int:
        return sum(
            entry.size
            for table in self.tables.values()
            for components in table.values()
            for entry in components.values()
        )


class Source:
    """``store`` begins where the nodes are: at Medusa's prefix."""

    def __init__(self, store: ObjectStore, backup: str) -> None:
        self.store = store
        self._backup = backup

    async def places(self) -> dict[str, Place]:
        """Every node of the backup. BackupNotFound; ManifestMissing when a node of its ring has none."""
        found = await self._names()
        if not found:
            message = f"{self.store.name} has no Medusa backup {self._backup}: is --from its bucket with the prefix?"
            raise AgentError(Reason.BACKUP_NOT_FOUND, message)
        places: dict[str, Place] = {}
        for name in found:
            if name not in places:
                text = await self._meta(name, "tokenmap.json")
                if text is None:
                    raise self._missing(name, "tokenmap.json")
                ring = layout.tokenmap(text, name)
                if name not in ring:
                    message = f"the tokenmap of {name} has other names ({', '.join(ring)}): which tokens are its own?"
                    raise AgentError(Reason.MANIFEST_INVALID, message)
                places |= {other: place for other, place in ring.items() if other not in places}
        if absent := sorted(set(places) - set(found)):
            message = f"the Medusa backup {self._backup} is not complete: {', '.join(absent)} never finished it"
            raise AgentError(Reason.MANIFEST_MISSING, message)
        return places

    async def node(self, name: str, place: Place) -> MedusaNode:
        """Checked by name and size, but nothing of its data is read."""
        text = await self._meta(name, "manifest.json")
        if text is None:
            raise self._missing(name, "manifest.json")
        meta = await self.store.head(self._path(name, "manifest.json"))
        return MedusaNode(
            name, place, await asyncio.to_thread(layout.manifest, text, name),
            layout.version(await self._meta(name, "server_version.json"), name),
            await self._meta(name, "schema.cql") or b"", meta.modified,
        )  # fmt: skip

    async def check(self, node: MedusaNode) -> None:
        """By the listing. Objects that are gone, and names that a later backup wrote over, make it worthless."""
        wanted = {
            entry.path: entry
            for table in node.tables.values()
            for components in table.values()
            for entry in components.values()
        }
        wrong = []
        for prefix in layout.data_prefixes(node.tables):
            async with closing(self.store.list(prefix)) as listing:
                async for meta in listing:
                    entry = wanted.pop(meta.key, None)
                    if entry is None:
                        continue
                    if meta.size != entry.size:
                        wrong.append(f"{meta.key} has {meta.size} bytes, the manifest says {entry.size}")
                    elif layout.comparable(meta.etag, entry.md5) and meta.etag != entry.md5:
                        wrong.append(f"{meta.key} has other bytes than the manifest says (MD5)")
        wrong += [f"{path} is not there" for path in sorted(wanted)]
        if wrong:
            more = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
            message = (
                f"the Medusa backup {self._backup} of {node.name} is damaged: {wrong[0]}{more};"
                " medusa verify says the same, migrate another backup"
            )
            raise AgentError(Reason.OBJECT_MISSING, message)

    async def read(self, entry: Entry) -> bytes:
        """A small object, whole and checked. Corrupt when it is not what the manifest says."""
        data = await self._get(entry)
        if entry.md5 and "-" not in entry.md5 and hashlib.md5(data, usedforsecurity=False).hexdigest() != entry.md5:
            # With KMS an ETag looks like an MD5 and is none: then bytes that come twice the same are believed.
            again = await self._get(entry)
            meta = await self.store.head(entry.path)
            if again != data or not layout.comparable(meta.etag, entry.md5) or meta.etag != entry.md5:
                raise _corrupt(self.store.name, entry, "its bytes are not those of its MD5")
        return data

    async def checksum(self, entry: Entry, *, data: bool) -> int:
        """Of an object of any size, read through: CRC32 of ``data``, else CRC32C, which the store may know."""
        if not data and (known := (await self.store.head(entry.path)).crc32c) is not None:
            return known
        crc, size = 0, 0
        async with closing(self.store.get(entry.path)) as chunks:
            async for chunk in chunks:
                crc = crc32(chunk, crc) if data else crc32c(chunk, crc)
                size += len(chunk)
        if size != entry.size:
            raise _corrupt(self.store.name, entry, f"the store gave {size} bytes of {entry.size}")
        return crc

    async def _get(self, entry: Entry) -> bytes:
        data = await read_all(self.store, entry.path, entry.size)
        if len(data) != entry.size:
            raise _corrupt(self.store.name, entry, f"the store gave {len(data)} bytes of {entry.size}")
        return data

    async def _names(self) -> list[str]:
        """By Medusa's index; where that is gone, node by node."""
        prefix = f"index/backup_index/{self._backup}/manifest_"
        async with closing(self.store.list(prefix)) as listing:
            found = [meta.key.removeprefix(prefix).removesuffix(".json") async for meta in listing]
        if found:
            return found
        return [
            name
            async for name in discovery.segments(self.store)
            if name != "index" and await self._meta(name, "manifest.json") is not None
        ]

    def _path(self, name: str, file: str) -> str:
        return f"{name}/{self._backup}/meta/{file}"

    async def _meta(self, name: str, file: str) -> bytes | None:
        return await records.find(self.store, self._path(name, file), MAX_MANIFEST)

    def _missing(self, name: str, file: str) -> AgentError:
        message = f"the Medusa backup {self._backup} of {name} is not whole: {self._path(name, file)} is not there"
        return AgentError(Reason.MANIFEST_MISSING, message)


def _corrupt(store: str, entry: Entry, what: str) -> AgentError:
    return AgentError(Reason.CORRUPT, f"{store}/{entry.path} is damaged: {what}", retryable=True)
