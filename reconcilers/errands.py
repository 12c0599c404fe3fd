"""Work in a bucket for a datacenter that may be gone: done by one of its agents, else by a helper pod of its image.

Whoever does it, an operation is done under the same id and may be done again: by another agent when the first one falls
silent, or by a later operator, which knows nothing of the tries before.
"""

from __future__ import annotations

import datetime as dt
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from msgspec import structs

from controller.builtin import PODS, SECRETS
from controller.errors import AlreadyExists, ApiError
from controller.resource import Key
from reconcilers import helper, labels, locations, mounts, pods
from reconcilers.access import datacenter_of
from reconcilers.backup import policy
from reconcilers.mounts import NO_SECRETS, NOWHERE

if TYPE_CHECKING:
    from collections.abc import Callable

    import msgspec

    from agent.protocol import Kind
    from controller.client import Client
    from controller.clock import Clock
    from controller.objects import RawObject
    from controller.resource import Resource
    from controller.store import Store
    from reconcilers.agents import Address
    from reconcilers.api.access import Access
    from reconcilers.api.datacenter import CassandraDataCenter
    from reconcilers.helper import Owner
    from reconcilers.identity import MasterKey
    from reconcilers.mounts import Secrets
    from reconcilers.operations import Operations, View

WORKING = "Working"  # the reason of one that somebody is at, for the first time
QUEUED = "HelperQueued"  # the reason of one that waits for others
_HELPERS = 8  # pods at a time in a namespace, however many backups of a lost datacenter are deleted at once
_AGENTS = 3  # so many of a datacenter's are tried before a helper pod is
_ELSEWHERE = frozenset(
    {"AgentUnreachable", "CredentialsMissing", "CredentialsRefused", "AccessDenied", "CABundleUnusable"}
)
_SILENT = 30.0  # seconds without an answer after which another one is asked


@dataclass(frozen=True, slots=True)
class Place:
    """``datacenter`` is the object's name; ``access`` what was kept of it."""

    datacenter: str
    access: Access | None = None
    secrets: Secrets = NO_SECRETS


@dataclass(frozen=True, slots=True)
class Errand:
    """``id`` is the same for every try, and names the work for ever. ``by``: the pod to ask first, if it is there."""

    id: str
    kind: Kind
    spec: msgspec.Struct
    by: str = ""


@dataclass(frozen=True, slots=True)
class NotYet:
    """What it waits for, or how the last of ``failures`` went. ``hopeless``: nobody is left who could do it."""

    reason: str
    message: str
    failures: int = 0
    hopeless: bool = False


@dataclass(frozen=True, slots=True)
class _Try:
    number: int = 1
    not_before: dt.datetime | None = None
    last: NotYet | None = None


class Errands:
    """For objects of the kind ``owners``. Tries without end: who asks says when it is enough."""

    def __init__(
        self,
        *,
        client: Client,
        owners: Resource,
        operations: Operations,
        pod_store: Store[RawObject],
        helpers: Store[RawObject],
        datacenters: Store[CassandraDataCenter],
        master: MasterKey,
        clock: Clock,
        wake: Callable[[Key], None],
    ) -> None:
        self._client = client
        self._operations = operations.of(owners, wake)
        self._pods = pod_store
        self._helpers = helpers
        self._datacenters = datacenters
        self._master = master
        self._clock = clock
        self._tries: dict[tuple[Key, str], _Try] = {}

    async def run(self, owner: Owner, place: Place, errand: Errand) -> dict[str, Any] | NotYet:
        """The operation's result, once there is one."""
        key, now = (owner.key, errand.id), self._clock.now()
        last = self._tries.get(key, _Try())
        if last.not_before is not None and now < last.not_before and last.last is not None:
            return last.last
        where = await self._who(owner, place, errand, last)
        if isinstance(where, NotYet):
            return where if last.last is None else _after(last.last, where)
        view = self._want(owner, where, f"{errand.id}.{last.number}", self._told(owner, where, place, errand))
        silent = view.silent_since is not None and self._clock.monotonic() - view.silent_since > _SILENT
        match policy.judge(view, attempts=last.number, retries=last.number):
            case policy.Succeeded():
                assert view.operation is not None
                return view.operation.result
            case policy.GiveUp(reason, message) | policy.TryAgain(reason, message):
                pass
            case policy.Running() if silent:
                reason, message = "AgentUnreachable", view.silence
            case policy.Running():
                return last.last or NotYet(WORKING, f"{where.pod} is at it")
        failed = NotYet(reason, f"{where.pod}: {message}", last.number)
        pause = dt.timedelta(seconds=policy.retry_delay(last.number))
        self._tries[key] = _Try(last.number + 1, now + pause, failed)
        return failed

    async def end(self, owner: Owner, place: Place) -> None:
        """Nothing more is wanted there: the helper pod goes, if there is one."""
        found = self._helpers.get(Key(owner.key.namespace, helper.name_of(owner, place.datacenter)))
        if found is not None and found.metadata.deletion_timestamp is None:
            await self._remove(found)

    def forget(self, key: Key) -> None:
        self._operations.forget(key)
        self._tries = {k: v for k, v in self._tries.items() if k[0] != key}

    def _told(self, owner: Owner, where: Address, place: Place, errand: Errand) -> Errand:
        """With the Secrets as the one who is asked has them: a helper pod mounts them at its own place."""
        if not place.secrets.names:
            return errand
        paths, living = helper.paths(place.secrets), self._living(owner.key.namespace, place)
        if where.pod != helper.name_of(owner, place.datacenter):
            paths = mounts.paths(living, place.secrets) if living is not None else NOWHERE
        spec: Any = errand.spec
        return replace(errand, spec=structs.replace(spec, location=locations.moved(spec.location, paths)))

    def _living(self, namespace: str, place: Place) -> CassandraDataCenter | None:
        return self._datacenters.get(Key(namespace, place.datacenter))

    def _mounted(self, namespace: str, place: Place) -> bool:
        """The living datacenter's agents have the Secrets."""
        living = self._living(namespace, place)
        return living is not None and mounts.lacking_secrets(living, place.secrets) is None

    def _want(self, owner: Owner, where: Address, operation_id: str, errand: Errand) -> View:
        known = self._operations.known(owner.key, where, operation_id)
        return known or self._operations.want(owner.key, where, operation_id, kind=errand.kind, spec=errand.spec)

    async def _who(self, owner: Owner, place: Place, errand: Errand, last: _Try) -> Address | NotYet:
        """Agents in turn; a helper pod where there is none, and where what they lack it perhaps has."""
        agents = self._agents(owner.key.namespace, place, errand.by)
        datacenter = self._datacenter(owner.key.namespace, place)
        elsewhere = last.last is not None and last.last.reason in _ELSEWHERE and last.number > len(agents)
        if agents and (isinstance(datacenter, NotYet) or not elsewhere):
            return agents[(last.number - 1) % len(agents)]
        if isinstance(datacenter, NotYet):
            return datacenter
        try:
            return await self._helper(owner, datacenter, place)
        except ApiError as e:
            return NotYet("HelperRefused", f"no helper pod can be made: {e.message}", hopeless=_closed(e))

    def _agents(self, namespace: str, place: Place, first: str) -> list[Address]:
        """Of the datacenter of that name, be it another by now: it has the place, and a Secret that is named."""
        if place.secrets.names and not self._mounted(namespace, place):
            return []
        found = [
            where
            for pod in self._pods.all()
            if pod.metadata.namespace == namespace
            and pod.metadata.labels.get(labels.DATACENTER) == place.datacenter
            and pods.ready(pod)
            and (where := pods.address(pod)) is not None
        ]
        return sorted(found, key=lambda where: (where.pod != first, where.pod))[:_AGENTS]

    def _datacenter(self, namespace: str, place: Place) -> CassandraDataCenter | NotYet:
        """To make a helper pod like: the one that lives, else what was kept of it."""
        living = self._living(namespace, place)
        if living is not None:
            return living
        gone, access = f"datacenter {place.datacenter} is gone", place.access
        if access is None or (access.withheld and not place.secrets.credentials) or not access.sidecar_image:
            withheld = ", ".join(access.withheld) if access is not None else ""
            lost = f"{withheld} in its env was no reference to a Secret" if withheld else "nothing was kept of it"
            return NotYet("AccessLost", f"{gone}, and {lost}: nobody has the store's credentials", hopeless=True)
        return datacenter_of(access, namespace, place.datacenter)

    async def _helper(self, owner: Owner, datacenter: CassandraDataCenter, place: Place) -> Address | NotYet:
        name = helper.name_of(owner, place.datacenter)
        found = self._helpers.get(Key(owner.key.namespace, name))
        if found is None and self._helpers_at_work(owner.key.namespace) >= _HELPERS:
            return NotYet(QUEUED, f"{_HELPERS} helper pods are at work: it waits for one to end")
        if found is None:
            identity = self._master.identity(owner.metadata.uid)
            await self._client.apply(SECRETS, helper.secret(owner, place.datacenter, identity))
            with suppress(AlreadyExists):  # from an earlier try: the store will show it
                await self._client.create(PODS, helper.pod(owner, datacenter, place.secrets))
            return NotYet("HelperStarting", f"helper pod {name} starts")
        if helper.ended(found) and found.metadata.deletion_timestamp is None:
            await self._remove(found)
        where = helper.address(found, owner)
        if where is None:
            why = pods.waiting_reason(found)
            return NotYet("HelperStarting", f"helper pod {name} does not start: {why}" if why else f"{name} starts")
        return where

    def _helpers_at_work(self, namespace: str) -> int:
        return sum(p.metadata.namespace == namespace and helper.is_one(p) for p in self._helpers.all())

    async def _remove(self, pod: RawObject) -> None:
        key = Key(pod.metadata.namespace, pod.metadata.name)
        await self._client.delete(PODS, key, uid=pod.metadata.uid)


def _after(failed: NotYet, waiting: NotYet) -> NotYet:
    return NotYet(failed.reason, f"{failed.message}; now {waiting.message}", failed.failures, waiting.hopeless)


def _closed(error: ApiError) -> bool:
    """The namespace is being deleted: nothing can be made in it any more."""
    return "being terminated" in error.message
