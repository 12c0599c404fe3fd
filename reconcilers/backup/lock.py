"""One run a datacenter: a Lease whose holder is the backup's UID.

The Lease is held as long as the backup runs, however long that is, so it has no renew time. Who holds it is checked
against the backups themselves: a holder that ended or is gone is replaced, by a write that another operator's loses to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from controller.builtin import LEASES
from controller.errors import AlreadyExists, Conflict, NotFound
from controller.resource import Key
from reconcilers import labels

if TYPE_CHECKING:
    from collections.abc import Callable

    from controller.client import Client


async def acquire(client: Client, datacenter: Key, holder: str, *, alive: Callable[[str], bool]) -> str:
    """The holder's UID afterwards: ``holder`` itself, or who is ahead."""
    key = Key(datacenter.namespace, labels.backup_lease(datacenter.name))
    body = {
        "apiVersion": LEASES.api_version,
        "kind": LEASES.kind,
        "metadata": {"namespace": key.namespace, "name": key.name, "labels": {labels.DATACENTER: datacenter.name}},
        "spec": {"holderIdentity": holder},
    }
    try:
        await client.create(LEASES, body)
    except AlreadyExists:
        pass
    else:
        return holder
    try:
        lease = await client.get(LEASES, key)
    except NotFound:
        return ""  # released between the two: the next try gets it
    current: str = lease.get("spec", {}).get("holderIdentity", "")
    if current == holder or (current and alive(current)):
        return current
    version = lease["metadata"]["resourceVersion"]
    try:
        await client.patch(LEASES, key, {"metadata": {"resourceVersion": version}, "spec": {"holderIdentity": holder}})
    except (Conflict, NotFound):
        return ""
    return holder


async def holder(client: Client, datacenter: Key) -> str:
    """The UID; empty while nobody has it."""
    try:
        lease = await client.get(LEASES, Key(datacenter.namespace, labels.backup_lease(datacenter.name)))
    except NotFound:
        return ""
    found: str = lease.get("spec", {}).get("holderIdentity", "")
    return found


async def release(client: Client, datacenter: Key, holder: str) -> None:
    """Delete the Lease if it is ours; one that is gone or another's is left."""
    key = Key(datacenter.namespace, labels.backup_lease(datacenter.name))
    try:
        lease = await client.get(LEASES, key)
    except NotFound:
        return
    if lease.get("spec", {}).get("holderIdentity") != holder:
        return
    meta = lease["metadata"]
    await client.delete(LEASES, key, uid=meta["uid"], resource_version=meta["resourceVersion"])
