"""A store without room: the backup fails and says so, has left nothing, and completes once there is room."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dev.scenario import dataset
from dev.scenario.documents import RESTORED
from dev.scenario.small_volume import NAME as CLAIM
from dev.scenario.small_volume import small_volume
from tests.e2e.conftest import storage
from tests.e2e.copies import only_node

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dev.scenario.minio_admin import MinioAdmin
    from tests.e2e.backups import Backups
    from tests.e2e.conftest import World
    from tests.e2e.copies import Copies

_BUCKET, _DIRECTORY = "full-bucket", "/full"
_ROOM = 64 << 10  # bytes: for what proves that the bucket can be written, not for a node's data
_ROWS = 4000
_FULL = "full-cassandra"


@pytest.fixture
def bucket(world: World, admin: MinioAdmin) -> Iterator[None]:
    """Has a quota: the emulators of the other stores know of none."""
    world.store.make_empty(_BUCKET)
    admin.set_quota(_BUCKET, _ROOM)
    yield
    world.store.remove(_BUCKET)


def test_a_bucket_at_its_quota(admin: MinioAdmin, bucket: None, backups: Backups) -> None:
    _fails_until_there_is_room(backups, RESTORED, _BUCKET, lambda: admin.set_quota(_BUCKET, 0))


@pytest.mark.skipif(storage() != "file", reason="a volume's size is what a directory has for a quota")
def test_a_volume_that_is_full(world: World, backups: Backups, copies: Copies) -> None:
    with small_volume(world.demo.bed, world.kubectl) as volume:
        mounted = {"name": "full", "mountPath": _DIRECTORY, "persistentVolumeClaim": {"claimName": CLAIM}}
        copies.make(_FULL, backup={"volumes": [mounted]})
        with only_node(world, _FULL) as cql:
            dataset.create_schema(cql, _FULL, 1)
            dataset.write(cql, _ROWS)
        _fails_until_there_is_room(backups, _FULL, _DIRECTORY, volume.make_room)
        copies.lose(_FULL)  # its pod has the volume


def _fails_until_there_is_room(backups: Backups, datacenter: str, target: str, make_room: Callable[[], None]) -> None:
    backup = backups.make("store-full", datacenter, target=target)
    status = backup.ends()
    assert (status["phase"], status["reason"]) == ("Failed", "StorageFull"), status["message"]
    assert "make room" in status["message"], "what to do is missing"
    assert (backup.row["STATUS"], backup.row["REASON"]) == ("Failed", "StorageFull")
    backup.tells("Warning", "BackupFailed")
    assert backup.left() == []
    assert backup.pending() == []

    make_room()
    backups.make("store-has-room", datacenter, target=target).completes()
