"""Very many entries in little memory: manifests' SSTables and objects, and the keys that a verification wants."""

from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from agent import catalog
from agent.catalog import Component, SSTable, StoredObject, stream
from agent.catalog.packed import Packed, mapped
from agent.download import Run, Wanted
from agent.errors import AgentError
from agent.key_table import Keys
from agent.todo import Todo
from agent.wanted import Objects, Piece
from tests.unit.agent.test_catalog import KEY, manifest

if TYPE_CHECKING:
    from collections.abc import Sequence

COUNT = 1_000  # of blocks, the last one is not full


def objects(count: int) -> list[StoredObject]:
    return [StoredObject(f"{KEY}{at}", at, at - 1) for at in range(count)]


@pytest.mark.parametrize("count", [0, 1, 255, 256, 257, COUNT])
def test_what_goes_in_comes_out(count: int) -> None:
    packed = Packed(StoredObject)
    for one in objects(count):
        packed.append(one)
    assert len(packed) == count
    assert list(packed) == list(packed) == objects(count)
    order = random.Random(1).sample(range(-count, count), 2 * count)
    assert [packed[at] for at in order] == [objects(count)[at] for at in order]
    assert packed[3:500:7] == objects(count)[3:500:7]
    assert packed == objects(count)
    with pytest.raises(IndexError):
        packed[count]


def test_it_grows_after_it_was_read() -> None:
    packed = Packed(StoredObject)
    for one in objects(COUNT):
        packed.append(one)
        assert packed[-1] == one
    assert packed == objects(COUNT)


def test_what_is_mapped_is_changed_once_however_often_it_is_asked_for() -> None:
    packed = Packed(StoredObject)
    for one in objects(COUNT):
        packed.append(one)
    for entries in (packed, objects(COUNT)):
        found = mapped(entries, lambda one: msgspec.structs.replace(one, size=one.size + 1))
        wanted = [StoredObject(one.key, one.size + 1, one.crc32c) for one in objects(COUNT)]
        assert len(found) == COUNT
        assert list(found) == list(found) == wanted
        assert [found[at] for at in (7, 7, -1)] == [wanted[at] for at in (7, 7, -1)]
        assert found[3:9] == wanted[3:9]
    assert packed == objects(COUNT)


@pytest.mark.parametrize(
    "texts",
    [[b'["a",1],["b",2]'], [b'["a', b'b",1]'], [b'["a",1'], [b'["a",1]]', b'[["b",2]'], [b'["a","b"]'], [b""]],
    ids=["two", "half", "open", "outside", "another type", "nothing"],
)
def test_an_entry_is_one(texts: list[bytes]) -> None:
    with pytest.raises(msgspec.MsgspecError):
        Packed(StoredObject).extend_json(texts)


def test_a_large_manifest_is_the_same_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = manifest()
    whole.objects = [StoredObject(KEY.replace("nb-1-", f"nb-{at}-"), 10) for at in range(COUNT)]
    whole.tables[0].sstables = [SSTable(f"nb-{at}-big", [Component("Data.db", 10, 7, at)]) for at in range(COUNT)]
    plain = catalog.decode_manifest(catalog.encode(whole))
    assert plain == whole
    assert isinstance(plain.objects, list)
    monkeypatch.setattr(stream, "_LEAN", 0)
    packed = catalog.decode_manifest(catalog.encode(whole))
    assert isinstance(packed.objects, Packed)
    assert packed == whole
    assert catalog.encode(packed) == catalog.encode(whole)


def test_what_stands_in_a_tables_own_line_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """No agent writes it so; what is left out of a restore unseen is the worst of all."""
    text = zstandard.decompress(catalog.encode(manifest()), 1 << 20)
    inline = text.replace(b'"sstables":[\n', b'"sstables":[').replace(b"]]]\n]}", b"]]]]}")
    assert inline != text
    for lean in (0, 1 << 20):
        monkeypatch.setattr(stream, "_LEAN", lean)
        assert catalog.decode_manifest(zstandard.compress(inline)) == manifest()


def test_a_torn_line_of_a_packed_manifest_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "_LEAN", 0)
    text = zstandard.decompress(catalog.encode(manifest()), 1 << 20)
    torn = text.replace(b'["nb-1-big"', b'["nb-1-big",[]],["nb-2-big"')
    assert torn != text
    with pytest.raises(AgentError, match="more or less than one"):
        catalog.decode_manifest(zstandard.compress(torn))


SEGMENT = st.text("ab", max_size=2)


@given(st.lists(st.lists(SEGMENT, min_size=1, max_size=5).map("/".join), max_size=200), st.lists(SEGMENT, max_size=9))
def test_keys_are_numbered_as_they_come(added: list[str], others: Sequence[str]) -> None:
    keys = Keys()
    known: dict[str, int] = {}
    for key in added:
        assert keys.add(key) == known.setdefault(key, len(known))
    assert list(keys) == list(known)
    for key in (*added, *others):
        assert keys.find(key) == known.get(key)


def test_many_keys_are_found() -> None:
    keys = Keys()
    names = [f"h/data/ks/t-{at % 3}/nb-{at}-big/b~1-{at}-ä" for at in range(COUNT)]
    assert [keys.add(name) for name in names] == [*range(COUNT)]
    assert [keys.find(name) for name in names] == [*range(COUNT)]
    assert keys[10:20] == names[10:20]


def test_an_object_that_is_needed_again_stays_what_it_was() -> None:
    found = Objects()
    for backup, pieces in ((1, [(0, 4)]), (2, [(4, 6)]), (4, [(0, 4)]), (8, [(0, 4), (4, 6)])):
        found.need(StoredObject("a/b/c", 10), [Piece(begin, size, 7, data=False) for begin, size in pieces], backup)
    assert [(one.offset, one.size) for one in found["a/b/c"].pieces] == [(0, 4), (4, 6)]
    assert found["a/b/c"].backups == 15
    found.need(StoredObject("a/b/d", 5, 9), [], 2)
    assert {key: (one.size, one.crc32c) for key, one in found.items()} == {"a/b/c": (10, -1), "a/b/d": (5, 9)}
    found.keep(1)
    assert list(found) == ["a/b/c"]
    assert (len(found), found.size()) == (1, 10)
    found.need(StoredObject("a/b/d", 5), [], 4)
    assert (found["a/b/d"].backups, found["a/b/d"].crc32c) == (4, 9)


def test_large_files_come_first() -> None:
    def file(name: str, size: int) -> Wanted:
        return Wanted(Component(name, size, 0, 0), name, Path("/d") / name)

    todo = Todo()
    todo.add([file("A", 2 << 20), file("B", 0), file("C", 5)], [file("A", 2 << 20), file("B", 0)])
    todo.add([file("D", 8 << 20)], [file("D", 8 << 20)])
    assert [one.key for one in todo.large()] == ["D", "A"]
    assert list(todo.small()) == [Run("B", 0, 0, [file("B", 0)])]
    assert (todo.files, todo.size, todo.files_left, todo.left) == (4, (10 << 20) + 5, 3, 10 << 20)
