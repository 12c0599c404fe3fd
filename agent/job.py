"""One operation as its work sees it: phases, counts, and the revision that wakes those who wait."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from agent import clock
from agent.protocol import Progress, State

if TYPE_CHECKING:
    from agent.journal import Entry, Journal
    from agent.protocol import Failure, Operation

_WINDOW = 10  # ticks that the rate is averaged over


class Job:
    """Revisions are milliseconds of the clock, or the last one plus one: they also grow over a restart."""

    def __init__(self, entry: Entry, journal: Journal) -> None:
        self.entry = entry
        self.task: asyncio.Task[None] | None = None  # supervises the work, and outlives it
        self.work: asyncio.Task[dict[str, Any]] | None = None
        self.dismissed = asyncio.Event()
        self._journal = journal
        self._turn = asyncio.Lock()
        self._changed = asyncio.Event()
        self._dirty = False
        self._woken = False
        self._sent = 0
        self.received = 0  # bytes, over all tries
        self._samples: deque[tuple[float, int]] = deque([(time.monotonic(), 0)], maxlen=_WINDOW)

    @property
    def id(self) -> str:
        return self.operation.id

    @property
    def operation(self) -> Operation:
        return self.entry.operation

    @property
    def progress(self) -> Progress:
        return self.operation.progress

    async def enter(self, phase: str, *, files: int | None = None, size: int = 0) -> None:
        """A new phase begins; ``files`` and ``size`` (bytes) are all it has to do. Without them the counts stay."""
        self.operation.phase = phase
        if files is not None:
            self.operation.progress = Progress(files=files, bytes=size)
        self.operation.last_progress_at = clock.now()
        self._bump()
        await self.save()

    def count(self, size: int) -> None:
        """Bytes that passed; less than none when a try is given up."""
        self._sent += size
        self.progress.bytes_done += size
        self._dirty = True

    def receive(self, size: int) -> None:
        """As :meth:`count`; what came once counts as progress, though its try may be given up."""
        self.received += max(0, size)
        self.count(size)

    def reused(self, files: int, size: int) -> None:
        self.progress.files_done += files
        self.progress.bytes_done += size
        self.progress.bytes_reused += size
        self._dirty = True

    def file_done(self, count: int = 1) -> None:
        self.progress.files_done += count
        self._dirty = True

    def tick(self) -> None:
        """Once a second: shows what was counted since."""
        now = time.monotonic()
        self._samples.append((now, self._sent))
        if not self._dirty:
            return
        self._dirty = False
        then, sent = self._samples[0]
        self.progress.rate = max(0.0, (self._sent - sent) / (now - then)) if now > then else 0.0
        self.operation.last_progress_at = clock.now()
        self._bump()

    async def trouble(self, error: Failure) -> None:
        """Not final: shown while the work waits to try again."""
        self.operation.error = error
        self._bump()
        await self.save()

    async def begin(self, session: str, *, again: bool) -> None:
        """The work starts, or starts again after a restart of the agent."""
        self.operation.session = session
        self.operation.state = State.RUNNING
        self.operation.started_at = self.operation.started_at or clock.now()
        self.operation.last_progress_at = clock.now()
        if again:
            self.operation.attempts += 1
        self._bump()
        await self.save()

    async def decide(self, state: State, error: Failure | None) -> None:
        """The work is over, the cleanup is not: from here no restart begins the work again."""
        self.entry.decided = state
        self.operation.error = error
        await self.enter("CleaningUp")

    async def close(self, state: State) -> None:
        self.operation.state = state
        self.operation.phase = ""
        self.operation.progress.rate = 0.0
        self.operation.finished_at = clock.now()
        await self.save()
        self._bump()  # after the journal: what was seen final stays final

    def give_up(self, error: Failure) -> None:
        """Final in memory only: the journal cannot be written."""
        self.operation.state, self.operation.error = State.FAILED, error
        self.operation.finished_at = clock.now()
        self._bump()

    def wake(self) -> None:
        """Whoever waits gets an answer as things stand."""
        self._woken = True
        self._changed.set()

    async def save(self) -> None:
        async with self._turn:
            await self._journal.write(self.entry)

    async def wait(self, since: int, seconds: float) -> None:
        """Until the revision is past ``since``, or ``seconds`` have passed."""
        try:
            async with asyncio.timeout(seconds):
                while self.operation.revision <= since and not self._woken:
                    await self._changed.wait()
        except TimeoutError:
            pass

    def _bump(self) -> None:
        self.operation.revision = max(self.operation.revision + 1, int(time.time() * 1000))
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
