"""The agents' operations as one more source of events.

A reconciler says which operation it wants and reads how it stands; a task for each operation starts it, long-polls it
and puts the owner's key on the queue when something changed. So a reconcile never waits for a transfer, and what is
remembered here may be lost at any time: wanting the same operation again reads it back from the agent.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import structlog

from controller.clock import parse_rfc3339, rfc3339
from reconcilers.agents import Address, AgentError, AgentRefused, Agents, UnknownOperation

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable

    import msgspec

    from agent.protocol import Kind, Operation
    from controller.clock import Clock
    from controller.resource import Key, Resource

_WAIT = 30.0
_RETRY_FIRST, _RETRY_LAST = 0.5, 10.0


@dataclass(slots=True)
class View:
    """How an operation stands, as far as is known.

    ``silent_since`` is monotonic seconds, None while the agent answers. ``moved_at`` (RFC 3339) is when the operation
    was last seen to come forward, by the operator's clock: an agent's may be wrong.
    """

    operation: Operation | None = None
    refused: AgentRefused | None = None
    silent_since: float | None = None
    silence: str = ""
    moved_at: str = ""

    @property
    def done(self) -> bool:
        return self.refused is not None or (self.operation is not None and self.operation.state.final)


class _Owner(NamedTuple):
    """Objects of two kinds may have one name."""

    resource: Resource
    key: Key


@dataclass(slots=True)
class _Followed:
    owner: _Owner
    wake: Callable[[Key], None]
    address: Address
    operation_id: str
    kind: Kind
    spec: msgspec.Struct | None  # None: only follow it, something else starts it (a restore's init container)
    view: View = field(default_factory=View)
    cancelled: bool = False
    again: bool = False  # final, and something else will start it once more
    task: asyncio.Task[None] | None = None


class OperationsOf:
    """Those that the objects of one kind want, each by its key. Safe to call from any reconciler of this process.

    An object is woken when something was decided, not for counters: who shows those looks at its own pace.
    """

    def __init__(self, operations: Operations, resource: Resource, wake: Callable[[Key], None]) -> None:
        self._operations = operations
        self._resource = resource
        self._wake = wake

    def want(self, owner: Key, address: Address, operation_id: str, *, kind: Kind, spec: msgspec.Struct | None) -> View:
        """Have it run at this agent and say how it stands. With ``spec`` None it is watched and never started."""
        wanted = _Followed(self._owner(owner), self._wake, address, operation_id, kind, spec)
        return self._operations.follow(wanted).view

    def known(self, owner: Key, address: Address, operation_id: str) -> View | None:
        """What ``want`` would give where it is wanted from there already; for a thousand nodes that is worth asking."""
        followed = self._operations.find(self._owner(owner), address, operation_id)
        if followed is None or followed.cancelled or followed.address != address:
            return None
        return followed.view

    def cancel(self, owner: Key, address: Address, operation_id: str, kind: Kind) -> View:
        """Have it stopped: the view ends final, or with UnknownOperation's refusal where it never began."""
        wanted = _Followed(self._owner(owner), self._wake, address, operation_id, kind, spec=None, cancelled=True)
        return self._operations.follow(wanted).view

    def again(self, owner: Key, address: Address, operation_id: str) -> None:
        """It failed, and something else will start it once more: say that this was seen, and watch until it is."""
        followed = self._operations.find(self._owner(owner), address, operation_id)
        if followed is not None:
            self._operations.follow_again(followed)

    def forget(self, owner: Key) -> None:
        """The owner is gone or ended: stop following all of its operations."""
        self._operations.drop(self._owner(owner))

    def _owner(self, key: Key) -> _Owner:
        return _Owner(self._resource, key)


class Operations:
    """What is followed for all of them. All of it runs on one event loop."""

    def __init__(self, agents: Agents, clock: Clock) -> None:
        self._agents = agents
        self._clock = clock
        self._followed: dict[tuple[_Owner, str, str], _Followed] = {}
        self._log = structlog.get_logger("operations")

    def of(self, resource: Resource, wake: Callable[[Key], None]) -> OperationsOf:
        """``wake`` is told the key of an object for which there is news."""
        return OperationsOf(self, resource, wake)

    async def run(self) -> None:
        """Live until cancelled, then end every task."""
        try:
            await asyncio.Event().wait()
        finally:
            tasks = [f.task for f in self._followed.values() if f.task is not None]
            self._followed.clear()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def statistics(self) -> dict[str, int]:
        return {
            "followed": len(self._followed),
            "silent": sum(1 for f in self._followed.values() if f.view.silent_since is not None),
        }

    def find(self, owner: _Owner, address: Address, operation_id: str) -> _Followed | None:
        return self._followed.get((owner, address.pod, operation_id))

    def follow(self, wanted: _Followed) -> _Followed:
        """The one that is followed from now on, or was already."""
        key = (wanted.owner, wanted.address.pod, wanted.operation_id)
        known = self._followed.get(key)
        if known is not None and known.cancelled == wanted.cancelled:
            over = known.view.done and not known.again
            if over or known.address == wanted.address:
                return known
        if known is not None:
            self._stop(known)
            wanted.view, wanted.again = known.view, known.again  # a new pod answers for the same volume
            wanted.view.refused = None
        self._followed[key] = wanted
        wanted.task = self._begin(wanted)
        return wanted

    def follow_again(self, followed: _Followed) -> None:
        if followed.task is not None and followed.task.done():
            followed.again = True
            name = f"follow {followed.operation_id} again"
            followed.task = asyncio.create_task(self._look_again(followed), name=name)

    def drop(self, owner: _Owner) -> None:
        for key in [k for k in self._followed if k[0] == owner]:
            self._stop(self._followed.pop(key))

    def _begin(self, f: _Followed) -> asyncio.Task[None]:
        return asyncio.create_task(self._drive(f), name=f"follow {f.operation_id} at {f.address.pod}")

    @staticmethod
    def _stop(followed: _Followed) -> None:
        if followed.task is not None:
            followed.task.cancel()

    async def _look_again(self, f: _Followed) -> None:
        """Dismisses the failure, which is what a DELETE of a final operation means. Once, and only at once: a later
        one would cancel the next try.
        """
        with suppress(AgentError, TimeoutError):
            await self._agents.cancel(f.address, f.operation_id)
        await self._drive(f)

    async def _drive(self, f: _Followed) -> None:
        pause, started = _RETRY_FIRST, False
        while True:
            try:
                operation = await self._step(f, started=started)
            except AgentError as e:
                if self._is_over(f, e):
                    return
                if isinstance(e, UnknownOperation):
                    started = False  # a volume that is new, or an init container that has not begun
            except Exception as e:  # noqa: BLE001  a defect here must not end the following for good
                if not isinstance(e, TimeoutError):
                    self._log.warning("following failed", operation=f.operation_id, pod=f.address.pod, exc_info=True)
                self._silent(f, e)
            else:
                started = True
                moved = self._see(f, operation)
                if operation.state.final and not f.again:
                    return
                pause = pause if f.again else _RETRY_FIRST
                if moved:
                    continue
            await self._clock.sleep(pause)
            pause = min(_RETRY_LAST, pause * 2)

    async def _step(self, f: _Followed, *, started: bool) -> Operation:
        if f.cancelled and not started:
            return await self._agents.cancel(f.address, f.operation_id)
        if not started and f.spec is not None:
            return await self._agents.put(f.address, f.operation_id, f.kind, f.spec)
        known = f.view.operation if started or f.again else None
        since = known.revision if known is not None else 0
        return await self._agents.poll(f.address, f.operation_id, since=since, wait=_WAIT)

    def _is_over(self, f: _Followed, error: AgentError) -> bool:
        """Whether there is nothing left to follow. What is not known to the agent cannot be cancelled any more."""
        if isinstance(error, AgentRefused):
            f.view.refused = error
        elif isinstance(error, UnknownOperation) and f.cancelled:
            f.view.refused = AgentRefused(error.reason, error.message)
        else:
            self._silent(f, error)
            return False
        f.wake(f.owner.key)
        return True

    def _see(self, f: _Followed, operation: Operation) -> bool:
        """Take over what the agent says. True when the operation has changed since the last look."""
        before, view, now = f.view.operation, f.view, self._clock.now()
        moved = before is None or before.revision != operation.revision
        if before is None:  # it may have stood still for long: only the agent can say
            view.moved_at = rfc3339(min(now, _moment(operation.last_progress_at) or now))
        elif moved:
            view.moved_at = rfc3339(now)
        news = before is None or view.silent_since is not None or _decided(before) != _decided(operation)
        view.operation, view.silent_since, view.silence = operation, None, ""
        f.again = f.again and not moved
        if news:
            f.wake(f.owner.key)
        return moved

    def _silent(self, f: _Followed, error: Exception) -> None:
        if f.view.silent_since is None:
            f.view.silent_since = self._clock.monotonic()
            f.wake(f.owner.key)
        f.view.silence = str(error) or type(error).__name__


def _decided(operation: Operation) -> tuple[object, ...]:
    """What a reconciler acts on; the rest is for people, who can wait."""
    return operation.state, operation.session, operation.attempts, operation.error


def _moment(text: str) -> dt.datetime | None:
    try:
        return parse_rfc3339(text)
    except ValueError:
        return None
