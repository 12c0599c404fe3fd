"""What a collector does with the word that runs ended: their objects may be all that is there, and they run no more."""

from __future__ import annotations

from typing import Any

import pytest

from agent import catalog
from tests.fakes.faulty_store import FaultyStore
from tests.unit.agent.bucket import DAY, HOUR, PATH, Bucket, object_key

ENDED: dict[str, Any] = {"ended": ["e1"], "allow_ended": True}


@pytest.fixture
async def failed() -> Bucket:
    """What the first backup sent before it failed, in two tries, two days ago: no backup has ever been complete."""
    found = Bucket()
    await found.data("nb-1-big", "nb-2-big")
    await found.data("nb-2-big", epoch="e1x0000000a")
    found.now += 2 * DAY
    return found


# nothing but what failed runs sent


async def test_it_is_freed_in_two_cycles(failed: Bucket) -> None:
    first = await failed.collect(**ENDED)
    assert (first.candidates, first.deleted) == (3, 0)
    failed.now += DAY - 60
    assert (await failed.collect(**ENDED)).deleted == 0
    failed.now += 60
    assert (await failed.collect(**ENDED)).deleted == 3
    assert await failed.left() == []


async def test_several_runs_failed_each_of_which_left_something(failed: Bucket) -> None:
    await failed.data("nb-3-big", epoch="e2")
    failed.now += 2 * DAY
    await failed.refused("CollectRefused", **ENDED)
    for _ in range(2):
        await failed.collect(ended=["e1", "e2"], allow_ended=True)
        failed.now += DAY
    assert await failed.left() == []


async def test_what_they_sent_last_is_still_too_young(failed: Bucket) -> None:
    (young,) = await failed.data("nb-3-big")
    found = await failed.collect(**ENDED)
    assert (found.young, found.candidates) == (1, 3)
    failed.now += DAY
    assert (await failed.collect(**ENDED)).deleted == 3
    assert await failed.left() == [young]


@pytest.mark.parametrize(
    "told",
    [{}, {"allow_ended": True}, {"ended": ["e1"]}, {"ended": ["e2"], "allow_ended": True},
     {"ended": ["e"], "allow_ended": True}, {"ended": ["e1x0000000a"], "allow_ended": True}],
)  # fmt: skip
async def test_without_the_word_that_just_these_runs_ended_nothing_goes(failed: Bucket, told: dict[str, Any]) -> None:
    assert "allowEmpty" in await failed.refused("CollectRefused", limit=1.0, expected=3, **told)


# anything else


@pytest.mark.parametrize("age", [0.0, HOUR, 30 * DAY])
@pytest.mark.parametrize(
    "stranger", [{"epoch": "e2"}, {"epoch": "e11"}, {"epoch": "e1y0000000a"}, {"host": "h0", "epoch": "d1"}]
)
async def test_one_object_of_another_run_is_enough_to_refuse(
    failed: Bucket, stranger: dict[str, str], age: float
) -> None:
    """Its manifest may be lost, or not be listed yet; and it may have reused what the failed run sent."""
    (other,) = await failed.data("nb-1-big", **stranger)
    failed.now += age
    message = await failed.refused("CollectRefused", limit=1.0, expected=9, **ENDED)
    assert f"{other} is not" in message


async def test_a_lost_manifest_of_a_complete_backup_stops_it(failed: Bucket) -> None:
    """It has reused all that the failed run had sent, and has sent nothing itself."""
    await failed.manifest("t2", await failed.left())
    await failed.memory.delete([PATH.manifest("t2")])
    assert "complete" in await failed.refused("CollectRefused", limit=1.0, **ENDED)


@pytest.mark.parametrize("what", ["manifest", "record", "pending"])
async def test_what_cannot_be_read_stops_it(failed: Bucket, what: str) -> None:
    keys = {
        "manifest": PATH.manifest("t2"), "record": catalog.record_key("c", "t2", "dc"),
        "pending": PATH.pending("t2", "e2", "1"),
    }  # fmt: skip
    await failed.put(keys[what], b"torn")
    assert keys[what] in await failed.refused("CollectRefused", limit=1.0, **ENDED)


async def test_a_manifest_that_is_lost_between_the_cycles_stops_the_second(failed: Bucket) -> None:
    await failed.collect(**ENDED)
    await failed.manifest("t2", await failed.data("nb-3-big", epoch="e2"))
    failed.now += DAY
    await failed.memory.delete([PATH.manifest("t2"), catalog.record_key("c", "t2", "dc")])
    await failed.refused("CollectRefused", limit=1.0, **ENDED)


async def test_where_a_backup_is_the_limit_holds_as_ever(failed: Bucket) -> None:
    await failed.manifest("t2", await failed.data("nb-3-big", epoch="e2"))
    assert "3 of the 4 objects" in await failed.refused("CollectRefused", **ENDED)
    assert (await failed.collect(expected=3, **ENDED)).candidates == 3


async def test_a_node_whose_part_of_a_failed_run_was_committed_keeps_it(failed: Bucket) -> None:
    """Its manifest is there, without a record: that goes when the backup is forgotten."""
    await failed.manifest("t1", await failed.left(), record=False)
    for _ in range(2):
        assert (await failed.collect(limit=1.0, **ENDED)).candidates == 0
        failed.now += DAY


async def test_a_backup_that_runs_beside_it_loses_nothing(failed: Bucket) -> None:
    (reused,) = [object_key("nb-1-big")]
    sent = await failed.data("nb-3-big", epoch="e2")
    failed.now += 2 * DAY
    await failed.pending("t2", [reused], epoch="e2")
    for _ in range(2):
        await failed.collect(limit=1.0, **ENDED)
        failed.now += DAY
        await failed.pending("t2", [reused], epoch="e2")
    assert await failed.left() == [reused, *sent]


async def test_a_backup_that_reuses_nothing_is_no_stranger(failed: Bucket) -> None:
    sent = await failed.data("nb-3-big", epoch="e2")
    for _ in range(2):
        await failed.pending("t2", [], epoch="e2")
        await failed.collect(**ENDED)
        failed.now += DAY
    assert await failed.left() == sent


# pending records of runs that ended


async def test_a_start_marker_of_a_run_that_ended_blocks_for_the_grace_and_goes(failed: Bucket) -> None:
    """Its agent died, or the store fell silent, before it could say what it reuses."""
    key = await failed.pending("t1", None, epoch="e1")
    failed.now += DAY - 60
    assert "begun" in await failed.refused("CollectBlocked", **ENDED)
    failed.now += 60
    assert "begun" in await failed.refused("CollectBlocked", ended=["e2"], allow_ended=True)
    assert (await failed.collect(**ENDED)).candidates == 3
    assert key not in await failed.all()


async def test_what_a_run_that_ended_pinned_is_pinned_for_the_grace(failed: Bucket) -> None:
    await failed.manifest("t2", await failed.data("nb-3-big", epoch="e2"))
    key = await failed.pending("t1", [object_key("nb-1-big")], epoch="e1")
    failed.now += DAY - 60
    first = await failed.collect(limit=1.0, **ENDED)
    assert (first.live, first.owned, first.candidates) == (2, 2, 0)
    assert key in await failed.all()
    failed.now += 60
    assert (await failed.collect(limit=1.0, **ENDED)).candidates == 3
    assert key not in await failed.all()


async def test_a_run_that_ended_and_still_has_a_heartbeat_keeps_its_pins(failed: Bucket) -> None:
    """An agent that the operator lost sight of may be at it for long: it has the store to say so."""
    for day in range(9):
        key = await failed.pending("t1", [object_key("nb-1-big")], epoch="e1")
        failed.now += DAY - 60
        found = await failed.collect(limit=1.0, **ENDED)
        assert (found.candidates, found.owned) == (0, 2), day
        assert key in await failed.all()


@pytest.mark.parametrize(("grace", "patience"), [(HOUR, 2 * HOUR), (3 * HOUR, 3 * HOUR), (30 * DAY, 7 * DAY)])
async def test_it_is_waited_for_no_less_than_a_commit_may_take_nor_longer_than_for_others(
    failed: Bucket, grace: float, patience: float
) -> None:
    await failed.pending("t1", None, epoch="e1")
    failed.now += patience - 1
    await failed.refused("CollectBlocked", grace=int(grace), **ENDED)
    failed.now += 1
    await failed.collect(grace=int(grace), **ENDED)


async def test_nobody_elses_record_goes(failed: Bucket) -> None:
    """Also not that of another backup of the same name."""
    mine, other = await failed.pending("t1", [], epoch="e1"), await failed.pending("t1", [], epoch="e2")
    failed.now += 2 * DAY
    await failed.collect(**ENDED)
    assert mine not in await failed.all()
    assert other in await failed.all()


async def test_a_dry_run_takes_no_record_away(failed: Bucket) -> None:
    await failed.pending("t1", [], epoch="e1")
    failed.now += 2 * DAY
    store = failed.store = FaultyStore(failed.memory)
    assert (await failed.collect(dry_run=True, **ENDED)).candidates == 3
    assert set(store.calls) <= {"list", "get", "list_uploads"}


@pytest.mark.parametrize("epoch", ["", "e/1", "e" * 33])
async def test_an_epoch_that_is_none_is_refused(failed: Bucket, epoch: str) -> None:
    await failed.refused("InvalidSpec", ended=[epoch], allow_ended=True)
