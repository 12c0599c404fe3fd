"""What comes back on a connection, and whether another request may go out on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp

if TYPE_CHECKING:
    from aiohttp.connector import Connection


class Answer(aiohttp.ClientResponse):
    """Of a failure that is not Azure's own the connection is not used again: the request may stand there, unread.

    Azurite whose disk is full lets the next request on it wait, and hangs up on that one.
    """

    async def start(self, connection: Connection) -> aiohttp.ClientResponse:
        protocol = connection.protocol
        answer = await super().start(connection)
        if protocol is not None and self.status >= 500 and "x-ms-error-code" not in self.headers:
            protocol.force_close()
            if self.connection is None:  # nothing follows the headers, so it has gone back already
                protocol.close()
        return answer
