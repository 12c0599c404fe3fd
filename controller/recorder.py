"""Events for people (``kubectl describe``): said and forgotten. Nothing here blocks or fails the one who reports.

The same event again raises the count of the first instead of making another.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import structlog

from controller import metrics
from controller.builtin import EVENTS
from controller.clock import rfc3339
from controller.errors import NotFound
from controller.objects import HasMetadata, key_of
from controller.resource import Key, Resource

if TYPE_CHECKING:
    from controller.client import Client
    from controller.clock import Clock

MAX_PENDING = 1000
MAX_KNOWN = 4096
MAX_MESSAGE = 1024  # bytes; kubectl shows one line
WRITE_SECONDS = 10.0
LAST_SECONDS = 2.0  # to write what is pending when the process ends

_log = structlog.get_logger("controller.recorder")


class _Same(NamedTuple):
    """Events that are equal in this are the same event."""

    resource: Resource
    key: Key
    uid: str
    type: str
    reason: str
    message: str


@dataclass
class _Pending:
    first: str
    last: str
    count: int = 1


@dataclass
class _Known:
    name: str
    count: int


class Recorder:
    """``event`` may be called from the start; events are written while ``run`` runs."""

    def __init__(self, client: Client, component: str, clock: Clock) -> None:
        self._client = client.unguarded()  # an event changes nothing that a second leader could
        self._component = component
        self._clock = clock
        self._pending: OrderedDict[_Same, _Pending] = OrderedDict()
        self._known: OrderedDict[_Same, _Known] = OrderedDict()
        self._wake = asyncio.Event()

    def event(
        self, resource: Resource, obj: HasMetadata, type_: Literal["Normal", "Warning"], reason: str, message: str
    ) -> None:
        """``reason`` is one CamelCase word, stable; ``message`` one sentence, the same each time for the same event."""
        try:
            text = message.encode()[:MAX_MESSAGE].decode(errors="ignore")
            same = _Same(resource, key_of(obj), obj.metadata.uid, type_, reason, text)
            now = rfc3339(self._clock.now())
            pending = self._pending.get(same)
            if pending is not None:
                pending.count += 1
                pending.last = now
            elif len(self._pending) >= MAX_PENDING:
                metrics.EVENTS.labels("dropped").inc()
            else:
                self._pending[same] = _Pending(now, now)
                self._wake.set()
        except Exception:  # noqa: BLE001  reporting never fails the one who reports
            _log.exception("event not recorded", reason=reason)

    async def run(self) -> None:
        """Until cancelled; then what is pending is still written, for a moment."""
        try:
            while True:
                await self._wake.wait()
                await self._write_pending()
        except asyncio.CancelledError:
            try:
                async with self._clock.timeout(LAST_SECONDS):
                    await self._write_pending()
            except TimeoutError:
                pass
            raise

    async def _write_pending(self) -> None:
        while self._pending:
            same, pending = self._pending.popitem(last=False)
            try:
                async with self._clock.timeout(WRITE_SECONDS):
                    await self._write(same, pending)
                metrics.EVENTS.labels("written").inc()
            except Exception as e:  # noqa: BLE001  an event is lost, nothing else
                metrics.EVENTS.labels("failed").inc()
                _log.warning("event not written", key=str(same.key), reason=same.reason, error=str(e))
        self._wake.clear()

    async def _write(self, same: _Same, pending: _Pending) -> None:
        namespace = same.key.namespace or "default"
        known = self._known.get(same)
        if known is not None:
            self._known.move_to_end(same)
            patch = {"count": known.count + pending.count, "lastTimestamp": pending.last}
            try:
                await self._client.patch(EVENTS, Key(namespace, known.name), patch)
            except NotFound:  # the API server keeps events for an hour
                del self._known[same]
            else:
                known.count += pending.count
                return
        name = f"{same.key.name[:200]}.{self._suffix(same)}"
        await self._client.create(EVENTS, self._body(same, pending, namespace, name))
        self._known[same] = _Known(name, pending.count)
        if len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)

    def _suffix(self, same: _Same) -> str:
        salt = f"{same}{self._clock.now().timestamp()}{id(self)}"
        return hashlib.sha256(salt.encode()).hexdigest()[:16]

    def _body(self, same: _Same, pending: _Pending, namespace: str, name: str) -> dict[str, Any]:
        return {
            "metadata": {"namespace": namespace, "name": name},
            "involvedObject": {
                "apiVersion": same.resource.api_version,
                "kind": same.resource.kind,
                "namespace": same.key.namespace,
                "name": same.key.name,
                "uid": same.uid,
            },
            "type": same.type,
            "reason": same.reason,
            "message": same.message,
            "count": pending.count,
            "firstTimestamp": pending.first,
            "lastTimestamp": pending.last,
            "source": {"component": self._component},
            "reportingComponent": self._component,
            "reportingInstance": self._component,
        }
