"""A datacenter that starts from a backup waits for its restore, whose part the test plays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from controller import builtin
from controller.resource import Key
from reconcilers import labels
from reconcilers.api.datacenter_status import DataCenterPhase
from reconcilers.api.restore import RESTORES
from tests.api.datacenter.conftest import NAME, condition, pods, ready

if TYPE_CHECKING:
    from tests.api.datacenter.conftest import Ring

RESTORE = f"{NAME}-bootstrap"


async def say(ring: Ring, phase: str, **status: Any) -> None:
    """Reports as the restore's reconciler does."""
    restore = await ring.eventually(lambda: _restore(ring))
    await ring.client.patch_status(
        RESTORES, ring.key(RESTORE), {"phase": phase, **status}, uid=restore["metadata"]["uid"]
    )


async def _restore(ring: Ring) -> Any:
    return next(iter(await ring.client.list(RESTORES, ring.namespace)), None)


async def plan(ring: Ring) -> Key:
    marks = {labels.OPERATOR: labels.OPERATOR_VALUE, labels.DATACENTER: NAME}
    metadata = {"name": labels.restore_plan(NAME), "namespace": ring.namespace, "labels": marks}
    await ring.client.create(builtin.CONFIGMAPS, {"metadata": metadata})
    return Key(ring.namespace, labels.restore_plan(NAME))


async def test_no_node_starts_before_the_plan_is_there(ring: Ring) -> None:
    await ring.create(replicas=1, restoreFromBackup="backup-hostname")
    async with ring.operator():
        await ring.until(lambda cdc: cdc.status.phase == DataCenterPhase.RESTORING)
        restore = await ring.eventually(lambda: _restore(ring))
        assert restore["spec"] == {"datacenter": NAME, "backup": {"name": "backup-hostname"}}
        assert restore["metadata"]["ownerReferences"][0]["name"] == NAME

        await say(ring, "Validating", message="an inspector looks")
        cdc = await ring.until(lambda cdc: condition(cdc, "Restored") == ("False", "Validating"))
        # the inspector's pod runs with these
        assert await ring.names(builtin.SECRETS) == [f"{NAME}-agent"]
        assert await ring.names(builtin.SERVICEACCOUNTS) == [f"cassandra-{NAME}"]
        assert cdc.status.datacenter_name == ""

        await say(ring, "Preparing", sourceDatacenterName="dc-of-old")
        await ring.until(lambda cdc: condition(cdc, "Restored") == ("False", "Preparing"))
        await ring.rest()
        assert await ring.names(builtin.STATEFULSETS) == []

        await plan(ring)
        cdc = await ring.until(lambda cdc: condition(cdc, "Restored") == ("False", "Restoring"))
        assert (cdc.status.cluster_name, cdc.status.datacenter_name) == (NAME, "dc-of-old")
        await ring.until(lambda cdc: cdc.status.ready_replicas == 1)
        await ring.rest()
        assert (await ring.datacenter()).status.phase == DataCenterPhase.RESTORING
        sts = await ring.get(builtin.STATEFULSETS, f"cassandra-{NAME}")

        await ring.client.delete(builtin.CONFIGMAPS, ring.key(labels.restore_plan(NAME)))
        await say(ring, "Completed", sourceDatacenterName="dc-of-old")
        cdc = await ring.until(ready)
        assert condition(cdc, "Restored") == ("True", "Completed")
        after = await ring.get(builtin.STATEFULSETS, f"cassandra-{NAME}")
        assert after["spec"]["template"] == sts["spec"]["template"]

        # neither what is left of it nor its wish matters any more
        await ring.client.delete(RESTORES, ring.key(RESTORE))
        await ring.edit({"restoreFromBackup": None, "replicas": 2})
        cdc = await ring.until(lambda cdc: ready(cdc) and cdc.status.replicas == 2)
        assert condition(cdc, "Restored") == ("True", "Completed")
        assert await _restore(ring) is None


async def test_a_restore_that_fails_makes_no_node(ring: Ring) -> None:
    await ring.create(replicas=1, restore={"backupName": "gone"})
    async with ring.operator():
        await say(ring, "Failed", reason="BackupNotFound", message="there is no backup gone")
        cdc = await ring.until(lambda cdc: condition(cdc, "Restored") == ("False", "BackupNotFound"))
        await ring.rest()
        assert cdc.status.phase == DataCenterPhase.DEGRADED
        assert "there is no backup gone" in next(c.message for c in cdc.status.conditions if c.type == "Restored")
        assert await ring.names(builtin.STATEFULSETS) == []

        # deleting the failed one is how to try again
        old = await _restore(ring)
        await ring.client.delete(RESTORES, ring.key(RESTORE))

        async def another() -> bool:
            found = await _restore(ring)
            return found is not None and found["metadata"]["uid"] != old["metadata"]["uid"]

        await ring.eventually(another)


async def test_a_wish_that_is_withdrawn_leaves_no_plan_behind(ring: Ring) -> None:
    await ring.create(replicas=1, restoreFromBackup="backup-hostname")
    async with ring.operator():
        await plan(ring)
        await say(ring, "Failed", reason="DeadlineExceeded")
        await ring.until(lambda cdc: condition(cdc, "Restored") == ("False", "DeadlineExceeded"))

        await ring.edit({"restoreFromBackup": None})
        await ring.client.delete(RESTORES, ring.key(RESTORE))
        cdc = await ring.until(ready)

        assert condition(cdc, "Restored") == ("", "")
        assert labels.restore_plan(NAME) not in await ring.names(builtin.CONFIGMAPS)


async def test_a_restore_written_by_hand_is_waited_for(ring: Ring) -> None:
    body = {
        "metadata": {"name": RESTORE + "-by-hand", "namespace": ring.namespace},
        "spec": {"datacenter": NAME, "backup": {"name": "backup-hostname"}},
    }
    await ring.client.create(RESTORES, body)
    await ring.create(replicas=1)
    async with ring.operator():
        cdc = await ring.until(lambda cdc: cdc.status.phase == DataCenterPhase.RESTORING)
        await ring.rest()

        assert cdc.status.restore is not None
        assert cdc.status.restore.name == RESTORE + "-by-hand"
        assert await ring.names(builtin.STATEFULSETS) == []


async def test_a_datacenter_that_runs_is_not_restored(ring: Ring) -> None:
    await ring.create(replicas=1)
    async with ring.operator():
        await ring.until(ready)
        await ring.edit({"restoreFromBackup": "backup-hostname"})
        cdc = await ring.until(lambda cdc: condition(cdc, "Restored") == ("False", "NotEmpty"))
        await ring.rest()

        assert cdc.status.phase == DataCenterPhase.READY
        assert await _restore(ring) is None
        assert "RestoreRefused" in await ring.events()
        assert await ring.names(builtin.PODS) == pods(1)
