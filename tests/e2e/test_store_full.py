"""A store without room: the backup fails and says so, has left nothing, and completes once there is room."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dev.scenario import dataset
from dev.scenario.documents import RESTORED
from dev.scenario.own_server import own_server
from dev.scenario.small_volume import NAME as CLAIM
from dev.scenario.small_volume import small_volume
from tests.e2e.backups import Backups
from tests.e2e.conftest import storage
from tests.e2e.copies import only_node

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dev.scenario.minio_admin import MinioAdmin
    from dev.scenario.own_server import OwnServer
    from tests.e2e.conftest import World
    from tests.e2e.copies import Copies

_BUCKET, _DIRECTORY = "full-bucket", "/full"
_ROOM = 64 << 10  # bytes: for what proves that the bucket can be written, not for a node's data
_SMALL, _LARGE = 256 << 10, 256 << 20  # bytes: the same, for a volume that also has what a server keeps for itself
_ROWS = 4000
_FULL = "full-cassandra"
_OTHER = {"s3": "a bucket has a quota", "file": "a directory has a volume"}


@pytest.fixture
def server(world: World) -> Iterator[OwnServer]:
    with own_server(world.demo.bed, storage(), room=_SMALL) as made:
        made.store.make_empty(_BUCKET)
        yield made


@pytest.fixture
def there(world: World, server: OwnServer) -> Iterator[Backups]:
    """Backups on that server."""
    made = Backups(world.elsewhere(server.store))
    yield made
    made.clear()


@pytest.fixture
def bucket(world: World, admin: MinioAdmin) -> Iterator[None]:
    """Has a quota."""
    world.store.make_empty(_BUCKET)
    admin.set_quota(_BUCKET, _ROOM)
    yield
    world.store.remove(_BUCKET)


def test_a_bucket_at_its_quota(admin: MinioAdmin, bucket: None, backups: Backups) -> None:
    _fails_until_there_is_room(backups, RESTORED, _BUCKET, lambda: admin.set_quota(_BUCKET, 0))


@pytest.mark.skipif(storage() in _OTHER, reason=_OTHER.get(storage(), ""))
def test_a_server_whose_volume_is_full(world: World, server: OwnServer, there: Backups) -> None:
    """Azurite does not say why it fails, so nobody can say more than what that may be."""
    reason = "StorageUnreachable" if storage() == "azure" else "StorageFull"
    endpoint = {"url": server.url}
    _fails_until_there_is_room(there, RESTORED, _BUCKET, lambda: server.enlarge(_LARGE), reason, endpoint=endpoint)


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


def _fails_until_there_is_room(
    backups: Backups,
    datacenter: str,
    target: str,
    make_room: Callable[[], None],
    reason: str = "StorageFull",
    **spec: object,
) -> None:
    backup = backups.make("store-full", datacenter, target=target, **spec)
    status = backup.ends(400)
    assert (status["phase"], status["reason"]) == ("Failed", reason), status["message"]
    assert "make room" in status["message"], "what to do is missing"
    assert (backup.row["STATUS"], backup.row["REASON"]) == ("Failed", reason)
    backup.tells("Warning", "BackupFailed" if reason == "StorageFull" else reason)
    assert backup.left() == []
    assert backup.pending() == []

    make_room()
    backups.make("store-has-room", datacenter, target=target, **spec).completes()
