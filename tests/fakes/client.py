"""``controller.client.Client`` over a dictionary: for what a unit test asks of the API server, and no more.

It knows uids, resourceVersions and their conflicts, merge patches, and JSON patches with test, add and remove. Anything
else is asked of the real API server, in ``tests/api``.
"""

from __future__ import annotations

import copy
import itertools
from typing import TYPE_CHECKING, Any

from controller.errors import AlreadyExists, Conflict, NotFound
from controller.resource import Key, Resource

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class FakeClient:
    """``objects`` may be read and changed by tests; ``calls`` has ``(verb, resource, key)`` of each request.

    ``intercept``, where set, is awaited before each request; it may raise, wait, or change ``objects``.
    ``after`` the same, once the request has had its effect.
    """

    def __init__(self) -> None:
        self.objects: dict[tuple[Resource, Key], dict[str, Any]] = {}
        self.calls: list[tuple[str, Resource, Key]] = []
        self.intercept: Callable[[str, Resource, Key], Awaitable[None]] | None = None
        self.after: Callable[[str, Resource, Key], Awaitable[None]] | None = None
        self.guard: Callable[[], None] | None = None
        self._versions = itertools.count(1)

    def unguarded(self) -> FakeClient:
        return _Unguarded(self)

    def set_guard(self, guard: Callable[[], None] | None) -> None:
        self.guard = guard

    async def get(self, resource: Resource, key: Key) -> dict[str, Any]:
        await self._request("get", resource, key)
        return await self._answer("get", resource, key, self._found(resource, key))

    async def create(self, resource: Resource, body: dict[str, Any]) -> dict[str, Any]:
        key = _key(body)
        await self._request("create", resource, key)
        if (resource, key) in self.objects:
            raise AlreadyExists(f"{key} is there already", status=409)
        body = copy.deepcopy(body)
        body["metadata"]["uid"] = f"uid-{next(self._versions)}"
        return await self._answer("create", resource, key, self._store(resource, key, body))

    async def apply(self, resource: Resource, body: dict[str, Any], *, force: bool = True) -> dict[str, Any]:
        key = _key(body)
        await self._request("apply", resource, key)
        old = self.objects.get((resource, key), {"metadata": {"uid": f"uid-{next(self._versions)}"}})
        return await self._answer("apply", resource, key, self._store(resource, key, _merged(old, body)))

    async def patch(
        self, resource: Resource, key: Key, patch: list[dict[str, Any]] | dict[str, Any], *, subresource: str = ""
    ) -> dict[str, Any]:
        await self._request("patch", resource, key)
        old = self._found(resource, key)
        if isinstance(patch, list):
            new = _json_patched(old, patch)
        else:
            version = patch.get("metadata", {}).get("resourceVersion", old["metadata"]["resourceVersion"])
            if version != old["metadata"]["resourceVersion"]:
                raise Conflict("the object has been modified", status=409)
            new = _merged(old, patch)
        return await self._answer("patch", resource, key, self._store(resource, key, new))

    def _found(self, resource: Resource, key: Key) -> dict[str, Any]:
        try:
            return copy.deepcopy(self.objects[resource, key])
        except KeyError:
            raise NotFound(f"{key} is not there", status=404) from None

    def _store(self, resource: Resource, key: Key, body: dict[str, Any]) -> dict[str, Any]:
        body["metadata"]["resourceVersion"] = str(next(self._versions))
        self.objects[resource, key] = body
        return copy.deepcopy(body)

    async def _request(self, verb: str, resource: Resource, key: Key) -> None:
        if self.guard is not None and verb != "get":
            self.guard()
        self.calls.append((verb, resource, key))
        if self.intercept is not None:
            await self.intercept(verb, resource, key)

    async def _answer(self, verb: str, resource: Resource, key: Key, body: dict[str, Any]) -> dict[str, Any]:
        if self.after is not None:
            await self.after(verb, resource, key)
        return body


class _Unguarded(FakeClient):
    def __init__(self, other: FakeClient) -> None:
        self._other = other

    def __getattr__(self, name: str) -> Any:
        return None if name == "guard" else getattr(self._other, name)


def _key(body: dict[str, Any]) -> Key:
    return Key(body["metadata"].get("namespace", ""), body["metadata"]["name"])


def _merged(old: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    result = dict(old)
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        elif isinstance(value, dict):
            before = result.get(name)
            result[name] = _merged(before if isinstance(before, dict) else {}, value)
        else:
            result[name] = copy.deepcopy(value)
    return result


def _json_patched(body: dict[str, Any], patch: list[dict[str, Any]]) -> dict[str, Any]:
    for op in patch:
        *path, last = op["path"].strip("/").split("/")
        at: Any = body
        for part in path:
            at = at[int(part)] if isinstance(at, list) else at[part]
        here = int(last) if isinstance(at, list) else last
        if op["op"] == "test":
            found = at.get(here) if isinstance(at, dict) else at[here] if here < len(at) else None
            if found != op["value"]:
                raise Conflict("a test of the patch failed", status=422)
        elif op["op"] == "add":
            at[here] = op["value"]
        elif op["op"] == "remove":
            del at[here]
    return body
