"""The data that is sent: states of a node's snapshot, made once and kept.

    <set>/<state>/<keyspace>/<table>-<id>/…     as below a data directory, of the snapshot alone

The set ``real`` is a real Cassandra's, with two states: ``a``, and ``b`` with about 5 % of the bytes new (an SSTable
more, ten of the small ones compacted into one, some of the tiny tables written to). Equal files of both are one inode,
as they are on a node. The node's own keyspaces are left out, so that every tool sends the same files.
"""

from __future__ import annotations

import random
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import cassandra_node, synthetic
from benchmarks.paths import sets
from dev.bed.paths import locked
from dev.bed.say import note

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.cassandra_node import Cassandra

KEYSPACE = "bench"
OWN = frozenset({"system", "system_distributed", "system_traces"})  # what no restore wants
_POOL = 64 << 20  # bytes of noise that blobs are cut of: far more than a compressor looks back


@dataclass(frozen=True)
class Recipe:
    """``big`` SSTables of ``big_bytes`` each, ``small`` ones of 100 KB, ``tiny`` tables with an SAI index."""

    big: int = 10
    big_bytes: int = 212_000_000
    small: int = 100
    tiny: int = 60


FULL = Recipe()
QUICK = Recipe(big_bytes=21_000_000, small=10, tiny=6)


@dataclass(frozen=True)
class DataSet:
    """Made, and on disk."""

    name: str
    directory: Path

    def state(self, name: str) -> Path:
        return self.directory / name

    def files(self, state: str) -> dict[str, int]:
        """SSTables' files alone, by path below the state: what every tool must bring back. Sizes in bytes."""
        root = self.state(state)
        return {
            str(path.relative_to(root)): path.stat().st_size
            for path in root.rglob("*")
            if path.is_file() and path.name not in BESIDE
        }

    def size(self, state: str = "a") -> int:
        return sum(self.files(state).values())


BESIDE = frozenset({"manifest.json", "schema.cql"})  # Cassandra writes these anew into each snapshot


def ensure(name: str, *, quick: bool) -> DataSet:
    """``real``, ``many`` or ``huge``; made where the cache has it not (minutes)."""
    target = sets(quick=quick) / name
    with locked(f"bench-{target.parent.name}-{name}"):
        if not target.exists():
            note(f"making the data set {name} ...")
            with _building(target) as work:
                _makers(quick=quick)[name](work)
    return DataSet(name, target)


def _makers(*, quick: bool) -> dict[str, Callable[[Path], None]]:
    return {
        "real": lambda work: _real(work, QUICK if quick else FULL),
        "many": lambda work: synthetic.many(work, 250 if quick else 2500),
        "huge": lambda work: synthetic.huge(work, (8 << 30) // (10 if quick else 1)),
    }


@contextmanager
def _building(target: Path) -> Iterator[Path]:
    """A folder that becomes ``target`` when all went well."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".making-", dir=target.parent) as temporary:
        work = Path(temporary) / "made"
        work.mkdir()
        yield work
        work.rename(target)


def _real(work: Path, recipe: Recipe) -> None:
    directory = work.parent / "cassandra"
    directory.mkdir()
    with cassandra_node.running(directory) as node:
        writer = _Writer(node)
        try:
            _state_a(node, writer, recipe)
            node.snapshot("a")
            _state_b(node, writer, recipe)
            node.snapshot("b")
        finally:
            writer.close()
    for state in ("a", "b"):
        for snapshot in sorted((directory / "data").glob(f"*/*/snapshots/{state}")):
            keyspace, table = snapshot.parts[-4], snapshot.parts[-3]
            if keyspace not in OWN:
                (work / state / keyspace).mkdir(parents=True, exist_ok=True)
                snapshot.rename(work / state / keyspace / table)
    shutil.rmtree(directory)


def _state_a(node: Cassandra, writer: _Writer, recipe: Recipe) -> None:
    writer.schema(recipe.tiny)
    for index in range(recipe.big):
        writer.fill("big", recipe.big_bytes, 4 << 10, 64 << 10)
        node.flush(KEYSPACE, "big")
        note(f"  large SSTable {index + 1} of {recipe.big}")
    for _ in range(recipe.small):
        writer.fill("small", 100_000, 512, 4 << 10)
        node.flush(KEYSPACE, "small")
    for index in range(recipe.tiny):
        writer.words(f"tiny_{index:02}", 20)
    node.flush(KEYSPACE)


def _state_b(node: Cassandra, writer: _Writer, recipe: Recipe) -> None:
    writer.fill("big", recipe.big * recipe.big_bytes // 20, 4 << 10, 64 << 10)
    for index in range(max(1, recipe.tiny // 12)):
        writer.words(f"tiny_{index:02}", 20)
    node.flush(KEYSPACE)
    (table,) = (node.data / KEYSPACE).glob("small-*")
    node.compact([str(path) for path in sorted(table.glob("*-Data.db"))[: max(2, recipe.small // 10)]])


class _Writer:
    """Rows by CQL. Blobs are noise: nothing is to be gained by compressing them."""

    def __init__(self, node: Cassandra) -> None:
        cluster: Any = import_module("cassandra.cluster")  # makes threads on import
        self._concurrent: Any = import_module("cassandra.concurrent")
        self._cluster: Any = cluster.Cluster([cassandra_node.ADDRESS], port=node.native)
        self._session: Any = self._cluster.connect()
        self._random = random.Random(6)
        self._pool = self._random.randbytes(_POOL)
        self._row = 0

    def close(self) -> None:
        self._cluster.shutdown()

    def schema(self, tiny: int) -> None:
        replication = "{'class': 'SimpleStrategy', 'replication_factor': 1}"
        # Without a commit log: nothing here needs to survive a crash.
        self._do(f"CREATE KEYSPACE {KEYSPACE} WITH replication = {replication} AND durable_writes = false")
        still = "compaction = {'class': 'SizeTieredCompactionStrategy', 'enabled': 'false'}"
        for table in ("big", "small"):
            self._do(f"CREATE TABLE {KEYSPACE}.{table} (id bigint PRIMARY KEY, value blob) WITH {still}")
        for index in range(tiny):
            table = f"{KEYSPACE}.tiny_{index:02}"
            self._do(f"CREATE TABLE {table} (id bigint PRIMARY KEY, word text) WITH {still}")
            self._do(f"CREATE INDEX tiny_{index:02}_word ON {table} (word) USING 'sai'")

    def fill(self, table: str, size: int, least: int, most: int) -> None:
        """``size`` bytes in blobs of ``least`` to ``most``."""
        self._insert(table, "value", self._blobs(size, least, most))

    def words(self, table: str, count: int) -> None:
        self._insert(table, "word", (f"word {self._random.randrange(1000)}" for _ in range(count)))

    def _insert(self, table: str, column: str, values: Iterator[Any]) -> None:
        statement = self._session.prepare(f"INSERT INTO {KEYSPACE}.{table} (id, {column}) VALUES (?, ?)")
        rows = self._rows(values)
        self._concurrent.execute_concurrent_with_args(self._session, statement, rows, concurrency=64)

    def _rows(self, values: Iterator[Any]) -> Iterator[tuple[int, Any]]:
        for value in values:
            self._row += 1
            yield self._row, value

    def _blobs(self, size: int, least: int, most: int) -> Iterator[bytes]:
        while size > 0:
            length = self._random.randint(least, most)
            start = self._random.randrange(_POOL - length)
            yield self._pool[start : start + length]
            size -= length

    def _do(self, statement: str) -> None:
        self._session.execute(statement, timeout=60)
