"""`deletionPolicy: Delete`: with the object the backup goes out of the bucket, also when no node is left to ask."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dev.scenario.demo import CBACK
from dev.scenario.documents import SMALL
from dev.scenario.kubectl import eventually

if TYPE_CHECKING:
    from tests.e2e.backups import Backups
    from tests.e2e.conftest import World
    from tests.e2e.copies import Copies


def test_with_a_node_there(world: World, backups: Backups) -> None:
    """Another backup's objects stay, and its record."""
    kept = backups.make("kept-data", SMALL)
    kept.completes()
    before = set(world.store.keys(world.target))
    backup = backups.make("deleted-data", SMALL, deletionPolicy="Delete", type="Full")
    backup.completes()
    data = set(world.store.keys(world.target)) - before - set(backup.records())
    assert data, "a full backup has objects of its own"

    world.kubectl.delete(CBACK, backup.name)
    assert backup.records() == []
    eventually("its objects are gone", lambda: not data & set(world.store.keys(world.target)), 300)
    assert before <= set(world.store.keys(world.target))


def test_with_the_datacenter_gone(world: World, backups: Backups, copies: Copies) -> None:
    name = copies.make("gone-cassandra")
    backup = backups.make("of-the-gone", name, deletionPolicy="Delete")
    backup.completes()
    copies.lose(name)
    assert backup.records()
    world.kubectl.delete(CBACK, backup.name, seconds=180)
    assert backup.records() == []
    assert "RemoteDataRetained" not in backup.told("Warning")
