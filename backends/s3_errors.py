"""What S3 answers, as StoreErrors. Tables, so that a code is added in one line. What never got an answer: s3_faults."""

from __future__ import annotations

import html
import re
import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from botocore import exceptions as sdk

from backends import s3_faults
from backends.errors import RETRYABLE, Kind, StoreError
from backends.redact import redact

if TYPE_CHECKING:
    from collections.abc import Mapping

CODES: dict[str, Kind] = {
    "NoSuchKey": Kind.NOT_FOUND,
    "NoSuchUpload": Kind.NOT_FOUND,
    "NoSuchBucket": Kind.NO_BUCKET,
    "PreconditionFailed": Kind.ALREADY_EXISTS,  # If-None-Match is the only condition we send
    "ConditionalRequestConflict": Kind.UNAVAILABLE,  # another conditional write runs: asked again, one of both wins
    "OperationAborted": Kind.UNAVAILABLE,
    "AccessDenied": Kind.FORBIDDEN,
    "AllAccessDisabled": Kind.FORBIDDEN,
    "AccountProblem": Kind.FORBIDDEN,
    "NotSignedUp": Kind.FORBIDDEN,
    "InvalidPayer": Kind.FORBIDDEN,
    "MethodNotAllowed": Kind.FORBIDDEN,
    "InvalidAccessKeyId": Kind.UNAUTHENTICATED,
    "SignatureDoesNotMatch": Kind.UNAUTHENTICATED,
    "ExpiredToken": Kind.UNAUTHENTICATED,
    "ExpiredTokenException": Kind.UNAUTHENTICATED,
    "InvalidToken": Kind.UNAUTHENTICATED,
    "InvalidTokenId": Kind.UNAUTHENTICATED,  # MinIO
    "TokenRefreshRequired": Kind.UNAUTHENTICATED,
    "InvalidSecurity": Kind.UNAUTHENTICATED,
    "RequestTimeTooSkewed": Kind.UNAUTHENTICATED,
    "SlowDown": Kind.THROTTLED,
    "SlowDownRead": Kind.THROTTLED,  # MinIO
    "SlowDownWrite": Kind.THROTTLED,  # MinIO
    "Throttling": Kind.THROTTLED,
    "RequestLimitExceeded": Kind.THROTTLED,
    "IDPCommunicationError": Kind.UNAVAILABLE,  # STS, which says to ask again
    "XMinioServerNotInitialized": Kind.UNAVAILABLE,  # a 503 that is no throttling
    "XMinioStorageFull": Kind.STORE_FULL,
    "XMinioAdminBucketQuotaExceeded": Kind.STORE_FULL,
    "QuotaExceeded": Kind.STORE_FULL,  # Ceph
    "BadDigest": Kind.CORRUPT,
    "XAmzContentChecksumMismatch": Kind.CORRUPT,  # MinIO
    "XAmzContentSHA256Mismatch": Kind.CORRUPT,
    "IncompleteBody": Kind.UNAVAILABLE,
    "RequestTimeout": Kind.TIMEOUT,
    "ClientDisconnected": Kind.TIMEOUT,  # MinIO, of a body that paused for long
    "NotImplemented": Kind.NOT_SUPPORTED,
}
STATUSES: dict[int, Kind] = {
    401: Kind.UNAUTHENTICATED,
    403: Kind.FORBIDDEN,
    404: Kind.NOT_FOUND,
    408: Kind.TIMEOUT,
    412: Kind.ALREADY_EXISTS,
    429: Kind.THROTTLED,
    501: Kind.NOT_SUPPORTED,
    503: Kind.THROTTLED,
    507: Kind.STORE_FULL,
}
HINTS: dict[Kind, str] = {
    Kind.NO_BUCKET: "create the bucket, or correct the target",
    Kind.UNAUTHENTICATED: s3_faults.CHECK_CREDENTIALS,
    Kind.FORBIDDEN: "allow these credentials to read, write, list and delete there",
    Kind.STORE_FULL: "make room in the store, or delete old backups",
    Kind.CORRUPT: "the bytes that arrived are not the bytes that were sent",
}
ANOTHER_REGION = "the bucket is in another region"
_LOCK = "create the bucket with Object Lock, or leave objectLock out"
_KMS = "check encryption.kmsKeyId, that the key is enabled and in the bucket's region, and that it may be used"
CODE_HINTS: dict[str, str] = {
    "ExpiredToken": "the session has ended: give new credentials, or a role that renews itself",
    "ExpiredTokenException": "the session has ended: give new credentials, or a role that renews itself",
    "InvalidToken": "AWS_SESSION_TOKEN is not this store's: leave it out for keys that need none",
    "SignatureDoesNotMatch": "AWS_SECRET_ACCESS_KEY is not the one of AWS_ACCESS_KEY_ID",
    "InvalidAccessKeyId": "the store does not know AWS_ACCESS_KEY_ID: it was deleted, or is another store's",
    "RequestTimeTooSkewed": "set the clock of this node",
    "NotSignedUp": "the account of these credentials has no S3",
    "AllAccessDisabled": "the bucket's owner has to open it",
    "InvalidPayer": "the bucket's owner may not be charged: set endpoint.requesterPays",
    "InvalidBucketName": "correct the target",
    "InvalidStorageClass": "the store has no such class: correct storageClass",
    "InvalidTag": "letters, digits, spaces and + - = . _ : / @ are allowed: correct tags",
    "InvalidObjectState": "the object is archived: restore it in the store, and wait for that",
    "ObjectLockConfigurationNotFoundError": _LOCK,
    "MethodNotAllowed": "the object or bucket may not be changed",
}
# What it takes, by our verb; from "Policies and permissions in Amazon S3", user guide.
PERMISSIONS: dict[str, str] = {
    "put": "s3:PutObject",
    "get": "s3:GetObject",
    "head": "s3:GetObject and s3:ListBucket",
    "delete": "s3:DeleteObject",
    "list": "s3:ListBucket",
    "copy": "s3:GetObject and s3:PutObject",
    "create upload": "s3:PutObject",
    "upload part": "s3:PutObject",
    "complete upload": "s3:PutObject",
    "list parts": "s3:ListMultipartUploadParts",
    "abort upload": "s3:AbortMultipartUpload",
    "list uploads": "s3:ListBucketMultipartUploads",
}
_REGIONAL = frozenset({"PermanentRedirect", "TemporaryRedirect", "IllegalLocationConstraintException", "301"})
_EXPECTED = re.compile(r"expecting '([a-z0-9-]+)'")


def translate(error: Exception, operation: str, store: str, key: str, *, seen: bool = False) -> StoreError:
    """The StoreError for ``error``; the caller raises it ``from`` the original.

    ``seen``: the endpoint has answered as S3 does in this run, so what is odd now is a broken connection.
    """
    if isinstance(error, StoreError):
        return error
    if isinstance(error, sdk.ClientError):
        return _answered(error, operation, store, key)
    seen = seen or bool(getattr(error, s3_faults.SEEN, False))
    fault = s3_faults.of(error, seen=seen)
    return StoreError(fault.kind, operation, store, key, redact(fault.message), fault.retryable)


def code_of(error: sdk.ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def refusal(  # noqa: PLR0917  the answer, then the names as in translate
    status: int, headers: Mapping[str, str], body: bytes, operation: str, store: str, key: str, *, seen: bool = False
) -> StoreError:
    """The same for an answer (status 300 and above) to a request that was sent by hand; header names in lower case."""
    found = {name: _element(body, name) for name in ("Code", "Message", "Region")}
    if not found["Code"]:
        strange = s3_faults.not_s3(status, headers, body, seen=seen)
        if strange is not None:
            return translate(strange, operation, store, key)
        found["Code"] = str(status)
    metadata = {"HTTPStatusCode": status, "HTTPHeaders": headers}
    return _said(found, metadata, operation, store, key)


def code_of_body(body: bytes) -> str:
    """The code in an error's XML; empty where there is none."""
    return _element(body, "Code")


def _element(body: bytes, name: str) -> str:
    found = re.search(rf"<{name}>([^<]*)</{name}>".encode(), body[: 1 << 16])
    return html.unescape(found[1].decode("utf-8", "replace")).strip() if found else ""


def _answered(error: sdk.ClientError, operation: str, store: str, key: str) -> StoreError:
    """The store (or STS, on the way to it) said no."""
    answer: dict[str, Any] = error.response
    said, metadata = answer.get("Error", {}), answer.get("ResponseMetadata", {})
    made = _said(said, metadata, operation, store, key)
    if said.get(s3_faults.RENEWED):  # other keys were found: the same request will be signed with them
        made.retryable = True
    elif error.operation_name in s3_faults.CREDENTIAL_CALLS and made.kind not in RETRYABLE:
        message = sentence(code_of(error), str(said.get("Message", "")), Kind.UNAUTHENTICATED)
        return StoreError(Kind.UNAUTHENTICATED, operation, store, key, f"{error.operation_name} was refused: {message}")
    return made


def _said(said: Mapping[str, Any], metadata: Mapping[str, Any], operation: str, store: str, key: str) -> StoreError:
    code, text = str(said.get("Code", "")), str(said.get("Message", ""))
    headers = metadata.get("HTTPHeaders", {})
    kind = kind_of(code, int(metadata.get("HTTPStatusCode", 0)))
    region = str(said.get("Region") or headers.get("x-amz-bucket-region") or "")
    message = sentence(code, text, kind, operation=operation, region=region, date=headers.get("date", ""))
    after = str(headers.get("retry-after", ""))
    return StoreError(kind, operation, store, key, message, retry_after=float(after) if after.isdecimal() else None)


def sentence(code: str, text: str, kind: Kind, *, operation: str = "", region: str = "", date: str = "") -> str:
    """The store's code and words, and what to do. ``region`` and ``date`` are what the store named as its own."""
    words = " ".join(text.split())[:300]
    said = ": ".join(part for part in (code, words) if part and part != "None" and not part.isdecimal()).rstrip(".")
    hint = _special(code, words, kind, region, date) or CODE_HINTS.get(code, "")
    if not hint and kind is Kind.FORBIDDEN and operation in PERMISSIONS:
        hint = f"allow {PERMISSIONS[operation]} to these credentials; the bucket may be another account's"
    hint = hint or HINTS.get(kind, "")
    return redact(f"{said} ({hint})" if said and hint else said or hint or f"the store answered {code}")


def _special(code: str, text: str, kind: Kind, region: str, date: str) -> str:
    """Hints that depend on more than the code."""
    if code == "AuthorizationHeaderMalformed" and not region:
        expected = _EXPECTED.search(text)
        return _other_region(expected[1] if expected else "") if "region" in text else s3_faults.CHECK_CREDENTIALS
    if code in _REGIONAL or code == "AuthorizationHeaderMalformed":
        return _other_region(region)
    if code == "RequestTimeTooSkewed":
        return _skew(date)
    lower = text.lower()
    if code.startswith("KMS.") or "kms" in lower:
        return "set a key up in the store, or leave encryption out" if kind is Kind.NOT_SUPPORTED else _KMS
    return _LOCK if "object lock" in lower or "objectlock" in lower else ""


def _other_region(region: str) -> str:
    named = f", {region}" if region else ""
    return f"{ANOTHER_REGION}{named}: set AWS_REGION in spec.env, or endpoint.region"


def _skew(date: str) -> str:
    """How far this node's clock is from the store's, by the answer's ``Date``."""
    try:
        ahead = time.time() - parsedate_to_datetime(date).timestamp()
    except ValueError:
        return CODE_HINTS["RequestTimeTooSkewed"]
    return f"the clock of this node is {abs(ahead):.0f} s {'ahead' if ahead > 0 else 'behind'}: set it"


def kind_of(code: str, status: int) -> Kind:
    """Codes first, then the status: what is not known is INVALID below 500 and UNAVAILABLE from there."""
    if code.isdecimal():  # a HEAD has no body; botocore puts the status there
        status = int(code)
    return CODES.get(code) or STATUSES.get(status) or (Kind.UNAVAILABLE if status >= 500 else Kind.INVALID)
