"""Objects as what is in them: a reader asks for ranges of content, and gets it, whatever the object's encoding is.

A range of an encrypted object is fetched as the frames that have it, which are opened in the thread that gets the
bytes, one at a time. Bytes reach the reader only after their frame was found to be right.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from agent import catalog
from agent.catalog import FRAME, OVERHEAD
from agent.frames import BadFrame
from backends.errors import Kind, StoreError
from backends.streams import closing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from agent.coding import Coding
    from agent.frames import Sealer
    from backends.base import ObjectStore
    from backends.streams import Sink

_STORED = FRAME + OVERHEAD  # bytes of a frame


class Readable(Protocol):
    """Of an ObjectStore, what who only reads objects needs."""

    @property
    def name(self) -> str: ...
    def get(self, key: str, *, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]: ...
    def pour(self, key: str, sink: Sink, *, offset: int = 0, length: int | None = None) -> AsyncIterator[int]: ...


class Contents:
    """``root`` is what keys begin with before they are a node's own. Raises EncryptionKeyMissing, and StoreErrors:
    ``CORRUPT`` for an object that is not what was encrypted.
    """

    def __init__(self, store: ObjectStore, root: str, coding: Coding) -> None:
        self.name = store.name
        self._store = store
        self._root = root
        self._coding = coding

    def get(self, key: str, *, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """For small ranges: of an encoded object the whole of it is held."""
        sealer = self._sealer(key)
        if sealer is None:
            return self._store.get(key, offset=offset, length=length)
        return self._collected(key, sealer, offset, length)

    def pour(self, key: str, sink: Sink, *, offset: int = 0, length: int | None = None) -> AsyncIterator[int]:
        sealer = self._sealer(key)
        if sealer is None:
            return self._store.pour(key, sink, offset=offset, length=length)
        return self._opened(key, sealer, sink, offset, length)

    def _sealer(self, key: str) -> Sealer | None:
        return self._coding.sealer(key.removeprefix(self._root))

    async def _collected(self, key: str, sealer: Sealer, offset: int, length: int | None) -> AsyncIterator[bytes]:
        found = bytearray()
        async with closing(self._opened(key, sealer, found.extend, offset, length)) as counts:
            async for _ in counts:
                pass
        if found:
            yield bytes(found)

    async def _opened(
        self, key: str, sealer: Sealer, sink: Sink, offset: int, length: int | None
    ) -> AsyncIterator[int]:
        end = sealer.content if length is None else min(sealer.content, offset + length)
        first, beyond = offset // FRAME, catalog.frames(end)
        opening = Opening(sealer, sink, offset, end)
        stored = min(beyond * _STORED, sealer.size(0, sealer.content)) - first * _STORED
        passed = 0
        try:
            stream = self._store.pour(key, opening.write, offset=first * _STORED, length=max(0, stored))
            async with closing(stream) as counts:
                async for _ in counts:
                    if opening.passed > passed:
                        yield opening.passed - passed
                        passed = opening.passed
            if opening.position < end:
                raise BadFrame(f"it ends {stored - opening.taken} bytes before its frames do")  # noqa: TRY301
        except BadFrame as error:
            raise StoreError(Kind.CORRUPT, "decrypt", self._store.name, key, str(error)) from error


class Opening:
    """A sink of frames, in order; what is wanted of their content goes on to another one."""

    def __init__(self, sealer: Sealer, sink: Sink, offset: int, end: int) -> None:
        self._sealer = sealer
        self._sink = sink
        self._end = end
        self._index = offset // FRAME
        self._held = bytearray()  # of one frame
        self.position = offset  # in the content
        self.passed = 0  # bytes of content
        self.taken = 0  # bytes of frames

    def write(self, data: bytes | memoryview) -> None:
        self.taken += len(data)
        with memoryview(data) as view:
            begin = 0
            while begin < len(view) and self.position < self._end:
                # Let go in any case: an error's traceback would hold the store's buffer.
                with view[begin : begin + self._size() - len(self._held)] as piece:
                    begin += len(piece)
                    self._take(piece)

    def _take(self, piece: memoryview) -> None:
        """A frame's next bytes, or all of them."""
        if len(piece) == self._size():
            self._open(piece)
            return
        self._held += piece
        if len(self._held) == self._size():
            held, self._held = self._held, bytearray()
            self._open(held)

    def _size(self) -> int:
        """Of the next frame."""
        return min(FRAME, self._sealer.content - self._index * FRAME) + OVERHEAD

    def _open(self, frame: bytes | bytearray | memoryview) -> None:
        content = memoryview(self._sealer.open(self._index, frame))
        begin = self._index * FRAME
        self._index += 1
        wanted = content[self.position - begin : self._end - begin]
        self.position += len(wanted)
        self.passed += len(wanted)
        self._sink(wanted)
