"""Only the bucket is left: `importExisting` makes an object for what it holds, from which is restored as from any."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dev.scenario import dataset
from dev.scenario.demo import CBACK
from dev.scenario.documents import SMALL
from tests.e2e.copies import only_node

if TYPE_CHECKING:
    from tests.e2e.backups import Backups
    from tests.e2e.conftest import World
    from tests.e2e.copies import Copies


def test_a_restore_of_what_was_imported(world: World, backups: Backups, copies: Copies) -> None:
    with only_node(world, SMALL) as cql:
        dataset.write_numbers(cql, "imported", SMALL)
    first = backups.make("to-be-imported", SMALL)
    before = first.completes()
    world.kubectl.delete(CBACK, first.name)
    assert first.records(), "an object's end is not its backup's"

    again = backups.make("imported", SMALL, snapshotTag=first.name, importExisting=True)
    status = again.completes()
    assert again.condition("Restorable")["status"] == "True"
    assert status["totals"]["bytes"] == before["totals"]["bytes"]
    copy = copies.make("imported-cassandra", restoreFromBackup=again.name)
    assert copies.numbers(copy, "imported") == list(range(100))
