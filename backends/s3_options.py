"""How S3 keeps an object, as headers for a signed request and as parameters for the SDK's.

``now`` is an aware time: a lock's end is counted from it. What is empty is not said, and the bucket's setting holds.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode

from backends.base import Encryption, LockMode, Options
from backends.errors import Kind, StoreError

# Limits of S3, from "Categorizing your objects using tags" and "Locking objects with Object Lock" in its user guide.
MAX_TAGS = 10
MAX_TAG_KEY = 128
MAX_TAG_VALUE = 256
MAX_LOCK_DAYS = 36_500
ASLEEP = frozenset({"GLACIER", "DEEP_ARCHIVE"})  # must be restored, hours before, to be read
_SSE = {Encryption.AES256: "AES256", Encryption.KMS: "aws:kms"}

# The SDK's parameter -> the header that says the same in a put.
_HEADERS = {
    "StorageClass": "x-amz-storage-class",
    "ServerSideEncryption": "x-amz-server-side-encryption",
    "SSEKMSKeyId": "x-amz-server-side-encryption-aws-kms-key-id",
    "Tagging": "x-amz-tagging",
    "ObjectLockMode": "x-amz-object-lock-mode",
    "ObjectLockRetainUntilDate": "x-amz-object-lock-retain-until-date",
    "RequestPayer": "x-amz-request-payer",
}


def check(options: Options, store: str = "s3://") -> None:
    """INVALID for what no S3 can keep. A storage class that is not known is left to the store."""
    if message := _wrong(options):
        raise StoreError(Kind.INVALID, "open", store, "", message)


def parameters(options: Options, now: datetime) -> dict[str, Any]:
    """For ``put_object`` and ``create_multipart_upload``; a part inherits them and takes ``read_parameters``."""
    said: dict[str, Any] = {}
    if options.storage_class:
        said["StorageClass"] = options.storage_class
    if options.encryption in _SSE:
        said["ServerSideEncryption"] = _SSE[options.encryption]
    if options.kms_key:
        said["SSEKMSKeyId"] = options.kms_key
    if options.tags:
        said["Tagging"] = urlencode(options.tags, quote_via=quote)
    if options.lock_mode:
        said["ObjectLockMode"] = str(options.lock_mode)
        said["ObjectLockRetainUntilDate"] = now.astimezone(UTC) + timedelta(days=options.lock_days)
    return said | read_parameters(options)


def copy_parameters(options: Options, now: datetime) -> dict[str, Any]:
    """For ``copy_object``: without the directive the source's tags are kept and ours are refused."""
    said = parameters(options, now)
    if options.tags:
        said["TaggingDirective"] = "REPLACE"
    if options.lock_mode:
        said["ChecksumAlgorithm"] = "CRC32C"
    return said


def read_parameters(options: Options) -> dict[str, Any]:
    """For every other verb: get, head, list, delete, and all that concerns an upload once it was created."""
    return {"RequestPayer": "requester"} if options.requester_pays else {}


def headers(options: Options, now: datetime) -> dict[str, str]:
    """For a put that is signed by hand. They are to be signed.

    S3 takes nothing under a lock that is not checked, and wants the algorithm named; a put with Content-MD5 in place of
    a CRC32C leaves ``x-amz-sdk-checksum-algorithm`` out.
    """
    locked = {"x-amz-sdk-checksum-algorithm": "CRC32C"} if options.lock_mode else {}
    return _as_headers(parameters(options, now)) | locked


def read_headers(options: Options) -> dict[str, str]:
    """For a get, head or part that is signed by hand."""
    return _as_headers(read_parameters(options))


def _as_headers(said: dict[str, Any]) -> dict[str, str]:
    return {_HEADERS[name]: _text(value) for name, value in said.items()}


def _text(value: object) -> str:
    return value.strftime("%Y-%m-%dT%H:%M:%SZ") if isinstance(value, datetime) else str(value)


def _wrong(options: Options) -> str:
    """What is wrong, in one sentence; empty for nothing."""
    if options.storage_class in ASLEEP:
        return f"objects of storage class {options.storage_class} cannot be read back at once: take GLACIER_IR"
    if options.encryption is Encryption.KMS and not options.kms_key:
        return "encryption with KMS needs a key: set encryption.kmsKeyId to its id or ARN"
    if options.kms_key and options.encryption is not Encryption.KMS:
        return "encryption.kmsKeyId is given, but encryption.sse is not KMS"
    if options.lock_mode is LockMode.NONE and options.lock_days:
        return "objectLock.days is given without objectLock.mode: set it to GOVERNANCE or COMPLIANCE"
    if options.lock_mode is not LockMode.NONE and not 1 <= options.lock_days <= MAX_LOCK_DAYS:
        return f"objectLock.mode needs objectLock.days, 1 to {MAX_LOCK_DAYS}"
    return _wrong_tags(options.tags)


def _wrong_tags(tags: dict[str, str]) -> str:
    if len(tags) > MAX_TAGS:
        return f"S3 keeps at most {MAX_TAGS} tags an object, {len(tags)} are given"
    for key, value in tags.items():
        if not 1 <= len(key) <= MAX_TAG_KEY or len(value) > MAX_TAG_VALUE:
            return f"a tag's key is 1 to {MAX_TAG_KEY} characters and its value at most {MAX_TAG_VALUE}: {key[:40]!r}"
        if key.startswith("aws:"):
            return f"tags that begin with aws: are the store's own: {key[:40]!r}"
    return ""
