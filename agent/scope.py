"""Which tables a backup is of. Pure.

``entities`` are as Cassandra's takeSnapshot has them: ``keyspace`` or ``keyspace.table``; none of them is all tables.
What a restored cluster cannot be read without, its schema and its roles, is in every backup.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from agent.errors import AgentError, Reason
from agent.sstables import SKIPPED

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

ALWAYS = ("system_auth", "system_schema")
_ENTITY = re.compile(r"[A-Za-z0-9_]{1,222}(\.[A-Za-z0-9_]{1,222})?\Z")


def checked(entities: Iterable[str]) -> list[str]:
    """In order, each once, with what is always in it, and no table of a keyspace that is named itself. Empty for all.

    InvalidSpec for what is no name, and for keyspaces of the node's own, which no backup has.
    """
    given = set(entities)
    for name in sorted(given):
        if not _ENTITY.match(name):
            raise AgentError(Reason.INVALID_SPEC, f"{name!r} is neither a keyspace nor a table (keyspace.table)")
        if (keyspace := _keyspace(name)) in SKIPPED:
            message = f"{keyspace} is each node's own and never in a backup: leave {name} out"
            raise AgentError(Reason.INVALID_SPEC, message)
    if not given:
        return []
    given.update(ALWAYS)
    return sorted(name for name in given if name == _keyspace(name) or _keyspace(name) not in given)


def calls(entities: Sequence[str]) -> list[list[str]]:
    """What Cassandra is told, one after the other: it takes keyspaces or tables, never both at once."""
    if not entities:
        return [[]]
    keyspaces = [name for name in entities if "." not in name]
    tables = [name for name in entities if "." in name]
    return [part for part in (keyspaces, tables) if part]


def covers(entities: Collection[str], keyspace: str, table: str) -> bool:
    return not entities or keyspace in entities or f"{keyspace}.{table}" in entities


def check_there(entities: Iterable[str], tables: Mapping[str, Collection[str]]) -> None:
    """``tables`` are the node's, by keyspace. KeyspaceNotFound or TableNotFound, with the names that it has not."""
    names = sorted({*entities} - {*ALWAYS})
    if gone := [name for name in names if _keyspace(name) not in tables]:
        raise AgentError(Reason.KEYSPACE_NOT_FOUND, f"Cassandra has no keyspace {_some(map(_keyspace, gone))}")
    if gone := [name for name in names if "." in name and name.partition(".")[2] not in tables[_keyspace(name)]]:
        raise AgentError(Reason.TABLE_NOT_FOUND, f"Cassandra has no table {_some(gone)}")


def check_snapshot(entities: Collection[str], found: Collection[tuple[str, str]], wanted: Collection[str]) -> None:
    """SnapshotFailed unless the snapshot holds the wanted tables and no others.

    ``found`` are (keyspace, table); ``wanted`` are ``keyspace.table``, those of the keyspaces among ``entities`` too.
    """
    held = {f"{keyspace}.{table}" for keyspace, table in found}
    if stray := sorted(f"{keyspace}.{table}" for keyspace, table in found if not covers(entities, keyspace, table)):
        message = f"the snapshot holds {_some(stray)}, which nobody asked for: take it again"
        raise AgentError(Reason.SNAPSHOT_FAILED, message, retryable=True)
    if gone := sorted(name for name in wanted if name not in held):
        message = f"the snapshot does not hold {_some(gone)}: take it again"
        raise AgentError(Reason.SNAPSHOT_FAILED, message, retryable=True)


def expand(entities: Iterable[str], tables: Mapping[str, Collection[str]]) -> set[str]:
    """``keyspace.table`` of each table that they mean, of those that there are."""
    found = set()
    for name in entities:
        keyspace, dot, table = name.partition(".")
        found.update({f"{keyspace}.{table}"} if dot else {f"{keyspace}.{one}" for one in tables.get(keyspace, ())})
    return found


def _keyspace(entity: str) -> str:
    return entity.partition(".")[0]


def _some(names: Iterable[str]) -> str:
    listed = sorted(set(names))
    return f"{', '.join(listed[:5])}{f' and {len(listed) - 5} more' if len(listed) > 5 else ''}"
