"""Bundles: an SSTable's small components as one object. The format is in the catalog; here they are read to be sent."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from isal.isal_zlib import crc32

from agent import integrity
from agent.bandwidth import Tally
from agent.errors import reading
from backends.base import BytesBody
from backends.checksums import crc32c

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from agent.bandwidth import Meter
    from agent.frames import Sealer
    from agent.plan import Member, Sendable


def encoded(item: Sendable, sealer: Sealer | None) -> bytes:
    """As :func:`read`, as it is sent."""
    return read(item) if sealer is None else sealer.whole(read(item))


def read(item: Sendable) -> bytes:
    """Every member, checked against what was planned. Blocks. SnapshotGone when one changed, Corrupt for a Data.db."""
    return b"".join([_read(member) for member in item.members])


def _read(member: Member) -> bytes:
    with reading(member.file.path):
        return _checked(member)


def _checked(member: Member) -> bytes:
    path, size = member.file.path, member.file.size
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise integrity.changed(path, "it is gone") from error
    try:
        data = os.read(descriptor, size)
    finally:
        os.close(descriptor)
    if len(data) != size:
        raise integrity.changed(path, "it is shorter than it was")
    if member.data:
        integrity.check_data(path, member.crc, crc32(data))
    elif crc32c(data) != member.crc:
        raise integrity.changed(path, "its bytes are not the ones that were read before")
    return data


class MeteredBytes(BytesBody):
    """As MeteredBody: what is sent pays the bucket and is counted, and what a failed try counted is taken back.

    ``content`` is the size of what ``data`` was encoded of.
    """

    def __init__(
        self, data: bytes, content: int, *, bucket: Meter, count: Callable[[int], None], checksum: int | None = None
    ) -> None:
        super().__init__(data, checksum=checksum)
        self._tally = Tally(bucket, count, encoded=self.size, content=content)

    def chunks(self) -> AsyncIterator[bytes]:
        return self._tally.through(super().chunks())
