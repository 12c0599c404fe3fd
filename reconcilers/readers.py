"""Who can be asked what a bucket holds: an agent of a datacenter, else an inspector pod that is made from it.

Nothing is written to the bucket by any of them. The operator itself has no credentials.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from controller.errors import ApiError
from reconcilers import inspector, labels, pods
from reconcilers.agents import AgentRefused, AgentUnreachable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from controller.objects import RawObject
    from controller.store import Store
    from reconcilers.agents import Address
    from reconcilers.api.common import Kind
    from reconcilers.api.datacenter import CassandraDataCenter
    from reconcilers.inspector import Inspectors

_AGENTS = 3  # so many of a datacenter's are tried before an inspector is
_PASSING = frozenset({"StorageUnreachable", "StorageThrottled"})  # an agent's reasons that may go away by themselves
_ENDED = frozenset({"Failed", "Succeeded"})  # phases of a pod

T = TypeVar("T")


class NotYet(Exception):  # noqa: N818  a state of things
    """Nobody has answered so far, and asking again may help. ``reason`` is CamelCase, ``message`` one sentence."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class Readers:
    """``inspectors`` makes pods for the objects of any kind; ``pod_store`` holds the datacenters' own."""

    def __init__(self, *, pod_store: Store[RawObject], inspectors: Inspectors) -> None:
        self._pods = pod_store
        self._inspectors = inspectors

    async def ask(self, owner: Kind, datacenter: CassandraDataCenter, question: Callable[[Address], Awaitable[T]]) -> T:
        """What the first one answers that does. NotYet while nobody can; AgentRefused where the answer will stay.

        An inspector is made in the name of ``owner``, who calls :meth:`end` when nothing more is to be asked.
        """
        silence = NotYet("InspectorNotStarted", "the inspector pod has not started")
        for address in [*self._agents(datacenter), *self._shared(datacenter)]:
            try:
                return await _put(address, question)
            except AgentUnreachable as e:
                silence = NotYet(e.reason, e.message)
        pod = self._inspectors.find(owner)
        if pod is None:
            try:
                await self._inspectors.start(owner, datacenter)
            except ApiError as e:
                raise NotYet("InspectorRefused", f"no inspector pod can be made: {e}") from e
            raise silence
        if _ended(pod):
            await self._inspectors.end(owner)  # the next look makes another
            raise silence
        where = inspector.address(pod, datacenter)
        if where is None:
            why = pods.waiting_reason(pod)
            raise NotYet(silence.reason, f"the inspector pod does not start: {why}" if why else silence.message)
        try:
            return await _put(where, question)
        except AgentUnreachable as e:
            raise NotYet(e.reason, e.message) from e

    async def end(self, owner: Kind) -> None:
        await self._inspectors.end(owner)

    def _agents(self, datacenter: CassandraDataCenter) -> list[Address]:
        found = [
            where
            for pod in self._pods.all()
            if pod.metadata.labels.get(labels.DATACENTER_UID) == datacenter.metadata.uid
            and pods.ready(pod)
            and (where := pods.address(pod)) is not None
        ]
        return sorted(found, key=lambda where: (len(where.pod), where.pod))[:_AGENTS]

    def _shared(self, datacenter: CassandraDataCenter) -> list[Address]:
        """The datacenter's own inspector, which its catalog may have: so many imports do with one."""
        pod = self._inspectors.find(datacenter)
        where = inspector.address(pod, datacenter) if pod is not None and not _ended(pod) else None
        return [where] if where is not None else []


def _ended(pod: RawObject) -> bool:
    """By its lifetime, or evicted: it comes to nothing any more."""
    return pod.body.get("status", {}).get("phase") in _ENDED


async def _put(address: Address, question: Callable[[Address], Awaitable[T]]) -> T:
    try:
        return await question(address)
    except TimeoutError as e:
        raise AgentUnreachable("AgentUnreachable", f"the agent of {address.pod} does not answer in time") from e
    except AgentRefused as e:
        if e.reason in _PASSING:
            raise NotYet(e.reason, e.message) from e
        raise
