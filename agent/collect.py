"""Pure: which objects of a node nobody needs, and whether that can be believed. agent.md §7, rules 2, 3 and 8."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from agent import catalog
from agent.candidates import MOST, KeyList, KeySet
from agent.errors import AgentError, Reason
from agent.protocol import Collected, Told

if TYPE_CHECKING:
    from agent.candidates import Listed
    from agent.catalog import Pending
    from agent.protocol import CollectSpec

DEAD = 7 * 86_400.0  # seconds without a heartbeat
TOLD = 1_000  # keys that a result names
DELETE, CANDIDATE = "Delete", "Candidate"


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

    def runs(self, committed: set[str], now: float) -> bool:
        """One whose backup has its manifest needs no more than that names: another try of it can only adopt it."""
        return self.backup_id not in committed and now - self.modified < DEAD


class Needed:
    """What must stay: the keys of every manifest, whole backups' or not, and what running backups reuse or sent."""

    def __init__(self) -> None:
        self.live = KeySet()
        self.epochs: list[str] = []

    def claim(self, claims: list[Claim], committed: set[str], now: float) -> None:
        """CollectBlocked by a backup that has begun and has not said yet what it reuses."""
        for claim in claims:
            if not claim.runs(committed, now):
                continue
            if claim.reuse is None:
                message = f"a backup has just begun, or died at its start: {claim.key}; collect again when it is done"
                raise AgentError(Reason.COLLECT_BLOCKED, message, retryable=True)
            self.live.update(claim.reuse)
            if claim.epoch:
                self.epochs.append(claim.epoch)


@dataclass(slots=True)
class Lists:
    """Candidates of earlier cycles.

    ``base`` is the newest list that is as old as the grace: only what is on it is deleted. ``newest`` is one that is
    younger, if there is one: then no other is written, and only what is on it as well is deleted. ``old`` are overtaken
    by ``base``, and no longer needed: every delete that they led to is long done.
    """

    base: Listed | None = None
    newest: Listed | None = None
    old: list[Listed] = field(default_factory=list)
    all: KeySet = field(default_factory=KeySet)

    @classmethod
    def of(cls, found: list[Listed], now: float, grace: float) -> Lists:
        """``found``: the oldest first."""
        lists = cls()
        for at, one in enumerate(found):
            if one.keys is not None:
                lists.all.update(one.keys)
            if now - one.modified < grace:
                lists.newest = one
            elif one.keys is not None:
                lists.base, lists.old = one, found[:at]
        lists.all.settle()
        return lists


class Sweep:
    """Shown the listing, key by key, it sorts them. Then ``judge``, and then ``delete`` and ``candidates`` count."""

    def __init__(self, spec: CollectSpec, needed: Needed, lists: Lists, now: float, written: str) -> None:
        self.result = Collected(dry_run=spec.dry_run)
        self.candidates = KeyList(written)
        self.delete = KeyList(written)
        self._spec = spec
        self._needed = needed
        self._lists = lists
        self._before = now - spec.grace

    def see(self, key: str, size: int, modified: float) -> None:
        """``key`` is relative to the node's root. What is no data object of ours is nobody's to delete."""
        identity, epoch = catalog.split_key(key)
        if not identity or key.split("/", 2)[1] != "data":
            return
        result = self.result
        result.objects += 1
        result.bytes += size
        if key in self._needed.live:
            result.live += 1
            return
        owned = self.owned(epoch)
        if owned or modified > self._before or not modified:
            result.owned += owned
            result.young += not owned
            if key in self._lists.all:  # once condemned, it is for good: a delete may be under way
                self._condemn(key, size)
            return
        result.candidates += 1
        result.candidate_bytes += size
        why = CANDIDATE if self._condemn(key, size) else ""
        if why and _on(self._lists.base, key):
            why = DELETE
            self.delete.add(key, size)
        if why and len(result.keys) < TOLD:
            result.keys.append(Told(key=key, size=size, why=why))
        else:
            result.keys_not_told += 1

    def done(self) -> None:
        """Blocks for large lists."""
        if self._lists.newest is None:
            self.candidates.done()
        if self.delete.count:
            self.delete.done()

    def owned(self, epoch: str) -> bool:
        """By a backup that runs."""
        return any(catalog.owns_epoch(of, epoch) for of in self._needed.epochs)

    def judge(self) -> None:
        """CollectRefused where so much would go that it is more likely that something is wrong."""
        result = self.result
        result.missing = max(0, len(self._needed.live) - result.live)
        if not result.candidates:
            return
        if not len(self._needed.live):
            if self._spec.allow_empty:
                return
            message = (
                f"no backup of {self._spec.node} is left that needs any of its {result.objects} objects: nothing was"
                " deleted; if they shall all go, collect with allowEmpty"
            )
            raise AgentError(Reason.COLLECT_REFUSED, message)
        unexpected = result.candidates - self._spec.expected
        if unexpected > self._spec.limit * result.objects:
            message = (
                f"{result.candidates} of the {result.objects} objects of {self._spec.node} are named by no backup, more"
                f" than the limit of {self._spec.limit:.0%}: nothing was deleted; see if backups are missing, or raise"
                " the limit"
            )
            raise AgentError(Reason.COLLECT_REFUSED, message)

    def _condemn(self, key: str, size: int) -> bool:
        """Whether it is on the list that backups will see."""
        if self._lists.newest is not None:
            return _on(self._lists.newest, key)
        if self.candidates.count >= MOST:
            return False
        self.candidates.add(key, size)
        return True


def _on(listed: Listed | None, key: str) -> bool:
    return listed is not None and listed.keys is not None and key in listed.keys
