"""`deletionPolicy: Delete`: with the object the backup goes out of the bucket, also when no node is left to ask."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dev.scenario import install
from dev.scenario.demo import CBACK
from dev.scenario.kubectl import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.backups import Backups
    from tests.e2e.conftest import World
    from tests.e2e.copies import Copies

_NAME = "deleted-cassandra"
_GRACE = 60  # seconds
_CYCLES = 420.0  # seconds: two of the collector, and what a small machine has to do besides


@pytest.fixture
def short_grace(world: World) -> Iterator[None]:
    """What no backup needs goes after a minute, and not after a day."""
    _set(world, f"CASSANDRA_OPERATOR_GARBAGE_GRACE={_GRACE}")
    yield
    _set(world, "CASSANDRA_OPERATOR_GARBAGE_GRACE-")


@pytest.fixture
def datacenter(world: World, copies: Copies) -> str:
    """Its agents agree to so short a time."""
    env = world.documents.other_datacenter(_NAME, 1)["spec"].get("env", [])
    return copies.make(_NAME, env=[*env, {"name": "AGENT_LEAST_GRACE", "value": str(_GRACE)}])


def test_with_the_node_there_and_with_it_gone(
    world: World, backups: Backups, copies: Copies, short_grace: None, datacenter: str
) -> None:
    kubectl = world.kubectl

    def data() -> set[str]:
        return {key for key in world.store.keys(world.target, f"{datacenter}/{datacenter}/") if "/data/" in key}

    first = backups.make("kept-for-now", datacenter)
    first.completes()
    of_first = data()
    second = backups.make("deleted-at-once", datacenter, deletionPolicy="Delete", type="Full")
    second.completes()
    of_second = data() - of_first
    assert of_second, "a full backup has objects of its own"

    kubectl.delete(CBACK, second.name)
    assert second.records() == []
    assert first.records(), "the other backup's record is none of its business"
    eventually("its objects are gone", lambda: not of_second & data(), _CYCLES)
    assert data() == of_first

    copies.lose(datacenter)
    kubectl.patch(CBACK, first.name, {"spec": {"deletionPolicy": "Delete"}})
    kubectl.delete(CBACK, first.name, seconds=240)
    assert first.records() == []
    assert "RemoteDataRetained" not in first.told("Warning")
    eventually("nothing of the datacenter is left", lambda: not data(), _CYCLES)


def _set(world: World, variable: str) -> None:
    """Of the operator; returns when only those run that know it."""
    target = f"deployment/{install.OPERATOR}"
    world.kubectl.run("set", "env", target, variable)
    world.kubectl.run("rollout", "status", target, "--timeout=150s", seconds=160)
