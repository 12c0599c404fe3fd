"""Finalizers: an object stays until what hangs on it is cleaned up.

Expected flow: ``add`` before the first side effect; when ``metadata.deletionTimestamp`` is set, clean up, then
``remove``. Both take the object as last seen and do nothing when it already is as wanted.

Guarantees: nobody else's finalizer is ever touched. Nothing is added when the object was recreated or its finalizers
changed meanwhile, and nothing removed when anything of it changed: what is to be cleaned up may be another thing by
then. The patch tests it, that is Conflict, and the next reconcile sees the new state.

Assumptions: clean-up is idempotent, and tolerates that nothing was ever made (``add`` succeeded, then a crash).

Caveats: the API server refuses to add a finalizer to an object that is being deleted (Invalid); a user may remove
finalizers by hand, then nothing is cleaned up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from controller.errors import NotFound
from controller.objects import HasMetadata, key_of

if TYPE_CHECKING:
    from controller.client import Client
    from controller.resource import Resource


async def add(client: Client, resource: Resource, obj: HasMetadata, name: str) -> bool:
    """True when it was written, False when it was there. NotFound, Conflict."""
    present = obj.metadata.finalizers
    if name in present:
        return False
    patch: list[dict[str, Any]] = [
        {"op": "test", "path": "/metadata/uid", "value": obj.metadata.uid},
        {"op": "test", "path": "/metadata/finalizers", "value": present or None},
        {"op": "add", "path": "/metadata/finalizers", "value": [*present, name]},
    ]
    await client.patch(resource, key_of(obj), patch)
    return True


async def remove(client: Client, resource: Resource, obj: HasMetadata, name: str) -> bool:
    """True when it was written, False when there was nothing to remove, be it that the object is gone. Conflict."""
    present = obj.metadata.finalizers
    if name not in present:
        return False
    path = f"/metadata/finalizers/{present.index(name)}"
    patch: list[dict[str, Any]] = [
        {"op": "test", "path": "/metadata/uid", "value": obj.metadata.uid},
        {"op": "test", "path": "/metadata/resourceVersion", "value": obj.metadata.resource_version},
        {"op": "test", "path": path, "value": name},
        {"op": "remove", "path": path},
    ]
    try:
        await client.patch(resource, key_of(obj), patch)
    except NotFound:
        return False
    return True
