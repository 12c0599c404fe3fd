"""The operator's client, as the tests of the ring give it to the reconcilers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from controller.resource import Key

if TYPE_CHECKING:
    from controller.client import Client
    from controller.resource import Resource

Object = dict[str, Any]
WRITES = frozenset({"create", "apply", "patch", "patch_status", "delete"})


class Crash(BaseException):
    """The process is gone: nothing may catch it."""


class Spy:
    """The operator's client. Notes what it writes, and dies before or after the n-th write."""

    def __init__(self, client: Client, dirty: set[Resource], invented: dict[Resource, list[Object]]) -> None:
        self._client = client
        self._dirty = dirty
        self.writes: list[tuple[str, str, str]] = []
        self.crash_before = self.crash_after = 0
        self.invented = invented

    def __getattr__(self, verb: str) -> Any:
        real = getattr(self._client, verb)
        if verb == "list" and self.invented:
            return self._list
        if verb not in WRITES:
            return real

        async def write(resource: Resource, *args: Any, **named: Any) -> Any:
            number = len(self.writes) + 1
            if number == self.crash_before:
                self.crash_before = 0
                raise Crash
            self.writes.append((verb, resource.kind, _name(args[0])))
            self._dirty.add(resource)
            answer = await real(resource, *args, **named)
            if number == self.crash_after:
                raise Crash
            return answer

        return write

    async def _list(self, resource: Resource, namespace: str, *, label_selector: str = "") -> list[Object]:
        wanted = dict(term.split("=") for term in label_selector.split(","))
        invented = [o for o in self.invented.get(resource, ()) if wanted.items() <= o["metadata"]["labels"].items()]
        return [*await self._client.list(resource, namespace, label_selector=label_selector), *invented]


def _name(target: Any) -> str:
    return target.name if isinstance(target, Key) else target["metadata"]["name"]
