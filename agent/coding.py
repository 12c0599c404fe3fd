"""What an object's name says of its encoding, done: the one place between what is on a node and what is in a bucket.

The name tells which key, so whoever reads or sends an object asks for its name and cannot take another encoding. What a
new backup writes is decided by ``Coding.name``: the current key's, or none.

Names and manifests hold no checksum of a content that is encrypted. A name has a keyed hash of it; a manifest's ``crc``
is masked with a number that only the key tells, another one for each component and content.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from msgspec import structs

from agent import catalog, keys
from agent.catalog import MANIFEST_FORMAT, PLAIN_FORMAT, Encoding
from agent.frames import Sealer
from agent.keys import KeyRing
from agent.segments import LARGEST, Segments

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from agent.catalog import Manifest, SSTable, StoredObject
    from agent.keys import Key

    Sums = Callable[[str, int], int]


Codings: TypeAlias = "Callable[[], Coding]"  # what handlers get: keys are read when a piece of work begins


class Coding:
    """Of one piece of work: keys that are added meanwhile are the next one's."""

    def __init__(self, ring: KeyRing | None = None, *, compress: bool = False) -> None:
        self.ring = ring or KeyRing()
        self.compress = compress

    @property
    def format(self) -> int:
        """Of a manifest that is written: the lowest that says it, so that older agents read what they can."""
        return MANIFEST_FORMAT if self.compress or self.ring.current is not None else PLAIN_FORMAT

    @property
    def key_ids(self) -> list[str]:
        """What is written now needs them."""
        return [self.ring.current.id] if self.ring.current is not None else []

    def encoding(self, content: int, *, pays: bool = False) -> Encoding:
        """Of what is written now; ``pays``: it would be smaller compressed."""
        key = self.ring.current
        if key is None and not self.compress:
            return catalog.PLAIN
        return Encoding("" if key is None else key.id, self.compress and pays and content <= LARGEST)

    def name(self, identity: str, encoding: Encoding) -> str:
        """The identity of what would have this one plain, in the encoding that :meth:`encoding` told."""
        if encoding == catalog.PLAIN:
            return identity
        key = self.ring.current
        hashed = "" if key is None else key.derive("name", identity.encode(), 16).hex()
        return catalog.encoded_identity(identity, encoding, hashed)

    def writes(self, identity: str) -> bool:
        """An object of that name has today's encoding."""
        key = self.ring.current
        return catalog.encoding_in(identity).key_id == ("" if key is None else key.id)

    def sums(self, identity: str) -> Sums:
        """(component, its ``crc``) -> what a manifest has as its ``crc``, and back: it is its own inverse.

        EncryptionKeyMissing.
        """
        key_id = catalog.encoding_in(identity).key_id
        return _masked(self.ring.find(key_id), identity) if key_id else _same

    def sealer(self, key: str) -> Sealer | None:
        """For the object of that key, relative to the node's root; None for a plain one. EncryptionKeyMissing."""
        identity, _ = catalog.split_key(key)
        key_id = catalog.encoding_in(identity).key_id
        return Sealer(self.ring.find(key_id), key, catalog.size_in(identity)) if key_id else None

    def segments(self, key: str) -> Segments | None:
        """For the object of that key; None for one that is not compressed. EncryptionKeyMissing."""
        if not catalog.encoding_in(key).compressed:
            return None
        return Segments(catalog.size_in(catalog.split_key(key)[0]), self.sealer(key))

    def has(self, key: str) -> bool:
        """The key of this object is here, or it needs none."""
        key_id = catalog.encoding_in(key).key_id
        return not key_id or key_id in self.ring

    def check(self, objects: Iterable[StoredObject]) -> None:
        """EncryptionKeyMissing where one of them cannot be read."""
        for key_id in sorted({catalog.encoding_in(one.key).key_id for one in objects} - {""}):
            self.ring.find(key_id)

    def reveal(self, manifest: Manifest) -> Manifest:
        """It, with the checksums as they are; masked ones stay where the key is not here. Blocks."""
        if manifest.format < MANIFEST_FORMAT:
            return manifest
        for table in manifest.tables:
            table.sstables = catalog.mapped(table.sstables, lambda one: self._revealed(one, manifest.objects))
        return manifest

    def _revealed(self, sstable: SSTable, objects: Sequence[StoredObject]) -> SSTable:
        known: dict[int, Sums] = {-1: _same}  # an SSTable has few objects
        components = []
        for one in sstable.components:
            if one.object not in known:
                known[one.object] = self._own(objects[one.object].key)
            components.append(structs.replace(one, crc=known[one.object](one.name, one.crc)))
        return structs.replace(sstable, components=components)

    def _own(self, key: str) -> Sums:
        return self.sums(catalog.split_key(key)[0]) if self.has(key) else _same


AS_IT_IS = Coding()


def from_files(path: Path | None, *, compress: bool = False) -> Codings:
    """Of what :func:`keys.read` says. The call blocks."""
    return lambda: Coding(keys.read(path), compress=compress)


def _masked(key: Key, identity: str) -> Sums:
    def sums(component: str, crc: int) -> int:
        return crc ^ int.from_bytes(key.derive("mask", f"{identity}\n{component}".encode(), 4))

    return sums


def _same(_component: str, crc: int) -> int:
    return crc
