"""ttlSecondsAfterFinished: the object of an ended backup goes by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from agent.protocol import Kind
from controller.errors import Conflict
from reconcilers.api.backup import BACKUPS
from tests.fakes.agents import DENIED

if TYPE_CHECKING:
    from tests.api.backup.world import World


@pytest.mark.parametrize("end", ["Completed", "Failed", "FailedValidation"])
async def test_it_goes_when_its_time_is_over_and_not_before(world: World, end: str) -> None:
    await world.datacenter(replicas=1)
    if end == "Failed":
        world.agents.script(Kind.BACKUP, fail=[DENIED])
    await world.backup(own={} if end == "FailedValidation" else None, ttlSecondsAfterFinished=1000)
    await world.run(lambda: world.phase() == end)
    await world.rest(990)
    assert world.phase() == end
    await world.run(lambda: world.phase() == "gone", within=15)
    assert ("Normal", "Expired", "1000 s after its end the object is deleted") in await world.events()
    assert len(world.agents.bucket.records) == (end == "Completed"), "the data is deletionPolicy's"


async def test_at_once(world: World) -> None:
    await world.datacenter(replicas=1)
    await world.backup(ttlSecondsAfterFinished=0)
    await world.run(lambda: world.phase() == "gone")
    assert len(world.agents.bucket.records) == 1
    assert await world.leases() == {}


async def test_a_backup_that_runs_has_time(world: World) -> None:
    await world.datacenter(replicas=1)
    world.agents.script(Kind.BACKUP, seconds=100)
    await world.backup(ttlSecondsAfterFinished=1)
    await world.run(lambda: world.phase() == "Uploading")
    await world.rest(50)
    assert world.phase() == "Uploading"


async def test_never_by_default_and_it_can_be_said_later(world: World) -> None:
    await world.datacenter(replicas=1)
    await world.backup()
    await world.run(lambda: world.phase() == "Completed")
    await world.rest(100_000)
    assert world.phase() == "Completed"
    await world.patch(BACKUPS, "backup", {"spec": {"ttlSecondsAfterFinished": 200_000}})
    await world.rest(50_000)
    await world.restart()
    await world.rest(40_000)
    assert world.phase() == "Completed"
    await world.run(lambda: world.phase() == "gone", within=20_000)


async def test_a_longer_time_that_was_given_just_now_counts(world: World) -> None:
    """The operator's view is older than the edit."""
    await world.datacenter(replicas=1)
    await world.backup(ttlSecondsAfterFinished=100)
    await world.run(lambda: world.phase() == "Completed")
    await world.rest(90)
    await world.patch(BACKUPS, "backup", {"spec": {"ttlSecondsAfterFinished": 1000}})
    await world.clock.advance(20)
    with pytest.raises(Conflict):
        await world.reconcilers[BACKUPS.kind].reconcile(world.key("backup"))
    await world.rest(100)
    assert world.phase() == "Completed"
