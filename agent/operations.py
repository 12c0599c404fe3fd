"""Idempotent operations: one id is one work for ever, through restarts of the agent.

    put ──> Pending ──> Running ──work──> decided ──cleanup──> Succeeded | Failed | Cancelled ──7 days──> gone
                          └── the process ends: stays Running in the journal, and load() takes it up again

A decision is journalled before the cleanup and the final state after it, so at every moment a crash leaves either work
that can be repeated or a cleanup that can. An id that is cancelled before it is known never begins (see withdrawn).
"""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import structlog

from agent import clock
from agent.asked import understood
from agent.errors import AgentError, Reason, failure
from agent.job import Job
from agent.journal import Entry, Journal, check_id
from agent.protocol import Kind, Operation, OperationRequest, State

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

KEEP = 7 * 86400.0  # seconds that a final operation can be asked for
_PRUNE_EVERY = 3600
_CANCEL_GRACE = 5.0  # seconds that DELETE waits, so that its answer is mostly the final one

log = structlog.get_logger(__name__)


class OtherSpecError(Exception):
    """The id is known with another spec."""


class Handler(Protocol):
    """The work of one kind. ``spec`` is an instance of ``spec_type``."""

    spec_type: type[Any]

    def check(self, spec: Any, /) -> None:
        """Raises InvalidSpec for what no try could do; before anything is started."""

    async def run(self, job: Job, spec: Any, /) -> dict[str, Any]:
        """The result. May be cancelled at any await, and begun again from the start by a later process."""

    async def finish(self, job: Job, spec: Any, state: State, /) -> None:
        """Cleanup on every way out, success too; not when the process ends. Must bear being run twice."""


class Operations:
    """All operations of this agent. ``run`` must be running for progress to show."""

    def __init__(
        self,
        journal: Journal,
        handlers: Mapping[Kind, Handler],
        *,
        session: str = "",
        ended: Callable[[Operation], None] = lambda _: None,
    ) -> None:
        self.session = session or uuid.uuid4().hex[:12]
        self._journal = journal
        self._handlers = handlers
        self._ended = ended
        self._jobs: dict[str, Job] = {}
        self._starting = asyncio.Lock()
        self._stopping = False

    async def load(self, *, resume: bool = True) -> None:
        """Reads the journal and takes up what was not final; without ``resume`` it waits for a put()."""
        await self._journal.withdrawn.load()
        for entry in await self._journal.load():
            final = entry.operation.state.final
            if not final and entry.operation.kind not in self._handlers:
                continue  # a restore's, of the init container: not ours to go on with
            job = self._jobs[entry.operation.id] = Job(entry, self._journal)
            if resume and not final:
                self._start(job, again=True)

    async def put(self, operation_id: str, request: OperationRequest, *, retry: bool = False) -> tuple[Operation, bool]:
        """(the operation, whether it was started now). ``retry``: what did not succeed begins again, with this spec.

        OperationWithdrawn where it was cancelled before; who retries stands here, and can be no request from before.
        """
        check_id(operation_id)
        request = self._normalised(request)
        async with self._starting:
            job = self._jobs.get(operation_id)
            if job is not None and (not retry or job.operation.state is State.SUCCEEDED):
                if not retry and (job.entry.request.kind, job.entry.request.spec) != (request.kind, request.spec):
                    raise OtherSpecError(f"the operation {operation_id} is known with another spec")
                return job.operation, False
            if not retry and operation_id in self._journal.withdrawn:
                message = f"the operation {operation_id} was cancelled before this request for it came: it is not begun"
                raise AgentError(Reason.OPERATION_WITHDRAWN, message)
            job = self._new(operation_id, request, job)
            await job.save()
            self._jobs[operation_id] = job
            self._start(job, again=False)  # counted above
            return job.operation, True

    def get(self, operation_id: str) -> Operation:
        """KeyError when it is not known."""
        return self._jobs[operation_id].operation

    def all(self) -> list[Operation]:
        return [job.operation for job in self._jobs.values()]

    async def wait(self, operation_id: str, since: int, seconds: float) -> Operation:
        """As it stands when its revision is past ``since``, or after ``seconds``."""
        job = self._jobs[operation_id]
        if not self._stopping:
            await job.wait(since, seconds)
        return job.operation

    async def cancel(self, operation_id: str) -> Operation:
        """Final operations stay as they are. A cancellation survives a restart. KeyError when it is not known; it never
        will be then.
        """
        async with self._starting:  # or after what is just being written down
            if check_id(operation_id) not in self._jobs:
                await self._journal.withdrawn.add(operation_id)
            job = self._jobs[operation_id]
        if not job.operation.state.final and job.entry.decided is None:
            job.entry.cancelled = True
            await job.save()
            if job.work is not None and job.entry.decided is None:
                job.work.cancel()
        if job.operation.state.final:
            job.dismissed.set()
        else:
            await self.settled(lambda other: other is job, seconds=_CANCEL_GRACE)
        return job.operation

    async def over(self, operation_id: str) -> None:
        """Waits until it is final."""
        job = self._jobs[operation_id]
        await self.settled(lambda other: other is job)

    async def dismissed(self, operation_id: str) -> None:
        """Waits until somebody deleted it although it was final: its end was seen."""
        await self._jobs[operation_id].dismissed.wait()

    async def settled(self, concerns: Callable[[Job], bool], *, seconds: float | None = None) -> None:
        """Waits until no unfinished operation ``concerns`` the caller."""
        try:
            async with asyncio.timeout(seconds):
                for job in list(self._jobs.values()):
                    while concerns(job) and not job.operation.state.final:
                        await job.wait(job.operation.revision, 60.0)
        except TimeoutError:
            pass

    def unfinished(self) -> list[Job]:
        return [job for job in self._jobs.values() if not job.operation.state.final]

    async def run(self) -> None:
        """For ever: shows progress each second, forgets what is long over."""
        seconds = 0
        while True:
            if seconds % _PRUNE_EVERY == 0:
                await self.prune()
            await asyncio.sleep(1)
            seconds += 1
            for job in self.unfinished():
                job.tick()

    async def prune(self) -> None:
        for job in list(self._jobs.values()):
            operation = job.operation
            if operation.state.final and clock.seconds_since(operation.finished_at) > KEEP:
                del self._jobs[operation.id]
                await self._journal.remove(operation.id)
        await self._journal.withdrawn.prune()

    async def stop(self) -> None:
        """Ends all work where it stands and leaves it resumable; those who wait get an answer."""
        self._stopping = True
        supervisors = [job.task for job in self._jobs.values() if job.task is not None]
        for task in supervisors:
            task.cancel()
        await asyncio.gather(*supervisors, return_exceptions=True)
        for job in self._jobs.values():
            job.wake()

    def _new(self, operation_id: str, request: OperationRequest, old: Job | None) -> Job:
        operation = Operation(id=operation_id, kind=request.kind, state=State.PENDING, revision=0, session=self.session)
        if old is not None:
            operation.attempts, operation.revision = old.operation.attempts + 1, old.operation.revision
        return Job(Entry(request=request, operation=operation), self._journal)

    def _normalised(self, request: OperationRequest) -> OperationRequest:
        """Defaults filled in and checked, so that equal specs compare equal."""
        handler = self._handlers.get(request.kind)
        if handler is None:
            raise AgentError(Reason.INVALID_SPEC, f"this agent does no {request.kind}")
        spec = understood(request, handler.spec_type)
        handler.check(spec)
        return OperationRequest(kind=request.kind, spec=msgspec.to_builtins(spec))

    def _start(self, job: Job, *, again: bool) -> None:
        job.task = asyncio.create_task(self._supervise(job, again=again), name=f"operation {job.id}")

    async def _supervise(self, job: Job, *, again: bool) -> None:
        """The work, its decision, its cleanup. Cancelled by stop() only to leave everything as it is."""
        request = job.entry.request
        handler = self._handlers[request.kind]
        bound = log.bind(operation=job.id, kind=str(request.kind))
        try:
            spec = understood(request, handler.spec_type)
            await job.begin(self.session, again=again)
            if job.entry.decided is None:
                state, error = await self._work(job, handler, spec)
                await job.decide(state, error)
            state = job.entry.decided or State.FAILED
            try:
                await handler.finish(job, spec, state)
            except Exception:  # noqa: BLE001  logged with its trace
                bound.exception("the cleanup failed")  # the decision stands; a janitor comes later
            await job.close(state)
        except asyncio.CancelledError:
            bound.info("the operation is left for the next process", phase=job.operation.phase)
            raise
        except Exception as error:  # noqa: BLE001  logged with its trace
            # The journal itself cannot be written (a full disk): in memory it is over, on disk it will be taken up.
            bound.exception("the operation's journal failed")
            job.give_up(failure(error))
        else:
            self._report(bound, job)
            self._ended(job.operation)

    async def _work(self, job: Job, handler: Handler, spec: Any) -> tuple[State, Any]:
        if job.entry.cancelled:
            return State.CANCELLED, None
        job.work = asyncio.create_task(handler.run(job, spec), name=f"work of {job.id}")
        try:
            job.operation.result = await job.work  # cancelled with us
        except asyncio.CancelledError:
            if self._stopping or not job.entry.cancelled:
                raise
            return State.CANCELLED, None
        except Exception as error:
            found = failure(error)
            if found.reason == Reason.INTERNAL:
                log.exception("the operation met a bug", operation=job.id)
            return State.FAILED, found
        return State.SUCCEEDED, None

    def _report(self, bound: Any, job: Job) -> None:
        operation = job.operation
        error = operation.error
        bound.info(
            "the operation ended",
            state=str(operation.state),
            attempts=operation.attempts,
            reason=error.reason if error else "",
            message=error.message if error else "",
        )
