"""CRC32C, the checksum every store here understands: S3 verifies it, GCS returns it, and parts combine to the whole."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from awscrt import checksums

if TYPE_CHECKING:
    from collections.abc import Iterable


def crc32c(data: bytes | bytearray | memoryview, previous: int = 0) -> int:
    """CRC32C of ``data``, continued from ``previous``. Releases the GIL; tens of GiB/s."""
    return checksums.crc32c(data, previous)  # type: ignore[arg-type]  # any buffer will do


def combine(parts: Iterable[tuple[int, int]]) -> int:
    """CRC32C of a concatenation, from (crc32c, size in bytes) of its pieces."""
    whole = 0
    for crc, size in parts:
        whole = checksums.combine_crc32c(whole, crc, size)
    return whole


def to_base64(crc: int) -> str:
    """As S3 and GCS write it: base64 of four big-endian bytes."""
    return base64.b64encode(crc.to_bytes(4, "big")).decode()


def from_base64(text: str) -> int:
    return int.from_bytes(base64.b64decode(text), "big")
