"""Keys in a mounted Secret are rotated in the middle of a backup: it goes on with the new ones."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from azure.core.exceptions import HttpResponseError

from dev.scenario import dataset
from dev.scenario.documents import secret
from dev.scenario.kubectl import eventually
from dev.scenario.minio_admin import allow_all
from dev.scenario.own_server import own_server
from dev.scenario.places import owner
from dev.scenario.relay import relay
from tests.e2e.backups import Backups
from tests.e2e.conftest import storage
from tests.e2e.copies import only_node

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dev.scenario.kubectl import Object
    from dev.scenario.minio_admin import MinioAdmin
    from tests.e2e.backups import Backup
    from tests.e2e.conftest import World
    from tests.e2e.copies import Copies

_NAME = "rotated-keys"
_OLD, _NEW = "rotated-old", "rotated-new"
_FOLDER = "/keys"
_ROWS = 4000
_SLOW = "16Ki"  # bytes a second: a minute, of which it takes seconds

pytestmark = pytest.mark.skipif(storage() == "gcs", reason="fake-gcs-server checks no credentials")


@pytest.fixture
def users(admin: MinioAdmin) -> Iterator[None]:
    for user in (_OLD, _NEW):
        admin.add_user(user, f"{user}-secret")
        admin.set_policy(user, allow_all())
    yield
    for user in (_OLD, _NEW):
        admin.remove_user(user)


def test_of_a_user(world: World, admin: MinioAdmin, users: None, backups: Backups, copies: Copies) -> None:
    """Of S3: the agents find their keys by a variable of their own."""

    def keys(user: str) -> Object:
        lines = ("[default]", f"aws_access_key_id = {user}", f"aws_secret_access_key = {user}-secret")
        return secret(_NAME, credentials="\n".join(lines))

    documents = world.documents
    env = {"AWS_SHARED_CREDENTIALS_FILE": f"{_FOLDER}/credentials", "AWS_REGION": "us-west-2"}
    env[documents.url_env] = documents.url
    _datacenter(world, copies, keys(_OLD), env=[{"name": name, "value": value} for name, value in env.items()])
    backup = backups.make(_NAME, _NAME, bandwidth=_SLOW)
    _goes_on(world, backup, keys(_NEW), lambda: admin.remove_user(_OLD))


@pytest.mark.skipif(storage() != "azure", reason="an account with two keys is Azure's")
def test_of_an_account(world: World, copies: Copies) -> None:
    """Of Azure: the backup names the Secret. Who is in the middle of a request when a key ends is not heard."""
    old, new = (base64.b64encode(each.encode()).decode() for each in (_OLD, _NEW))
    with (
        own_server(world.demo.bed, "azure", keys=[old, new]) as server,
        relay(world.kubectl, server.url) as way,
    ):

        def keys(key: str) -> Object:
            return secret(_NAME, account=server.server.user, key=key)

        def revoke() -> None:
            way.silence()
            server.end()
            server.start([new])
            way.speak()
            with pytest.raises(HttpResponseError, match="authenticate"):
                owner("azure", replace(server.server, password=old)).keys(_NAME)

        server.store.make_empty(_NAME)
        _datacenter(world, copies, keys(old))
        there = Backups(world.elsewhere(server.store))
        spec = {"target": _NAME, "endpoint": {"url": way.url}, "credentialsSecretRef": {"name": _NAME}}
        _goes_on(world, there.make(_NAME, _NAME, bandwidth=_SLOW, **spec), keys(new), revoke)
        there.clear()


def _datacenter(world: World, copies: Copies, keys: Object, **spec: object) -> None:
    """Its agents have their keys in files."""
    world.kubectl.apply(keys)
    volume = {"name": "keys", "mountPath": _FOLDER, "readOnly": True, "secret": {"secretName": _NAME}}
    copies.make(_NAME, backup={"volumes": [volume]}, **spec)
    with only_node(world, _NAME) as cql:
        dataset.create_schema(cql, _NAME, 1)
        dataset.write(cql, _ROWS)


def _goes_on(world: World, backup: Backup, keys: Object, revoke: Callable[[], None]) -> None:
    """With other ``keys`` in the Secret, and without the former ones."""
    backup.sends()
    world.kubectl.apply(keys)
    # The kubelet looks at a pod's Secrets when the pod changes, else once in a minute or so.
    world.kubectl.run("annotate", "pod", f"cassandra-{_NAME}-0", "cassandra-operator.test/rotated=now")
    eventually("the files have the new keys", lambda: _mounted(world, keys["stringData"]), 150)
    assert backup.status["phase"] == "Uploading", "the upload ended before the keys were rotated"
    revoke()

    status = backup.completes(400)
    assert [node["attempts"] for node in status["nodes"]] == [1], "it was not tried again, it went on"
    assert backup.told("Warning") == set()


def _mounted(world: World, content: dict[str, str]) -> bool:
    pod = (f"cassandra-{_NAME}-0", "-c", "sidecar", "--", "cat")
    return all(world.kubectl.run("exec", *pod, f"{_FOLDER}/{name}") == text for name, text in content.items())
