"""What is read of Medusa's bucket is checked, also where an ETag is no MD5."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import msgspec
import pytest

from agent.cli.medusa.layout import Entry
from agent.cli.medusa.source import Source
from agent.errors import AgentError
from backends.base import BytesBody
from backends.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from backends.base import ObjectMeta

DATA = b"the bytes of a small component"
ETAG = "0123456789abcdef0123456789abcdef"  # of an object that is encrypted with a key of KMS


class Encrypted(MemoryStore):
    """Says ``ETAG`` of everything; the first ``damaged`` reads come with a bit turned over."""

    damaged = 0

    async def head(self, key: str) -> ObjectMeta:
        return msgspec.structs.replace(await super().head(key), etag=ETAG, crc32c=None)

    async def get(self, key: str, *, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        async for chunk in super().get(key, offset=offset, length=length):
            self.damaged -= 1
            yield bytes([chunk[0] ^ 1]) + chunk[1:] if self.damaged >= 0 else chunk


@pytest.fixture
async def store() -> Encrypted:
    made = Encrypted()
    await made.put("c-0/x", BytesBody(DATA))
    return made


async def read(store: MemoryStore, md5: str, size: int = len(DATA)) -> bytes:
    return await Source(store, "b1").read(Entry("c-0/x", size, md5))


async def test_bytes_of_their_md5(store: Encrypted) -> None:
    assert await read(store, hashlib.md5(DATA).hexdigest()) == DATA
    assert await read(store, "") == DATA
    assert await read(store, f"{ETAG}-3") == DATA


async def test_an_etag_that_is_no_md5_is_believed_when_it_is_the_recorded_one(store: Encrypted) -> None:
    assert await read(store, ETAG) == DATA
    with pytest.raises(AgentError, match="not those of its MD5"):
        await read(store, ETAG[::-1])


async def test_a_line_that_turns_a_bit_over_is_not_believed(store: Encrypted) -> None:
    store.damaged = 1
    with pytest.raises(AgentError, match="not those of its MD5"):
        await read(store, ETAG)
    assert await read(store, ETAG) == DATA


@pytest.mark.parametrize("size", [len(DATA) - 1, len(DATA) + 1])
async def test_another_size(store: Encrypted, size: int) -> None:
    with pytest.raises(Exception, match=r"bytes of|larger than"):
        await read(store, "", size)
    with pytest.raises(AgentError, match="bytes of"):
        await Source(store, "b1").checksum(Entry("c-0/x", size, ""), data=True)
