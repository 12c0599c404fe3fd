"""Has the collector run where something lies that nobody needs, until nothing does. Its object is a ConfigMap (entry).

    noted ─> cycle 1: what nobody needs is condemned ─> the grace ─> cycle 2: it is deleted ─> clean: the ConfigMap goes

The agents decide from the bucket alone what goes. A cycle's operations have ids of their own, so that another operator
reads what the first one had done.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec
import structlog

from agent.protocol import Collected
from controller.builtin import CONFIGMAPS
from controller.clock import parse_rfc3339
from controller.reconcile import Done, RequeueAfter
from controller.resource import Key
from reconcilers import locations
from reconcilers.api.datacenter import DATACENTERS
from reconcilers.errands import NotYet, Place
from reconcilers.garbage import entry as entries
from reconcilers.garbage.cycle import Cycle, errands
from reconcilers.helper import Owner
from reconcilers.mounts import Secrets

if TYPE_CHECKING:
    from controller.client import Client
    from controller.clock import Clock
    from controller.objects import RawObject
    from controller.reconcile import Outcome
    from controller.recorder import Recorder
    from controller.store import Store
    from reconcilers.api.datacenter import CassandraDataCenter
    from reconcilers.errands import Errands
    from reconcilers.garbage.entry import Entry
    from reconcilers.status_writer import Severity

_AT_ONCE = 8  # nodes
_TRIES = 4  # of one node in one cycle
_STILL = 1800  # seconds in which no node came to an end, after which the cycle is given up
_LOOK_AGAIN = 5.0
_AT_MOST = dt.timedelta(days=30)  # after that nobody comes any more who could make it clean
_REFUSED = "CollectRefused"  # somebody should look: the same question gets the same answer

_log = structlog.get_logger("garbage")


@dataclass(slots=True)
class _Seen:
    """What came to an end in this process, by errand, and when the last one did (monotonic seconds)."""

    answers: dict[str, Collected | NotYet] = field(default_factory=dict)
    moved: float = 0.0


class GarbageReconciler:
    """The only one that changes such a ConfigMap, but for whoever notes something in it. ``grace``: seconds."""

    def __init__(
        self,
        *,
        client: Client,
        config_maps: Store[RawObject],
        datacenters: Store[CassandraDataCenter],
        errands: Errands,
        recorder: Recorder,
        clock: Clock,
        grace: int,
    ) -> None:
        self._client = client
        self._config_maps = config_maps
        self._datacenters = datacenters
        self._errands = errands
        self._recorder = recorder
        self._clock = clock
        self._grace = grace
        self._seen: dict[Key, _Seen] = {}

    async def reconcile(self, key: Key) -> Outcome:
        found = self._config_maps.get(key)
        entry = entries.decode(found.body) if found is not None else None
        if found is None or entry is None or found.metadata.deletion_timestamp:
            self._forget(key)
            return Done()
        now = self._clock.now()
        if (wait := (entry.due_at - now).total_seconds()) > 0:
            return RequeueAfter(wait, "the next cycle")
        seen = self._seen.setdefault(key, _Seen(moved=self._clock.monotonic()))
        cycle, working = await self._work(found, entry, seen)
        if working and self._clock.monotonic() - seen.moved <= _STILL:
            return RequeueAfter(_LOOK_AGAIN, f"cycle {entry.cycle}: {len(cycle.done)} of {len(entry.nodes)} nodes")
        cycle.problems |= working
        await self._errands.end(_owner(found), _place(entry))
        return await self._finish(found, entry, cycle, now)

    async def _work(self, found: RawObject, entry: Entry, seen: _Seen) -> tuple[Cycle, dict[str, NotYet]]:
        """The nodes that came to an end, and those that are worked at."""
        cycle, working = Cycle(), dict[str, NotYet]()
        for node, errand in errands(entry, found.metadata.uid, self._grace):
            answer = seen.answers.get(errand.id)
            if answer is None:
                if len(working) >= _AT_ONCE:
                    break
                told = await self._errands.run(_owner(found), _place(entry), errand)
                answer = told if isinstance(told, NotYet) else msgspec.convert(told, Collected)
                if isinstance(answer, NotYet) and not _is_over(answer):
                    working[node] = answer
                    continue
                seen.answers[errand.id], seen.moved = answer, self._clock.monotonic()
            if isinstance(answer, NotYet):
                cycle.problems[node] = answer
            else:
                cycle.done[node] = answer
        return cycle, working

    async def _finish(self, found: RawObject, entry: Entry, cycle: Cycle, now: dt.datetime) -> Outcome:
        """Conflict where something was noted meanwhile: then the cycle is run with what is known now."""
        key, meta = Key(found.metadata.namespace, found.metadata.name), found.metadata
        where = (
            f"{locations.uri(entry.location.backup_type, entry.location.target)}, {entry.cluster}/{entry.datacenter}"
        )
        _log.info(
            "collected", key=str(key), where=where, cycle=entry.cycle, summary=cycle.summary, trouble=cycle.trouble
        )
        if cycle.clean or now - parse_rfc3339(entry.since) > max(_AT_MOST, 10 * dt.timedelta(seconds=self._grace)):
            await self._client.delete(CONFIGMAPS, key, uid=meta.uid, resource_version=meta.resource_version)
            outcome: Outcome = Done()
        else:
            coming = entries.next_cycle(entry, now, self._grace)
            version = {"metadata": {"resourceVersion": meta.resource_version}}
            await self._client.patch(CONFIGMAPS, key, {**version, "data": entries.data(coming)})
            outcome = RequeueAfter((coming.due_at - now).total_seconds(), "the next cycle")
        self._forget(key)
        if cycle.trouble:
            what = "CollectFailed" if isinstance(outcome, RequeueAfter) else "GarbageLeft"
            self._tell(found, entry, "Warning", what, f"{where}: {cycle.trouble}")
        elif cycle.news:
            self._tell(found, entry, "Normal", "GarbageCollected", f"{where}: {cycle.summary}")
        return outcome

    def _tell(self, found: RawObject, entry: Entry, type_: Severity, reason: str, message: str) -> None:
        """On the datacenter, where people look; on the ConfigMap when that is gone."""
        datacenter = self._datacenters.get(Key(found.metadata.namespace, entry.name))
        if datacenter is not None:
            self._recorder.event(DATACENTERS, datacenter, type_, reason, message)
        else:
            self._recorder.event(CONFIGMAPS, found, type_, reason, message)

    def _forget(self, key: Key) -> None:
        self._errands.forget(key)
        self._seen.pop(key, None)


def _is_over(answer: NotYet) -> bool:
    """For this cycle."""
    return answer.hopeless or answer.reason == _REFUSED or answer.failures >= _TRIES


def _owner(found: RawObject) -> Owner:
    return Owner(CONFIGMAPS, found.metadata)


def _place(entry: Entry) -> Place:
    return Place(entry.name, entry.access, Secrets(entry.credentials, entry.ca_bundle))
