"""``spec.backup.catalog``: every backup of a target has an object."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reconcilers.api.backup import BACKUPS
from reconcilers.api.datacenter import DATACENTERS, CassandraDataCenter
from reconcilers.catalog import reconciler
from reconcilers.catalog.said import CONDITION
from tests.api.backup.test_importing import held
from tests.api.restore import steps
from tests.fakes.agents import Refusal

if TYPE_CHECKING:
    import pytest

    from tests.api.backup.world import World

INSPECTOR = "foo-cassandra-catalog-inspector"
CATALOG: dict[str, Any] = {"catalog": {"backupType": "AWS_S3", "target": "bucket", "intervalSeconds": 600}}


def synced(world: World) -> dict[str, tuple[str, str, str]]:
    """Tag of each object -> its phase, cluster and datacenter."""
    return {
        b.tag: (b.status.phase, b.spec.source_cluster, b.spec.source_datacenter) for b in world.stores[BACKUPS].all()
    }


def said(world: World) -> tuple[str, str, str]:
    """Status, reason and message of the condition."""
    datacenter = world.stores[DATACENTERS].get(world.key("foo-cassandra"))
    assert isinstance(datacenter, CassandraDataCenter)
    found = world.said.findings(datacenter)
    return (found[0].status, found[0].reason, found[0].message) if found else ("", "", "")


async def rested(world: World) -> None:
    await world.run(lambda: said(world)[0] in ("True", "False"))
    await world.rest(1)


async def test_each_backup_gets_an_object_and_each_is_imported(world: World) -> None:
    held(world, "nightly-1")
    held(world, "Weekly_2", cluster="other")
    held(world, "nightly-1", datacenter="dc2")
    await world.datacenter(replicas=1, backup=CATALOG)
    await rested(world)
    made = world.stores[BACKUPS].all()
    assert sorted((b.tag, b.spec.source_cluster, b.spec.source_datacenter, b.status.phase) for b in made) == [
        ("Weekly_2", "other", "dc1", "Completed"), ("nightly-1", "old", "dc1", "Completed"),
        ("nightly-1", "old", "dc2", "Completed"),
    ]  # fmt: skip
    assert sorted(b.metadata.name[:-8] for b in made) == ["nightly-1-", "nightly-1-", "weekly-2-"]
    for backup in made:
        assert backup.metadata.labels == {
            "cassandra-datacenter": "foo-cassandra", "stable.instaclustr.com/synced": "true"
        }  # fmt: skip
        assert (backup.spec.import_existing, backup.spec.deletion_policy) == (True, "Retain")
    assert said(world) == ("True", "Synced", "s3://bucket holds 3 backups, and each has an object")
    assert await world.reasons("foo-cassandra") == {CONDITION}


async def test_a_backup_that_has_an_object_gets_no_other(world: World) -> None:
    await world.datacenter(replicas=1)
    await world.backup(target="s3://bucket/")
    await world.run(lambda: world.phase() == "Completed")
    held(world, "by-hand")
    await world.backup("mine", importExisting=True, snapshotTag="by-hand")
    held(world, "bad", nodes=[])
    await world.backup("refused", importExisting=True, snapshotTag="bad", sourceCluster="old")
    await world.run(lambda: world.get("mine").ended and world.get("refused").ended)
    held(world, "bad", cluster="other")
    await world.patch(DATACENTERS, "foo-cassandra", {"spec": {"backup": CATALOG}})
    await rested(world)
    made = [b for b in world.stores[BACKUPS].all() if b.metadata.name not in ("backup", "mine", "refused")]
    assert [(b.tag, b.spec.source_cluster) for b in made] == [("bad", "other")], "which has none yet"


async def test_what_cannot_be_imported_is_tried_once(world: World) -> None:
    held(world, "bad", nodes=[])
    await world.datacenter(replicas=1, backup=CATALOG)
    await rested(world)
    await world.rest(2000)
    assert synced(world) == {"bad": ("FailedValidation", "old", "dc1")}


async def test_it_looks_again_after_the_interval_and_when_asked_otherwise(world: World) -> None:
    held(world, "t1")
    await world.datacenter(replicas=1, backup=CATALOG)
    await rested(world)
    held(world, "t2")
    await world.rest(500)
    assert synced(world).keys() == {"t1"}
    await world.rest(200)
    assert synced(world).keys() == {"t1", "t2"}
    held(world, "t3")
    sooner = {"catalog": {**CATALOG["catalog"], "intervalSeconds": 60}}
    await world.patch(DATACENTERS, "foo-cassandra", {"spec": {"backup": sooner}})
    await world.rest(10)
    assert synced(world).keys() == {"t1", "t2", "t3"}


async def test_what_was_deleted_without_its_data_comes_again(world: World) -> None:
    held(world, "t1")
    await world.datacenter(replicas=1, backup=CATALOG)
    await rested(world)
    name = world.stores[BACKUPS].all()[0].metadata.name
    await world.delete(BACKUPS, name)
    await world.run(lambda: world.phase(name) == "gone")
    await world.rest(700)
    assert world.phase(name) == "Completed"


async def test_one_inspector_is_enough_for_all(world: World) -> None:
    for number in range(5):
        held(world, f"t{number}")
    await world.datacenter(replicas=0, pods=False, backup=CATALOG)
    await steps.inspector_comes(world, INSPECTOR)
    await rested(world)
    assert {phase for phase, _, _ in synced(world).values()} == {"Completed"}
    assert {pod for pod, _, _ in world.agents.requests} == {INSPECTOR}
    assert steps.pod(world, INSPECTOR) is None
    assert [name for verb, kind, name in world.spy.writes if (verb, kind) == ("create", "Pod")] == [INSPECTOR]


async def test_a_restart_doubles_nothing(world: World) -> None:
    for number in range(3):
        held(world, f"t{number}")
    await world.datacenter(replicas=1, backup=CATALOG)
    for number in range(1, 8):
        world.spy.crash_after = len(world.spy.writes) + number
        await world.rest(30)
    await rested(world)
    assert len(world.stores[BACKUPS].all()) == 3
    writes = await world.writes()
    await world.restart()
    await world.rest(2000)
    assert await world.writes() == writes
    assert said(world)[0] == "True"


async def test_more_than_get_an_object(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconciler, "MOST", 3)
    monkeypatch.setattr(reconciler, "_AT_ONCE", 2)
    for number in range(5):
        held(world, f"t{number}")
    await world.datacenter(replicas=1, backup=CATALOG)
    await rested(world)
    assert synced(world).keys() == {"t4", "t3", "t2"}, "the newest"
    assert said(world)[:2] == ("False", "TooMany")
    assert "s3://bucket holds 5 backups: the newest 3 have an object" in said(world)[2]


async def test_what_the_store_says_is_said(world: World) -> None:
    held(world, "t1")
    world.agents.catalog_refusal = Refusal(502, "the store's own words", "AccessDenied")
    await world.datacenter(replicas=1, backup=CATALOG)
    await rested(world)
    assert said(world) == ("False", "AccessDenied", "the store's own words")
    assert ("Warning", "CatalogFailed", "the store's own words") in await world.events("foo-cassandra")
    asked = len(world.agents.inspected)
    await world.rest(500)
    assert len(world.agents.inspected) == asked
    world.agents.catalog_refusal = None
    await world.rest(200)
    assert synced(world).keys() == {"t1"}


async def test_a_store_that_does_not_answer_is_asked_again_soon(world: World) -> None:
    held(world, "t1")
    world.agents.catalog_refusal = Refusal(502, "the store's own words", "StorageUnreachable")
    await world.datacenter(replicas=1, backup=CATALOG)
    await world.rest(60)
    assert said(world)[:2] == ("Unknown", "StorageUnreachable")
    world.agents.catalog_refusal = None
    await rested(world)
    assert synced(world).keys() == {"t1"}


async def test_a_name_that_no_object_can_have(world: World) -> None:
    held(world, "t1", cluster="c" * 300)
    held(world, "t2")
    await world.datacenter(replicas=1, backup=CATALOG)
    await rested(world)
    assert synced(world).keys() == {"t2"}
    assert said(world)[:2] == ("False", "OddNames")


async def test_it_is_ended_by_taking_it_out(world: World) -> None:
    held(world, "t1")
    await world.datacenter(replicas=0, pods=False, backup=CATALOG)
    await world.run(lambda: steps.pod(world, INSPECTOR) is not None)
    await world.patch(DATACENTERS, "foo-cassandra", {"spec": {"backup": None}})
    await world.rest(30)
    assert steps.pod(world, INSPECTOR) is None
    assert said(world) == ("", "", "")
