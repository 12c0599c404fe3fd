"""Pure: which objects of a node nobody needs, and whether that can be believed. agent.md §7, rules 2, 3 and 8."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

from agent import catalog
from agent.candidates import MOST, KeyList, KeySet
from agent.errors import AgentError, Reason
from agent.protocol import Collected, Told

if TYPE_CHECKING:
    from agent.candidates import Listed
    from agent.claims import Needed
    from agent.protocol import CollectSpec

TOLD = 1_000  # keys that a result names
DELETE, CANDIDATE = "Delete", "Candidate"
_EPOCHS = 4096  # objects have few different ones


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
        self._stranger = ""  # the first key that no run which ended has sent, nor one that runs
        self._ended = lru_cache(_EPOCHS)(lambda epoch: any(catalog.owns_epoch(of, epoch) for of in spec.ended))

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
        if not (self._stranger or owned or self._ended(epoch)):
            self._stranger = key
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
            if self._spec.allow_empty or (self._spec.allow_ended and not self._stranger):
                return
            raise AgentError(Reason.COLLECT_REFUSED, self._orphaned())
        unexpected = result.candidates - self._spec.expected
        if unexpected > self._spec.limit * result.objects:
            message = (
                f"{result.candidates} of the {result.objects} objects of {self._spec.node} are named by no backup, more"
                f" than the limit of {self._spec.limit:.0%}: nothing was deleted; see if backups are missing, or raise"
                " the limit"
            )
            raise AgentError(Reason.COLLECT_REFUSED, message)

    def _orphaned(self) -> str:
        """Without a manifest nobody knows what a backup needed that was here: only that there was none is enough."""
        spec, message = self._spec, f"no backup of {self._spec.node} is left that needs any of its"
        message += f" {self.result.objects} objects"
        if spec.allow_ended and spec.ended:
            message += f", and they are not all of runs that are known to have failed: {self._stranger} is not"
        return f"{message}: nothing was deleted; if they shall all go, collect with allowEmpty"

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
