"""What can go wrong with a store.

    StoreError            .kind says what, .retryable whether the same request may succeed later
    ├── NotFound          NOT_FOUND: the object or the upload
    ├── AlreadyExists     ALREADY_EXISTS: if_absent was asked, and the object is there
    └── SourceChanged     SOURCE_CHANGED: the uploaded file is not what it was

``StoreError(Kind.NOT_FOUND, …)`` makes a ``NotFound``, and so on: catch the class or look at the kind, both hold.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Self


class Kind(StrEnum):
    """What went wrong. The value is a stable CamelCase reason, fit for a condition."""

    NOT_FOUND = "NotFound"
    NO_BUCKET = "NoBucket"
    ALREADY_EXISTS = "AlreadyExists"
    PRECONDITION = "PreconditionFailed"
    UNAUTHENTICATED = "Unauthenticated"  # no, wrong or expired credentials
    FORBIDDEN = "Forbidden"  # the store knows us and says no
    THROTTLED = "Throttled"
    UNAVAILABLE = "Unavailable"
    TIMEOUT = "Timeout"
    CORRUPT = "Corrupt"  # bytes arrived that were not sent
    UNTRUSTED = "Untrusted"  # whom to trust cannot be said: the file with the authorities is no such thing
    INVALID = "Invalid"
    NOT_SUPPORTED = "NotSupported"
    SOURCE_CHANGED = "SourceChanged"
    STORE_FULL = "StoreFull"


RETRYABLE = frozenset({Kind.THROTTLED, Kind.UNAVAILABLE, Kind.TIMEOUT, Kind.CORRUPT})


class StoreError(Exception):
    """One failed request.

    ``operation`` is our verb, ``store`` the store's name (``s3://bucket``), ``key`` may be empty, ``message`` the
    store's own words and what to do about them. ``retryable`` follows from the kind unless given; ``retry_after`` is
    in seconds, when the store named a time. Never holds a secret.
    """

    kind: Kind

    def __new__(cls, kind: Kind, *_args: object, **_kwargs: object) -> Self:
        # The subclass follows from the kind, so that no raise site can name one and mean the other.
        chosen = _CLASSES.get(kind, cls) if cls is StoreError else cls
        return super().__new__(chosen)  # type: ignore[return-value]  # a subclass of cls

    def __init__(  # noqa: PLR0917  the order is the contract
        self,
        kind: Kind,
        operation: str,
        store: str,
        key: str,
        message: str,
        retryable: bool | None = None,  # noqa: FBT001  as above
        retry_after: float | None = None,
    ) -> None:
        super().__init__(kind, operation, store, key, message)
        self.kind = kind
        self.operation = operation
        self.store = store
        self.key = key
        self.message = message
        self.retryable = kind in RETRYABLE if retryable is None else retryable
        self.retry_after = retry_after

    def __str__(self) -> str:
        joint = "" if self.store.endswith("/") or not self.key else "/"
        return f"{self.operation} {self.store}{joint}{self.key}: {self.message}"


class NotFound(StoreError):  # noqa: N818  reads as what it is
    pass


class AlreadyExists(StoreError):  # noqa: N818  reads as what it is
    pass


class SourceChanged(StoreError):  # noqa: N818  reads as what it is
    pass


_CLASSES: dict[Kind, type[StoreError]] = {
    Kind.NOT_FOUND: NotFound,
    Kind.ALREADY_EXISTS: AlreadyExists,
    Kind.SOURCE_CHANGED: SourceChanged,
}
