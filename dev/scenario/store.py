"""The bucket as its owner sees it: made, emptied, looked into. By other means than the product's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence


class Store(Protocol):
    """``bucket`` is what the store has: a bucket, a container, a directory."""

    def make_empty(self, bucket: str) -> int:
        """The bucket, without an object; the answer is how many were deleted."""

    def remove(self, bucket: str) -> None:
        """No bucket, whatever writes to it at this moment."""

    def delete(self, bucket: str, keys: Sequence[str]) -> None: ...

    def keys(self, bucket: str, prefix: str = "") -> list[str]: ...

    def read(self, bucket: str, key: str) -> bytes: ...

    def size(self, bucket: str) -> int:
        """Bytes in the bucket."""
