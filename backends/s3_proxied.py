"""Requests through the SDK's HTTP session, for endpoints behind a proxy: slower, and it knows all kinds of them."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from botocore.awsrequest import AWSPreparedRequest, HeadersDict

from backends.s3_direct import Answer
from backends.s3_http import CHUNK, Head

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator


def _prepared(method: str, url: str, headers: dict[str, str], body: Any) -> Any:
    named = HeadersDict(headers)  # type: ignore[no-untyped-call]
    return AWSPreparedRequest(method, url, named, body, stream_output=True)  # type: ignore[no-untyped-call]


class Proxied:
    """As ``Direct``."""

    def __init__(self, client: Any, url: str, stall: float) -> None:
        self._session = client._endpoint.http_session  # noqa: SLF001  the one that has the proxy's settings
        self._url = url
        self._stall = stall

    @asynccontextmanager
    async def request(
        self, method: str, target: str, headers: dict[str, str], body: AsyncGenerator[bytes, None] | None = None
    ) -> AsyncIterator[Answer]:
        clock = asyncio.get_running_loop().time
        failure: Exception | None = None
        deadline: asyncio.Timeout

        async def watched() -> AsyncGenerator[bytes, None]:
            """Each piece taken gives the request another ``stall`` seconds; aiohttp hides why a body failed."""
            nonlocal failure
            try:
                async for piece in body or ():  # type: ignore[union-attr]
                    with suppress(RuntimeError):  # over already; aiohttp's writer is about to be told
                        deadline.reschedule(clock() + self._stall)
                    yield piece
            except Exception as error:
                failure = error
                raise

        made = _prepared(method, self._url + target, headers, watched() if body else b"")
        try:
            async with asyncio.timeout(self._stall) as deadline:
                answer = await self._session.send(made)
        except Exception:
            if failure is not None:
                raise failure from None
            raise

        async def chunks() -> AsyncGenerator[bytes, None]:
            while True:
                async with asyncio.timeout(self._stall):
                    piece = await answer.raw.content.read(CHUNK)
                if not piece:
                    return
                yield piece

        try:
            yield Answer(Head(answer.status_code, dict(answer.headers)), chunks)
        finally:
            answer.raw.close()

    async def close(self) -> None:
        """The session is the client's."""
