"""The rows that go in, and the picture of everything that must come back: rows, write times, expiry, schema, indexes.

Writes are acknowledged by all replicas, and a picture is taken of one node at a time with consistency ONE: with as many
replicas as nodes the coordinator answers from its own disk, so a node that lost something is seen, not masked.
"""

from __future__ import annotations

import datetime as dt
import difflib
import time
import uuid
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dev.scenario.cql import Session

SHOP, JOURNAL = "shop", "journal"
KEYSPACES = (SHOP, JOURNAL)
ROWS = 10_000
CUSTOMERS = 50
CITIES = ("Bern", "Lima", "Oslo", "Pune", "Suva")
TTL = 10 * 86400
_SHOWN, _WIDTH = 10, 600
_CLOCKS = 5.0  # seconds by which an expiry may seem to differ: a TTL is told in whole seconds, by other clocks

_TABLES = (
    """CREATE TABLE shop.orders (
        id int PRIMARY KEY, customer text, city text, amount decimal, placed timestamp, note text)""",
    "CREATE INDEX orders_by_customer ON shop.orders (customer)",
    "CREATE INDEX orders_by_city ON shop.orders (city) USING 'sai'",
    """CREATE TABLE journal.events (
        day int, entry uuid, tags set<text>, marks list<int>, facts map<text, text>, body text,
        PRIMARY KEY (day, entry)) WITH CLUSTERING ORDER BY (entry DESC)""",
)
# Per table: the key's columns, and the others.
_COLUMNS = {
    "shop.orders": (("id",), ("customer", "city", "amount", "placed", "note")),
    "journal.events": (("day", "entry"), ("tags", "marks", "facts", "body")),
}
_INSERT_ORDER = "INSERT INTO shop.orders (id, customer, city, amount, placed, note) VALUES (?,?,?,?,?,?)"
_INSERT_ENTRY = (
    f"INSERT INTO journal.events (day, entry, tags, marks, facts, body) VALUES (?,?,?,?,?,?) USING TTL {TTL}"
)
_EXPIRING = ("journal.events", "body")


@dataclass
class Picture:
    """What a cluster holds. Rows are text by table and key, so that pictures compare and differences can be shown."""

    rows: dict[str, dict[str, str]] = field(default_factory=dict)
    expiry: dict[str, float] = field(default_factory=dict)  # seconds since 1970, by key
    schema: list[str] = field(default_factory=list)
    answers: dict[str, list[int]] = field(default_factory=dict)  # of the indexes

    def count(self) -> int:
        return sum(len(rows) for rows in self.rows.values())


def create_schema(session: Session, datacenter: str, replicas: int) -> None:
    """``datacenter`` by its name in Cassandra."""
    for keyspace in KEYSPACES:
        session.do(
            f"CREATE KEYSPACE {keyspace} WITH replication ="
            f" {{'class': 'NetworkTopologyStrategy', '{datacenter}': {replicas}}}"
        )
    for statement in _TABLES:
        session.do(statement)


def write(session: Session, rows: int = ROWS) -> None:
    """Half of the rows to each keyspace; the same rows each time."""
    session.write(_INSERT_ORDER, (_order(number) for number in range(rows - rows // 2)))
    session.write(_INSERT_ENTRY, (_entry(number) for number in range(rows // 2)))


def write_order(session: Session, number: int) -> None:
    """One more row, as ``write`` makes it."""
    session.write(_INSERT_ORDER, [_order(number)])


def orders(session: Session) -> set[int]:
    """The ids of all orders."""
    return {row[0] for row in session.rows("SELECT id FROM shop.orders")}


def write_numbers(session: Session, keyspace: str, datacenter: str, count: int = 100) -> None:
    """A keyspace of one replica with one table, ``numbers``: for what needs rows, and not many. Can be said twice."""
    replication = {"class": "NetworkTopologyStrategy", datacenter: 1}
    session.do(f"CREATE KEYSPACE IF NOT EXISTS {keyspace} WITH replication = {replication}")
    session.do(f"CREATE TABLE IF NOT EXISTS {keyspace}.numbers (n int PRIMARY KEY)")
    session.write(f"INSERT INTO {keyspace}.numbers (n) VALUES (?)", [(n,) for n in range(count)])


def numbers(session: Session, keyspace: str) -> list[int]:
    return sorted(row[0] for row in session.rows(f"SELECT n FROM {keyspace}.numbers"))


def picture(session: Session) -> Picture:
    taken = Picture()
    for table, (key, values) in _COLUMNS.items():
        taken.rows[table] = dict(_read(session, table, key, values))
    table, column = _EXPIRING
    key = _COLUMNS[table][0]
    for row in session.rows(f"SELECT {', '.join(key)}, ttl({column}) FROM {table}"):
        if row[-1] is not None:
            taken.expiry[_text(row[:-1])] = time.time() + row[-1]
    for keyspace in KEYSPACES:
        described = session.rows(f"DESCRIBE KEYSPACE {keyspace} WITH INTERNALS")
        taken.schema += sorted(row[-1] for row in described)
    for column, each in [*(("customer", _customer(n)) for n in range(CUSTOMERS)), *(("city", city) for city in CITIES)]:
        found = session.rows(f"SELECT id FROM shop.orders WHERE {column} = %s", (each,))
        taken.answers[f"{column} = {each}"] = sorted(row[0] for row in found)
    return taken


def differences(before: Picture, after: Picture) -> list[str]:
    """What is not the same, in words; of many the first few."""
    found: list[str] = []
    for table in before.rows.keys() | after.rows.keys():
        found += _between(table, before.rows.get(table, {}), after.rows.get(table, {}))
    for question in before.answers.keys() | after.answers.keys():
        had, has = set(before.answers.get(question, ())), set(after.answers.get(question, ()))
        if had != has:
            found.append(f"index, {question}: lost {sorted(had - has)}, found besides {sorted(has - had)}")
    for key in before.expiry.keys() | after.expiry.keys():
        was, now = before.expiry.get(key), after.expiry.get(key)
        if was is None or now is None or abs(was - now) > _CLOCKS:
            found.append(f"expiry of {key}: {was} became {now}")
    was_schema, is_schema = ("\n".join(each.schema).splitlines() for each in (before, after))
    found += difflib.unified_diff(was_schema, is_schema, "schema before", "schema after", lineterm="", n=1)
    shown = [each if len(each) <= _WIDTH else f"{each[:_WIDTH]}..." for each in found[:_SHOWN]]
    return [*shown, f"and {len(found) - _SHOWN} more differences"] if len(found) > _SHOWN else shown


def _between(what: str, before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[str]:
    for key in sorted(before.keys() | after.keys()):
        if before.get(key) != after.get(key):
            yield f"{what} {key}: {before.get(key, 'absent')} became {after.get(key, 'absent')}"


def _read(session: Session, table: str, key: Sequence[str], values: Sequence[str]) -> Iterator[tuple[str, str]]:
    columns = [*key, *values, *(f"writetime({each})" for each in values)]
    for row in session.rows(f"SELECT {', '.join(columns)} FROM {table}"):
        yield _text(row[: len(key)]), _text(row[len(key) :])


def _text(value: Any) -> str:
    """One form for equal values, whichever container the driver chose for them."""
    if isinstance(value, str | bytes):
        return repr(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(sorted(f"{_text(k)}: {_text(v)}" for k, v in value.items())) + "}"
    if isinstance(value, AbstractSet):
        return "{" + ", ".join(sorted(map(_text, value))) + "}"
    if isinstance(value, Sequence):
        return "[" + ", ".join(map(_text, value)) + "]"
    return repr(value)


def _customer(number: int) -> str:
    return f"customer-{number % CUSTOMERS:02d}"


def _order(number: int) -> tuple[Any, ...]:
    placed = dt.datetime(2024, 1, 1, tzinfo=dt.UTC) + dt.timedelta(minutes=number)
    amount = Decimal(number * 37 % 100_000) / 100
    return number, _customer(number), CITIES[number % len(CITIES)], amount, placed, _noise(number, 160)


def _entry(number: int) -> tuple[Any, ...]:
    name = uuid.uuid5(uuid.NAMESPACE_OID, str(number))
    tags = {f"tag-{number % 7}", f"tag-{number % 11}"}
    facts = {"number": str(number), "parity": "even" if number % 2 == 0 else "odd"}
    return number % 100, name, tags, [number, number // 2, number % 3], facts, _noise(number, 120)


def _noise(number: int, length: int) -> str:
    """Text that compresses badly, so that there is something to transfer; the same for the same number."""
    return "".join(uuid.uuid5(uuid.NAMESPACE_URL, f"{number}.{part}").hex for part in range(length // 32 + 1))[:length]
