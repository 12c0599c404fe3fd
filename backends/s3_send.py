"""Sends a body in the best way of checksums that the store takes, and remembers which that is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from backends.checksums import to_base64
from backends.errors import Kind, StoreError
from backends.s3_body import CRC32C, Outgoing
from backends.s3_errors import translate
from backends.s3_probe import Checksums, Probe
from backends.s3_wire import Refused, Wire

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable

    from backends.base import Body

log = structlog.get_logger(__name__)


class Sender:
    """Of one store. ``slots`` bounds its requests."""

    def __init__(self, name: str, wire: Wire, probe: Probe, slots: asyncio.Semaphore) -> None:
        self._name = name
        self._wire = wire
        self._probe = probe
        self._slots = slots

    async def send(
        self, operation: str, key: str, body: Body, query: Iterable[tuple[str, str]], headers: dict[str, str]
    ) -> tuple[str, int]:
        """ETag and crc32c of what was stored. What the body raises is raised as it is."""
        first = way = self._way(body, headers, part=bool(query))
        while True:
            outgoing = Outgoing(body, way, (operation, self._name, key))
            said = headers | await outgoing.headers()
            try:
                async with self._slots:
                    answered = await self._send(outgoing, key, query, said)
            except Refused as refused:
                lower = self._probe.lower(way, refused.code, refused.status)
                if lower is None:
                    raise refused.error from None
                way = lower
                continue
            except Exception as error:
                if outgoing.failure is not None:
                    raise outgoing.failure from None
                raise translate(error, operation, self._name, key, seen=self._wire.seen) from error
            crc = answered.get(CRC32C)
            if crc is not None and "-" not in crc and crc != to_base64(outgoing.crc):
                raise StoreError(Kind.CORRUPT, operation, self._name, key, f"the store has crc32c {crc}, not ours")
            if self._probe.settle(way, crc, first=first):
                if way is not first:
                    log.info("the store takes weaker checksums", store=self._name, refused=first.name, taken=way.name)
                return answered.get("etag", "").strip('"'), outgoing.crc
            way = self._way(body, headers, part=bool(query))

    def _way(self, body: Body, headers: dict[str, str], *, part: bool) -> Checksums:
        known = body.crc32c is not None or not body.size
        way = self._probe.way(known=known, if_absent="if-none-match" in headers)
        if part and not self._probe.full_object and way in {Checksums.TRAILER, Checksums.HEADER}:
            return Checksums.MD5  # the upload was created without the algorithm
        return way

    async def _send(
        self, outgoing: Outgoing, key: str, query: Iterable[tuple[str, str]], headers: dict[str, str]
    ) -> dict[str, str]:
        names, sends, pieces = outgoing.names[:2], outgoing.sends, outgoing.pieces()
        async with self._wire.request("PUT", key, query, headers, pieces, names=names, sends=sends) as answer:
            return answer.headers
