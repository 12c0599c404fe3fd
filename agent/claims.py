"""Pure: who says in the bucket that it needs something, and how long that counts. agent.md §7, rules 1 to 3."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.candidates import KeySet
from agent.errors import AgentError, Reason

if TYPE_CHECKING:
    from agent.catalog import Pending
    from agent.protocol import CollectSpec

DEAD = 7 * 86_400.0  # seconds without a heartbeat
QUIET = 2 * 3600.0  # seconds: one hour from a backup's last look to its commit, one that a request may be late
_BURIED = 4 * DEAD  # seconds after which a dead backup's record goes


@dataclass(slots=True)
class Claim:
    """A pending record. ``modified``: when the store took its last heartbeat. ``reuse`` None: not yet known."""

    key: str
    modified: float
    backup_id: str
    epoch: str
    reuse: KeySet | None

    @classmethod
    def of(cls, key: str, modified: float, pending: Pending) -> Claim:
        reuse = None
        if pending.reuse is not None:
            reuse = KeySet()
            for name in pending.reuse:
                reuse.add(name)
        return cls(key, modified, pending.backup_id, pending.epoch, reuse)

    def runs(self, committed: set[str], spec: CollectSpec, now: float) -> bool:
        """One whose backup has its manifest needs no more than that names: another try of it can only adopt it."""
        alive = now - self.modified < (_patience(spec) if self.epoch in spec.ended else DEAD)
        return alive and self.backup_id not in committed

    def over(self, committed: set[str], spec: CollectSpec, now: float) -> bool:
        """Of no use, and for so long that nobody writes it any more."""
        wait = _patience(spec) if self.epoch in spec.ended else _BURIED
        if self.backup_id in committed:
            wait = spec.grace
        return now - self.modified >= wait


class Needed:
    """What must stay: the keys of every manifest, whole backups' or not, and what running backups reuse or sent."""

    def __init__(self) -> None:
        self.live = KeySet()
        self.epochs: list[str] = []

    def claim(self, claims: list[Claim], committed: set[str], spec: CollectSpec, now: float) -> None:
        """CollectBlocked by a backup that has begun and has not said yet what it reuses."""
        for claim in claims:
            if not claim.runs(committed, spec, now):
                continue
            if claim.reuse is None:
                message = f"a backup has just begun, or died at its start: {claim.key}; collect again when it is done"
                raise AgentError(Reason.COLLECT_BLOCKED, message, retryable=True)
            self.live.update(claim.reuse)
            if claim.epoch:
                self.epochs.append(claim.epoch)


def _patience(spec: CollectSpec) -> float:
    """Seconds without a heartbeat, of a run that is known to have ended: an agent that nobody reached may be at it."""
    return min(DEAD, max(spec.grace, QUIET))
