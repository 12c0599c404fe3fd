"""A schedule from its creation on: exactly one backup a slot, whoever dies or lags."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from controller.clock import parse_rfc3339, rfc3339
from controller.errors import AlreadyExists, Conflict, Forbidden, Invalid, ServerError, Timeout
from controller.metrics import REGISTRY
from controller.reconcile import Done, RequeueAfter
from controller.resource import Key
from reconcilers import labels
from reconcilers.api.backup import BACKUPS
from reconcilers.api.schedule import SCHEDULES
from tests.unit.reconcilers.schedule.objects import NAME, START, hours
from tests.unit.reconcilers.schedule.world import KEY, World

if TYPE_CHECKING:
    from controller.resource import Resource


@pytest.fixture
def world() -> World:
    return World()


def slot(minutes: int) -> str:
    return f"{NAME}-20260101{minutes // 60:02}{minutes % 60:02}"


async def test_a_backup_a_slot_and_nothing_in_between(world: World) -> None:
    await world.schedule()
    assert await world.settle() == 60
    assert world.names() == []
    assert world.status["nextScheduleTime"] == "2026-01-01T00:01:00Z"
    for minute in range(1, 6):
        world.clock.jump(60 if minute == 1 else 50)
        assert await world.settle() == 60  # until the next one, exactly
        assert world.names() == [slot(n) for n in range(1, minute + 1)]
        assert world.status["lastScheduleTime"] == f"2026-01-01T00:0{minute}:00Z"
        assert world.status["nextScheduleTime"] == f"2026-01-01T00:0{minute + 1}:00Z"
        assert [one["name"] for one in world.status["active"]] == [slot(minute)]
        world.end(slot(minute))
        world.clock.jump(10)
        assert await world.settle() == 50
    assert world.status.get("missedRuns", 0) == 0
    assert world.condition("Ready") == ("True", "Scheduled")
    assert world.condition("ScheduleValid") == ("True", "Valid")
    assert world.condition("Suspended") == ("False", "NotSuspended")
    assert world.condition("RetentionHealthy") == ("True", "Healthy")


async def test_at_rest_nothing_is_written(world: World) -> None:
    await world.schedule()
    await world.run(60)
    world.end(slot(1))
    world.clock.jump(10)
    await world.settle()
    calls = len(world.api.calls)
    for _ in range(3):
        await world.settle()
    assert world.api.calls[calls:] == []


async def test_a_child_changes_the_status_at_most_every_five_seconds(world: World) -> None:
    await world.schedule(successfulHistoryLimit=100)
    await world.run(60)
    written = world.writes("patch")
    world.clock.jump(1)
    world.end(slot(1))
    assert await world.settle() == pytest.approx(4)
    assert world.writes("patch") == written
    world.clock.jump(4)
    await world.settle()
    assert world.writes("patch") == written + 1
    assert world.status["lastSuccessfulBackup"] == slot(1)


async def test_a_wait_for_the_statuss_turn_does_not_delay_a_slot(world: World) -> None:
    await world.schedule()
    await world.run(118)
    await world.change(failedHistoryLimit=7)  # is seen at once, and written
    await world.settle()
    world.clock.jump(1)
    world.end(slot(1))  # may be written in four seconds
    assert await world.settle() == pytest.approx(1)


async def test_deletion_ends_all_that(world: World) -> None:
    await world.schedule()
    await world.settle()
    world.clock.jump(60)
    world.api.objects[SCHEDULES, KEY]["metadata"]["deletionTimestamp"] = rfc3339(world.clock.now())
    assert await world.turn() == Done()
    del world.api.objects[SCHEDULES, KEY]
    assert await world.turn() == Done()
    assert world.names() == []


async def test_immediate_makes_one_at_once_and_no_second(world: World) -> None:
    world.clock.jump(90.5)
    await world.schedule("0 * * * *", immediate=True, jitterSeconds=3600)
    await world.settle()
    assert world.names() == [slot(1)]
    assert world.status["lastScheduleTime"] == "2026-01-01T00:01:00Z"
    world.clock.jump(600)
    world.restart()
    await world.settle()
    assert world.names() == [slot(1)]


async def test_immediate_is_made_up_for_whenever_it_can_be(world: World) -> None:
    await world.schedule("99 * * * *", immediate=True)
    await world.turn()
    world.clock.jump(7 * 3600)
    await world.change(schedule="0 5 * * *")
    await world.settle()
    assert world.names() == [slot(0)]
    assert world.status.get("missedRuns", 0) == 0


async def test_immediate_whose_name_is_taken_waits_for_it(world: World) -> None:
    foreign = {"metadata": {"name": slot(0), "namespace": "ns"}, "spec": {"backupType": "AWS_S3", "target": "b"}}
    await world.api.create(BACKUPS, foreign)
    await world.schedule("0 5 * * *", immediate=True)
    assert await world.settle() == 60
    assert world.condition("Ready") == ("False", "NameTaken")
    await world.api.delete(BACKUPS, Key("ns", slot(0)))
    world.clock.jump(60)
    await world.settle()
    assert world.names() == [slot(0)]
    assert world.condition("Ready") == ("True", "Scheduled")


async def test_jitter_delays_the_start_not_the_name(world: World) -> None:
    await world.schedule("0 * * * *", jitterSeconds=3600)
    await world.settle()
    when = parse_rfc3339(world.status["nextScheduleTime"])
    assert hours(1) < when <= hours(2)
    await world.run((when - START).total_seconds() - 1)
    assert world.names() == []
    await world.run(1)
    assert world.names() == [slot(60)]
    assert world.status["lastScheduleTime"] == "2026-01-01T01:00:00Z"


# what was missed


async def test_of_the_missed_only_the_newest_runs(world: World) -> None:
    await world.schedule("0 * * * *")
    await world.settle()
    world.clock.jump(5 * 3600 + 60)  # the operator was away
    await world.settle()
    assert world.names() == [slot(300)]
    assert world.status["missedRuns"] == 4
    message = (
        "4 times up to 2026-01-01T05:00:00Z passed without a backup: only the newest is made up for, within 3600 s "
        "(startingDeadlineSeconds)"
    )
    assert [m for _, r, m in world.said.events if r == "ScheduleMissed"] == [message]
    await world.settle()
    assert world.status["missedRuns"] == 4


async def test_none_of_them_where_all_are_too_old(world: World) -> None:
    await world.schedule("0 * * * *", startingDeadlineSeconds=300)
    await world.settle()
    world.clock.jump(2 * 3600 + 301)
    await world.settle()
    assert world.names() == []
    assert world.status["missedRuns"] == 2
    assert "lastScheduleTime" not in world.status
    world.restart()
    assert await world.settle() == 3600 - 301
    assert world.status["missedRuns"] == 2


async def test_suspended_nothing_runs_and_nothing_goes(world: World) -> None:
    await world.schedule("0 * * * *", retention={"keepLast": 1})
    await world.run(2 * 3600, end="Completed")
    assert world.names() == [slot(120)]
    await world.change(suspend=True, retention={"keepWithin": "1h"})
    assert await world.turn() == Done()
    assert world.condition("Suspended") == ("True", "Suspended")
    assert world.condition("Ready") == ("True", "Suspended")
    assert "nextScheduleTime" not in world.status
    world.clock.jump(10 * 3600 + 600)
    assert await world.turn() == Done()
    assert world.names() == [slot(120)]
    # as a CronJob: what is due within the deadline runs, and nobody is blamed for the others
    await world.change(suspend=False, startingDeadlineSeconds=900)
    await world.settle()
    assert world.names() == [slot(120), slot(720)]
    assert world.status.get("missedRuns", 0) == 0
    assert world.condition("Suspended") == ("False", "NotSuspended")


async def test_resumed_too_late_for_the_deadline(world: World) -> None:
    await world.schedule("0 * * * *", suspend=True, startingDeadlineSeconds=300)
    await world.turn()
    world.clock.jump(3 * 3600 + 301)
    await world.change(suspend=False)
    await world.settle()
    assert world.names() == []
    assert world.status.get("missedRuns", 0) == 0
    assert world.reasons() == []


async def test_a_changed_schedule_makes_up_for_nothing(world: World) -> None:
    await world.schedule("0 0 * * *")
    await world.settle()
    world.clock.jump(5 * 3600 + 1800)
    await world.change(schedule="0 * * * *")
    assert await world.settle() == 1800
    assert world.names() == []
    assert world.status.get("missedRuns", 0) == 0


# dying, lagging, two at once


class Dead(BaseException):
    pass


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", range(1, 12))
async def test_an_operator_that_dies_at_any_request_loses_and_doubles_nothing(
    world: World, when: str, step: int
) -> None:
    await world.schedule(retention={"keepLast": 2})
    await world.run(3 * 60 + 6, end="Completed")
    requests = 0
    made: list[str] = []

    async def die(verb: str, resource: Resource, key: Key) -> None:
        nonlocal requests
        requests += 1
        if requests == step:
            raise Dead

    async def note(verb: str, resource: Resource, key: Key) -> None:
        if (verb, resource) == ("create", BACKUPS):
            made.append(key.name)
        if when == "after":
            await die(verb, resource, key)

    async def survive() -> None:
        try:
            await world.settle()
        except Dead:
            world.restart()
            await world.settle()

    world.api.after = note
    if when == "before":
        world.api.intercept = die
    for minute in (4, 5, 6):
        world.clock.jump(54)
        await survive()
        world.end(slot(minute))
        world.clock.jump(6)
        await survive()
    assert requests >= step
    assert made == [slot(4), slot(5), slot(6)]
    assert world.names() == [slot(5), slot(6)]
    assert world.status["lastScheduleTime"] == "2026-01-01T00:06:00Z"
    assert world.status.get("missedRuns", 0) == 0


async def test_the_status_goes_on_only_when_the_backup_is_there(world: World) -> None:
    await world.schedule()
    await world.settle()
    world.clock.jump(60)
    before = dict(world.status)

    async def refuse(verb: str, resource: Resource, key: Key) -> None:
        if verb == "create":
            raise ServerError("no", status=500)

    world.api.intercept = refuse
    with pytest.raises(ServerError):
        await world.turn()
    assert world.status == before
    world.api.intercept = None
    await world.settle()
    assert world.names() == [slot(1)]


async def test_an_answer_that_never_came(world: World) -> None:
    await world.schedule()
    await world.settle()
    world.clock.jump(60)

    async def lose(verb: str, resource: Resource, key: Key) -> None:
        if verb == "create":
            world.api.after = None
            raise Timeout("no answer in time")

    world.api.after = lose
    with pytest.raises(Timeout):
        await world.turn()
    await world.settle()
    assert world.names() == [slot(1)]
    assert world.status["lastScheduleTime"] == "2026-01-01T00:01:00Z"


async def test_a_backup_that_goes_before_the_status_knew_of_it_is_not_made_again(world: World) -> None:
    await world.schedule()
    await world.settle()
    world.clock.jump(60)

    async def die(verb: str, resource: Resource, key: Key) -> None:
        if (verb, resource) == ("create", BACKUPS):
            world.api.after = None
            raise Dead

    world.api.after = die
    with pytest.raises(Dead):
        await world.settle()
    world.restart()
    await world.settle()
    assert world.status["handledUntil"] == "2026-01-01T00:01:00Z"
    await world.api.delete(BACKUPS, Key("ns", slot(1)))
    await world.settle()
    assert world.names() == []


async def test_a_watch_that_lags_makes_no_second(world: World) -> None:
    await world.schedule(concurrencyPolicy="Queue")
    await world.settle()
    world.clock.jump(60)
    await world.settle()
    world.clock.jump(60)
    world.restart()  # a new process, whose stores are those of a minute ago
    await world.reconciler.reconcile(KEY)
    assert world.names() == [slot(1), slot(2)]


async def test_a_schedule_that_is_seen_late_conflicts_and_makes_no_second(world: World) -> None:
    await world.schedule()
    await world.settle()
    world.refresh()
    world.clock.jump(60)
    other = World()
    other.api, other.clock = world.api, world.clock
    other.restart()
    await other.settle()
    world.restart()
    with pytest.raises(Conflict):  # the status was written by the other one
        await world.reconciler.reconcile(KEY)
    assert world.names() == [slot(1)]
    await world.settle()
    assert world.writes("create", BACKUPS) == 1


async def test_another_makes_the_same_one_at_the_same_time(world: World) -> None:
    await world.schedule()
    await world.settle()
    world.clock.jump(60)

    async def first(verb: str, resource: Resource, key: Key) -> None:
        if verb == "create" and resource == BACKUPS:
            world.api.intercept = None
            other = World()
            other.api, other.clock = world.api, world.clock
            other.restart()
            await other.turn()

    world.api.intercept = first
    with pytest.raises(Conflict):
        await world.turn()
    await world.settle()
    assert world.names() == [slot(1)]
    assert world.status["lastScheduleTime"] == "2026-01-01T00:01:00Z"
    assert "NameTaken" not in world.reasons()


@pytest.mark.parametrize("mark", [{}, {labels.SCHEDULE: NAME}])
async def test_a_name_that_is_taken_costs_the_slot(world: World, mark: dict[str, str]) -> None:
    foreign = {"metadata": {"name": slot(1), "namespace": "ns", "labels": mark, "annotations":
        {labels.SCHEDULE_UID: "an earlier schedule's"}}, "spec": {"backupType": "AWS_S3", "target": "b"}}  # fmt: skip
    await world.api.create(BACKUPS, foreign)
    await world.schedule()
    await world.run(120)
    assert world.names() == [slot(1), slot(2)]
    assert world.status["missedRuns"] == 1
    assert world.status["lastScheduleTime"] == "2026-01-01T00:02:00Z"
    assert [(t, m) for t, r, m in world.said.events if r == "NameTaken"] == [
        ("Warning", f"backup {slot(1)} is there and not of this schedule: rename or delete it")
    ]


@pytest.mark.parametrize("error", [Invalid("spec.target: no"), Forbidden("exceeded quota")])
async def test_a_backup_that_is_refused_is_tried_again(world: World, error: Exception) -> None:
    await world.schedule("0 * * * *", startingDeadlineSeconds=300)
    await world.settle()
    world.clock.jump(3600)

    async def refuse(verb: str, resource: Resource, key: Key) -> None:
        if verb == "create":
            raise error

    world.api.intercept = refuse
    assert await world.settle() == 60
    assert world.condition("Ready") == ("False", "CreateRefused")
    assert "lastScheduleTime" not in world.status
    world.clock.jump(60)
    assert await world.settle() == 60
    assert world.reasons() == ["CreateRefused"]  # said once
    world.api.intercept = None
    world.clock.jump(60)
    await world.settle()
    assert world.names() == [slot(60)]
    assert world.condition("Ready") == ("True", "Scheduled")


async def test_a_backup_that_is_refused_for_too_long_was_missed(world: World) -> None:
    await world.schedule("0 * * * *", startingDeadlineSeconds=100)
    await world.settle()

    async def refuse(verb: str, resource: Resource, key: Key) -> None:
        if verb == "create":
            raise Forbidden("no")

    world.api.intercept = refuse
    await world.run(3600 + 180)
    assert world.names() == []
    assert world.status["missedRuns"] == 1
    assert world.reasons() == ["CreateRefused", "ScheduleMissed"]


async def test_the_lookup_of_a_name_that_vanished_is_tried_again(world: World) -> None:
    await world.schedule()
    await world.settle()
    world.clock.jump(60)

    async def vanish(verb: str, resource: Resource, key: Key) -> None:
        if verb == "create":
            world.api.intercept = None
            raise AlreadyExists("there a moment ago", status=409)

    world.api.intercept = vanish
    with pytest.raises(Exception, match="is not there"):
        await world.turn()
    await world.settle()
    assert world.names() == [slot(1)]


# one at a time, or not


async def test_forbid_skips(world: World) -> None:
    await world.schedule()
    await world.run(180)
    assert world.names() == [slot(1)]
    assert world.status["missedRuns"] == 2
    assert world.status["lastScheduleTime"] == "2026-01-01T00:01:00Z"
    assert [m for _, _, m in world.said.events][1:] == [
        f"no backup for 2026-01-01T00:0{n}:00Z: {slot(1)} still runs (concurrencyPolicy Forbid)" for n in (2, 3)
    ]
    world.end(slot(1))
    await world.run(60)
    assert world.names() == [slot(1), slot(4)]


async def test_forbid_asks_the_server_not_the_watch(world: World) -> None:
    await world.schedule()
    await world.run(60)
    world.refresh()
    world.end(slot(1))
    world.clock.jump(60)
    world.restart()
    await world.reconciler.reconcile(KEY)
    assert world.names() == [slot(1), slot(2)]


async def test_queue_makes_them_all(world: World) -> None:
    await world.schedule(concurrencyPolicy="Queue")
    await world.run(180)
    assert world.names() == [slot(n) for n in (1, 2, 3)]
    assert [one["name"] for one in world.status["active"]] == [slot(n) for n in (1, 2, 3)]


async def test_replace_cancels_and_makes(world: World) -> None:
    await world.schedule(concurrencyPolicy="Replace")
    await world.run(120)
    assert world.names() == [slot(1), slot(2)]
    cancelled = [world.api.objects[BACKUPS, Key("ns", n)]["spec"].get("cancel", False) for n in (slot(1), slot(2))]
    assert cancelled == [True, False]
    assert "Replaced" in world.reasons()


# the list, cancel, create, the status; a list changes nothing, so there is no "after" of it
@pytest.mark.parametrize(
    ("when", "step"), [*(("intercept", n) for n in range(1, 5)), *(("after", n) for n in range(1, 4))]
)
async def test_replace_survives_a_death_at_any_request(world: World, when: str, step: int) -> None:
    await world.schedule(concurrencyPolicy="Replace")
    await world.run(60)
    requests = 0

    async def die(verb: str, resource: Resource, key: Key) -> None:
        nonlocal requests
        requests += 1
        if requests == step:
            raise Dead

    setattr(world.api, when, die)
    world.clock.jump(60)
    with pytest.raises(Dead):
        await world.settle()
    world.restart()
    await world.settle()
    assert world.names() == [slot(1), slot(2)]
    assert world.api.objects[BACKUPS, Key("ns", slot(1))]["spec"]["cancel"] is True
    assert "cancel" not in world.api.objects[BACKUPS, Key("ns", slot(2))]["spec"]


async def test_a_backup_nobody_ends_does_not_block_for_ever(world: World) -> None:
    deadlines = {"startingDeadlineSeconds": 60, "nodeProgressDeadlineSeconds": 60}
    await world.schedule("*/5 * * * *", template=deadlines)
    await world.run(300)
    await world.run(300)
    assert world.names() == [slot(5), slot(10)]
    assert [one["name"] for one in world.status["active"]] == [slot(5), slot(10)]


# what goes


async def test_retention_deletes_data_and_tells(world: World) -> None:
    await world.schedule(retention={"keepLast": 3})
    await world.run(5 * 60, end="Completed")
    assert world.names() == [slot(n) for n in (3, 4, 5)]
    assert world.status["retained"] == 3
    assert [m for _, r, m in world.said.events if r == "RetentionDeleted"] == [
        f"backup {slot(n)} is deleted with its data" for n in (1, 2)
    ]
    verbs = [(v, k.name) for v, r, k in world.api.calls if r == BACKUPS and k.name == slot(1) and v != "create"]
    assert verbs == [("patch", slot(1)), ("delete", slot(1))]


async def test_with_a_finalizer_the_policy_is_set_before_it_goes(world: World) -> None:
    await world.schedule(retention={"keepLast": 1})
    await world.run(60, end="Completed")
    world.api.objects[BACKUPS, Key("ns", slot(1))]["metadata"]["finalizers"] = [labels.BACKUP_FINALIZER]
    await world.run(60, end="Completed")
    body = world.api.objects[BACKUPS, Key("ns", slot(1))]
    assert body["spec"]["deletionPolicy"] == "Delete"
    assert "deletionTimestamp" in body["metadata"]
    assert world.status["retained"] == 1
    # it hangs
    await world.change(schedule="0 0 1 1 *")
    await world.run(3 * 3600 - 100)
    assert world.condition("RetentionHealthy") == ("True", "Healthy")
    await world.run(3700)
    assert world.condition("RetentionHealthy") == ("False", "DeleteHangs")
    assert world.reasons().count("DeleteHangs") == 1
    del world.api.objects[BACKUPS, Key("ns", slot(1))]
    await world.settle()
    world.clock.jump(5)
    await world.settle()
    assert world.condition("RetentionHealthy") == ("True", "Healthy")


async def test_a_history_limit_keeps_the_data(world: World) -> None:
    await world.schedule(successfulHistoryLimit=2)
    await world.run(5 * 60, end="Completed")
    assert world.names() == [slot(n) for n in (4, 5)]
    assert not any(v == "patch" and r == BACKUPS for v, r, _ in world.api.calls)
    assert "RetentionDeleted" not in world.reasons()


async def test_the_last_good_one_outlives_everything(world: World) -> None:
    await world.schedule("*/15 * * * *", retention={"keepWithin": "1h"}, failedHistoryLimit=1)
    await world.run(900, end="Completed")
    await world.run(3 * 3600 + 6, end="Failed")
    assert world.names() == [slot(15), slot(195)]
    assert world.status["retained"] == 1
    assert world.status["consecutiveFailures"] == 12
    assert world.condition("LastBackupSucceeded") == ("False", "Failed")


async def test_age_drops_between_two_slots(world: World) -> None:
    await world.schedule("*/5 * * * *", retention={"keepWithin": "1h"})
    await world.run(600, end="Completed")
    await world.change(schedule="0 0 1 1 *")
    await world.run(2.5 * 3600)
    assert world.names() == [slot(10)]


async def test_who_takes_the_label_off_keeps_the_backup(world: World) -> None:
    await world.schedule(retention={"keepLast": 1})
    await world.run(60, end="Completed")
    world.refresh()  # the last that the watch brought
    kept = world.api.objects[BACKUPS, Key("ns", slot(1))]
    del kept["metadata"]["labels"][labels.SCHEDULE]
    await world.run(120, end="Completed")
    assert world.names() == [slot(1), slot(3)]


async def test_a_label_taken_off_at_the_last_moment(world: World) -> None:
    await world.schedule(retention={"keepLast": 1})
    await world.run(60, end="Completed")

    async def take_off(verb: str, resource: Resource, key: Key) -> None:
        if (verb, key.name) == ("patch", slot(1)):
            world.api.intercept = None
            body = world.api._found(BACKUPS, key)
            del body["metadata"]["labels"][labels.SCHEDULE]
            world.api._store(BACKUPS, key, body)

    world.api.intercept = take_off
    with pytest.raises(Conflict):
        await world.run(60, end="Completed")
    await world.settle()
    assert world.names() == [slot(1), slot(2)]
    assert "deletionPolicy" not in world.api.objects[BACKUPS, Key("ns", slot(1))]["spec"]


async def test_a_deletion_that_fails_is_said_and_tried_again(world: World) -> None:
    await world.schedule("0 * * * *", retention={"keepLast": 1})

    async def refuse(verb: str, resource: Resource, key: Key) -> None:
        if (verb, key.name) == ("delete", slot(60)):
            raise Forbidden("a webhook says no")

    world.api.intercept = refuse
    await world.run(2 * 3600 + 6, end="Completed")
    assert world.names() == [slot(60), slot(120)]
    assert world.condition("RetentionHealthy") == ("False", "DeleteFailed")
    assert world.status["retained"] == 2
    world.api.intercept = None
    await world.run(60)
    assert world.names() == [slot(120)]
    assert world.condition("RetentionHealthy") == ("True", "Healthy")


@pytest.mark.parametrize(
    "source", [{"backup": {"name": slot(1)}}, {"source": {"backupType": "AWS_S3", "target": "b", "clusterName": "c",
               "datacenterName": "d", "snapshotTag": slot(1)}}], ids=["by object", "by tag"],
)  # fmt: skip
async def test_what_is_being_restored_stays_until_that_has_ended(world: World, source: dict[str, Any]) -> None:
    from reconcilers.api.restore import RESTORES

    await world.schedule(retention={"keepLast": 1})
    await world.run(60, end="Completed")
    restore = {"metadata": {"name": "r", "namespace": "ns"}, "spec": {"datacenter": "d", **source}}
    await world.api.create(RESTORES, restore)
    await world.run(120, end="Completed")
    assert world.names() == [slot(1), slot(3)]
    world.api.objects[RESTORES, Key("ns", "r")]["status"] = {"phase": "Completed"}
    await world.settle()
    assert world.names() == [slot(3)]


async def test_many_are_removed_a_few_at_a_time(world: World) -> None:
    await world.schedule(retention={"keepLast": 100})
    await world.run(13 * 60, end="Completed")
    await world.change(retention={"keepLast": 1})
    await world.turn()
    assert world.names() == [slot(n) for n in (11, 12, 13)]
    await world.turn()
    assert world.names() == [slot(13)]


async def test_metrics_say_when_the_next_is_due(world: World) -> None:
    await world.schedule("0 0,6 * * *")
    await world.settle()

    def value(name: str) -> float | None:
        full = f"cassandra_backup_schedule_{name}_seconds"
        return REGISTRY.get_sample_value(full, {"namespace": "ns", "schedule": NAME})

    assert value("next_timestamp") == hours(6).timestamp()
    assert value("expected_interval") == 18 * 3600
    await world.change(suspend=True)
    await world.turn()
    assert (value("next_timestamp"), value("expected_interval")) == (None, None)
    await world.change(suspend=False)
    await world.turn()
    assert value("next_timestamp") == hours(6).timestamp()
    del world.api.objects[SCHEDULES, KEY]
    await world.turn()
    assert value("next_timestamp") is None


# bad input


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"schedule": "99 * * * *"}, "InvalidSchedule"),
        ({"schedule": "0 0 30 2 *"}, "NeverMatches"),
        ({"timeZone": "Mars/Phobos"}, "InvalidTimeZone"),
        ({"backupTemplate": {"metadata": {"labels": {"cassandra-datacenter": None}}}}, "EmptySelector"),
        ({"backupTemplate": {"spec": {"snapshotTag": "t"}}}, "InvalidTemplate"),
    ],
)
async def test_a_spec_that_cannot_be_acted_on_runs_nothing_and_recovers(
    world: World, spec: dict[str, Any], reason: str
) -> None:
    await world.schedule(successfulHistoryLimit=1)
    await world.run(120, end="Completed")
    good = world.api.objects[SCHEDULES, KEY]["spec"]
    await world.change(**spec)
    assert await world.turn() == Done()
    assert world.condition("ScheduleValid") == ("False", reason)
    assert world.condition("Ready") == ("False", reason)
    assert [(t, r) for t, r, _ in world.said.events if t == "Warning"] == [("Warning", reason)]
    assert "nextScheduleTime" not in world.status
    world.clock.jump(600)
    assert await world.turn() == Done()
    assert world.names() == [slot(2)]
    fixed = {"timeZone": None, **good, "backupTemplate": {**good["backupTemplate"], "spec": {
        **good["backupTemplate"]["spec"], "snapshotTag": None}}}  # fmt: skip
    await world.change(**fixed)
    await world.run(60)
    assert world.condition("Ready") == ("True", "Scheduled")
    # of the times meanwhile only those count that the schedule named all along
    assert world.names()[-1] == (
        slot(13) if reason in {"InvalidSchedule", "NeverMatches", "InvalidTimeZone"} else slot(12)
    )


async def test_a_reason_is_told_once(world: World) -> None:
    await world.schedule("99 * * * *")
    for _ in range(3):
        assert await world.turn() == Done()
    assert world.reasons() == ["InvalidSchedule"]
    assert world.writes("patch") == 1


async def test_the_outcome_is_never_in_the_past(world: World) -> None:
    await world.schedule("@yearly")
    outcome = await world.turn()
    assert isinstance(outcome, RequeueAfter)
    assert outcome.seconds == 3600  # looked at each hour: age, and a clock that was set
