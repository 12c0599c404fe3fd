"""`spec.keyspaces`: a restore has their rows, and of the others the tables without rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dev.scenario import dataset
from dev.scenario.documents import SMALL
from tests.e2e.copies import only_node

if TYPE_CHECKING:
    from tests.e2e.backups import Backups
    from tests.e2e.conftest import World
    from tests.e2e.copies import Copies


def test_one_of_two(world: World, backups: Backups, copies: Copies) -> None:
    with only_node(world, SMALL) as cql:
        for keyspace in ("chosen", "left_out"):
            dataset.write_numbers(cql, keyspace, SMALL)
    backup = backups.make("one-keyspace", SMALL, keyspaces=["chosen"])
    backup.completes()
    copy = copies.make("chosen-cassandra", restoreFromBackup=backup.name)
    assert copies.numbers(copy, "chosen") == list(range(100))
    assert copies.numbers(copy, "left_out") == []


def test_one_that_is_not_there(backups: Backups) -> None:
    backup = backups.make("no-keyspace", SMALL, keyspaces=["nowhere"])
    status = backup.ends(60)
    assert status["phase"] == "FailedValidation", status["message"]
    assert "nowhere" in status["message"]
    assert backup.left() == []
