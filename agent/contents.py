"""Objects as what is in them: a reader asks for ranges of content, and gets it, whatever the object's encoding is.

A range of an encrypted object is fetched as the frames that have it, which are opened in the thread that gets the
bytes, one at a time. Bytes reach the reader only after their frame was found to be right. Of a compressed object, the
segments that have the range are fetched, and what else is in them is left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from agent import catalog
from agent.catalog import FRAME, OVERHEAD, PLAIN
from agent.frames import BadFrame
from agent.segments import Unpacking
from backends.errors import Kind, StoreError
from backends.streams import closing
from backends.threads import run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from agent.coding import Coding
    from agent.frames import Sealer
    from agent.segments import Segments
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
        self._known: dict[str, tuple[int, ...]] = {}  # sizes of segments

    def get(self, key: str, *, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """For small ranges: of an encoded object the whole of it is held."""
        if catalog.encoding_in(key) == PLAIN:
            return self._store.get(key, offset=offset, length=length)
        return self._collected(key, offset, length)

    def pour(self, key: str, sink: Sink, *, offset: int = 0, length: int | None = None) -> AsyncIterator[int]:
        if catalog.encoding_in(key) == PLAIN:
            return self._store.pour(key, sink, offset=offset, length=length)
        return self._decoded(key, sink, offset, length)

    async def _collected(self, key: str, offset: int, length: int | None) -> AsyncIterator[bytes]:
        found = bytearray()
        async with closing(self._decoded(key, found.extend, offset, length)) as counts:
            async for _ in counts:
                pass
        if found:
            yield bytes(found)

    async def _decoded(self, key: str, sink: Sink, offset: int, length: int | None) -> AsyncIterator[int]:
        own = key.removeprefix(self._root)
        segments, sealer = self._coding.segments(own), self._coding.sealer(own)
        content = catalog.size_in(catalog.split_key(own)[0])
        end = content if length is None else min(content, offset + length)
        if segments is not None:
            found = self._unpacked(key, segments, sink, offset, end)
        else:
            assert sealer is not None, "what is encoded is compressed or encrypted"
            found = self._opened(key, Opening(sealer, sink, offset, end))
        try:
            async with closing(found) as counts:
                async for count in counts:
                    yield count
        except BadFrame as error:
            raise StoreError(Kind.CORRUPT, "decode", self._store.name, key, str(error)) from error

    async def _opened(self, key: str, opening: Opening, begin: int = 0) -> AsyncIterator[int]:
        """``begin`` is where the frames begin in the object."""
        stream = self._store.pour(key, opening.write, offset=begin + opening.begin, length=opening.stored)
        async with closing(_passed(stream, opening)) as counts:
            async for count in counts:
                yield count
        opening.finish()

    async def _unpacked(self, key: str, segments: Segments, sink: Sink, offset: int, end: int) -> AsyncIterator[int]:
        begin = segments.header_size
        for number, stored in enumerate(await self._sizes(key, segments), start=1):
            first, size = segments.range(number)
            if max(first, offset) < min(first + size, end):
                unpacking = Unpacking(sink, max(0, offset - first), min(size, end - first), size)
                sealer = segments.sealer(number, stored)
                if sealer is None:
                    stream = self._store.pour(key, unpacking.write, offset=begin, length=stored)
                else:
                    stream = self._opened(key, Opening(sealer, unpacking.write, 0, sealer.content), begin)
                async with closing(_passed(stream, unpacking)) as counts:
                    async for count in counts:
                        yield count
                unpacking.finish(stored if sealer is None else sealer.content)
            begin += stored

    async def _sizes(self, key: str, segments: Segments) -> tuple[int, ...]:
        """Read once for all ranges of an object."""
        if (known := self._known.get(key)) is None:
            data = bytearray()
            async with closing(self._store.get(key, length=segments.header_size)) as chunks:
                async for chunk in chunks:
                    data += chunk
            known = self._known[key] = await run(segments.read_header, bytes(data))
        return known


async def _passed(stream: AsyncIterator[int], sink: Opening | Unpacking) -> AsyncIterator[int]:
    """What the sink passed on of a stream into it, instead of what it took."""
    passed = 0
    async with closing(stream) as counts:
        async for _ in counts:
            if sink.passed > passed:
                yield sink.passed - passed
                passed = sink.passed


class Opening:
    """A sink of frames, in order; what is wanted of their content goes on to another one.

    ``begin`` and ``stored`` are the range of frames that has it, in bytes.
    """

    def __init__(self, sealer: Sealer, sink: Sink, offset: int, end: int) -> None:
        self._sealer = sealer
        self._sink = sink
        self._end = end
        self._index = offset // FRAME
        self._held = bytearray()  # of one frame
        self.begin = self._index * _STORED
        stored = min(catalog.frames(end) * _STORED, sealer.size(0, sealer.content))
        self.stored = max(0, stored - self.begin)
        self.position = offset  # in the content
        self.passed = 0  # bytes of content

    def write(self, data: bytes | memoryview) -> None:
        with memoryview(data) as view:
            begin = 0
            while begin < len(view) and self.position < self._end:
                # Let go in any case: an error's traceback would hold the store's buffer.
                with view[begin : begin + self._size() - len(self._held)] as piece:
                    begin += len(piece)
                    self._take(piece)

    def finish(self) -> None:
        if self.position < self._end:
            raise BadFrame("it ends before its frames do")

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
