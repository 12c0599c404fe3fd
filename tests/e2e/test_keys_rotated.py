"""Keys in a mounted Secret are rotated in the middle of a backup: it goes on with the new ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dev.scenario import dataset
from dev.scenario.documents import secret
from dev.scenario.kubectl import eventually
from dev.scenario.minio_admin import allow_all
from tests.e2e.copies import only_node

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dev.scenario.minio_admin import MinioAdmin
    from tests.e2e.backups import Backups
    from tests.e2e.conftest import World
    from tests.e2e.copies import Copies

_NAME = "rotated-keys"
_OLD, _NEW = "rotated-old", "rotated-new"
_FILE = "/keys/credentials"
_ROWS = 4000


@pytest.fixture
def users(admin: MinioAdmin) -> Iterator[None]:
    for user in (_OLD, _NEW):
        admin.add_user(user, f"{user}-secret")
        admin.set_policy(user, allow_all())
    yield
    for user in (_OLD, _NEW):
        admin.remove_user(user)


@pytest.fixture
def datacenter(world: World, users: None, copies: Copies) -> str:
    """Its agents have their keys in a file."""
    documents = world.documents
    world.kubectl.apply(_keys_of(_OLD))
    env = {"AWS_SHARED_CREDENTIALS_FILE": _FILE, "AWS_REGION": "us-west-2", documents.url_env: documents.url}
    volume = {"name": "keys", "mountPath": "/keys", "readOnly": True, "secret": {"secretName": _NAME}}
    as_list = [{"name": name, "value": value} for name, value in env.items()]
    copies.make(_NAME, env=as_list, backup={"volumes": [volume]})
    with only_node(world, _NAME) as cql:
        dataset.create_schema(cql, _NAME, 1)
        dataset.write(cql, _ROWS)
    return _NAME


def test_in_the_middle_of_an_upload(world: World, admin: MinioAdmin, backups: Backups, datacenter: str) -> None:
    backup = backups.make(_NAME, datacenter, bandwidth="8Ki")
    backup.sends()
    world.kubectl.apply(_keys_of(_NEW))
    # The kubelet looks at a pod's Secrets once in a minute or so.
    eventually("the file has the new keys", lambda: _NEW in _mounted(world), 150)
    assert backup.status["phase"] == "Uploading", "the upload ended before the keys were rotated"
    admin.remove_user(_OLD)

    status = backup.completes(400)
    assert [node["attempts"] for node in status["nodes"]] == [1], "it was not tried again, it went on"
    assert backup.told("Warning") == set()


def _keys_of(user: str) -> dict[str, object]:
    text = f"[default]\naws_access_key_id = {user}\naws_secret_access_key = {user}-secret\n"
    return secret(_NAME, credentials=text)


def _mounted(world: World) -> str:
    return world.kubectl.run("exec", f"cassandra-{_NAME}-0", "-c", "sidecar", "--", "cat", _FILE)
