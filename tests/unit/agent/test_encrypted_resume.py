"""A large encrypted object goes on where it was, is the same bytes whoever sends it, and is never of two contents."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest

from agent import catalog
from agent.catalog import DATA, FRAME, OVERHEAD
from agent.coding import Coding
from agent.contents import Contents
from agent.errors import AgentError, Reason
from agent.keys import Key, KeyRing
from agent.plan import Item
from backends.helpers import read_all
from tests.unit.agent.test_resume import Node, damage, forget, nothing, tear
from tests.unit.agent.test_upload import MIB, bundle, large

if TYPE_CHECKING:
    from pathlib import Path

CODING = Coding(KeyRing([Key(bytes(range(32)))]))


@pytest.fixture
def node(tmp_path: Path) -> Node:
    made = Node(tmp_path)
    made.coding = CODING
    return made


def encrypted(item: Item, coding: Coding = CODING) -> Item:
    (member,) = item.members
    identity = catalog.identity("h/data/ks/t-1/", "nb-1-big", member.file.component, item.size, member.crc)
    return Item(coding.name(identity), item.size, item.members, bundle=False, epoch="e1")


async def holds(node: Node, item: Item) -> bool:
    (member,) = item.members
    pieces = [piece async for piece in Contents(node.memory, "r/", node.coding).get(f"r/{item.key}")]
    return b"".join(pieces) == member.file.path.read_bytes()  # type: ignore[union-attr]


@pytest.mark.parametrize("component", [DATA, "Index.db"])
@pytest.mark.parametrize("harm", [nothing, forget, tear, damage])
async def test_the_next_try_sends_what_is_missing(node: Node, tmp_path: Path, harm: Any, component: str) -> None:
    """Also without the journal: what the file would be encrypted to is what the store has."""
    item = encrypted(large(tmp_path / "one", 5 * MIB + 1, component))
    await node.fails_after(3, item)
    harm(node, item)
    node.counted = 0
    await node.send(item)
    assert node.store.calls["upload_part"] == 3
    assert node.store.calls["create_upload"] == 0
    assert await holds(node, item)
    assert node.counted == item.size
    assert await node.uploads() == []


async def test_parts_are_whole_frames_and_the_whole_has_the_size_that_its_name_says(node: Node, tmp_path: Path) -> None:
    item = encrypted(large(tmp_path / "one", 3 * MIB + 5))
    await node.send(item, slots=4)
    whole = await read_all(node.memory, f"r/{item.key}", 9 * MIB)
    assert len(whole) == item.size + 4 * OVERHEAD == catalog.stored_size(item.identity)
    assert item.crc32c == (await node.memory.head(f"r/{item.key}")).crc32c
    sealer = CODING.sealer(item.key)
    assert sealer is not None
    assert whole == sealer.whole((tmp_path / "one").read_bytes())


async def test_another_key_begins_anew(node: Node, tmp_path: Path) -> None:
    plain = large(tmp_path / "one", 4 * MIB)
    await node.fails_after(3, encrypted(plain))
    node.coding = Coding(KeyRing([Key(bytes(range(1, 33)))]))
    item = encrypted(plain, node.coding)
    await node.send(item)
    assert node.store.calls["upload_part"] == 4
    assert await holds(node, item)
    assert await node.uploads() == []


async def test_a_file_that_changed_between_two_tries_shares_no_nonce_and_becomes_no_object(
    node: Node, tmp_path: Path
) -> None:
    path = tmp_path / "one"
    item = encrypted(large(path, 4 * MIB))
    before = path.read_bytes()
    await node.fails_after(2, item)
    forget(node, item)
    changed = random.Random(9).randbytes(2 * FRAME) + before[2 * FRAME :]
    path.write_bytes(changed)
    with pytest.raises(AgentError) as caught:
        await node.send(item)
    assert caught.value.reason is Reason.SNAPSHOT_GONE
    assert not [meta async for meta in node.memory.list("")]
    sealer = CODING.sealer(item.key)
    assert sealer is not None
    one, other = sealer.whole(before), sealer.whole(changed)
    assert one[:12] != other[:12]
    assert one[2 * (FRAME + OVERHEAD) :] == other[2 * (FRAME + OVERHEAD) :]


@pytest.mark.parametrize("component", [DATA, "Index.db"])
async def test_a_small_file_that_changed_is_not_sent(node: Node, tmp_path: Path, component: str) -> None:
    path = tmp_path / "one"
    item = encrypted(large(path, MIB, component))
    path.write_bytes(bytes(MIB))
    with pytest.raises(AgentError):
        await node.send(item)
    assert not [meta async for meta in node.memory.list("")]


async def test_a_bundle_is_encrypted_as_one(node: Node, tmp_path: Path) -> None:
    plain = bundle(tmp_path / "few", 700, MIB - 1, 5)
    members = [(member.file.component, member.file.size, member.crc) for member in plain.members]
    identity = CODING.name(catalog.bundle_identity("h/data/ks/t-1/", "nb-1-big", members))
    item = Item(identity, plain.size, plain.members, bundle=True, epoch="e1")
    await node.send(item)
    content = b"".join(member.file.path.read_bytes() for member in item.members)  # type: ignore[union-attr]
    found = Contents(node.memory, "r/", CODING).get(f"r/{item.key}", offset=700, length=MIB)
    assert b"".join([piece async for piece in found]) == content[700 : 700 + MIB]
    assert item.crc32c == (await node.memory.head(f"r/{item.key}")).crc32c
