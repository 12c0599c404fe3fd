"""Compressed objects: every range comes back, alone and encrypted, and what is damaged never does."""

from __future__ import annotations

import random
import zlib
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import zstandard

from agent import catalog, coding, segments
from agent.catalog import DATA, Component
from agent.coding import Coding
from agent.contents import Contents
from agent.download import RANGE, Downloader, Wanted
from agent.errors import AgentError, Reason
from agent.flow import Flow
from agent.keys import Key, KeyRing
from agent.plan import Item
from agent.protocol import Fault, Healing, Level, State
from agent.segments import Segments
from backends.base import BytesBody
from backends.checksums import crc32c
from backends.errors import Kind as StoreKind
from backends.errors import StoreError
from backends.helpers import read_all
from tests.fakes.faulty_store import Fault as FaultAt
from tests.fakes.faulty_store import error as store_error
from tests.fakes.sstables import live_files, write_sstable
from tests.unit.agent.backups import PATH
from tests.unit.agent.conftest import digest_of
from tests.unit.agent.test_bundle import expected, restored
from tests.unit.agent.test_encrypted import add_key, back_up
from tests.unit.agent.test_resume import Node
from tests.unit.agent.test_upload import MIB, large
from tests.unit.agent.verifying import Verifications, complete, data_of, flip, users

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.unit.agent.conftest import World

RING = KeyRing([Key(bytes(range(32)))])
CODINGS = {"compressed": Coding(compress=True), "both": Coding(RING, compress=True)}
LARGE = "nb-9-big"


def text(size: int, seed: int = 1) -> bytes:
    """Of words, which shrinks, with noise, which does not."""
    chance = random.Random(seed)
    words = [chance.randbytes(chance.randrange(3, 12)) for _ in range(500)]
    found = bytearray()
    while len(found) < size:
        found += b"".join(chance.choices(words, k=2000)) + chance.randbytes(100)
    return bytes(found[:size])


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments and their least size, so that a few MiB have some of them."""
    monkeypatch.setattr("agent.catalog.encoding.SEGMENT", MIB)
    monkeypatch.setattr(segments, "_LEAST", 900_000)


@pytest.fixture(params=CODINGS)
def node(tmp_path: Path, request: pytest.FixtureRequest) -> Node:
    made = Node(tmp_path)
    made.coding = CODINGS[request.param]
    return made


def planned(node: Node, path: Path, content: bytes, component: str = DATA) -> Item:
    item = large(path, len(content), component)
    path.write_bytes(content)
    made = zlib.crc32(content) if component == DATA else crc32c(content)
    members = tuple(member._replace(crc=made) for member in item.members)
    identity = catalog.identity("h/data/ks/t-1/", "nb-1-big", component, len(content), made)
    encoding = node.coding.encoding(len(content), pays=True)
    return Item(node.coding.name(identity, encoding), len(content), members, bundle=False, epoch="e1")


async def read(node: Node, item: Item, offset: int = 0, length: int | None = None) -> bytes:
    contents = Contents(node.memory, "r/", node.coding)
    return b"".join([piece async for piece in contents.get(f"r/{item.key}", offset=offset, length=length)])


@pytest.mark.parametrize("component", [DATA, "Index.db"])
@pytest.mark.parametrize("size", [2, MIB - 1, MIB, MIB + 1, 3 * MIB, 3 * MIB + 7])
async def test_every_size_comes_back(node: Node, tmp_path: Path, size: int, component: str) -> None:
    content = text(size)
    item = planned(node, tmp_path / "one", content, component)
    await node.send(item, slots=4)
    assert await read(node, item) == content
    assert node.counted == size
    assert node.done == [item.key]
    meta = await node.memory.head(f"r/{item.key}")
    assert item.crc32c == meta.crc32c
    made = node.coding.segments(item.key)
    assert made is not None
    assert made.measure(tmp_path / "one", digest=component == DATA)[:2] == (meta.size, meta.crc32c)


async def test_any_range_is_that_of_the_content(node: Node, tmp_path: Path) -> None:
    content = text(3 * MIB + 7)
    item = planned(node, tmp_path / "one", content)
    await node.send(item)
    chance = random.Random(3)
    for offset in (0, 1, MIB - 1, MIB, 3 * MIB, 3 * MIB + 6, *(chance.randrange(3 * MIB) for _ in range(10))):
        length = chance.randrange(1, 2 * MIB)
        assert await read(node, item, offset, length) == content[offset : offset + length]


async def test_what_shrinks_is_smaller_but_for_the_least_size_of_a_part(node: Node, tmp_path: Path) -> None:
    item = planned(node, tmp_path / "one", bytes(3 * MIB))
    await node.send(item)
    sizes = [900_000, 900_000, 200]
    size = (await node.memory.head(f"r/{item.key}")).size
    assert sum(sizes[:2]) <= size < sum(sizes) + 300
    assert await read(node, item) == bytes(3 * MIB)


async def test_what_does_not_shrink_hardly_grows(node: Node, tmp_path: Path) -> None:
    item = planned(node, tmp_path / "one", random.Random(1).randbytes(2 * MIB))
    await node.send(item)
    assert (await node.memory.head(f"r/{item.key}")).size < 2 * MIB + 1000


SPOILT: dict[str, Callable[[bytes], bytes]] = {
    "a bit of the header": lambda data: bytes([data[0] ^ 1]) + data[1:],
    "a bit of the first segment": lambda data: data[:5000] + bytes([data[5000] ^ 1]) + data[5001:],
    "cut": lambda data: data[:-1],
    "cut in the header": lambda data: data[:7],
    "longer inside": lambda data: data[:5000] + b"\0" * 100 + data[5000:],
    "plain": lambda data: text(len(data), 7),
}


@pytest.mark.parametrize("how", SPOILT)
async def test_what_was_changed_is_corrupt(node: Node, tmp_path: Path, how: str) -> None:
    content = text(3 * MIB)
    item = planned(node, tmp_path / "one", content)
    await node.send(item)
    whole = await read_all(node.memory, f"r/{item.key}", 9 * MIB)
    await node.memory.put(f"r/{item.key}", BytesBody(SPOILT[how](whole)))
    with pytest.raises(StoreError) as caught:
        await read(node, item)
    assert caught.value.kind is StoreKind.CORRUPT


async def test_encrypted_segments_keep_their_places(tmp_path: Path) -> None:
    """Two of one size, which change places."""
    node = Node(tmp_path)
    node.coding = CODINGS["both"]
    item = planned(node, tmp_path / "one", bytes(MIB) + b"\1" * MIB + b"\2" * 10)
    await node.send(item)
    made = node.coding.segments(item.key)
    assert made is not None
    whole = await read_all(node.memory, f"r/{item.key}", 9 * MIB)
    one, other, _ = made.read_header(whole[: made.header_size])
    assert one == other
    begin = made.header_size
    swapped = whole[begin + one : begin + 2 * one] + whole[begin : begin + one]
    await node.memory.put(f"r/{item.key}", BytesBody(whole[:begin] + swapped + whole[begin + 2 * one :]))
    with pytest.raises(StoreError) as caught:
        await read(node, item)
    assert caught.value.kind is StoreKind.CORRUPT


async def test_a_bomb_never_unfolds(tmp_path: Path) -> None:
    """A segment that says it is 1 MiB and is 1 GiB."""
    node = Node(tmp_path)
    node.coding = CODINGS["compressed"]
    bomb = zstandard.ZstdCompressor().compress(bytes(1 << 28))
    item = planned(node, tmp_path / "one", text(1000))
    made = Segments(1000, None)
    await node.memory.put(f"r/{item.key}", BytesBody(made.header([len(bomb)]) + bomb))
    with pytest.raises(StoreError) as caught:
        await read(node, item)
    assert "more than its 1000 bytes" in str(caught.value)


async def test_the_next_try_sends_what_is_missing_and_the_first_part_last(node: Node, tmp_path: Path) -> None:
    content = text(5 * MIB + 1)
    item = planned(node, tmp_path / "one", content)
    await node.fails_after(3, item)
    (upload,) = [one async for one in node.memory.list_uploads("")]
    assert [part.number for part in await node.memory.list_parts(upload.key, upload.id)] == [2, 3, 4]
    await node.send(item)
    assert node.store.calls["upload_part"] == 3
    assert await read(node, item) == content


async def test_a_first_part_of_an_earlier_try_is_never_kept(node: Node, tmp_path: Path) -> None:
    """It has the sizes of the others, which may be others now."""
    content = text(3 * MIB)
    item = planned(node, tmp_path / "one", content)
    node.store.fail("complete_upload", FaultAt(store_error(StoreKind.UNAVAILABLE)))
    with pytest.raises(StoreError):
        await node.send(item)
    await node.send(item)
    assert node.store.calls["upload_part"] == 1
    assert await read(node, item) == content


async def test_without_the_journal_it_begins_anew(node: Node, tmp_path: Path) -> None:
    content = text(4 * MIB)
    item = planned(node, tmp_path / "one", content)
    await node.fails_after(2, item)
    (node.directory / "t1").unlink()
    await node.send(item)
    assert node.store.calls["upload_part"] == 4
    assert await read(node, item) == content


@pytest.mark.parametrize("size", [1000, 3 * MIB])
@pytest.mark.parametrize("component", [DATA, "Index.db"])
async def test_a_file_that_changed_becomes_no_object(node: Node, tmp_path: Path, size: int, component: str) -> None:
    item = planned(node, tmp_path / "one", text(size), component)
    (tmp_path / "one").write_bytes(text(size, 2))
    with pytest.raises(AgentError) as caught:
        await node.send(item)
    assert caught.value.reason is Reason.SNAPSHOT_GONE
    assert not [meta async for meta in node.memory.list("")]


def uncompressed(world: World) -> None:
    """A table without CompressionInfo.db, beside one with it."""
    write_sstable(users(world), LARGE, size=10, without=("CompressionInfo.db",))
    replace_data(users(world), LARGE, text(3 * MIB + 5))
    (users(world) / f"{LARGE}-Index.db").write_bytes(text(2 * MIB, 4))
    (users(world) / f"{LARGE}-Filter.db").write_bytes(text(2 * MIB, 5))
    toc = users(world) / f"{LARGE}-TOC.txt"
    toc.write_text(toc.read_text().replace("CompressionInfo.db\n", ""))
    write_sstable(users(world), "nb-8-big", size=2 * MIB)


def replace_data(directory: Path, name: str, content: bytes) -> None:
    (directory / f"{name}-Data.db").write_bytes(content)
    (directory / f"{name}-Digest.crc32").write_text(str(zlib.crc32(content)))


@pytest.fixture(params=["compressed", "both"])
def compressing(world: World, request: pytest.FixtureRequest) -> World:
    uncompressed(world)
    if request.param == "both":
        add_key(world)
    world.settings = replace(world.settings, compress=True)
    return world


async def test_what_is_compressed_restores_and_is_reused(compressing: World) -> None:
    world = compressing
    first, _ = await back_up(world)
    packed = [one.key.split("/")[-2:] for one in first.objects if catalog.encoding_in(one.key).compressed]
    assert {(sstable, name.partition("~")[0]) for sstable, name in packed} == {(LARGE, DATA), (LARGE, "Index.db")}
    second, done = await back_up(world, 2)
    assert second.objects[0].key.endswith("-e1")
    assert [(one.key, one.size) for one in second.objects] == [(one.key, one.size) for one in first.objects]
    listed = {meta.key: meta.size async for meta in world.memory.list(PATH.root)}
    assert all(listed[PATH.root + one.key] == one.size for one in second.objects)
    target = world.root / "target"
    codings = coding.from_files(world.settings.encryption_keys)
    operation = await restored(world.memory, digest_of(done).digest, target, "t2", codings=codings)
    assert operation.state is State.SUCCEEDED, operation.error
    assert live_files(target / "data") == expected(world)


async def test_switched_off_it_is_sent_plain(compressing: World) -> None:
    world = compressing
    await back_up(world)
    world.settings = replace(world.settings, compress=False)
    second, _ = await back_up(world, 2)
    assert not any(catalog.encoding_in(one.key).compressed for one in second.objects)
    assert {one.key.split("/")[-2] for one in second.objects if one.key.endswith("-e2")} == {LARGE}


async def test_every_level_looks_at_it_and_healing_makes_the_same_again(compressing: World) -> None:
    world = compressing
    verify = Verifications(world)
    async with world.agent() as agent:
        manifest = await complete(world, agent)
        key = data_of(manifest, LARGE)
        before = await read_all(world.memory, PATH.root + key, 9 * MIB)
        for level in Level:
            assert (await verify(agent, level=level)).intact
        await flip(world.memory, key, at=7000)
        for level in (Level.HASH, Level.READ):
            (finding,) = (await verify(agent, level=level)).findings
            assert finding.fault is Fault.DAMAGED
        (finding,) = (await verify(agent, level=Level.HASH, heal=True)).findings
        assert finding.healing is Healing.HEALED, finding.healing_detail
        assert await read_all(world.memory, PATH.root + key, 9 * MIB) == before


async def test_what_is_compressed_otherwise_by_now_heals_nothing(
    compressing: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by another version of zstd: the manifests have the size and the checksum of what was sent."""
    world = compressing
    async with world.agent() as agent:
        manifest = await complete(world, agent)
        key = data_of(manifest, LARGE)
        await world.memory.delete([PATH.root + key])
        monkeypatch.setattr(segments, "_LEVEL", 9)
        (finding,) = (await Verifications(world)(agent, level=Level.SIZE, heal=True)).findings
    assert finding.healing is Healing.NOT_TRIED
    assert "compresses otherwise" in finding.healing_detail
    assert PATH.root + key not in await world.keys()


def test_numbers_of_segments_fit_every_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    for size in (1, 16 * MIB, 16 * MIB + 1, 14 << 30, (14 << 30) + 1, segments.LARGEST):
        made = Segments(size, None)
        offset, length = made.range(made.count)
        assert offset + length == size
        assert length > 0
        assert made.count <= 900
        assert made.size <= 64 * MIB
    assert CODINGS["both"].encoding(segments.LARGEST + 1, pays=True).compressed is False


def test_a_range_of_a_restore_is_a_segment_where_those_are_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each would be fetched for every range that has something of it."""
    monkeypatch.undo()
    size = 30 << 30
    identity = catalog.identity("h/data/ks/t-1/", "nb-1-big", DATA, size, 7)
    for made, expected_size in ((CODINGS["both"], Segments(size, None).size), (Coding(RING), RANGE)):
        key = f"{made.name(identity, made.encoding(size, pays=True))}-e1"
        wanted = Wanted(Component(DATA, size, 7), key, tmp_path / "one")
        reader = Downloader(Contents(Node(tmp_path).memory, "", made), "", Flow(1), count=print, done=print)
        lengths = {work.args[1] for work in reader._ranges([wanted], set(), None)}  # type: ignore[arg-type,attr-defined]
        assert lengths == set(range(0, size, expected_size))


def test_a_compressed_object_is_of_no_other_encoding() -> None:
    identity = catalog.identity("h/data/ks/t-1/", "nb-1-big", DATA, 5, 7)
    names = {identity}
    for one in (*CODINGS.values(), Coding(RING)):
        name = one.name(identity, one.encoding(5, pays=True))
        assert catalog.split_key(f"{name}-e1") == (name, "e1")
        assert catalog.size_in(name) == 5
        assert catalog.encoding_in(name) == catalog.encoding_in(f"{name}-e1") == one.encoding(5, pays=True)
        names.add(name)
    assert len(names) == 4
