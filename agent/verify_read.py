"""What the store says of one object when it is asked: its checksum, or every byte of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.contents import Contents
from agent.errors import AgentError, Reason
from agent.protocol import Fault
from agent.verify import SOUND, Check, Verdict
from backends.errors import Kind, NotFound, StoreError
from backends.streams import closing

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.coding import Coding
    from agent.flow import Flow
    from agent.verify import Wanted
    from backends.base import ObjectStore

RANGE = 64 << 20  # bytes of one request
_TIMES = 2  # what is wrong twice is wrong there, and not on the way
_OF_THE_BYTES = frozenset({Fault.DAMAGED, Fault.WRONG_SIZE})
# Of one object's, and not of all: an archived one, one that a key or a hold keeps from us.
_OF_THE_OBJECT = frozenset({Kind.FORBIDDEN, Kind.INVALID, Kind.NOT_SUPPORTED, Kind.PRECONDITION})


class Examiner:
    """``count`` is told of bytes as they come. Errors that are not one object's are raised as they are."""

    def __init__(self, store: ObjectStore, root: str, flow: Flow, count: Callable[[int], None], coding: Coding) -> None:
        self._store = store
        self._contents = Contents(store, root, coding)
        self._root = root
        self._flow = flow
        self._count = count

    async def compare(self, key: str, wanted: Wanted) -> tuple[Verdict, bool]:
        """By the store's own checksum; also whether there was one to compare. No bytes of the object are asked for."""
        try:
            async with self._flow.slot(0):
                meta = await self._store.head(self._root + key)
        except StoreError as error:
            return _of_error(error), False
        if meta.size != wanted.size:
            return wrong_size(meta.size, wanted), False
        expected = wanted.checksum
        if meta.crc32c is None or expected is None:
            return SOUND, False
        if meta.crc32c == expected:
            return SOUND, True
        detail = f"the store says that its CRC32C is {meta.crc32c:08x}, and it is {expected:08x} in the manifest"
        return Verdict(Fault.DAMAGED, detail), True

    async def read(self, key: str, wanted: Wanted) -> Verdict:
        """Every byte. What does not match is read once more."""
        for _ in range(_TIMES):
            try:
                verdict = (await self._read(self._root + key, wanted)).verdict()
            except (StoreError, AgentError) as error:
                verdict = _of_error(error)
            if verdict.fault not in _OF_THE_BYTES:
                break
        return verdict

    async def _read(self, key: str, wanted: Wanted) -> Check:
        """In ranges, so that a limit of slots or of bandwidth that changes meanwhile holds for a large object too."""
        check = Check(wanted)
        for offset in range(0, wanted.content, RANGE):
            length = min(RANGE, wanted.content - offset)
            async with self._flow.slot(length):
                stream = self._contents.pour(key, check.write, offset=offset, length=length)
                async with closing(stream) as counts:
                    async for count in counts:
                        await self._flow.bucket.take(count)
                        self._count(count)
            if check.seen < offset + length:
                break
        return check

    async def settle(self, key: str, wanted: Wanted) -> Verdict:
        """By all that there is: what is to be overwritten, or was, is looked at as closely as it can be."""
        verdict, _ = await self.compare(key, wanted)
        return verdict if verdict.fault else await self.read(key, wanted)


def wrong_size(size: int, wanted: Wanted) -> Verdict:
    return Verdict(Fault.WRONG_SIZE, f"it has {size} bytes, and {wanted.size} in the manifest")


def _of_error(error: StoreError | AgentError) -> Verdict:
    if isinstance(error, AgentError):
        if error.reason is Reason.ENCRYPTION_KEY_MISSING:
            return Verdict(Fault.UNREADABLE, error.message)
        raise error
    if isinstance(error, NotFound):
        return Verdict(Fault.MISSING, "the store says that it is not there")
    if error.kind is Kind.CORRUPT:  # the store sent other bytes than its own checksum says
        return Verdict(Fault.DAMAGED, str(error))
    if error.kind in _OF_THE_OBJECT:
        return Verdict(Fault.UNREADABLE, str(error))
    raise error
