"""Medusa's files, as types. Pure: bytes in, checked names out; what cannot be understood is ManifestInvalid."""

from __future__ import annotations

import base64
import re
from typing import NamedTuple

import msgspec

from agent import sstables
from agent.catalog import TablePath
from agent.errors import AgentError, Reason
from agent.sstables import SKIPPED

DATA = "data"
_KEYSPACE = re.compile(r"[A-Za-z0-9_]{1,222}\Z")
_TABLE = re.compile(r"(?P<name>[A-Za-z0-9_]{1,222})-(?P<id>[0-9a-f]{32})(?P<index>\.[A-Za-z0-9_.-]+)?\Z")
_INDEX = re.compile(r"\.[A-Za-z0-9_][A-Za-z0-9_.-]{0,221}\Z")
_HEX = re.compile(r"[0-9a-f]{32}(?:-[0-9]+)?\Z")
_OF_AN_SSTABLE = re.compile(r".*(?:\.db|Digest\.[a-z0-9]+|TOC\.txt)\Z")


class Entry(NamedTuple):
    """An object of Medusa's. ``path`` begins with the node; ``md5`` is hex, of parts with their number, or empty."""

    path: str
    size: int
    md5: str


Files = dict[str, Entry]  # component -> object
Tables = dict[TablePath, dict[str, Files]]  # table or index -> SSTable -> its files


class Place(NamedTuple):
    """A node in Medusa's tokenmap."""

    datacenter: str
    rack: str
    tokens: list[str]


class _Object(msgspec.Struct):
    path: str
    size: int
    MD5: str | None = None


class _Section(msgspec.Struct):
    keyspace: str
    columnfamily: str
    objects: list[_Object]


class _Token(msgspec.Struct):
    tokens: list[int | str] | int | str
    dc: str = ""
    rack: str = ""


class _Version(msgspec.Struct):
    server_type: str = "cassandra"
    release_version: str | None = None


def manifest(data: bytes, node: str) -> Tables:
    """The tables that a restore needs; the node's own (system, system_traces) are left out. Empty tables are kept."""
    try:
        sections = msgspec.json.decode(data, type=list[_Section])
    except msgspec.MsgspecError as error:
        raise _invalid(node, f"its manifest is not as Medusa 0.20 to 0.31 writes it ({error})") from error
    found: Tables = {}
    for section in sections:
        if section.keyspace in SKIPPED:
            continue
        if section.keyspace == "dse":
            raise _invalid(node, "it is of DataStax Enterprise, whose files Apache Cassandra does not read")
        own = _table(node, section.keyspace, section.columnfamily)
        found.setdefault(own, {})
        for one in section.objects:
            _add(found, own, node, one)
    return found


def tokenmap(data: bytes, node: str) -> dict[str, Place]:
    """Every node of the datacenter."""
    try:
        told = msgspec.json.decode(data, type=dict[str, _Token])
    except msgspec.MsgspecError as error:
        raise _invalid(node, f"its tokenmap is not as Medusa 0.20 to 0.31 writes it ({error})") from error
    found = {}
    for name, one in told.items():
        tokens = one.tokens if isinstance(one.tokens, list) else [one.tokens]
        if not one.dc or not tokens:
            raise _invalid(node, f"its tokenmap says no {'tokens' if one.dc else 'datacenter'} of {name}")
        found[name] = Place(one.dc, one.rack or "rack1", [str(token) for token in tokens])
    return found


def version(data: bytes | None, node: str) -> str:
    """Cassandra's; empty where an old Medusa did not write it."""
    if data is None:
        return ""
    try:
        told = msgspec.json.decode(data, type=_Version)
    except msgspec.MsgspecError:
        return ""
    if told.server_type != "cassandra":
        raise _invalid(node, f"it is of {told.server_type}, not of Apache Cassandra")
    return "" if told.release_version in {None, "None", "unknown"} else str(told.release_version)


def comparable(etag: str, md5: str) -> bool:
    """Whether a store's ETag and Medusa's MD5 speak of the same: only S3's do."""
    return bool(_HEX.match(etag) and _HEX.match(md5))


def data_prefixes(tables: Tables) -> list[str]:
    """What is to be listed: up to and with ``data/``."""
    found = set()
    for one in tables.values():
        for components in one.values():
            for entry in components.values():
                parts = entry.path.split("/")
                found.add("/".join(parts[: parts.index(DATA, 1) + 1]) + "/")
    return sorted(found)


def _add(found: Tables, own: TablePath, node: str, one: _Object) -> None:
    parts = one.path.split("/")
    if node not in parts:
        raise _invalid(node, f"its manifest names {one.path!r}, which is not below the node")
    parts = parts[parts.index(node) :]
    if not {"", ".", ".."}.isdisjoint(parts) or DATA not in parts[1:3] or one.size < 0:
        raise _invalid(node, f"its manifest names {one.path!r}, which is not as Medusa 0.20 to 0.31 names objects")
    below = parts[parts.index(DATA, 1) + 1 :]
    parsed = sstables.parse(below[-1])
    if parsed is None or parsed[1][0].isdigit():  # before 3.0 the keyspace and the table stood first
        if _OF_AN_SSTABLE.match(below[-1]):
            raise _invalid(node, f"{one.path!r} is of an SSTable older than Cassandra 3.0")
        return  # what else lay in the directory
    path = own
    if len(below) == 4 and _INDEX.match(below[2]):
        path = TablePath(own.keyspace, own.name, own.id, below[2])
    elif len(below) != 3:
        raise _invalid(node, f"its manifest names {one.path!r}, which is in no table")
    name, component = parsed
    entry = Entry("/".join(parts), one.size, _md5(one.MD5 or ""))
    if found.setdefault(path, {}).setdefault(name, {}).setdefault(component, entry) != entry:
        raise _invalid(node, f"its manifest has {one.path!r} twice, with different contents")


def _table(node: str, keyspace: str, columnfamily: str) -> TablePath:
    """``<table>-<id>``; a secondary index may stand behind a dot."""
    parsed = _TABLE.match(columnfamily)
    if not parsed or not _KEYSPACE.match(keyspace):
        raise _invalid(
            node, f"its table {keyspace}.{columnfamily} has a name that Cassandra 3.0 and later do not write"
        )
    index = parsed["index"] or ""
    if index and not _INDEX.match(index):
        raise _invalid(node, f"the index of {keyspace}.{columnfamily} has an odd name")
    return TablePath(keyspace, parsed["name"], parsed["id"], index)


def _md5(text: str) -> str:
    if _HEX.match(text):
        return text
    try:
        raw = base64.b64decode(text, validate=True)
    except ValueError:
        return ""
    return raw.hex() if len(raw) == 16 else ""


def _invalid(node: str, what: str) -> AgentError:
    return AgentError(Reason.MANIFEST_INVALID, f"the Medusa backup of {node} cannot be migrated: {what}")
