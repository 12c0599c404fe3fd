"""Large objects are gone on with: after a failure, after a death, without the journal, and never with wrong bytes."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from agent import parts
from agent.catalog import DATA
from agent.coding import Coding
from agent.errors import AgentError
from agent.flow import Flow
from agent.protocol import Kind, State
from agent.upload import Uploader
from agent.uploads import Owner, UploadJournal
from backends.base import BytesBody
from backends.errors import Kind as StoreKind
from backends.errors import StoreError
from backends.helpers import read_all
from backends.memory import MemoryStore
from tests.fakes.faulty_store import Fault, FaultyStore
from tests.fakes.faulty_store import error as store_error
from tests.fakes.sstables import write_sstable
from tests.unit.agent.backups import PATH, content, expected, manifest_of
from tests.unit.agent.conftest import request
from tests.unit.agent.test_upload import MIB, large

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.plan import Item
    from tests.unit.agent.conftest import World

OWNER = Owner("uid-1", "e1", "r/")


class Node:
    """What survives the death of an agent: the volume with the journal, and the store."""

    def __init__(self, root: Path) -> None:
        self.directory = root / "uploads"
        self.memory = MemoryStore()
        self.store = FaultyStore(self.memory)
        self.counted = 0
        self.done: list[str] = []
        self.coding = Coding()

    def journal(self, owner: Owner = OWNER) -> UploadJournal:
        return UploadJournal(self.directory, "t1", owner).open()

    def known(self, owner: Owner = OWNER) -> list[str]:
        """The keys of uploads that the journal has."""
        journal = self.journal(owner)
        journal.close()
        return list(journal.uploads)

    async def send(self, *items: Item, slots: int = 1) -> None:
        """One try, as a backup makes it."""
        journal = self.journal()
        self.store.calls.clear()
        try:
            await parts.tidy(self.store, "r/", "e1", journal, {f"r/{item.key}" for item in items})
            sender = Uploader(
                self.store, "r/", Flow(slots), count=self._count, done=lambda item: self.done.append(item.key),
                journal=journal, coding=self.coding, single=MIB, part=MIB,
            )  # fmt: skip
            await sender.send(list(items))
        finally:
            journal.close()

    async def fails_after(self, count: int, *items: Item, kind: StoreKind = StoreKind.UNAVAILABLE) -> None:
        self.store.fail("upload_part", Fault(store_error(kind), skip=count))
        with pytest.raises(StoreError):
            await self.send(*items)

    async def holds(self, item: Item) -> bool:
        (member,) = item.members
        whole = await read_all(self.memory, f"r/{item.key}", 9 * MIB)
        return whole == member.file.path.read_bytes()  # type: ignore[union-attr]

    async def uploads(self) -> list[str]:
        return [upload.key async for upload in self.memory.list_uploads("")]

    def _count(self, size: int) -> None:
        self.counted += size


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    made = Node(tmp_path)
    yield made
    # nobody but the test's own journals was ever left open
    assert not [fd for fd in Path("/proc/self/fd").iterdir() if str(made.directory) in _target(fd)]


def _target(descriptor: Path) -> str:
    try:
        return str(descriptor.readlink())
    except OSError:
        return ""


def forget(node: Node, item: Item) -> None:
    node.directory.joinpath("t1").unlink()


def tear(node: Node, item: Item) -> None:
    """The last line, in its middle."""
    journal = node.directory / "t1"
    journal.write_bytes(journal.read_bytes()[:-20])


def damage(node: Node, item: Item) -> None:
    """A digit of a checksum, in the middle: every line after it is in doubt too."""
    journal = node.directory / "t1"
    lines = journal.read_bytes().splitlines(keepends=True)
    head, _, tail = lines[2].rpartition(b",")  # the last number is the sum
    lines[2] = head + b"," + (b"7]\n" if tail != b"7]\n" else b"8]\n")
    journal.write_bytes(b"".join(lines))


def nothing(node: Node, item: Item) -> None:
    pass


@pytest.mark.parametrize("component", [DATA, "Index.db"])
@pytest.mark.parametrize("harm", [nothing, forget, tear, damage])
async def test_the_next_try_sends_what_is_missing(node: Node, tmp_path: Path, harm: Any, component: str) -> None:
    item = large(tmp_path / "one", 5 * MIB + 1, component)
    await node.fails_after(3, item)
    harm(node, item)
    node.counted = 0
    await node.send(item)
    assert node.store.calls["upload_part"] == 3
    assert node.store.calls["create_upload"] == 0
    assert await node.holds(item)
    assert node.counted == item.size
    assert node.done == [item.key]
    assert await node.uploads() == []
    assert node.known() == []


async def test_with_a_journal_the_parts_that_are_kept_are_not_read(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    item = large(tmp_path / "one", 4 * MIB)
    await node.fails_after(3, item)
    monkeypatch.setattr("agent.integrity.measure", lambda *_a, **_k: pytest.fail("it was read again"))
    await node.send(item)
    assert await node.holds(item)


async def test_many_parts_at_once_become_one_object(node: Node, tmp_path: Path) -> None:
    item = large(tmp_path / "one", 8 * MIB)
    await node.fails_after(4, item)
    await node.send(item, slots=8)
    assert await node.holds(item)
    assert node.store.calls["complete_upload"] == 1


async def test_a_part_with_other_bytes_is_sent_again(node: Node, tmp_path: Path) -> None:
    """Same number, same size: neither the store's tag nor its checksum is that of our bytes."""
    item = large(tmp_path / "one", 4 * MIB)
    await node.fails_after(3, item)
    (upload,) = [one async for one in node.memory.list_uploads("")]
    await node.memory.upload_part(upload.key, upload.id, 2, BytesBody(bytes(MIB)))
    await node.send(item)
    assert node.store.calls["upload_part"] == 2
    assert await node.holds(item)


@pytest.mark.parametrize("size", [MIB - 1, MIB + 1])
async def test_a_part_of_another_size_is_sent_again(node: Node, tmp_path: Path, size: int) -> None:
    item = large(tmp_path / "one", 4 * MIB)
    await node.fails_after(3, item)
    (upload,) = [one async for one in node.memory.list_uploads("")]
    await node.memory.upload_part(upload.key, upload.id, 2, BytesBody(bytes(size)))
    await node.send(item)
    assert node.store.calls["upload_part"] == 2
    assert await node.holds(item)


class NoSums(MemoryStore):
    """As an S3-compatible server that keeps no checksums of parts."""

    async def list_parts(self, key: str, upload: str) -> Any:
        return [type(part)(part.number, part.size, part.etag) for part in await super().list_parts(key, upload)]


@pytest.mark.parametrize(("harm", "sent"), [(nothing, 1), (forget, 4)])
async def test_without_the_stores_sums_the_journal_alone_knows(
    node: Node, tmp_path: Path, harm: Any, sent: int
) -> None:
    node.memory = NoSums()
    node.store = FaultyStore(node.memory)
    item = large(tmp_path / "one", 4 * MIB)
    await node.fails_after(3, item)
    harm(node, item)
    await node.send(item)
    assert node.store.calls["upload_part"] == sent
    assert await node.holds(item)


@pytest.mark.parametrize("harm", [nothing, forget])
async def test_a_damaged_file_never_becomes_an_object(node: Node, tmp_path: Path, harm: Any) -> None:
    """The first part was read wrong and sent so: what is kept is held to the Digest as well as what is sent."""
    path = tmp_path / "nb-1-big-Data.db"
    item = large(path, 4 * MIB)
    path.with_name("nb-1-big-Digest.crc32").write_text(str(item.members[0].crc))
    good = path.read_bytes()
    path.write_bytes(b"x" + good[1:])
    await node.fails_after(3, item)
    harm(node, item)
    with pytest.raises(AgentError) as caught:
        await node.send(item)
    assert caught.value.reason == "Corrupt"
    assert await node.uploads() == []
    path.write_bytes(good)  # it was the reading, not the disk
    await node.send(item)
    assert node.store.calls["upload_part"] == 4
    assert await node.holds(item)


async def test_a_file_that_was_damaged_since_keeps_what_was_right(node: Node, tmp_path: Path) -> None:
    """With the journal's sums; the object is what the Digest says, though the disk no longer is."""
    item = large(tmp_path / "one", 4 * MIB)
    await node.fails_after(3, item)
    good = (tmp_path / "one").read_bytes()
    (tmp_path / "one").write_bytes(b"x" + good[1:])
    await node.send(item)
    assert await read_all(node.memory, f"r/{item.key}", 9 * MIB) == good


@pytest.mark.parametrize("kind", [StoreKind.FORBIDDEN, StoreKind.NOT_SUPPORTED, StoreKind.INVALID])
async def test_a_store_that_tells_no_parts_gets_them_all_again(node: Node, tmp_path: Path, kind: StoreKind) -> None:
    item = large(tmp_path / "one", 4 * MIB)
    await node.fails_after(3, item)
    node.store.fail("list_parts", store_error(kind))
    await node.send(item)
    assert node.store.calls["upload_part"] == 4
    assert await node.holds(item)
    assert await node.uploads() == []


async def test_a_store_that_is_away_is_no_reason_to_begin_anew(node: Node, tmp_path: Path) -> None:
    item = large(tmp_path / "one", 4 * MIB)
    await node.fails_after(3, item)
    node.store.fail("list_parts", store_error(StoreKind.UNAVAILABLE))
    with pytest.raises(StoreError):
        await node.send(item)
    await node.send(item)
    assert node.store.calls["upload_part"] == 1


async def test_an_upload_that_somebody_aborted_is_begun_anew(node: Node, tmp_path: Path) -> None:
    item = large(tmp_path / "one", 4 * MIB)
    await node.fails_after(3, item)
    (upload,) = [one async for one in node.memory.list_uploads("")]
    await node.memory.abort_upload(upload.key, upload.id)
    await node.send(item)
    assert (node.store.calls["create_upload"], node.store.calls["upload_part"]) == (1, 4)
    assert await node.holds(item)


async def test_one_that_is_aborted_under_us_says_so_and_is_begun_anew(node: Node, tmp_path: Path) -> None:
    class Aborting(FaultyStore):
        async def complete_upload(self, key: str, upload: str, *more: Any, **others: Any) -> Any:
            await self.abort_upload(key, upload)
            return await super().complete_upload(key, upload, *more, **others)

    node.store = Aborting(node.memory)
    item = large(tmp_path / "one", 4 * MIB)
    with pytest.raises(AgentError) as caught:
        await node.send(item)
    assert (caught.value.reason, caught.value.retryable) == ("ObjectMissing", True)
    assert "aborting uploads" in caught.value.message
    node.store = FaultyStore(node.memory)
    await node.send(item)
    assert await node.holds(item)


@pytest.mark.parametrize("verb", ["complete_upload", "upload_part"])
async def test_an_object_that_is_there_after_all_is_done(node: Node, tmp_path: Path, verb: str) -> None:
    """The completion went through late: by a request of ours whose answer was lost, or by a second agent."""
    item = large(tmp_path / "one", 4 * MIB)
    key = f"r/{item.key}"

    class Late(FaultyStore):
        async def _do(self, name: str, *more: Any) -> Any:
            if name == verb and (uploads := [one async for one in node.memory.list_uploads("")]):
                await node.memory.abort_upload(key, uploads[0].id)
                await node.memory.put(key, BytesBody((tmp_path / "one").read_bytes()))
            return await super()._do(name, *more)

    node.store = Late(node.memory)
    await node.send(item, slots=4)
    assert node.done == [item.key]
    assert await node.holds(item)


async def test_uploads_that_fit_nothing_are_aborted_and_others_left_alone(node: Node, tmp_path: Path) -> None:
    item = large(tmp_path / "one", 4 * MIB)
    for key in ("r/gone-e1", f"r/{item.key}", f"r/{item.key}", "r/one-e2", "other/one-e1"):
        await node.memory.create_upload(key)
    await node.send(item)
    assert await node.uploads() == ["other/one-e1", "r/one-e2"]


async def test_uploads_of_the_journal_that_fit_nothing_are_aborted_where_none_can_be_listed(
    node: Node, tmp_path: Path
) -> None:
    await node.fails_after(2, large(tmp_path / "one", 4 * MIB))
    node.store.fail("list_uploads", Fault(store_error(StoreKind.FORBIDDEN), times=-1))
    await node.send(large(tmp_path / "two", 3 * MIB))
    assert await node.uploads() == []


@pytest.mark.parametrize("other", [Owner("uid-2", "e1", "r/"), Owner("uid-1", "e2", "r/"), Owner("uid-1", "e1", "x/")])
async def test_the_journal_of_another_backup_or_node_is_ignored(node: Node, tmp_path: Path, other: Owner) -> None:
    await node.fails_after(3, large(tmp_path / "one", 4 * MIB))
    assert node.known()
    assert node.known(other) == []
    assert node.known() == []


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"[", b"00000000 {}\n", b"not ours\n", os.urandom(5000)])
async def test_any_bytes_may_stand_where_the_journal_is(node: Node, tmp_path: Path, content: bytes) -> None:
    node.directory.mkdir()
    (node.directory / "t1").write_bytes(content)
    item = large(tmp_path / "one", 3 * MIB)
    await node.fails_after(2, item)
    await node.send(item)
    assert node.store.calls["upload_part"] == 1


@pytest.mark.parametrize("at", [0, 1, 2, 3, 4])
async def test_a_full_disk_under_the_journal_fails_nothing(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    item = large(tmp_path / "one", 4 * MIB)
    written = [0]
    real = os.write

    def write(descriptor: int, data: Any) -> int:
        if "uploads" in _target(Path(f"/proc/self/fd/{descriptor}")):
            written[0] += 1
            if written[0] == at + 1:
                return real(descriptor, bytes(data)[:10])  # half of the line
            if written[0] > at:
                raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, data)

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", write)
        await node.fails_after(3, item)
    await node.send(item)
    assert await node.holds(item)
    assert node.store.calls["upload_part"] <= 1
    assert await node.uploads() == []


async def test_a_directory_that_cannot_be_made_fails_nothing(node: Node, tmp_path: Path) -> None:
    node.directory.write_text("a file")
    item = large(tmp_path / "one", 2 * MIB)
    await node.send(item)
    assert await node.holds(item)


async def test_who_comes_second_goes_without_and_leaves_the_firsts_uploads_alone(node: Node, tmp_path: Path) -> None:
    first = node.journal()
    await first.opened("r/x-e1", await node.memory.create_upload("r/x-e1"))
    await node.send(large(tmp_path / "one", 2 * MIB))
    assert await node.uploads() == ["r/x-e1"]
    second = node.journal()
    assert not second.ours
    second.remove()
    first.close()
    assert node.known() == ["r/x-e1"]


async def test_journals_that_nobody_came_back_for_go(node: Node) -> None:
    node.journal().close()
    (node.directory / "old").write_text("x")
    (node.directory / "young").write_text("x")
    os.utime(node.directory / "old", (1, 1))
    node.journal().remove()
    assert [path.name for path in node.directory.iterdir()] == ["young"]


def divide(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Data.db of six parts."""
    monkeypatch.setattr("agent.upload.Uploader.__init__.__kwdefaults__", {"single": MIB, "part": MIB, "journal": None})
    write_sstable(world.data.data_dirs[0] / world.data.tables[0], "nb-9-big", size=6 * MIB)


class Stopping(FaultyStore):
    """The ``count + 1``-th part never gets its answer."""

    def __init__(self, world: World, count: int) -> None:
        super().__init__(world.memory)
        self.left = count
        self.stuck = asyncio.Event()

    async def upload_part(self, *what: Any) -> Any:
        self.left -= 1
        if self.left < 0:
            self.stuck.set()
            await asyncio.Event().wait()
        return await super().upload_part(*what)


async def test_a_process_that_ends_leaves_its_parts_to_the_next(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    divide(world, monkeypatch)
    world.store = stopping = Stopping(world, 4)
    async with world.agent() as agent:
        await world.do(agent, "s", Kind.SNAPSHOT, {"tag": "t1"})
        await agent.operations.put("b", request(Kind.BACKUP, world.backup_spec(concurrent_transfers=2)))
        await stopping.stuck.wait()
    world.store = store = FaultyStore(world.memory)
    async with world.agent() as agent:
        await agent.operations.over("b")
        operation = agent.operations.get("b")
        manifest = await manifest_of(world, operation)
    assert await content(world.memory, manifest) == expected(world)
    assert 2 <= store.calls["upload_part"] <= 3  # two were under way
    assert operation.progress.bytes_done == manifest.totals.bytes
    assert not list((world.settings.state_dir / "uploads").iterdir())


async def test_a_failure_that_may_pass_keeps_its_parts(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    divide(world, monkeypatch)
    world.store = store = FaultyStore(world.memory)
    store.fail("upload_part", Fault(store_error(StoreKind.UNAVAILABLE), skip=3))
    async with world.agent() as agent:
        operation = await world.back_up(agent, concurrent_transfers=1)
        assert operation.error is not None
        assert operation.error.retryable
        store.calls.clear()
        again = await world.do(agent, "again", Kind.BACKUP, world.backup_spec())
        assert await content(world.memory, await manifest_of(world, again)) == expected(world)
    assert store.calls["upload_part"] == 3
    assert [one async for one in world.memory.list_uploads("")] == []


async def test_a_failure_for_good_aborts_its_uploads(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    divide(world, monkeypatch)
    world.store = store = FaultyStore(world.memory)
    store.fail("upload_part", Fault(store_error(StoreKind.FORBIDDEN), skip=3))
    other = f"{PATH.root}x-e0"
    await world.memory.create_upload(other)  # of another backup: the collector's
    async with world.agent() as agent:
        operation = await world.back_up(agent)
    assert operation.state is State.FAILED
    assert [one.key async for one in world.memory.list_uploads("")] == [other]
    assert not list((world.settings.state_dir / "uploads").iterdir())


@pytest.mark.parametrize("listed", [True, False])
async def test_a_cancelled_backup_aborts_its_uploads(
    world: World, monkeypatch: pytest.MonkeyPatch, listed: bool
) -> None:
    divide(world, monkeypatch)
    world.store = stopping = Stopping(world, 2)
    if not listed:
        stopping.fail("list_uploads", Fault(store_error(StoreKind.FORBIDDEN), times=-1))
    async with world.agent() as agent:
        await world.do(agent, "s", Kind.SNAPSHOT, {"tag": "t1"})
        await agent.operations.put("b", request(Kind.BACKUP, world.backup_spec()))
        await stopping.stuck.wait()
        operation = await agent.operations.cancel("b")
    assert operation.state is State.CANCELLED
    assert [one async for one in world.memory.list_uploads("")] == []
    assert not list((world.settings.state_dir / "uploads").iterdir())


async def test_a_store_that_is_gone_hinders_no_cancellation(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    divide(world, monkeypatch)
    world.store = stopping = Stopping(world, 2)
    async with world.agent() as agent:
        await world.do(agent, "s", Kind.SNAPSHOT, {"tag": "t1"})
        await agent.operations.put("b", request(Kind.BACKUP, world.backup_spec()))
        await stopping.stuck.wait()
        for verb in ("abort_upload", "list_uploads", "delete"):
            stopping.fail(verb, Fault(store_error(StoreKind.UNAVAILABLE), times=-1))
        operation = await agent.operations.cancel("b")
    assert operation.state is State.CANCELLED
    assert world.data.snapshots("co-t1") == []
