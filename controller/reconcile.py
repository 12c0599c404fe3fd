"""What a reconciler is, what it can answer, and the shell round one reconcile.

The shell turns whatever happens to one key into its next place in the queue, one log line and the metrics:

=================  ===============================  ==========================================
the reconciler     log                              the queue
=================  ===============================  ==========================================
``Done``           info                             forget
``RequeueAfter``   info                             forget, add after the delay
``TerminalError``  error                            forget; only a change of the object helps
``Conflict``       info                             retry with backoff
takes too long     error                            retry with backoff
raises anything    error with traceback             retry with backoff
is cancelled       info                             stays dirty: somebody must do it again
=================  ===============================  ==========================================
"""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import structlog

from controller import metrics
from controller.errors import ApiError, Conflict, TerminalError

if TYPE_CHECKING:
    from controller.clock import Clock
    from controller.queue import WorkQueue
    from controller.resource import Key

_log = structlog.get_logger("controller")


@dataclass(frozen=True, slots=True)
class Done:
    """Nothing more to do until something changes."""


@dataclass(frozen=True, slots=True)
class RequeueAfter:
    """Look again after ``seconds`` at the latest; ``reason`` is for the log."""

    seconds: float
    reason: str = ""


Outcome = Done | RequeueAfter


class Reconciler(Protocol):
    """Brings one object to its spec. Never runs twice at once for one key, may be cancelled at any ``await``."""

    async def reconcile(self, key: Key) -> Outcome: ...


class Shell:
    """Runs one reconcile and does the book-keeping of the table above."""

    def __init__(self, name: str, reconciler: Reconciler, queue: WorkQueue, clock: Clock, timeout: float) -> None:
        self._name = name
        self._reconciler = reconciler
        self._queue = queue
        self._clock = clock
        self._timeout = timeout
        self._ids = itertools.count(1)
        metrics.init_controller(name)

    async def run(self, key: Key) -> None:
        """``key`` was taken from the queue; afterwards it is ``done`` there. Raises nothing but CancelledError."""
        reason = self._queue.reason(key)
        started = self._clock.monotonic()
        outcome = "error"
        metrics.WORKERS_BUSY.labels(self._name).inc()
        with structlog.contextvars.bound_contextvars(
            controller=self._name, namespace=key.namespace, name=key.name, reconcile_id=next(self._ids), reason=reason
        ):
            try:
                outcome = await self._once(key)
            except asyncio.CancelledError:
                outcome = "cancelled"
                self._queue.add(key, reason="cancelled")
                raise
            finally:
                seconds = self._clock.monotonic() - started
                metrics.WORKERS_BUSY.labels(self._name).dec()
                metrics.RECONCILES.labels(self._name, outcome).inc()
                metrics.RECONCILE_SECONDS.labels(self._name).observe(seconds)
                self._queue.done(key)

    async def _once(self, key: Key) -> str:
        started = self._clock.monotonic()

        def line() -> dict[str, object]:
            return {"seconds": round(self._clock.monotonic() - started, 3), "failures": self._queue.failures(key)}

        deadline: object = None
        try:
            async with self._clock.timeout(self._timeout) as deadline:
                answer = await self._reconciler.reconcile(key)
        except TerminalError as e:
            self._queue.forget(key)
            _log.error("reconcile refused", outcome="terminal", error=e.message, **line())
            return "terminal"
        except Conflict as e:
            retry = self._queue.retry(key)
            _log.info("reconcile conflicted", outcome="conflict", error=str(e), retry_seconds=round(retry, 3), **line())
            return "conflict"
        except Exception as e:  # noqa: BLE001  whatever a reconciler raises, its key must be tried again
            retry = self._queue.retry(key)
            timed_out = isinstance(e, TimeoutError) and getattr(deadline, "expired", bool)()
            _log.error(
                "reconcile timed out" if timed_out else "reconcile failed",
                outcome="timeout" if timed_out else "error",
                error=str(e) or type(e).__name__,
                retry_seconds=round(retry, 3),
                # an answer of the API server says where it comes from; anything else may be a defect
                exc_info=not isinstance(e, (ApiError, TimeoutError)),
                **line(),
            )
            return "timeout" if timed_out else "error"
        self._queue.forget(key)
        if isinstance(answer, RequeueAfter):
            self._queue.add(key, after=answer.seconds, reason=answer.reason or "requeue")
            _log.info("reconciled", outcome="requeue", after=answer.seconds, why=answer.reason, **line())
            return "requeue"
        _log.info("reconciled", outcome="done", **line())
        return "done"
