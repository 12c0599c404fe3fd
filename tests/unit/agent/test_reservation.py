"""What a running backup does so that no collector takes what it needs: agent.md §7, rules 1, 4 and 6."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from agent import catalog
from agent.backup import BackupHandler
from agent.candidates import KeyList
from agent.catalog import FORMAT, Pending
from agent.protocol import Kind, State
from agent.reservation import HEARTBEAT, Reservation
from backends.base import BytesBody
from backends.errors import Kind as StoreKind
from tests.fakes.faulty_store import Fault, FaultyStore
from tests.fakes.faulty_store import error as store_error
from tests.fakes.jolokia import HOST_ID
from tests.unit.agent.backups import PATH, SECOND, content, expected, manifest_of
from tests.unit.agent.conftest import until

if TYPE_CHECKING:
    from agent.catalog import Manifest
    from agent.serve import Agent
    from backends.base import ObjectStore
    from tests.unit.agent.conftest import World


def candidates(*keys: str) -> bytes:
    made = KeyList()
    for key in keys:
        made.add(key, 1)
    made.done()
    return made.data


async def condemn(store: ObjectStore, *keys: str, cycle: str = "c1") -> None:
    """As a collector does."""
    await store.put(PATH.candidates(cycle), BytesBody(candidates(*keys)))


def keys_of(manifest: Manifest) -> list[str]:
    return [stored.key for stored in manifest.objects]


async def pendings(world: World) -> list[str]:
    return await world.keys(PATH.pendings)


def reserving(agent: Agent, **more: Any) -> None:
    """The agent's backups get a Reservation of this kind."""
    handler = agent.operations._handlers[Kind.BACKUP]
    assert isinstance(handler, BackupHandler)
    handler._reserve = partial(Reservation, **more)


async def test_it_is_marked_before_the_lists_are_read_and_pins_before_it_sends(world: World) -> None:
    async with world.agent() as agent:
        await manifest_of(world, await world.back_up(agent))
        store = world.store = FaultyStore(world.memory)
        await manifest_of(world, await world.back_up(agent, "t2", full=True, **SECOND), "t2")
    order = []
    for verb, key in store.keys:
        for name, part in (("pending", "pending"), ("lists", "_gc"), ("data", "data"), ("manifest", "manifests")):
            if f"/{part}/" in key and (not order or order[-1] != f"{verb} {name}"):
                order.append(f"{verb} {name}")
    assert order == [
        "get manifest", "put pending", "list lists", "list data", "put pending", "put data", "put pending",
        "list lists", "list data", "put manifest", "list pending", "delete pending",
    ]  # fmt: skip


async def test_the_record_says_what_is_reused_and_whose_it_is(world: World) -> None:
    seen: list[Pending] = []

    class Watching(FaultyStore):
        async def put(self, key: str, body: Any, *, if_absent: bool = False) -> Any:
            if "/pending/" in key:
                seen.append(catalog.decode_pending(b"".join([chunk async for chunk in body.chunks()])))
            return await super().put(key, body, if_absent=if_absent)

    async with world.agent() as agent:
        first = await manifest_of(world, await world.back_up(agent))
        world.store = Watching(world.memory)
        await manifest_of(world, await world.back_up(agent, "t2", **SECOND), "t2")
    assert seen[0].reuse is None
    assert [sorted(one.reuse or []) for one in seen[1:]] == [sorted(keys_of(first))] * (len(seen) - 1)
    assert {(one.backup_id, one.tag, one.epoch) for one in seen} == {("uid-2", "t2", "e2")}
    assert await pendings(world) == []


async def test_a_candidate_is_never_reused(world: World) -> None:
    async with world.agent() as agent:
        first = await manifest_of(world, await world.back_up(agent))
        chosen = keys_of(first)[0]
        await condemn(world.memory, chosen)
        await condemn(world.memory, "some/other/key", cycle="c2")
        second = await manifest_of(world, await world.back_up(agent, "t2", **SECOND), "t2")
    assert set(keys_of(first)) - set(keys_of(second)) == {chosen}
    assert f"{catalog.split_key(chosen)[0]}-e2" in keys_of(second)
    assert await content(world.memory, second) == expected(world)


async def test_a_candidate_of_our_own_epoch_is_not_written_again(world: World) -> None:
    """A delete of that key may be under way: what a retry sends must have another name."""
    faulty = world.store = FaultyStore(world.memory)
    faulty.fail("put", Fault(store_error(StoreKind.UNAVAILABLE), key=PATH.manifest("t1")))
    async with world.agent() as agent:
        assert (await world.back_up(agent)).state is State.FAILED
        sent = [key.removeprefix(PATH.root) for key in await world.keys(PATH.root) if "/data/" in key]
        await condemn(world.memory, sent[0], sent[1])
        await world.memory.delete([PATH.root + sent[1]])  # it is swept already
        manifest = await manifest_of(world, await world.do(agent, "again", Kind.BACKUP, world.backup_spec()))
    assert not {sent[0], sent[1]} & set(keys_of(manifest))
    assert set(sent[2:]) < set(keys_of(manifest))
    derived = [catalog.split_key(key)[1] for key in keys_of(manifest) if not key.endswith("-e1")]
    assert len(derived) == 2
    assert all(epoch != "e1" and catalog.owns_epoch("e1", epoch) for epoch in derived)
    assert manifest.totals.reused_bytes == 0
    assert await content(world.memory, manifest) == expected(world)


async def test_with_a_list_that_cannot_be_read_nothing_is_reused_and_no_key_written_twice(world: World) -> None:
    async with world.agent() as agent:
        first = await manifest_of(world, await world.back_up(agent))
        await world.memory.put(PATH.candidates("c1"), BytesBody(b"torn"))
        second = await manifest_of(world, await world.back_up(agent, "t2", **SECOND), "t2")
    assert not set(keys_of(first)) & set(keys_of(second))
    assert not [key for key in keys_of(second) if key.endswith("-e2")]
    assert len(await world.keys(f"{PATH.root}{HOST_ID}/")) == len(keys_of(first)) + len(keys_of(second))
    assert await content(world.memory, second) == expected(world)


async def test_what_is_condemned_while_it_runs_is_sent_again_before_the_commit(world: World) -> None:
    class Condemning(FaultyStore):
        async def put(self, key: str, body: Any, *, if_absent: bool = False) -> Any:
            if "-e2" in key and "/data/" in key:
                await condemn(world.memory, chosen)
            return await super().put(key, body, if_absent=if_absent)

    async with world.agent() as agent:
        first = await manifest_of(world, await world.back_up(agent))
        chosen, victim = keys_of(first)[:2]
        await world.memory.delete([PATH.root + victim])
        world.store = Condemning(world.memory)
        second = await manifest_of(world, await world.back_up(agent, "t2", **SECOND), "t2")
    assert chosen not in keys_of(second)
    assert await content(world.memory, second) == expected(world)


async def test_the_heart_beats_while_it_runs_and_a_beat_that_is_lost_does_not_matter(world: World) -> None:
    beats: asyncio.Queue[asyncio.Future[None]] = asyncio.Queue()
    go = asyncio.Event()

    async def sleep(seconds: float) -> None:
        assert seconds == HEARTBEAT
        woken = asyncio.get_running_loop().create_future()
        beats.put_nowait(woken)
        await woken

    class Held(FaultyStore):
        async def put(self, key: str, body: Any, *, if_absent: bool = False) -> Any:
            if "/data/" in key:
                await go.wait()
            return await super().put(key, body, if_absent=if_absent)

    store = world.store = Held(world.memory)
    async with world.agent() as agent:
        reserving(agent, sleep=sleep)
        await world.do(agent, "s", Kind.SNAPSHOT, {"tag": "t1"})
        running = asyncio.create_task(world.do(agent, "b", Kind.BACKUP, world.backup_spec()))
        await until(lambda: store.calls["put"] == 2)
        (key,) = await pendings(world)
        first = (await world.memory.head(key)).etag
        (await beats.get()).set_result(None)
        second = await beats.get()
        assert (await world.memory.head(key)).etag != first
        store.fail("put", Fault(store_error(StoreKind.UNAVAILABLE), key=key))
        second.set_result(None)
        await beats.get()
        go.set()
        await manifest_of(world, await running)
    assert await pendings(world) == []


async def test_a_try_that_died_leaves_a_record_that_the_next_one_takes_away(world: World) -> None:
    other = PATH.pending("t1", "e7", "1")
    for key in (PATH.pending("t1", "e1", "1"), other):
        await world.memory.put(
            key, BytesBody(catalog.encode(Pending(format=FORMAT, backup_id="x", started="", heartbeat="")))
        )
    async with world.agent() as agent:
        await manifest_of(world, await world.back_up(agent))
    assert await pendings(world) == [other]


@pytest.mark.parametrize(("failing", "stays"), [("data", 0), ("manifests", 1)])
async def test_a_failure_leaves_a_record_only_where_the_manifest_may_still_come(
    world: World, failing: str, stays: int
) -> None:
    class Failing(FaultyStore):
        async def put(self, key: str, body: Any, *, if_absent: bool = False) -> Any:
            if f"/{failing}/" in key:
                raise store_error(StoreKind.TIMEOUT)
            return await super().put(key, body, if_absent=if_absent)

    world.store = Failing(world.memory)
    async with world.agent() as agent:
        assert (await world.back_up(agent)).state is State.FAILED
    assert len(await pendings(world)) == stays


async def test_a_commit_that_comes_late_looks_once_more(world: World) -> None:
    """The machine was asleep: a collector may have taken this backup for dead."""
    now = 0.0
    taken: list[str] = []

    class Sleepy(FaultyStore):
        async def list(self, prefix: str, *, start_after: str = "") -> Any:
            nonlocal now
            async for meta in super().list(prefix, start_after=start_after):
                yield meta
            if prefix.endswith("/data/") and self.calls["list"] > 3 and not taken:
                now += 30 * 86_400.0
                taken.append(next(key for key in await world.keys(PATH.root) if "/data/" in key))
                await world.memory.delete(taken)

    world.store = Sleepy(world.memory)
    async with world.agent() as agent:
        reserving(agent, elapsed=lambda: now)
        manifest = await manifest_of(world, await world.back_up(agent))
    assert taken
    assert await content(world.memory, manifest) == expected(world)


async def test_two_tries_at_once_have_a_record_each(world: World) -> None:
    spec = world.backup_spec()
    one, other = Reservation(world.memory, spec), Reservation(world.memory, spec)
    async with one.held(), other.held():
        await one.pin(["a"])
        assert len(await pendings(world)) == 2
        assert HOST_ID not in one.key
