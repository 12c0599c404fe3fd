"""A loopback server that says one thing to everybody, whatever it was asked."""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable


class Odd:
    def __init__(self, url: str) -> None:
        self.url = url
        self.requests: list[bytes] = []  # heads


def http(status: str, body: bytes = b"", **headers: str) -> bytes:
    """An answer, after which the connection ends. ``x_amz_date`` is the header ``x-amz-date``."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def error(status: str, code: str, message: str = "words", more: str = "", **headers: str) -> bytes:
    """As S3 says no."""
    body = f'<?xml version="1.0"?>\n<Error><Code>{code}</Code><Message>{message}</Message>{more}</Error>'
    return http(status, body.encode(), **({"content_type": "application/xml"} | headers))


@asynccontextmanager
async def saying(
    answer: bytes | Callable[[bytes], bytes], *, at_once: bool = False, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Odd]:
    """``answer`` may be made of the request's head. ``at_once``: before the request was read, as SSH does."""
    odd = Odd("")
    connections: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections.add(task)
        try:
            if at_once:
                assert isinstance(answer, bytes)
                writer.write(answer)
                await reader.read()
                return
            head = await reader.readuntil(b"\r\n\r\n")
            odd.requests.append(head)
            if found := re.search(rb"(?i)\r\ncontent-length: *(\d+)", head):
                await reader.readexactly(int(found[1]))
            said = answer if isinstance(answer, bytes) else answer(head)
            if head.startswith(b"HEAD "):
                said = said[: said.find(b"\r\n\r\n") + 4] if b"\r\n\r\n" in said else said
            writer.write(said)
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client had enough
        finally:
            connections.discard(task)
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    odd.url = f"http{'s' if tls else ''}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield odd
    finally:
        server.close()
        for task in tuple(connections):
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
        await server.wait_closed()
