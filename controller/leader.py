"""One process at a time leads: a Lease, in the way of client-go's leader election.

- It acts on change that it sees itself and on its own monotonic clock; times written in the Lease are for people.
- The Lease is held from before the request that last renewed it was sent. ``renew_deadline`` later the work is
  cancelled and ``check`` refuses writes, even where the process stood still meanwhile; another takes the Lease no
  earlier than ``lease_duration`` after it saw that renewal. The difference is for requests under way.
- Work that does not end when cancelled ends the process (``abandon``) before the Lease can be taken.
- This is no fencing: a request sent before the deadline may reach the API server after the Lease was taken, if it
  is under way for longer than that difference.
"""

from __future__ import annotations

import asyncio
import math
import os
import random
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog

from controller import metrics
from controller.builtin import LEASES
from controller.clock import RealClock, rfc3339_micro
from controller.errors import ApiError, Conflict, NotFound, NotLeading

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from controller.client import Client
    from controller.clock import Clock
    from controller.resource import Key

_log = structlog.get_logger("controller.leader")


LAST_SECONDS = 0.5  # for cancelled work to end where no time is left; it cannot write any more


class Statistics(NamedTuple):
    leading: bool
    holder: str
    transitions: int


class _Record(NamedTuple):
    """What of a Lease shows that its holder lives; ``resource_version`` guards our next write."""

    resource_version: str = ""
    holder: str = ""
    renew_time: str = ""
    acquire_time: str = ""
    duration: float = 0.0
    transitions: int = 0


def _exit() -> None:
    os._exit(70)


class LeaderElector:
    """Durations in seconds; ``lease_duration`` > ``renew_deadline`` > 1.2 times ``retry_period``."""

    def __init__(
        self,
        client: Client,
        key: Key,
        identity: str,
        *,
        lease_duration: float = 15.0,
        renew_deadline: float = 10.0,
        retry_period: float = 2.0,
        clock: Clock | None = None,
        rng: random.Random | None = None,
        abandon: Callable[[], object] = _exit,
    ) -> None:
        if not lease_duration > renew_deadline > 1.2 * retry_period > 0:
            raise ValueError("need lease_duration > renew_deadline > 1.2 * retry_period > 0")
        if not identity:
            raise ValueError("need an identity")
        self._client = client.unguarded()
        self._key = key
        self.identity = identity
        self._lease_duration = lease_duration
        self._renew_deadline = renew_deadline
        self._retry_period = retry_period
        self._clock = clock or RealClock()
        self._rng = rng or random.Random()  # noqa: S311  jitter
        self._abandon = abandon
        self._seen = _Record()
        self._seen_at = -math.inf
        self._held_from = -math.inf  # monotonic, before the last successful renewal was sent
        self._leading = False

    async def run(self, lead: Callable[[], Awaitable[None]]) -> bool:
        """Waits for the Lease, then runs ``lead`` while holding it; what ``lead`` raises comes through.

        True: ``lead`` returned. False: the Lease was lost and ``lead`` was cancelled. Whenever ``lead`` has ended and
        the Lease is still ours it is released, also when this is cancelled.
        """
        await self._acquire()
        self._leading = True
        metrics.LEADING.set(1)
        _log.info("leading", lease=str(self._key), identity=self.identity)
        work = asyncio.ensure_future(lead())
        renewal = asyncio.create_task(self._renew(), name="lease-renewal")
        try:
            await asyncio.wait({work, renewal}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                work.result()
                return True
            self._leading = False
            await self._end_in_time(work)
            return False
        finally:
            if not work.done() and not renewal.done():  # cancelled: the Lease is kept until the work has ended
                work.cancel()
                await asyncio.wait({work})
            self._leading = False
            metrics.LEADING.set(0)
            renewal.cancel()
            await asyncio.wait({renewal})
            if work.done():
                await self._release()

    def check(self) -> None:
        """Raises NotLeading unless the Lease is held by now: the guard of every write."""
        if not self._leading or self._clock.monotonic() >= self._held_from + self._renew_deadline:
            raise NotLeading("this process does not hold the Lease (any more)", operation=f"lease {self._key}")

    @property
    def healthy(self) -> bool:
        """False for a leader that should have given up: the liveness probe ends it."""
        return not self._leading or self._clock.monotonic() < self._held_from + self._lease_duration

    def statistics(self) -> Statistics:
        return Statistics(self._leading, self._seen.holder, self._seen.transitions)

    async def _acquire(self) -> None:
        while True:
            try:
                async with self._clock.timeout(self._renew_deadline):
                    if await self._try():
                        return
            except (ApiError, TimeoutError) as e:
                _log.warning("lease not acquired", lease=str(self._key), error=str(e) or "no answer in time")
            await self._clock.sleep(self._retry_period * self._rng.uniform(1.0, 1.2))

    async def _renew(self) -> None:
        """Returns when the Lease is lost."""
        while True:
            await self._clock.sleep(min(self._retry_period, max(0.0, self._left())))
            if self._left() <= 0:
                _log.error("lease lost: not renewed in time", lease=str(self._key))
                return
            try:
                # half of it, so that one request that hangs does not use up all the time there is
                async with self._clock.timeout(min(self._left(), self._renew_deadline / 2)):
                    if not await self._try():
                        _log.error("lease lost to another", lease=str(self._key), holder=self._seen.holder)
                        return
            except (ApiError, TimeoutError) as e:
                _log.warning("lease not renewed", lease=str(self._key), error=str(e) or "no answer in time")

    def _left(self) -> float:
        return self._held_from + self._renew_deadline - self._clock.monotonic()

    async def _end_in_time(self, work: asyncio.Future[None]) -> None:
        work.cancel()
        try:
            left = self._held_from + self._lease_duration - self._clock.monotonic()
            async with self._clock.timeout(max(LAST_SECONDS, left)):
                await asyncio.wait({work})
        except TimeoutError:
            _log.critical("work goes on although the lease is lost: ending the process", lease=str(self._key))
            self._abandon()
        if work.done() and not work.cancelled() and (e := work.exception()) is not None:
            _log.error("work failed while it was cancelled", error=str(e), exc_info=e)

    async def _try(self) -> bool:
        """One attempt to get or keep the Lease; False: another holds it, as far as one can know."""
        if self._leading and self._seen.holder == self.identity:
            try:
                await self._write()
            except (Conflict, NotFound):
                pass  # somebody wrote, maybe ourselves in a request without an answer: look
            else:
                return True
        try:
            self._see(await self._client.get(LEASES, self._key))
        except NotFound:
            return await self._create()
        held_by_other = self._seen.holder not in ("", self.identity)
        if held_by_other and self._clock.monotonic() < self._seen_at + (self._seen.duration or self._lease_duration):
            return False
        try:
            await self._write()
        except Conflict:
            return False if not self._leading else self._raise_conflict()
        return True

    def _raise_conflict(self) -> bool:
        raise ApiError("the Lease changes under our hands", operation=f"lease {self._key}", retryable=True)

    async def _create(self) -> bool:
        now, sent = rfc3339_micro(self._clock.now()), self._clock.monotonic()
        body = {"metadata": {"namespace": self._key.namespace, "name": self._key.name}}
        try:
            lease = await self._client.create(LEASES, body | {"spec": self._spec(now, now, 0)})
        except Conflict:
            return False
        self._hold(lease, sent)
        return True

    async def _write(self) -> None:
        now, sent = rfc3339_micro(self._clock.now()), self._clock.monotonic()
        ours = self._seen.holder == self.identity
        spec = self._spec(
            self._seen.acquire_time if ours and self._seen.acquire_time else now,
            now,
            self._seen.transitions + (not ours),
        )
        self._hold(await self._patch(spec), sent)

    async def _release(self) -> None:
        """Lets another take it at once. Never raises: then it expires."""
        if self._seen.holder != self.identity:
            return
        try:
            async with self._clock.timeout(self._retry_period):
                self._see(await self._client.get(LEASES, self._key))
                if self._seen.holder == self.identity:
                    now = rfc3339_micro(self._clock.now())
                    spec = self._spec(now, now, self._seen.transitions)
                    self._see(await self._patch(spec | {"holderIdentity": "", "leaseDurationSeconds": 1}))
                    _log.info("lease released", lease=str(self._key))
        except (ApiError, TimeoutError) as e:
            _log.warning("lease not released", lease=str(self._key), error=str(e) or "no answer in time")

    def _spec(self, acquired: str, renewed: str, transitions: int) -> dict[str, Any]:
        return {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": math.ceil(self._lease_duration),
            "acquireTime": acquired,
            "renewTime": renewed,
            "leaseTransitions": transitions,
        }

    async def _patch(self, spec: dict[str, Any]) -> dict[str, Any]:
        # with the resourceVersion, so that it conflicts with any write since we looked
        patch = {"metadata": {"resourceVersion": self._seen.resource_version}, "spec": spec}
        return await self._client.patch(LEASES, self._key, patch)

    def _hold(self, lease: dict[str, Any], sent: float) -> None:
        self._see(lease)
        self._held_from = sent

    def _see(self, lease: dict[str, Any]) -> None:
        spec = lease.get("spec") or {}
        record = _Record(
            lease["metadata"]["resourceVersion"],
            spec.get("holderIdentity") or "",
            spec.get("renewTime") or "",
            spec.get("acquireTime") or "",
            float(spec.get("leaseDurationSeconds") or 0),
            spec.get("leaseTransitions") or 0,
        )
        if record[1:] != self._seen[1:]:
            self._seen_at = self._clock.monotonic()
        self._seen = record
