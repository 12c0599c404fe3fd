"""A Body in the shape that botocore's validator and aiohttp's writer both take."""

from __future__ import annotations

import io
from contextlib import aclosing
from typing import TYPE_CHECKING

from backends.body import checked

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from backends.base import Body


class StreamedBody:
    """``read`` makes botocore accept it, ``seek`` and ``tell`` let it send again, aiohttp streams ``__aiter__``.

    ``progress`` is called as each chunk is taken. aiohttp hides why a body failed; ``failure`` keeps it.
    """

    def __init__(self, body: Body, operation: str, store: str, key: str, progress: Callable[[], None]) -> None:
        self._body = body
        self._names = (operation, store, key)
        self._progress = progress
        self._position = 0
        self.failure: Exception | None = None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async with aclosing(checked(self._body, *self._names)) as chunks:
                async for chunk in chunks:
                    self._progress()
                    yield chunk
            self._progress()
        except Exception as error:
            self.failure = error
            raise

    def read(self, _size: int = -1) -> bytes:
        raise io.UnsupportedOperation("this body is streamed")  # nothing may read it on the event loop

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = offset + (self._body.size if whence == io.SEEK_END else 0)
        return self._position

    def tell(self) -> int:
        return self._position
