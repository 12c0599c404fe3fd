"""Sending: parts, one queue for large and small objects, and what becomes of failures."""

from __future__ import annotations

import asyncio
import random
import zlib
from typing import TYPE_CHECKING, Any

import pytest

from agent.catalog import DATA
from agent.errors import AgentError
from agent.flow import Flow, side_by_side
from agent.plan import Item, Member
from agent.sstables import FoundFile
from agent.upload import Uploader
from backends.base import Capabilities
from backends.checksums import crc32c
from backends.errors import Kind
from backends.helpers import read_all
from backends.memory import MemoryStore
from tests.fakes.faulty_store import Fault, FaultyStore
from tests.fakes.faulty_store import error as store_error

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from backends.base import ObjectStore

MIB = 1 << 20


class Sending:
    """An Uploader, and what it told."""

    def __init__(self, store: ObjectStore, *, slots: int = 4) -> None:
        self.store = store
        self.counted = 0
        self.done: list[str] = []
        flow = Flow.of(slots, 0)
        self.uploader = Uploader(
            store, "r/", flow, count=self._count, done=lambda item: self.done.append(item.key), single=2 * MIB, part=MIB
        )

    def _count(self, size: int) -> None:
        self.counted += size

    async def send(self, *items: Item) -> None:
        await self.uploader.send(list(items))


def large(path: Path, size: int, component: str = DATA) -> Item:
    """A file, planned as it is."""
    data = random.Random(size).randbytes(size)
    path.write_bytes(data)
    crc = zlib.crc32(data) if component == DATA else crc32c(data)
    return Item(f"{path.name}~{size}", size, (Member(FoundFile(component, path, size), crc),), bundle=False, epoch="e1")


def bundle(path: Path, *sizes: int) -> Item:
    members = []
    for number, size in enumerate(sizes):
        file = path.with_name(f"{path.name}-{number}")
        file.write_bytes(random.Random(number).randbytes(size))
        members.append(Member(FoundFile(f"C{number}", file, size), crc32c(file.read_bytes())))
    return Item(f"{path.name}~{sum(sizes)}", sum(sizes), tuple(members), bundle=True, epoch="e1")


def content(item: Item) -> bytes:
    return b"".join(member.file.path.read_bytes() for member in item.members)  # type: ignore[union-attr]


@pytest.mark.parametrize("component", [DATA, "Index.db"])
async def test_everything_arrives_whole_and_is_counted_once(tmp_path: Path, component: str) -> None:
    store = FaultyStore(MemoryStore())
    items = [
        large(tmp_path / "parts", 5 * MIB + 1, component),
        large(tmp_path / "put", 2 * MIB, component),
        bundle(tmp_path / "big", MIB, MIB, 7),
        bundle(tmp_path / "small", 10, 20, 1),
    ]
    sending = Sending(store)
    await sending.send(*items)
    for item in items:
        assert await read_all(store, f"r/{item.key}", 9 * MIB) == content(item)
    assert sorted(sending.done) == sorted(item.key for item in items)
    assert sending.counted == sum(item.size for item in items)
    assert store.calls == {"put": 3, "create_upload": 1, "upload_part": 6, "complete_upload": 1, "get": 4}


async def test_the_flow_is_told_what_is_held_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    real = Flow.slot

    def slot(flow: Flow, size: int, *, whole: bool = False) -> Any:
        asked.append((size, whole))
        return real(flow, size, whole=whole)

    monkeypatch.setattr(Flow, "slot", slot)
    await Sending(MemoryStore()).send(large(tmp_path / "one", 2 * MIB), bundle(tmp_path / "b", 10, 20))
    assert sorted(asked) == [(30, True), (2 * MIB, False)]


async def test_a_failed_try_is_not_counted(tmp_path: Path) -> None:
    class Breaking(FaultyStore):
        """Reads half of each body before its first failure."""

        async def put(self, key: str, body: Any, *, if_absent: bool = False) -> Any:
            async for _ in body.chunks():
                break
            return await super().put(key, body, if_absent=if_absent)

    sending = Sending(Breaking(MemoryStore()))
    items = [large(tmp_path / "put", 2 * MIB), bundle(tmp_path / "big", MIB, MIB)]
    await sending.send(*items)
    assert sending.counted == 4 * MIB


@pytest.mark.parametrize("component", [DATA, "Index.db"])
@pytest.mark.parametrize("size", [2 * MIB, 5 * MIB])
async def test_other_bytes_than_planned_never_become_an_object(tmp_path: Path, component: str, size: int) -> None:
    store = FaultyStore(MemoryStore())
    path = tmp_path / f"nb-1-big-{component}"
    item = large(path, size, component)
    if component == DATA:
        path.with_name("nb-1-big-Digest.crc32").write_text(str(item.members[0].crc))
    path.write_bytes(b"x" + path.read_bytes()[1:])
    with pytest.raises(AgentError) as caught:
        await Sending(store).send(item)
    assert caught.value.reason == ("Corrupt" if component == DATA else "SnapshotGone")
    assert caught.value.retryable == (component != DATA)
    assert path.name in caught.value.message
    assert [meta async for meta in store.list("")] == []
    assert [upload async for upload in store.list_uploads("")] == []


@pytest.mark.parametrize("change", ["gone", "shorter", "other"])
async def test_a_bundle_whose_member_changed_is_not_sent(tmp_path: Path, change: str) -> None:
    store = FaultyStore(MemoryStore())
    item = bundle(tmp_path / "b", 10, 20)
    path = tmp_path / "b-1"
    if change == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1] + (b"" if change == "shorter" else b"x"))
    with pytest.raises(AgentError) as caught:
        await Sending(store).send(item)
    assert (caught.value.reason, caught.value.retryable) == ("SnapshotGone", True)
    assert {"gone": "gone", "shorter": "shorter", "other": "not the ones"}[change] in caught.value.message
    assert not store.calls


@pytest.mark.parametrize("verb", ["create_upload", "upload_part", "complete_upload"])
async def test_a_failure_aborts_what_is_open_and_is_raised_as_it_was(tmp_path: Path, verb: str) -> None:
    store = FaultyStore(MemoryStore())
    failure = store_error(Kind.FORBIDDEN)
    store.fail(verb, Fault(failure, skip=1))
    with pytest.raises(type(failure)) as caught:
        await Sending(store).send(large(tmp_path / "one", 4 * MIB), large(tmp_path / "two", 3 * MIB))
    assert caught.value is failure
    assert [upload async for upload in store.list_uploads("")] == []


async def test_an_abort_that_fails_does_not_hide_why(tmp_path: Path) -> None:
    store = FaultyStore(MemoryStore())
    failure = store_error(Kind.FORBIDDEN)
    store.fail("upload_part", failure)
    store.fail("abort_upload", Fault(store_error(), times=-1))
    with pytest.raises(type(failure)) as caught:
        await Sending(store).send(large(tmp_path / "one", 4 * MIB))
    assert caught.value is failure


async def test_part_sizes_grow_with_the_object(tmp_path: Path) -> None:
    """A tenth of the store's parts is kept in hand."""

    class Few(MemoryStore):
        def __init__(self) -> None:
            super().__init__()
            self.capabilities = Capabilities(min_part=1, max_parts=5)

    store = FaultyStore(Few())
    item = large(tmp_path / "one", 6 * MIB)
    await Sending(store).send(item)
    assert store.calls["upload_part"] == 4
    assert await read_all(store, f"r/{item.key}", 9 * MIB) == content(item)


async def test_a_store_without_parts_gets_one_put(tmp_path: Path) -> None:
    class Plain(MemoryStore):
        def __init__(self) -> None:
            super().__init__()
            self.capabilities = Capabilities(multipart=False)

    store = FaultyStore(Plain())
    await Sending(store).send(large(tmp_path / "one", 5 * MIB))
    assert store.calls == {"put": 1}


async def turns() -> None:
    """For every task to get as far as it can."""
    for _ in range(5):
        await asyncio.sleep(0)


class Works:
    """Works that run until they are told to end."""

    def __init__(self) -> None:
        self.running: list[str] = []
        self.begun: list[str] = []
        self._ends: dict[str, asyncio.Event] = {}

    def make(self, kind: str, count: int) -> Iterator[Callable[[], Awaitable[None]]]:
        return (self._work(f"{kind}{number}") for number in range(count))

    def _work(self, name: str) -> Callable[[], Awaitable[None]]:
        async def work() -> None:
            self._ends[name] = asyncio.Event()
            self.begun.append(name)
            self.running.append(name)
            await self._ends[name].wait()
            self.running.remove(name)

        return work

    async def end(self, name: str) -> None:
        self._ends[name].set()
        await turns()


class Slots:
    """Of a Flow, what the queue asks for."""

    def __init__(self, slots: int) -> None:
        self.slots = slots


async def test_small_ones_run_beside_large_ones_and_nothing_waits_for_a_files_end() -> None:
    works, flow = Works(), Slots(8)
    sending = asyncio.create_task(side_by_side(works.make("L", 9), works.make("s", 5), flow))  # type: ignore[arg-type]
    await turns()
    assert sorted(works.running) == ["L0", "L1", "L2", "L3", "L4", "L5", "s0", "s1", "s2"]  # one over the slots
    await works.end("s1")
    assert sorted(works.running)[-3:] == ["s0", "s2", "s3"]
    await works.end("L3")
    assert works.begun[-1] == "L6"
    await works.end("s0")
    await works.end("s2")
    await works.end("s3")
    assert works.begun[-2:] == ["L7", "L8"]  # no small ones left
    while works.running:
        await works.end(works.running[0])
    await sending
    assert len(works.begun) == 14


async def test_slots_come_and_go() -> None:
    works, flow = Works(), Slots(1)
    sending = asyncio.create_task(side_by_side(works.make("L", 9), iter(()), flow))  # type: ignore[arg-type]
    await turns()
    assert works.running == ["L0", "L1"]
    flow.slots = 4
    await works.end("L0")
    assert len(works.running) == 5
    flow.slots = 2
    await works.end("L1")
    await works.end("L2")
    assert len(works.running) == 3
    while works.running:
        await works.end(works.running[0])
    await sending
    assert len(works.begun) == 9


async def test_the_first_failure_ends_the_rest() -> None:
    works = Works()

    async def fail() -> None:
        raise ValueError("as the test told")

    with pytest.raises(ValueError, match="as the test told"):
        await side_by_side(works.make("L", 3), iter([fail]), Slots(8))  # type: ignore[arg-type]
    assert len(works.running) == len(works.begun)  # none ended by itself
