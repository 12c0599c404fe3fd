"""A schedule that is due each minute: each slot gets one backup, whoever dies meanwhile, and only the newest stay."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import pytest

from dev.scenario import bed, install
from dev.scenario.demo import CBACK
from dev.scenario.documents import SMALL
from dev.scenario.kubectl import Object, condition_of, eventually
from tests.e2e.backups import Backup

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.conftest import World

_KIND, _NAME = "cassandrabackupschedule", "each-minute"
_SLOTS, _KEPT = 5, 2
_MINUTE = dt.timedelta(minutes=1)
_ONCE_A_YEAR = "0 0 1 1 *"


@pytest.fixture
def schedule(world: World) -> Iterator[str]:
    """Each minute, of the small datacenter; two backups are kept."""
    made = world.documents.other_backup(_NAME, {"cassandra-datacenter": SMALL})
    template = {"metadata": {"labels": made["metadata"]["labels"]}, "spec": made["spec"]}
    spec = {"schedule": "* * * * *", "backupTemplate": template, "retention": {"keepLast": _KEPT}}
    world.kubectl.apply({**made, "kind": "CassandraBackupSchedule", "metadata": {"name": _NAME}, "spec": spec})
    yield _NAME
    world.kubectl.delete(_KIND, _NAME)
    for each in _backups(world):
        world.kubectl.delete(CBACK, each["metadata"]["name"])
    keys = world.store.keys(world.target)
    world.store.delete(world.target, [key for key in keys if f"/{_NAME}-" in key])


def test_five_slots_across_a_kill(world: World, schedule: str) -> None:
    """A slot that was made, and is no longer there, was completed: retention takes no other."""
    kubectl = world.kubectl
    seen: dict[str, str] = {}  # phase by name
    killed: dict[str, str] = {}

    def enough() -> bool:
        nonlocal killed
        seen.update({each["metadata"]["name"]: each.get("status", {}).get("phase", "") for each in _backups(world)})
        if len(seen) == 2 and not killed:
            killed = install.operators(kubectl)
            for container in killed.values():
                bed.kill_container(container)
        return list(seen.values()).count("Completed") >= _SLOTS

    eventually(f"{_SLOTS} backups are complete", enough, (_SLOTS + 3) * 60)
    kubectl.patch(_KIND, schedule, {"spec": {"schedule": _ONCE_A_YEAR}})  # one that is suspended removes nothing
    assert killed, "the operator was never killed"
    slots = sorted(_slot(name) for name in seen)
    assert slots == [slots[0] + number * _MINUTE for number in range(len(slots))], "a slot was lost, or doubled"

    newest = [Backup(world, f"{schedule}-{slot:%Y%m%d%H%M}", world.target) for slot in slots]
    newest[-1].ends(120)
    kept, forgotten = newest[-_KEPT:], newest[:-_KEPT]
    eventually("the others are out of the bucket", lambda: not any(each.records() for each in forgotten), 120)
    assert all(each.records() for each in kept)
    found = kubectl.get(_KIND, schedule)
    assert found["status"]["lastSuccessfulBackup"] == kept[-1].name
    assert found["status"]["retained"] == _KEPT
    assert condition_of(found, "RetentionHealthy")["status"] == "True"
    row = kubectl.row(_KIND, schedule)
    assert (row["SCHEDULE"], row["FAILURES"]) == (_ONCE_A_YEAR, "0")


def _backups(world: World) -> list[Object]:
    return [each for each in world.kubectl.list(CBACK) if each["metadata"]["name"].startswith(f"{_NAME}-")]


def _slot(name: str) -> dt.datetime:
    """From the name that a slot's backup has, always the same."""
    return dt.datetime.strptime(name.removeprefix(f"{_NAME}-"), "%Y%m%d%H%M").replace(tzinfo=dt.UTC)
