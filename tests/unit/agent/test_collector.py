"""The collector's nine rules, each by a scene of its own; interleavings.py has them all at once."""

from __future__ import annotations

import asyncio
import tracemalloc
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from agent import catalog
from agent.candidates import KeyList, read_lists
from agent.catalog import MANIFEST_FORMAT
from agent.errors import AgentError
from agent.lease import store_time, taken
from backends.base import ObjectMeta
from backends.errors import Kind, StoreError
from tests.fakes.faulty_store import Fault, FaultyStore
from tests.fakes.faulty_store import error as store_error
from tests.unit.agent.bucket import DAY, HOUR, PATH, Bucket, manifest, object_key

if TYPE_CHECKING:
    from agent.turns import Turns
    from backends.base import ObjectStore


@pytest.fixture
async def bucket() -> Bucket:
    """A complete backup of two objects, and one object that none needs; all are two days old."""
    found = Bucket()
    await found.manifest("t1", await found.data("nb-1-big", "nb-2-big"))
    await found.data("nb-9-big")
    found.now += 2 * DAY
    return found


NEEDED = [object_key("nb-1-big"), object_key("nb-2-big")]
WASTE = object_key("nb-9-big")


async def test_two_cycles_a_day_apart_take_what_nobody_needs(bucket: Bucket) -> None:
    first = await bucket.collect()
    assert (first.objects, first.live, first.candidates, first.deleted) == (3, 2, 1, 0)
    assert [(told.key, told.why) for told in first.keys] == [(WASTE, "Candidate")]
    assert await bucket.lists() == [[WASTE]]
    assert await bucket.left() == [*NEEDED, WASTE]
    bucket.now += DAY
    second = await bucket.collect()
    assert (second.candidates, second.deleted, second.deleted_bytes) == (1, 1, 1)
    assert [told.why for told in second.keys] == ["Delete"]
    assert await bucket.left() == NEEDED


async def test_a_cycle_within_the_grace_deletes_nothing_and_writes_no_other_list(bucket: Bucket) -> None:
    await bucket.collect()
    bucket.now += DAY - 60
    second = await bucket.collect()
    assert (second.candidates, second.deleted, second.cycle) == (1, 0, "")
    assert await bucket.lists() == [[WASTE]]
    assert WASTE in await bucket.left()


async def test_what_is_needed_again_is_spared_and_waits_for_two_cycles_more(bucket: Bucket) -> None:
    await bucket.collect()
    bucket.now += DAY
    await bucket.manifest("t2", [WASTE], record=False)  # any manifest counts
    assert (await bucket.collect()).deleted == 0
    await bucket.memory.delete([bucket.path.manifest("t2")])
    bucket.now += DAY
    third = await bucket.collect()
    assert (third.candidates, third.deleted) == (1, 0)
    bucket.now += DAY
    assert (await bucket.collect()).deleted == 1


async def test_lists_that_were_overtaken_go(bucket: Bucket) -> None:
    for _ in range(5):
        await bucket.collect()
        bucket.now += DAY
    assert len(await bucket.lists()) == 2
    assert await bucket.lists() == [[], []]


async def test_what_is_young_is_no_candidate_whatever_this_machines_clock_says(bucket: Bucket) -> None:
    young = (await bucket.data("nb-10-big"))[0]
    for ahead in (2 * DAY, -2 * DAY):
        bucket.local = ahead
        found = await bucket.collect()
        assert (found.young, found.candidates) == (1, 1)
    assert await bucket.lists() == [[WASTE]]
    assert young in await bucket.left()


async def test_what_a_running_backup_reuses_or_sent_stays(bucket: Bucket) -> None:
    sent = await bucket.data("nb-11-big", epoch="e9")
    again = await bucket.data("nb-11-big", epoch="e9x0000000a")
    other = await bucket.data("nb-11-big", epoch="e99")
    bucket.now += 2 * DAY
    await bucket.collect(limit=1.0)  # nothing is pinned yet
    await bucket.pending("t9", [WASTE])
    bucket.now += DAY
    found = await bucket.collect(limit=1.0)
    assert (found.owned, found.deleted) == (2, 1)
    assert await bucket.left() == sorted([*NEEDED, WASTE, *sent, *again])
    assert other[0] not in await bucket.left()


async def test_a_key_that_was_condemned_stays_so_while_its_backup_runs_again(bucket: Bucket) -> None:
    """A delete of it may be under way; the next try must not count on it."""
    sent = await bucket.data("nb-11-big", epoch="e9")
    bucket.now += 2 * DAY
    await bucket.collect()
    await bucket.pending("t9", [])
    bucket.now += DAY
    found = await bucket.collect()
    assert (found.owned, found.deleted) == (1, 1)
    assert sorted(await bucket.lists()) == [sorted([sent[0], WASTE])] * 2
    assert sent[0] in await bucket.left()


async def test_a_backup_that_has_just_begun_blocks_the_sweep_and_a_dead_one_does_not(bucket: Bucket) -> None:
    await bucket.collect()
    await bucket.pending("t9", None)
    bucket.now += 7 * DAY - 60
    assert "begun" in await bucket.refused("CollectBlocked")
    bucket.now += 60
    assert (await bucket.collect()).deleted == 1


async def test_a_pending_record_of_a_backup_that_has_its_manifest_neither_blocks_nor_pins(bucket: Bucket) -> None:
    key = await bucket.pending("t1", None)
    assert (await bucket.collect()).candidates == 1
    bucket.now += DAY + 1
    await bucket.collect()
    assert key not in await bucket.all()  # left by a crash, and of no use


async def test_a_record_that_nobody_wrote_for_weeks_goes(bucket: Bucket) -> None:
    key = await bucket.pending("t9", [])
    bucket.now += 8 * DAY
    await bucket.collect()
    assert key in await bucket.all()
    bucket.now += 30 * DAY
    await bucket.collect()
    assert key not in await bucket.all()


@pytest.mark.parametrize("what", ["manifest", "future", "pending", "record"])
async def test_what_cannot_be_read_stops_the_sweep(bucket: Bucket, what: str) -> None:
    await bucket.collect()
    bucket.now += DAY
    keys = {
        "manifest": PATH.manifest("t2"), "future": PATH.manifest("t2"), "pending": PATH.pending("t2", "e2", "1"),
        "record": catalog.record_key("c", "t2", "dc"),
    }  # fmt: skip
    future = msgspec.structs.replace(manifest("t2", [], "uid-2"), format=MANIFEST_FORMAT + 1)
    await bucket.put(keys[what], catalog.encode(future) if what == "future" else b"torn")
    message = await bucket.refused("CollectRefused")
    assert keys[what] in message
    assert "nothing was deleted" in message


async def test_a_complete_backup_whose_manifest_is_gone_stops_the_sweep(bucket: Bucket) -> None:
    await bucket.record("t2", "0" * 64, "uid-2")
    assert "forget the backup" in await bucket.refused("CollectRefused")


async def test_a_backup_that_is_forgotten_meanwhile_does_not(bucket: Bucket) -> None:
    """Its record was read, and then it went with its manifest."""

    class Forgetting(FaultyStore):
        def list(self, prefix: str, *, start_after: str = "") -> Any:
            if prefix == PATH.manifests:
                bucket.memory._objects.pop(catalog.record_key("c", "t2", "dc"), None)
            return super().list(prefix, start_after=start_after)

    await bucket.record("t2", "0" * 64, "uid-2")
    bucket.store = Forgetting(bucket.memory)
    assert (await bucket.collect()).candidates == 1


async def test_too_many_candidates_stop_the_sweep(bucket: Bucket) -> None:
    await bucket.data(*(f"nb-{number}-big" for number in range(20, 23)))
    bucket.now += 2 * DAY
    assert "4 of the 6 objects" in await bucket.refused("CollectRefused")
    assert (await bucket.collect(limit=0.7)).candidates == 4


async def test_what_was_given_up_on_purpose_does_not_count(bucket: Bucket) -> None:
    await bucket.data(*(f"nb-{number}-big" for number in range(20, 23)))
    bucket.now += 2 * DAY
    assert (await bucket.collect(expected=1)).candidates == 4  # 3 of 6 are not more than half
    assert "4 of the 6 objects" in await bucket.refused("CollectRefused", expected=1, limit=0.4)


async def test_a_node_without_a_backup_loses_nothing_unless_that_is_said(bucket: Bucket) -> None:
    await bucket.memory.delete([catalog.record_key("c", "t1", "dc"), PATH.manifest("t1")])
    assert "allowEmpty" in await bucket.refused("CollectRefused", limit=1.0)
    await bucket.collect(allow_empty=True)
    bucket.now += DAY
    assert (await bucket.collect(allow_empty=True)).deleted == 3
    assert await bucket.left() == []
    assert (await bucket.collect()).objects == 0  # and an empty path is no reason to complain


async def test_old_host_ids_are_collected_and_strangers_are_not(bucket: Bucket) -> None:
    old = await bucket.data("nb-1-big", host="h0")
    strange = [f"{PATH.root}notes.txt", f"{PATH.root}h1/data/readme", f"{PATH.root}h1/other/x~1-00000000-e1"]
    for key in strange:
        await bucket.put(key)
    await bucket.manifest("t2", NEEDED)
    for _ in range(3):
        bucket.now += 2 * DAY
        await bucket.collect(limit=0.6)
    assert old[0] not in await bucket.left()
    assert set(strange) <= set(await bucket.all())


async def test_a_dry_run_says_what_it_would_do_and_writes_nothing(bucket: Bucket) -> None:
    await bucket.collect()
    bucket.now += DAY
    await bucket.memory.create_upload(PATH.root + object_key("nb-3-big", "e3"))
    bucket.now += DAY + 1
    store = bucket.store = FaultyStore(bucket.memory)
    found = await bucket.collect(dry_run=True)
    assert (found.dry_run, found.deleted, found.deleted_bytes, found.uploads) == (True, 1, 1, 1)
    assert [(told.key, told.why) for told in found.keys] == [(WASTE, "Delete")]
    assert set(store.calls) <= {"list", "get", "list_uploads"}


async def test_uploads_that_nobody_owns_are_aborted(bucket: Bucket) -> None:
    for epoch in ("e1", "e9", "e9x0000000a"):
        await bucket.memory.create_upload(PATH.root + object_key("nb-3-big", epoch))
    bucket.now += DAY + 1
    await bucket.memory.create_upload(PATH.root + object_key("nb-4-big", "e1"))
    await bucket.pending("t9", [])
    assert (await bucket.collect()).uploads == 1
    left = [upload.key async for upload in bucket.memory.list_uploads("")]
    assert [key.rpartition("-")[2] for key in left] == ["e9", "e9x0000000a", "e1"]


@pytest.mark.parametrize("after", [False, True])
async def test_a_cycle_may_die_at_any_request_and_another_ends_its_work(after: bool) -> None:
    """Whatever it had done, nothing needed is gone, and the same operation, started again, leaves nothing undone."""
    step = 0
    while True:
        step += 1
        bucket = Bucket()
        await bucket.manifest("t1", await bucket.data("nb-1-big", "nb-2-big"))
        await bucket.data("nb-9-big")
        bucket.now += 2 * DAY
        await bucket.collect()
        bucket.now += DAY
        dying = bucket.store = Dying(bucket.memory, step, after=after)
        cycle = asyncio.create_task(bucket.collect())
        died = asyncio.create_task(dying.died.wait())
        await asyncio.wait([cycle, died], return_when=asyncio.FIRST_COMPLETED)
        dying.dead = True
        for task in (cycle, died):
            task.cancel()
        await asyncio.gather(cycle, died, return_exceptions=True)
        bucket.store = bucket.memory
        assert set(NEEDED) <= set(await bucket.left())
        await bucket.collect()
        assert await bucket.left() == NEEDED
        if not dying.died.is_set():
            break
    assert step > 10, "a cycle makes more requests than that"


class Dying(FaultyStore):
    """The process dies at the ``at``-th request: before it, or ``after`` it was done and before its answer."""

    def __init__(self, store: ObjectStore, at: int, *, after: bool) -> None:
        super().__init__(store)
        self._at, self._after = at, after
        self.died = asyncio.Event()
        self.dead = False

    async def _do(self, verb: str, key: str, call: Any) -> Any:
        if self.dead:
            raise store_error()
        self._at -= 1
        if self._at == 0:
            if self._after:
                await call()
            self.died.set()
            await asyncio.Event().wait()
        return await super()._do(verb, key, call)

    async def _stream(self, verb: str, key: str, items: Any) -> Any:
        self._at -= 1
        if self._at == 0:
            self.died.set()
            await asyncio.Event().wait()
        async for item in super()._stream(verb, key, items):
            yield item


async def test_deletes_that_fail_half_way_are_the_next_cycles(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.collector._BATCH", 1)
    await bucket.data("nb-7-big", "nb-8-big")
    await bucket.manifest("t2", await bucket.data("nb-3-big", "nb-4-big"))
    bucket.now += 2 * DAY
    await bucket.collect()
    bucket.now += DAY
    faulty = bucket.store = FaultyStore(bucket.memory)
    faulty.fail("delete", Fault(store_error(Kind.FORBIDDEN), key=PATH.root + object_key("nb-8-big")))
    with pytest.raises(StoreError, match="as the test told"):
        await bucket.collect()
    assert len(await bucket.left()) == 6
    assert (await bucket.collect()).deleted == 2
    assert len(await bucket.left()) == 4


async def test_a_sweep_that_was_stopped_for_long_stops(bucket: Bucket) -> None:
    class Slow(FaultyStore):
        async def put(self, key: str, body: Any, *, if_absent: bool = False) -> Any:
            found = await super().put(key, body, if_absent=if_absent)
            if key.endswith(".jsonl.zst"):
                bucket.now += HOUR  # the machine was asleep
            return found

    await bucket.collect()
    bucket.now += DAY
    bucket.store = Slow(bucket.memory)
    found = await bucket.collect()
    assert (found.deleted, found.left) == (0, 1)
    bucket.store = bucket.memory
    assert (await bucket.collect()).deleted == 1


async def test_one_agent_at_a_time(bucket: Bucket) -> None:
    async with taken(bucket.memory, PATH, "other", elapsed=lambda: bucket.now):
        assert "another agent" in await bucket.refused("CollectBlocked")
        bucket.now += HOUR + 1
        async with taken(bucket.memory, PATH, "third", elapsed=lambda: bucket.now) as third:
            assert await third.held()
    assert (await bucket.collect()).candidates == 1
    assert not [key for key in await bucket.all() if "lease" in key or "clock" in key]


async def test_the_stores_clock_is_read_also_where_two_read_it_at_once(bucket: Bucket) -> None:
    class Racing(FaultyStore):
        raced = 0

        async def head(self, key: str) -> Any:
            if self.raced < 2:
                self.raced += 1
                await bucket.memory.delete([key])
            return await super().head(key)

    assert await store_time(Racing(bucket.memory), PATH) == bucket.now

    class Forgetful(FaultyStore):
        async def put(self, key: str, body: Any, *, if_absent: bool = False) -> Any:
            return await super().put(f"{key}x", body, if_absent=if_absent)

    with pytest.raises(AgentError, match="clock cannot be read"):
        await store_time(Forgetful(bucket.memory), PATH)


async def test_a_lease_is_taken_up_by_who_died_with_it(bucket: Bucket) -> None:
    lease = taken(bucket.memory, PATH, "pod/j", elapsed=lambda: bucket.now)
    await lease.__aenter__()
    assert (await bucket.collect("j")).candidates == 1


async def test_a_collector_waits_for_the_backups_of_its_process_and_they_for_it(bucket: Bucket) -> None:
    async with bucket.turns.backing_up(PATH), bucket.turns.backing_up(PATH):
        cycle = asyncio.create_task(bucket.collect())
        for _ in range(20):
            await asyncio.sleep(0)
        assert not cycle.done()
        assert (await asyncio.wait_for(Bucket.collect(bucket, node="other"), 10)).objects == 0
    assert (await cycle).candidates == 1
    async with bucket.turns.collecting(PATH):
        entered = asyncio.create_task(_enter(bucket.turns))
        for _ in range(20):
            await asyncio.sleep(0)
        assert not entered.done()
    await entered


async def _enter(turns: Turns) -> None:
    async with turns.backing_up(PATH):
        pass


async def test_a_list_that_cannot_be_read_deletes_nothing(bucket: Bucket) -> None:
    await bucket.collect()
    (name,) = [one.key for one in await read_lists(bucket.memory, PATH)]
    whole = bucket.memory._objects[name][1]
    bucket.now += DAY
    for data in (b"", b"torn", whole[: len(whole) // 2], whole[:12] + b"\0" + whole[13:]):
        await bucket.put(name, data)
        (found,) = await read_lists(bucket.memory, PATH)
        assert found.keys is None
    bucket.now += DAY
    assert (await bucket.collect()).deleted == 0
    bucket.now += DAY
    assert (await bucket.collect()).deleted == 1


@pytest.mark.parametrize("wrong", [{"grace": 60}, {"limit": 0.0}, {"limit": 1.5}, {"node": ""}, {"expected": -1}])
async def test_a_spec_that_makes_no_sense_is_refused(bucket: Bucket, wrong: dict[str, Any]) -> None:
    await bucket.refused("InvalidSpec", **wrong)


@pytest.mark.slow
async def test_memory_does_not_follow_the_bucket() -> None:
    """A quarter of the keys in each of two manifests, the others candidates: nothing is ever whole in memory."""
    count = 20_000
    names = [object_key(f"nb-{number:07d}-big") for number in range(count)]

    class Large(FaultyStore):
        async def list(self, prefix: str, *, start_after: str = "") -> Any:
            async for meta in super().list(prefix, start_after=start_after):
                yield meta
            if prefix == PATH.root:
                for name in names:
                    yield ObjectMeta(PATH.root + name, 1, modified=1.0)

    bucket = Bucket()
    await bucket.manifest("t1", names[: count // 4])
    await bucket.manifest("t2", names[count // 4 : count // 2])
    bucket.store = Large(bucket.memory)
    tracemalloc.start()
    try:
        found = await bucket.collect()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (found.objects, found.live, found.candidates) == (count, count // 2, count // 2)
    assert len(found.keys) == 1_000
    assert peak < 8 << 20


def test_a_list_says_its_keys_in_order_and_how_many() -> None:
    made = KeyList("now")
    names = [f"h1/data/ks/t/{number:07d}/b~1-0-e1" for number in range(30_000)]
    for name in names:
        made.add(name, 2)
    made.done()
    assert list(made) == names
    assert (made.count, made.size) == (30_000, 60_000)
    assert len(made.data) < 300_000
