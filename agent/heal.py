"""Puts an object right whose bytes this node still has, under its own name: manifests name it.

What is sent is proved to be what the manifest says while it is read, before the store has the last of it, so a wrong
file never becomes an object. A missing one is put where there is none; a damaged one is looked at once more and then
overwritten, which a bucket may refuse: that is said, and not tried again. Two agents that heal one object send the
same bytes. An agent that dies leaves the object as it was, or right.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from agent.errors import AgentError
from agent.protocol import Fault, Healing
from agent.sources import Sources
from agent.upload import Uploader
from backends.errors import AlreadyExists, Kind, StoreError
from backends.threads import acquire

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Sequence
    from pathlib import Path

    from agent.coding import Coding
    from agent.flow import Flow
    from agent.plan import Item
    from agent.verify import Use, Wanted
    from agent.verify_read import Examiner
    from backends.base import ObjectStore

# What the store says of this object; anything else is said of all of them, and ends the run.
_REFUSED = frozenset({Kind.FORBIDDEN, Kind.PRECONDITION})
_FAILED = frozenset({Kind.INVALID, Kind.NOT_SUPPORTED, Kind.NOT_FOUND, Kind.CORRUPT})

log = structlog.get_logger(__name__)

Outcome = tuple[Healing, str]


class Healer:
    """``flow`` is that of sending; ``count`` is told of the bytes."""

    def __init__(  # noqa: PLR0917  each a part
        self,
        store: ObjectStore,
        root: str,
        flow: Flow,
        examiner: Examiner,
        data_dirs: Sequence[Path],
        count: Callable[[int], None],
        coding: Coding,
    ) -> None:
        self._store = store
        self._root = root
        self._flow = flow
        self._examiner = examiner
        self._data_dirs = data_dirs
        self._count = count
        self._coding = coding

    async def abandon(self, keys: Container[str]) -> None:
        """Parts that a healing left which died. No backup sends what a complete one names: they are nobody else's."""
        try:
            async for upload in self._store.list_uploads(self._root):
                if upload.key.removeprefix(self._root) in keys:
                    await self._store.abort_upload(upload.key, upload.id)
        except StoreError as error:
            log.warning("parts of an earlier healing were not aborted", error=str(error))

    async def heal(self, key: str, wanted: Wanted, uses: Sequence[Use]) -> Outcome:
        """``uses``: the components in it, as one manifest has them."""
        if wanted.fault is Fault.UNREADABLE:
            return Healing.NOT_TRIED, "what cannot be read may be whole, and is not overwritten"
        if not self._coding.has(key):
            return Healing.NOT_TRIED, "it is to be sent with a key that this agent was not given"
        absent = wanted.fault is Fault.MISSING
        if not absent:
            verdict = await self._examiner.settle(key, wanted)
            if verdict.fault is None:
                return Healing.HEALED, "it was put right meanwhile"
            absent = verdict.fault is Fault.MISSING
        sources = await acquire(Sources.close, Sources, self._data_dirs, key, wanted.content, uses)
        try:
            return await self._from(sources, key, wanted, absent=absent)
        finally:
            sources.close()

    async def _from(self, sources: Sources, key: str, wanted: Wanted, *, absent: bool) -> Outcome:
        outcome = Healing.NOT_ON_DISK, sources.why
        for item in sources.items:
            try:
                await self._send(item, absent=absent)
            except (AgentError, OSError) as error:  # other bytes than the manifest's, or a disk that gives none
                outcome = Healing.NOT_ON_DISK, f"the file that this node has is not the one of the backup ({error})"
                continue
            except StoreError as error:
                if error.kind in _REFUSED:
                    return Healing.REFUSED, str(error)
                if error.kind in _FAILED:
                    return Healing.FAILED, str(error)
                raise
            verdict = await self._examiner.settle(key, wanted)
            if verdict.fault is None:
                return Healing.HEALED, ""
            return Healing.FAILED, f"it was sent again, and is not right: {verdict.detail}"
        return outcome

    async def _send(self, item: Item, *, absent: bool) -> None:
        sender = Uploader(
            self._store, self._root, self._flow, count=self._count, done=lambda _item: None, coding=self._coding
        )
        try:
            await sender.send([item], if_absent=absent and self._store.capabilities.conditional_put)
        except AlreadyExists:  # another agent's, or ours whose answer was lost: it is looked at next
            log.info("the object is there by now", key=item.key)
