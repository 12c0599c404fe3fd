"""How Cloud Storage keeps an object: options as fields of its resource and as parameters of the requests."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from backends.base import Encryption, LockMode, Options
from backends.errors import Kind, StoreError

if TYPE_CHECKING:
    from collections.abc import Mapping

STANDARD = "STANDARD"
MAX_METADATA = 8 << 10  # bytes of keys and values: "Quotas and limits" of Cloud Storage
_KEY = re.compile(r"projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+")


class Keeping:
    """``store`` is for messages. Raises INVALID for what Cloud Storage does not have."""

    def __init__(self, options: Options, store: str, env: Mapping[str, str]) -> None:
        self.storage_class = options.storage_class.upper()
        self._tags = options.tags
        self._kms_key = options.kms_key
        self._payer = env.get("GOOGLE_CLOUD_PROJECT", "") if options.requester_pays else ""
        if wrong := _wrong(options, self._payer):
            raise StoreError(Kind.INVALID, "open", store, "", wrong)

    def resource(self, storage_class: str = "", **metadata: str) -> dict[str, Any]:
        """The fields of a new object; ``metadata`` goes with the user's tags."""
        fields: dict[str, Any] = {"contentType": "application/octet-stream"}
        if kept := storage_class or self.storage_class:
            fields["storageClass"] = kept
        if together := self._tags | metadata:
            fields["metadata"] = together
        return fields

    def query(self) -> dict[str, str]:
        """Parameters of every request."""
        return {"userProject": self._payer} if self._payer else {}

    def key(self, parameter: str = "kmsKeyName") -> dict[str, str]:
        """Parameters of a request that makes an object."""
        return {parameter: self._kms_key} if self._kms_key else {}


def _wrong(options: Options, payer: str) -> str:
    """What is wrong, in one sentence; empty for nothing."""
    if options.lock_mode is not LockMode.NONE or options.lock_days:
        return "Cloud Storage locks by the bucket: set a retention policy on it, and leave objectLock out"
    if options.encryption is Encryption.AES256:
        return (
            "Cloud Storage encrypts all it keeps, with its own keys where the bucket names no other: leave AES256 out"
        )
    if options.encryption is Encryption.KMS and not options.kms_key:
        return "encryption KMS needs a key: set kmsKeyId to projects/P/locations/L/keyRings/R/cryptoKeys/K"
    if options.kms_key and options.encryption is not Encryption.KMS:
        return "kmsKeyId is given, but the encryption is not KMS"
    if options.kms_key and not _KEY.fullmatch(options.kms_key):
        return f"kmsKeyId is not projects/P/locations/L/keyRings/R/cryptoKeys/K: {options.kms_key[:80]!r}"
    if options.requester_pays and not payer:
        return "requesterPays needs the project that pays: set GOOGLE_CLOUD_PROJECT in spec.env"
    if sum(len(key.encode()) + len(value.encode()) for key, value in options.tags.items()) > MAX_METADATA:
        return f"tags are kept as an object's metadata, of {MAX_METADATA} bytes at most"
    return ""
