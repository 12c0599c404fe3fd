"""The user's YAMLs are accepted word for word, with the strict validation that kubectl asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from controller import builtin
from controller.resource import Key
from reconcilers.api.backup import BACKUPS, CassandraBackup
from reconcilers.api.datacenter import DATACENTERS, CassandraDataCenter
from reconcilers.api.unsupported import unsupported
from tests.api.crds.objects import EXAMPLES, body, create, example, message, replace

if TYPE_CHECKING:
    from controller.client import Client

pytestmark = pytest.mark.usefixtures("crds")


CLAIM = "file-claim.yaml"  # Kubernetes' own kind, which it completes


@pytest.mark.parametrize("name", sorted({path.name for path in EXAMPLES.glob("*.yaml")} - {CLAIM}))
async def test_an_example_is_accepted_and_kept_word_for_word(client: Client, namespace: str, name: str) -> None:
    wanted = example(name)

    response = await create(client, namespace, wanted)

    assert message(response) == ""
    kept = msgspec.json.decode(response.body)
    assert kept["spec"] == wanted["spec"]
    assert kept["metadata"].get("labels") == wanted["metadata"].get("labels")
    assert "status" not in kept


async def test_the_claim_is_one_that_every_pod_can_mount(client: Client, namespace: str) -> None:
    claim = await client.create(builtin.PVCS, {**example(CLAIM), "metadata": {"namespace": namespace, "name": "c"}})
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]


@pytest.mark.parametrize("store", ["", "gcs-", "azure-", "file-"])
async def test_what_the_server_keeps_of_an_example_can_be_read_and_acted_on(
    client: Client, namespace: str, store: str
) -> None:
    for name in (f"{store}datacenter.yaml", f"{store}backup.yaml"):
        await create(client, namespace, example(name))

    datacenter = await client.get(DATACENTERS, Key(namespace, "foo-cassandra"))
    backup = await client.get(BACKUPS, Key(namespace, "backup-hostname"))

    assert unsupported(CassandraDataCenter.decode(msgspec.json.encode(datacenter))) == []
    assert unsupported(CassandraBackup.decode(msgspec.json.encode(backup))) == []


async def test_an_unknown_field_is_an_error(client: Client, namespace: str) -> None:
    response = await create(client, namespace, body(BACKUPS, keyspace="one"))

    assert 'unknown field "spec.keyspace"' in message(response)


@pytest.mark.parametrize(
    "content",
    [
        body(DATACENTERS, restoreFromBackup="backup-hostname"),
        body(DATACENTERS, prometheusEnabled=True),
        body(DATACENTERS, imagePullSecret="registry"),
        body(DATACENTERS, userSecretSource={"secretName": "files"}),
        body(DATACENTERS, replicas=0),
        body(DATACENTERS, resources={"limits": {"cpu": 2, "memory": "1.5Gi"}}),
        body(DATACENTERS, dataVolumeClaim={"dataSource": {"kind": "VolumeSnapshot", "name": "x"}}),
        body(DATACENTERS, cassandraEnv=[{"name": "A", "valueFrom": {"fileKeyRef": {"path": "a"}}}]),
        body(DATACENTERS, racks=[], restore={}, restoreFromBackup=""),  # as a chart renders what is not set
        body(BACKUPS, status="PENDING"),
    ],
)
async def test_older_spellings_and_open_fields_are_accepted(
    client: Client, namespace: str, content: dict[str, Any]
) -> None:
    response = await create(client, namespace, content)

    assert message(response) == ""
    assert msgspec.json.decode(response.body)["spec"] == content["spec"]


async def test_the_older_status_in_a_backups_spec_may_change(client: Client, namespace: str) -> None:
    await create(client, namespace, body(BACKUPS, status="PENDING"))
    kept = await client.get(BACKUPS, Key(namespace, "one"))

    kept["spec"]["status"] = "PROCESSED"

    assert message(await replace(client, namespace, kept)) == ""
