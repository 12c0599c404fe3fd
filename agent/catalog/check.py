"""A manifest's names become paths on a disk, its sizes reads: they are held to what the agent would have written."""

from __future__ import annotations

import itertools
import re
from array import array
from typing import TYPE_CHECKING

from agent.catalog.keys import is_bundle, size_in, split_key, stored_size
from agent.catalog.manifest import MANIFEST_FORMAT
from agent.errors import AgentError, Reason

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agent.catalog.keys import TablePath
    from agent.catalog.manifest import Component, Manifest, StoredObject, Table

_KEYSPACE = re.compile(r"[A-Za-z0-9_]{1,222}\Z")
_TABLE_ID = re.compile(r"[0-9a-f]{32}\Z")
_INDEX = re.compile(r"\.[A-Za-z0-9_][A-Za-z0-9_.-]{0,221}\Z")
_SSTABLE = re.compile(r"[a-z]{2,8}-[0-9a-z_]{1,64}-[a-z]{1,16}\Z")
_COMPONENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,221}\Z")


def check_manifest(manifest: Manifest) -> None:
    """Names that climb out, sizes that do not add up, objects that are not there: ManifestInvalid."""
    _check_format(manifest.format)
    bundles: list[bool] = []
    contents = array("Q")  # bytes of what is in each
    for stored in manifest.objects:
        identity = _check_object(stored)
        bundles.append(is_bundle(identity))
        contents.append(size_in(identity))
    seen: dict[TablePath, set[str]] = {}
    owned = bytearray(len(bundles))  # an SSTable has something of the object
    shared: set[int] = set()
    for table in manifest.tables:
        _check_table(table)
        names = seen.setdefault(table.path, set())
        for sstable in table.sstables:
            if not _SSTABLE.match(sstable.name) or sstable.name in names:
                raise invalid(f"odd SSTable {sstable.name!r}, or one that is in it twice")
            names.add(sstable.name)
            components = list(sstable.components)
            if len({component.name for component in components}) < len(components):
                raise invalid(f"a component of {sstable.name} is in it twice")
            for component in components:
                _check_component(component, bundles, contents)
            _check_ranges(manifest, [components])
            for index in {component.object for component in components if component.size}:
                if owned[index]:
                    shared.add(index)
                owned[index] = 1
    if shared:
        every = (sstable.components for table in manifest.tables for sstable in table.sstables)
        _check_ranges(manifest, ([one for one in components if one.object in shared] for components in every))


def _check_ranges(manifest: Manifest, every: Iterable[list[Component]]) -> None:
    """No two lie over each other."""
    taken = sorted((one.object, one.offset, one.offset + one.size) for many in every for one in many if one.size)
    for (one, _, end), (other, begin, _) in itertools.pairwise(taken):
        if one == other and begin < end:
            raise invalid(f"two components lie over each other in {manifest.objects[one].key}")


def _check_format(found: int) -> None:
    if found > MANIFEST_FORMAT:
        raise invalid(newer(found, MANIFEST_FORMAT))
    if found < 1:
        raise invalid(f"it has format {found}, this agent reads 1 to {MANIFEST_FORMAT}")


def _check_object(stored: StoredObject) -> str:
    """Its identity."""
    found, _ = split_key(stored.key)
    if not found or not {"", ".", ".."}.isdisjoint(stored.key.split("/")) or stored.size != stored_size(found):
        raise invalid(f"odd object {stored.key!r} of {stored.size} bytes")
    if not -1 <= stored.crc32c < 1 << 32:
        raise invalid(f"odd checksum of {stored.key!r}")
    return found


def _check_table(table: Table) -> None:
    good = _KEYSPACE.match(table.keyspace) and _KEYSPACE.match(table.name) and _TABLE_ID.match(table.id)
    if not good or (table.index and not _INDEX.match(table.index)):
        raise invalid(f"odd table {table.path.relative!r}")


def _check_component(component: Component, bundles: list[bool], contents: array[int]) -> None:
    """One of no bytes has no object. A plain object is one component, a bundle's members lie inside of it."""
    if not _COMPONENT.match(component.name):
        raise invalid(f"odd component {component.name!r}")
    if component.size == 0 and component.object == -1:
        return
    if not 0 <= component.object < len(bundles) or component.size <= 0 or not 0 <= component.crc < 1 << 32:
        raise invalid(f"{component.name} points at no object")
    whole = contents[component.object]
    if component.offset < 0 or component.offset + component.size > whole:
        raise invalid(f"{component.name} reaches past its object")
    if not bundles[component.object] and component.size != whole:
        raise invalid(f"{component.name} is a part of an object that is no bundle")


def newer(found: int, ours: int) -> str:
    return f"it has format {found}, and this agent reads up to {ours}: use the version of the agent that wrote it"


def invalid(what: str) -> AgentError:
    return AgentError(Reason.MANIFEST_INVALID, f"the node's manifest cannot be used: {what}")
