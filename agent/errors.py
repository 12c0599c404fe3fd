"""Why an operation failed, in words that stay: ``Reason`` is read by the operator, by alerts and by people.

    AgentError            .reason, one sentence that says what to do, .retryable
Everything else that reaches an operation's end (StoreError, OSError, a bug) becomes a ``Failure`` in :func:`failure`.
"""

from __future__ import annotations

import errno
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING

from agent.protocol import Failure
from backends.errors import Kind, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator


class Reason(StrEnum):
    """Stable: an operator, an alert rule and a runbook may name each."""

    CREDENTIALS_MISSING = "CredentialsMissing"
    CREDENTIALS_REFUSED = "CredentialsRefused"
    CA_BUNDLE_UNUSABLE = "CABundleUnusable"
    BUCKET_MISSING = "BucketMissing"
    ACCESS_DENIED = "AccessDenied"
    STORAGE_UNREACHABLE = "StorageUnreachable"
    STORAGE_THROTTLED = "StorageThrottled"
    STORAGE_FULL = "StorageFull"
    STORAGE_INVALID = "StorageInvalid"
    OBJECT_MISSING = "ObjectMissing"
    CORRUPT = "Corrupt"
    CASSANDRA_UNAVAILABLE = "CassandraUnavailable"
    SNAPSHOT_FAILED = "SnapshotFailed"
    SNAPSHOT_GONE = "SnapshotGone"
    SNAPSHOT_TAG_EXISTS = "SnapshotTagExists"
    KEYSPACE_NOT_FOUND = "KeyspaceNotFound"
    TABLE_NOT_FOUND = "TableNotFound"
    NOTHING_TO_BACK_UP = "NothingToBackUp"
    BACKUP_NOT_FOUND = "BackupNotFound"
    BACKUP_AMBIGUOUS = "BackupAmbiguous"
    MANIFEST_MISSING = "ManifestMissing"
    MANIFEST_CHANGED = "ManifestChanged"
    MANIFEST_INVALID = "ManifestInvalid"
    ENCRYPTION_KEY_MISSING = "EncryptionKeyMissing"
    ENCRYPTION_KEY_INVALID = "EncryptionKeyInvalid"
    COLLECT_BLOCKED = "CollectBlocked"
    COLLECT_REFUSED = "CollectRefused"
    BACKUP_RUNNING = "BackupRunning"
    DISK_FULL = "DiskFull"
    FILE_UNREADABLE = "FileUnreadable"
    VOLUME_NOT_EMPTY = "VolumeNotEmpty"
    INVALID_SPEC = "InvalidSpec"
    AGENT_TOO_OLD = "AgentTooOld"
    OPERATION_WITHDRAWN = "OperationWithdrawn"
    CONFIGURATION_INVALID = "ConfigurationInvalid"
    INTERNAL = "Internal"


class AgentError(Exception):
    """A failure with a reason. ``message`` is one sentence without a secret; ``retryable``: later may go well."""

    def __init__(self, reason: Reason, message: str, *, retryable: bool = False) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.retryable = retryable

    def __str__(self) -> str:
        return f"{self.reason}: {self.message}"


_STORE_REASONS = {
    Kind.NOT_FOUND: Reason.OBJECT_MISSING,
    Kind.NO_BUCKET: Reason.BUCKET_MISSING,
    Kind.UNAUTHENTICATED: Reason.CREDENTIALS_REFUSED,
    Kind.UNTRUSTED: Reason.CA_BUNDLE_UNUSABLE,
    Kind.FORBIDDEN: Reason.ACCESS_DENIED,
    Kind.THROTTLED: Reason.STORAGE_THROTTLED,
    Kind.UNAVAILABLE: Reason.STORAGE_UNREACHABLE,
    Kind.TIMEOUT: Reason.STORAGE_UNREACHABLE,
    Kind.CORRUPT: Reason.CORRUPT,
    Kind.SOURCE_CHANGED: Reason.SNAPSHOT_GONE,
    Kind.STORE_FULL: Reason.STORAGE_FULL,
}
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_FORBIDDEN = frozenset({errno.EACCES, errno.EPERM})
_BROKEN = frozenset({errno.EIO, errno.EUCLEAN, errno.ESTALE, errno.ENXIO, errno.ENODEV})
UNREADABLE = _FORBIDDEN | _BROKEN


@contextmanager
def reading(path: object) -> Iterator[None]:
    """What the disk refuses gets the file's name: a read does not know it."""
    try:
        yield
    except OSError as error:
        if error.errno in UNREADABLE:
            raise unreadable(error, path) from error
        raise


def unreadable(error: OSError, path: object = None) -> AgentError:
    """Of an error in :data:`UNREADABLE`; ``path`` where the error does not name the file."""
    where = path or error.filename or "a file of the data volume"
    if error.errno in _FORBIDDEN:
        advice = "the agent runs as the user that owns Cassandra's files, and must be let at them"
    else:
        advice = "the disk is failing: look at the node's kernel log, and replace the volume or the node"
    return AgentError(Reason.FILE_UNREADABLE, f"{where} cannot be read or written ({error.strerror}): {advice}")


def failure(error: BaseException) -> Failure:
    """What the operator is told of ``error``."""
    match error:
        case AgentError():
            return Failure(reason=error.reason, message=error.message, retryable=error.retryable)
        case StoreError():
            return Failure(reason=store_reason(error), message=str(error), retryable=error.retryable)
        case BaseExceptionGroup():
            return failure(error.exceptions[0])
        case OSError() if error.errno in _FULL:
            message = f"the data volume is full ({error.strerror}): free space or enlarge the volume"
            return Failure(reason=Reason.DISK_FULL, message=message, retryable=True)
        case OSError() if error.errno == errno.EIO or (error.errno in UNREADABLE and error.filename):
            return failure(unreadable(error))
        case _:
            message = f"unexpected {type(error).__name__}: {error}; the agent's log has the trace"
            return Failure(reason=Reason.INTERNAL, message=message)


def store_reason(error: StoreError) -> Reason:
    """No credentials at all and refused ones are two different errands for the user."""
    if error.kind is Kind.UNAUTHENTICATED and _says_missing(error.message):
        return Reason.CREDENTIALS_MISSING
    return _STORE_REASONS.get(error.kind, Reason.STORAGE_INVALID)


def _says_missing(message: str) -> bool:
    words = message.casefold()
    return any(text in words for text in ("no credentials", "unable to locate credentials", "credentials missing"))
