"""One backup of two clusters: each is restored from it by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dev.scenario import dataset
from dev.scenario.documents import RESTORED, SMALL
from tests.e2e.copies import CRS, only_node

if TYPE_CHECKING:
    from tests.e2e.backups import Backup, Backups
    from tests.e2e.conftest import World
    from tests.e2e.copies import Copies

_COPY = "one-of-two"


@pytest.fixture
def both(world: World, backups: Backups) -> Backup:
    """A backup of the datacenter of three nodes, and of the small one, which has rows of its own."""
    with only_node(world, SMALL) as cql:
        dataset.write_numbers(cql, "paired", SMALL)
    chosen = {"key": "cassandra-datacenter", "operator": "In", "values": [RESTORED, SMALL]}
    backup = backups.make("two-clusters", "the-selector-counts", selector={"matchExpressions": [chosen]})
    backup.completes()
    return backup


def test_the_smaller_comes_back_by_itself(world: World, both: Backup, copies: Copies) -> None:
    assert {each["name"]: each["nodes"] for each in both.status["datacenters"]} == {RESTORED: 3, SMALL: 1}
    assert both.row["NODES"] == "4/4"

    copies.restore("the-smaller", _COPY, backup={"name": both.name}, sourceDatacenter=SMALL)
    copies.make(_COPY)
    assert world.kubectl.row(CRS, "the-smaller")["STATUS"] == "Completed"
    assert copies.numbers(_COPY, "paired") == list(range(100))
