"""What is remembered of a place in a bucket where something lies that nobody needs. Pure.

A ConfigMap for each datacenter and location, without an owner: it must outlive the backups, and the datacenter. It goes
when a cycle of the collector finds nothing left.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from typing import Any

import msgspec
from msgspec import structs

from agent.protocol import Location  # noqa: TC001  msgspec reads the annotation at run time
from controller.clock import parse_rfc3339, rfc3339
from reconcilers import labels
from reconcilers.api.access import Access  # noqa: TC001  likewise
from reconcilers.api.common import KeySelector  # noqa: TC001  likewise

_KEY = "entry.json"
_REMEMBERED = 500  # notes

Object = dict[str, Any]


class Left(msgspec.Struct, rename="camel", omit_defaults=True):
    """Of one node. ``expected``: at most so many objects were given up on purpose. ``empty``: the bucket said that the
    last backup which had this node is forgotten.
    """

    expected: int = 0
    empty: bool = False


class Ended(msgspec.Struct, rename="camel", omit_defaults=True):
    """A run that nobody goes on with, by the epoch of what it sent. ``kept``: nodes of which it is a backup."""

    epoch: str
    kept: list[str] = []


class Entry(msgspec.Struct, rename="camel", omit_defaults=True, kw_only=True):
    """``name`` is the CassandraDataCenter's, ``cluster`` and ``datacenter`` are Cassandra's names. Times are RFC 3339.

    ``notes`` are ``<backup's UID>/<why>``, so that the same is not counted twice; ``cycle`` is the one to come.
    ``ended`` are the runs that left something, and of the others one that has a backup of a node in ``nodes``.
    """

    location: Location
    cluster: str
    datacenter: str
    name: str
    nodes: dict[str, Left]
    since: str
    due: str
    notes: list[str]
    ended: list[Ended] = []
    credentials: str = ""  # name of a Secret
    ca_bundle: KeySelector | None = None
    access: Access | None = None
    cycle: int = 1

    @property
    def due_at(self) -> dt.datetime:
        return parse_rfc3339(self.due)


def name_of(entry: Entry) -> str:
    where = entry.location
    place = [where.backup_type, where.target, where.endpoint, entry.cluster, entry.datacenter, entry.name]
    return f"garbage-{entry.name[:40]}-{hashlib.sha256(msgspec.json.encode(place)).hexdigest()[:10]}"


def config_map(entry: Entry, namespace: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name_of(entry), "namespace": namespace, "labels": {labels.GARBAGE: entry.name[:63]}},
        "data": data(entry),
    }


def data(entry: Entry) -> dict[str, str]:
    return {_KEY: msgspec.json.encode(entry).decode()}


def decode(body: Object) -> Entry | None:
    """None for what is none: somebody's edit."""
    try:
        return msgspec.json.decode(body.get("data", {}).get(_KEY, ""), type=Entry)
    except msgspec.MsgspecError:
        return None


def merged(known: Entry, fresh: Entry) -> Entry:
    """``fresh`` is one note; without nodes it is of a run that left nothing. After the first cycle none is brought
    forward: the next one condemns what is new, too.
    """
    if not fresh.nodes:
        return _went_well(known, fresh.ended)
    if set(fresh.notes) <= set(known.notes):
        return known
    nodes = dict(known.nodes)
    for node, left in fresh.nodes.items():
        before = nodes.get(node, Left())
        nodes[node] = Left(before.expected + left.expected, before.empty or left.empty)
    return structs.replace(
        known,
        nodes=nodes,
        since=max(known.since, fresh.since),
        due=min(known.due, fresh.due) if known.cycle == 1 else known.due,
        notes=[*known.notes, *fresh.notes][-_REMEMBERED:],
        ended=[*known.ended, *fresh.ended][-_REMEMBERED:],
        credentials=fresh.credentials or known.credentials,
        ca_bundle=fresh.ca_bundle or known.ca_bundle,
        access=fresh.access or known.access,
        location=fresh.location,
    )


def _went_well(known: Entry, runs: list[Ended]) -> Entry:
    """Runs that failed no longer explain alone what lies in a node's place. One that says so is enough."""
    told = {node for one in known.ended for node in one.kept}
    news = [one for one in runs if set(one.kept) & set(known.nodes) - told]
    return structs.replace(known, ended=[*known.ended, *news][-_REMEMBERED:])


def next_cycle(entry: Entry, now: dt.datetime, grace: int) -> Entry:
    """``grace`` in seconds."""
    return structs.replace(entry, cycle=entry.cycle + 1, due=past_grace(now, grace))


def past_grace(now: dt.datetime, grace: int) -> str:
    """A little later than that: what was written by ``now`` must be as old as the grace, by the store's clock."""
    margin = min(600, max(5, grace // 100))
    return rfc3339(now + dt.timedelta(seconds=grace + margin))
