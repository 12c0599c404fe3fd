"""What an object store is: a few verbs over keys, each atomic. Everything else is built on them (helpers.py).

Keys are relative, ``/``-separated, without a leading ``/`` and without empty, ``.`` or ``..`` segments; at most 1,024
bytes of UTF-8 (S3's limit), without control characters (XML carries none). Listings come in the order of the keys'
UTF-8 bytes. Every failure is a StoreError.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

import msgspec

from backends.body import BytesBody, FileBody
from backends.errors import Kind, StoreError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from backends.streams import Sink

__all__ = [
    "Body", "BytesBody", "Capabilities", "Encryption", "Endpoint", "FileBody", "LockMode", "ObjectMeta", "ObjectStore",
    "Options", "Part", "Parts", "SliceableBody", "Upload", "check_key",
]  # fmt: skip

MAX_KEY = 1024
_REFUSED = re.compile("[\x00-\x1f\x7f\ud800-\udfff\ufffe\uffff]")


class ObjectMeta(msgspec.Struct, frozen=True):
    """An object as the store knows it. ``modified``: epoch seconds, 0 where a write's answer does not say.

    ``crc32c`` is None where the store keeps none, and always in listings.
    """

    key: str
    size: int
    etag: str = ""
    modified: float = 0.0
    crc32c: int | None = None


class Part(msgspec.Struct, frozen=True):
    """One uploaded part; numbers start at 1."""

    number: int
    size: int
    etag: str = ""
    crc32c: int | None = None


Parts = list[Part]


class Upload(msgspec.Struct, frozen=True):
    """A multipart upload that was neither completed nor aborted; ``started`` in epoch seconds."""

    key: str
    id: str
    started: float = 0.0


class Capabilities(msgspec.Struct, frozen=True):
    """Sizes in bytes. ``min_part`` does not hold for the last part."""

    conditional_put: bool = True
    multipart: bool = True
    max_put: int = 5 << 30
    min_part: int = 5 << 20
    max_parts: int = 10_000


class Endpoint(msgspec.Struct, frozen=True):
    """Where a store (or an emulator) answers; None means the SDK's own chain. As in the agent's protocol.

    ``region`` and ``path_style`` are S3's. ``ca_file`` holds the only authorities that count, in PEM (authorities.py);
    with it ``insecure_skip_verify`` says nothing.
    """

    url: str | None = None
    region: str | None = None
    path_style: bool | None = None
    insecure_skip_verify: bool = False
    ca_file: str = ""


class Encryption(StrEnum):
    """How the store encrypts what it keeps."""

    NONE = ""  # as the bucket is set
    AES256 = "AES256"  # with the store's own keys
    KMS = "KMS"  # with the user's: ``Options.kms_key``


class LockMode(StrEnum):
    """S3 Object Lock."""

    NONE = ""
    GOVERNANCE = "GOVERNANCE"
    COMPLIANCE = "COMPLIANCE"


class Options(msgspec.Struct, frozen=True):
    """How objects are kept; empty is the bucket's own setting. A store refuses (INVALID) what it does not have.

    ``storage_class`` is the store's own word: S3 and GCS storage classes, Azure access tiers. ``kms_key`` is a key's
    name: an id or ARN for S3, a resource name for GCS, an encryption scope for Azure. ``lock_days`` goes with
    ``lock_mode``. As in the agent's protocol.
    """

    storage_class: str = ""
    encryption: Encryption = Encryption.NONE
    kms_key: str = ""
    tags: dict[str, str] = {}
    requester_pays: bool = False
    lock_mode: LockMode = LockMode.NONE
    lock_days: int = 0


class Body(Protocol):
    """Bytes to upload. ``chunks()`` starts at the first byte each time: a retry reads again.

    ``crc32c`` may be None until ``chunks()`` has ended once; then it is what was read.
    """

    @property
    def size(self) -> int: ...
    @property
    def crc32c(self) -> int | None: ...
    def chunks(self) -> AsyncIterator[bytes]: ...


class SliceableBody(Body, Protocol):
    """A body of which parts can be taken, for a multipart upload."""

    def part(self, offset: int, size: int) -> Body: ...


class ObjectStore(Protocol):
    """The verbs. Safe for concurrent use on one event loop."""

    @property
    def name(self) -> str:
        """For messages: ``s3://bucket``."""

    @property
    def capabilities(self) -> Capabilities: ...

    async def put(self, key: str, body: Body, *, if_absent: bool = False) -> ObjectMeta:
        """Writes the whole object or nothing. AlreadyExists when ``if_absent`` and it is there; one of many wins."""

    def get(self, key: str, *, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """Streams a range, cut to what the object has; past its end is empty. NotFound on the first step."""

    def pour(self, key: str, sink: Sink, *, offset: int = 0, length: int | None = None) -> AsyncIterator[int]:
        """``get`` into a sink: yields how many bytes it took, each time. What the sink raises comes out as it is."""

    async def head(self, key: str) -> ObjectMeta:
        """NotFound when it is not there."""

    async def delete(self, keys: Sequence[str]) -> None:
        """Absent keys are fine."""

    def list(self, prefix: str, *, start_after: str = "") -> AsyncIterator[ObjectMeta]:
        """Keys that start with the text ``prefix`` and sort after ``start_after`` (exclusive), in order."""

    async def copy(self, source: str, target: str) -> ObjectMeta:
        """Inside the store, no bytes through us. NotFound when the source is not there."""

    async def create_upload(self, key: str) -> str: ...

    async def upload_part(self, key: str, upload: str, number: int, body: Body) -> Part:
        """A number sent twice: the last one counts."""

    async def list_parts(self, key: str, upload: str) -> Parts:
        """By number. NotFound when the upload was completed, aborted or never was."""

    async def complete_upload(
        self, key: str, upload: str, parts: Sequence[Part], *, if_absent: bool = False
    ) -> ObjectMeta:
        """The object appears at once, of the parts named, by number. AlreadyExists leaves the upload as it is."""

    async def abort_upload(self, key: str, upload: str) -> None:
        """An upload that is not there is fine."""

    def list_uploads(self, prefix: str) -> AsyncIterator[Upload]: ...

    async def close(self) -> None: ...


def check_key(key: str, operation: str, store: str) -> None:
    """INVALID for a key that no store should hold, or that could climb out of a prefix or a directory."""
    if _REFUSED.search(key) or len(key.encode()) > MAX_KEY or not {"", ".", ".."}.isdisjoint(key.split("/")):
        message = f"a key is 1 to {MAX_KEY} bytes, relative, without control characters or empty, '.' and '..' segments"
        raise StoreError(Kind.INVALID, operation, store, key, message)
