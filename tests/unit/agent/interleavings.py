"""One interleaving of backups, crashes, resumes, commits, forgets, collectors and accidents, told by a tape."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.fakes.network import Outcome
from tests.unit.agent.scene import DAY, HOUR, Backup, Scene

if TYPE_CHECKING:
    from tests.unit.agent.pool import Pool

_DISKS = ({0, 1}, {0, 2}, {0, 1, 2}, {1, 3})
_OPENINGS = (
    (), ("collect", "back up"), ("collect", "back up"), ("back up", "back up", "collect"), ("collect", "collect"),
    ("back up", "collect", "day", "collect"), ("collect", "back up", "collect"), ("collect",),
)  # fmt: skip
_STRIDES = (50, 1, 2, 3, 5, 8, 13, 50)  # requests that go well, one after the other
_OUTCOMES = (
    *[Outcome.DONE] * 26, Outcome.LOST, Outcome.LOST, Outcome.REFUSED, Outcome.LATE, Outcome.LATE, Outcome.TWICE,
)  # fmt: skip
_PAST = (0, 1, 2, 3, 3, 3, 4, 4)
_PASSING = (25 * HOUR, 25 * HOUR, 2 * HOUR, 8 * DAY)


class Interleaving(Scene):
    """Ends when the tape is over and everybody is at rest."""

    def __init__(self, pool: Pool, tape: bytes) -> None:
        super().__init__(pool)
        self.tape = tape
        self.at = 0

    def choose(self, count: int) -> int:
        """0 when the tape is over."""
        if self.at >= len(self.tape):
            return 0
        self.at += 1
        return self.tape[self.at - 1] % count

    async def run(self) -> None:
        try:
            await self._begin()
            while self.at < len(self.tape):
                await self._step()
            await self.drain()
            for backup in self.backups:
                if backup.digest and not (backup.complete or backup.abandoned):
                    await self.whole("a", self.commit("a", backup))
            if len(self.tape) % 4 == 0:
                await self.free_all()
        finally:
            await self.end()

    async def _begin(self) -> None:
        """With a past, and with some operations under way."""
        self.allow_empty = not self.choose(2)
        await self.past(_PAST[self.choose(8)])
        self.disk = _DISKS[self.choose(4)]
        for beginning in _OPENINGS[self.choose(8)]:
            if beginning == "day":
                await self.passes(25 * HOUR, heartbeats=True)
                continue
            name = self._agent()
            work = self.collect(name) if beginning == "collect" else self.back_up(name, self._next())
            await self.advance(self.spawn(name, work).get_name(), self.choose(24))

    async def _step(self) -> None:
        action = self.choose(16)
        if action < 9 and self.network.waiting:
            await self._deliver()
        elif action < 11:
            await self._start(self._agent(), action)
        elif action == 11:
            name = self._agent()
            self.spawn(name, self.collect(name))
        elif action == 12:
            self._finish_one()
        elif action == 13:
            await self._accident()
        elif action == 14 and self.network.late:
            await self.network.land(self.network.late[self.choose(len(self.network.late))])
        else:
            seconds = _PASSING[self.choose(4)]
            await self.passes(seconds, heartbeats=self.choose(3) > 0)
        await self.rest()

    async def _deliver(self) -> None:
        """Some requests of one actor; something may go wrong with the last one."""
        actors = sorted({request.actor for request in self.network.waiting})
        chosen = actors[self.choose(len(actors))]
        how = self.choose(256)
        stride, outcome = _STRIDES[how % 8], _OUTCOMES[how // 8]
        await self.advance(chosen, stride, outcome)

    async def _start(self, name: str, action: int) -> None:
        """A new backup, or another try of one; also of one that is running elsewhere."""
        open_ = [one for one in self.backups if not (one.abandoned or one.complete or one.digest)]
        if open_ and action == 9:
            self.spawn(name, self.back_up(name, open_[self.choose(len(open_))]))
        elif len(self.backups) < 5:
            self.disk = _DISKS[self.choose(4)]
            self.spawn(name, self.back_up(name, self.new(self._tag())))

    def _tag(self) -> str:
        """A new one, or that of a backup that is over."""
        over = [one for one in self.backups if one.abandoned and self._over(one)]
        if over and self.choose(2):
            old = over[self.choose(len(over))]
            if all(one.abandoned for one in self.backups if one.tag == old.tag):
                return old.tag
        return f"t{len(self.backups)}"

    def _over(self, backup: Backup) -> bool:
        """Nothing of it is under way, nor was within the hour in which a request may be late."""
        return not self.runs(backup) and self.now - backup.asked > HOUR

    def _finish_one(self) -> None:
        """What an operator does with a backup: commit it, give it up (its agent may be at it yet), or forget it."""
        name = self._agent()
        if not self.backups:
            return
        backup = self.backups[self.choose(len(self.backups))]
        if backup.digest and not (backup.complete or backup.abandoned):
            self.spawn(name, self.commit(name, backup))
        elif (backup.complete or backup.abandoned) and self.now - backup.asked > HOUR:
            if all(one is backup or one.abandoned for one in self.backups if one.tag == backup.tag):
                self.spawn(name, self.forget(name, backup))
        elif not backup.complete and (not self.runs(backup) or (backup.digest is None and self.choose(2))):
            backup.abandoned, backup.asked = True, self.now

    async def _accident(self) -> None:
        """A process dies, or somebody deletes an object."""
        if self.choose(3):
            await self.die(self._agent())
        elif keys := self.data():
            await self.destroy(keys[self.choose(len(keys))])

    def _next(self) -> Backup:
        """The last one, if it has no manifest yet, or a new one."""
        last = self.backups[-1:]
        return last[0] if last and not (last[0].digest or last[0].abandoned) else self.new(f"t{len(self.backups)}")

    def _agent(self) -> str:
        return "ab"[self.choose(2)]
