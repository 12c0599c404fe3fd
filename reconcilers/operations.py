"""The agents' operations as one more source of events.

A reconciler says which operation it wants and reads how it stands; a task for each operation starts it, long-polls it
and puts the owner's key on the queue when something changed. So a reconcile never waits for a transfer, and what is
remembered here may be lost at any time: wanting the same operation again reads it back from the agent.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from reconcilers.agents import Address, AgentError, AgentRefused, Agents, UnknownOperation

if TYPE_CHECKING:
    from collections.abc import Callable

    import msgspec

    from agent.protocol import Kind, Operation
    from controller.clock import Clock
    from controller.resource import Key

_WAIT = 30.0
_RETRY_FIRST, _RETRY_LAST = 0.5, 10.0


@dataclass(slots=True)
class View:
    """How an operation stands, as far as is known. ``silent_since`` is monotonic seconds, None while the agent answers."""

    operation: Operation | None = None
    refused: AgentRefused | None = None
    silent_since: float | None = None
    silence: str = ""

    @property
    def done(self) -> bool:
        return self.refused is not None or (self.operation is not None and self.operation.state.final)


@dataclass(slots=True)
class _Followed:
    owner: Key
    wake: Callable[[Key], None]
    address: Address
    operation_id: str
    kind: Kind
    spec: msgspec.Struct | None  # None: only follow it, something else starts it (a restore's init container)
    view: View = field(default_factory=View)
    cancelled: bool = False
    task: asyncio.Task[None] | None = None


class Operations:
    """Safe to call from any reconciler of this process; all of it runs on one event loop."""

    def __init__(self, agents: Agents, clock: Clock) -> None:
        self._agents = agents
        self._clock = clock
        self._followed: dict[tuple[Key, str, str], _Followed] = {}
        self._log = structlog.get_logger("operations")

    def want(
        self,
        owner: Key,
        wake: Callable[[Key], None],
        address: Address,
        operation_id: str,
        kind: Kind,
        spec: msgspec.Struct | None,
    ) -> View:
        """Have it run at this agent and say how it stands. With ``spec`` None it is watched and never started."""
        return self._follow(owner, wake, address, operation_id, kind, spec, cancelled=False).view

    def cancel(
        self, owner: Key, wake: Callable[[Key], None], address: Address, operation_id: str, kind: Kind
    ) -> View:
        """Have it stopped: the view ends final, or with UnknownOperation's refusal where it never began."""
        return self._follow(owner, wake, address, operation_id, kind, None, cancelled=True).view

    def again(self, owner: Key, address: Address, operation_id: str) -> None:
        """Stop following one operation, so that wanting it looks anew: it may have been started once more."""
        followed = self._followed.pop((owner, address.pod, operation_id), None)
        if followed is not None:
            self._stop(followed)

    def forget(self, owner: Key) -> None:
        """The owner is gone or ended: stop following all of its operations."""
        for key in [k for k in self._followed if k[0] == owner]:
            self._stop(self._followed.pop(key))

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

    def _follow(
        self,
        owner: Key,
        wake: Callable[[Key], None],
        address: Address,
        operation_id: str,
        kind: Kind,
        spec: msgspec.Struct | None,
        *,
        cancelled: bool,
    ) -> _Followed:
        key = (owner, address.pod, operation_id)
        known = self._followed.get(key)
        if known is not None and known.cancelled == cancelled and (known.address == address or known.view.done):
            return known
        followed = _Followed(owner, wake, address, operation_id, kind, spec, cancelled=cancelled)
        if known is not None:
            self._stop(known)
            followed.view = known.view  # what was seen stays true; a new pod answers for the same volume
            if cancelled or followed.view.refused:
                followed.view.refused = None
        self._followed[key] = followed
        followed.task = asyncio.create_task(self._drive(followed), name=f"follow {operation_id} at {address.pod}")
        return followed

    @staticmethod
    def _stop(followed: _Followed) -> None:
        if followed.task is not None:
            followed.task.cancel()

    async def _drive(self, f: _Followed) -> None:
        pause = _RETRY_FIRST
        started = False
        while True:
            try:
                operation = await self._step(f, started=started)
                started = True
            except UnknownOperation as e:
                if f.cancelled:
                    f.view.refused = AgentRefused(e.reason, e.message)
                    f.wake(f.owner)
                    return
                started = False  # a volume that is new, or an init container that has not begun
                self._silent(f, e)
            except AgentRefused as e:
                f.view.refused = e
                f.wake(f.owner)
                return
            except (AgentError, TimeoutError) as e:
                self._silent(f, e)
            except Exception as e:  # noqa: BLE001  a defect here must not end the following for good
                self._log.warning("following failed", operation=f.operation_id, pod=f.address.pod, exc_info=True)
                self._silent(f, e)
            else:
                pause = _RETRY_FIRST
                changed = f.view.operation is None or f.view.operation.revision != operation.revision
                changed = changed or f.view.silent_since is not None or f.view.operation != operation
                f.view.operation, f.view.silent_since, f.view.silence = operation, None, ""
                if changed:
                    f.wake(f.owner)
                if operation.state.final:
                    return
                continue
            await self._clock.sleep(pause)
            pause = min(_RETRY_LAST, pause * 2)

    async def _step(self, f: _Followed, *, started: bool) -> Operation:
        if f.cancelled and not started:
            return await self._agents.cancel(f.address, f.operation_id)
        if not started and f.spec is not None:
            return await self._agents.put(f.address, f.operation_id, f.kind, f.spec)
        since = f.view.operation.revision if started and f.view.operation is not None else 0
        return await self._agents.poll(f.address, f.operation_id, since=since, wait=_WAIT)

    def _silent(self, f: _Followed, error: Exception) -> None:
        if f.view.silent_since is None:
            f.view.silent_since = self._clock.monotonic()
            f.wake(f.owner)
        f.view.silence = str(error) or type(error).__name__
