"""What kubectl makes of the definitions: names, explanations, columns, scale."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from controller.conditions import Condition
from controller.resource import Key
from reconcilers.api import backup_status, common, datacenter_status
from reconcilers.api.backup import BACKUPS
from reconcilers.api.datacenter import DATACENTERS
from reconcilers.api.restore import RESTORES, RestoreNode, RestoreStatus, RestoreTotals
from reconcilers.api.schedule import SCHEDULES, ScheduleStatus
from tests.api.crds.objects import RESOURCES, body, create, message

if TYPE_CHECKING:
    from collections.abc import Iterator

    from controller.client import Client
    from controller.resource import Resource

pytestmark = pytest.mark.usefixtures("crds")

PAST = "2026-01-02T03:04:05Z"
READY = Condition(type="Ready", status="True", reason="AllReady", message="all is well", last_transition_time=PAST)
STATUSES: dict[str, common.Api] = {
    DATACENTERS.kind: datacenter_status.DataCenterStatus(
        observed_generation=1,
        phase="Ready",
        replicas=3,
        ready_replicas=2,
        selector="cassandra-datacenter=one",
        racks=[datacenter_status.RackStatus(name="rack1", replicas=3, ready=2)],
        nodes=[datacenter_status.NodeStatus(pod="cassandra-one-0", rack="rack1", state="NORMAL")],
        operation=datacenter_status.OperationStatus(type="Decommission", node="cassandra-one-2", started_at=PAST),
        last_backup=datacenter_status.BackupSummary(name="b", completion_time=PAST),
        restore=datacenter_status.RestoreSummary(name="r", phase="Completed"),
        conditions=[READY],
    ),
    BACKUPS.kind: backup_status.BackupStatus(
        phase="Uploading",
        reason="Sending",
        start_time=PAST,
        progress="83%",
        progress_percent=83,
        rate="85MiB/s",
        time_left="3m20s",
        location="s3://bucket",
        nodes_completed="2/3",
        size="1.5GiB",
        totals=backup_status.BackupTotals(nodes=3, completed=2),
        datacenters=[backup_status.BackupDatacenter(name="one")],
        nodes=[backup_status.BackupNode(pod="cassandra-one-0", bytes_total=1 << 40)],
        storage=backup_status.BackupStorage(backup_type="AWS_S3", target="bucket", endpoint=common.Endpoint()),
        conditions=[READY],
    ),
    SCHEDULES.kind: ScheduleStatus(
        active=[common.ObjectReference(name="b")],
        last_successful_time=PAST,
        next_schedule_time="2126-01-02T03:04:05Z",
        conditions=[READY],
    ),
    RESTORES.kind: RestoreStatus(
        phase="Downloading",
        progress="10%",
        nodes_completed="0/3",
        totals=RestoreTotals(nodes=3),
        nodes=[RestoreNode(pod="cassandra-one-0")],
        conditions=[READY],
    ),
}
COLUMNS = {
    DATACENTERS.kind: ["Name", "Replicas", "Ready", "Phase", "Last-Backup", "Restore*", "Message*", "Age"],
    BACKUPS.kind: [
        "Name", "Status", "Progress", "Left", "Nodes", "Size", "Rate*", "Location*", "Started*", "Completed", "Reason*",
        "Restorable*", "Age",
    ],
    SCHEDULES.kind: ["Name", "Schedule", "Zone*", "Suspend", "Last-Success", "Next", "Failures", "Age"],
    RESTORES.kind: ["Name", "Datacenter", "Backup", "Mode*", "Status", "Progress", "Nodes", "Completed", "Age"],
}  # fmt: skip
CELLS: dict[str, dict[str, Any]] = {
    DATACENTERS.kind: {"Replicas": 3, "Ready": 2, "Phase": "Ready", "Restore": "Completed", "Message": "all is well"},
    BACKUPS.kind: {
        "Status": "Uploading",
        "Progress": "83%",
        "Nodes": "2/3",
        "Size": "1.5GiB",
        "Reason": "Sending",
        "Left": "3m20s",
        "Rate": "85MiB/s",
    },
    SCHEDULES.kind: {"Schedule": "@daily", "Next": "2126-01-02T03:04:05Z", "Failures": 0},
    RESTORES.kind: {"Datacenter": "dc", "Backup": "backup", "Status": "Downloading", "Nodes": "0/3"},
}


def test_names(crds: dict[str, dict[str, Any]]) -> None:
    names = {kind: definition["spec"]["names"] for kind, definition in crds.items()}

    assert {kind: found["plural"] for kind, found in names.items()} == {k: r.plural for k, r in RESOURCES.items()}
    assert {kind: found["shortNames"] for kind, found in names.items()} == {
        DATACENTERS.kind: ["cdc"],
        BACKUPS.kind: ["cback", "cbk"],
        SCHEDULES.kind: ["cbs"],
        RESTORES.kind: ["crs"],
    }
    assert all(found["categories"] == ["cassandra"] for found in names.values())


def undescribed(schema: dict[str, Any], path: str) -> Iterator[str]:
    for name, inner in schema.get("properties", {}).items():
        if "description" not in inner:
            yield f"{path}.{name}"
        yield from undescribed(inner, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield from undescribed(schema[key], path)


async def test_kubectl_explain_has_a_text_for_every_field(client: Client) -> None:
    path = "/openapi/v3/apis/stable.instaclustr.com/v1"  # what kubectl explain reads
    schemas: dict[str, Any] = {}
    async with asyncio.timeout(30):
        while len(schemas) < len(RESOURCES):  # the server publishes a new definition after a moment
            answer = await client.raw("GET", path)
            document = msgspec.json.decode(answer.body) if answer.status == 200 else {}  # text until there is one
            found = document.get("components", {}).get("schemas", {})
            kinds = {name.rpartition(".")[2]: schema for name, schema in found.items()}
            schemas = {kind: schema for kind, schema in kinds.items() if kind in RESOURCES}
            await asyncio.sleep(0.05)

    for kind, schema in schemas.items():
        assert schema["description"]
        spec_and_status = {k: v for k, v in schema["properties"].items() if k != "metadata"}
        assert list(undescribed({"properties": spec_and_status}, kind)) == []


async def with_status(client: Client, namespace: str, resource: Resource) -> None:
    response = await create(client, namespace, body(resource))
    assert message(response) == ""
    uid = msgspec.json.decode(response.body)["metadata"]["uid"]
    status = msgspec.to_builtins(STATUSES[resource.kind])
    found = await client.patch_status(resource, Key(namespace, "one"), status, uid=uid)
    assert found["status"] == status  # nothing is pruned: each field of the Struct is in the schema


@pytest.mark.parametrize("kind", RESOURCES)
async def test_columns(client: Client, namespace: str, kind: str) -> None:
    resource = RESOURCES[kind]
    await with_status(client, namespace, resource)

    accept = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
    table = msgspec.json.decode((await client.raw("GET", resource.path(namespace), headers=accept)).body)

    columns = table["columnDefinitions"]
    assert [c["name"] + ("*" if c.get("priority") else "") for c in columns] == COLUMNS[kind]
    cells = dict(zip((c["name"] for c in columns), table["rows"][0]["cells"], strict=True))
    assert {name: cells[name] for name in CELLS[kind]} == CELLS[kind]
    assert "<invalid>" not in cells.values()


async def test_the_columns_of_a_new_object_show_no_error(client: Client, namespace: str) -> None:
    accept = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
    for resource in RESOURCES.values():
        await create(client, namespace, body(resource))
        table = msgspec.json.decode((await client.raw("GET", resource.path(namespace), headers=accept)).body)
        assert "<invalid>" not in table["rows"][0]["cells"]
        assert "<unknown>" not in table["rows"][0]["cells"]


async def test_scale(client: Client, namespace: str) -> None:
    await with_status(client, namespace, DATACENTERS)
    path = DATACENTERS.path(namespace, "one", "scale")

    scale = msgspec.json.decode((await client.raw("GET", path)).body)
    await client.patch(DATACENTERS, Key(namespace, "one"), {"spec": {"replicas": 5}}, subresource="scale")

    assert scale["spec"] == {"replicas": 3}
    assert scale["status"] == {"replicas": 3, "selector": "cassandra-datacenter=one"}
    assert (await client.get(DATACENTERS, Key(namespace, "one")))["spec"]["replicas"] == 5


async def test_a_datacenter_that_names_no_replicas_has_one_and_a_scale(client: Client, namespace: str) -> None:
    await create(client, namespace, body(DATACENTERS, replicas=None))

    scale = await client.raw("GET", DATACENTERS.path(namespace, "one", "scale"))

    assert msgspec.json.decode(scale.body)["spec"] == {"replicas": 1}


async def test_status_is_a_subresource(client: Client, namespace: str) -> None:
    for resource in RESOURCES.values():
        response = await create(client, namespace, body(resource) | {"status": {"observedGeneration": 7}})
        assert "status" not in msgspec.json.decode(response.body)
