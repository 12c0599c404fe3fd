"""What a put says of how it is kept, and which options no S3 has."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from backends.base import Encryption, LockMode, Options
from backends.errors import Kind, StoreError
from backends.s3_options import check, copy_parameters, headers, parameters, read_headers, read_parameters

NOW = datetime(2026, 2, 27, 13, 30, tzinfo=timezone(timedelta(hours=1)))
EVERYTHING = Options(
    storage_class="STANDARD_IA",
    encryption=Encryption.KMS,
    kms_key="arn:aws:kms:eu-west-1:1:key/x",
    tags={"team": "data & co", "größe": "a=b"},
    requester_pays=True,
    lock_mode=LockMode.COMPLIANCE,
    lock_days=3,
)


def test_nothing_asked_is_nothing_said() -> None:
    assert headers(Options(), NOW) == read_headers(Options()) == {}
    assert parameters(Options(), NOW) == copy_parameters(Options(), NOW) == read_parameters(Options()) == {}


def test_everything() -> None:
    assert headers(EVERYTHING, NOW) == {
        "x-amz-storage-class": "STANDARD_IA",
        "x-amz-server-side-encryption": "aws:kms",
        "x-amz-server-side-encryption-aws-kms-key-id": "arn:aws:kms:eu-west-1:1:key/x",
        "x-amz-tagging": "team=data%20%26%20co&gr%C3%B6%C3%9Fe=a%3Db",
        "x-amz-object-lock-mode": "COMPLIANCE",
        "x-amz-object-lock-retain-until-date": "2026-03-02T12:30:00Z",
        "x-amz-sdk-checksum-algorithm": "CRC32C",
        "x-amz-request-payer": "requester",
    }
    assert read_headers(EVERYTHING) == {"x-amz-request-payer": "requester"}
    said = parameters(EVERYTHING, NOW)
    assert said["ObjectLockRetainUntilDate"] == datetime(2026, 3, 2, 12, 30, tzinfo=UTC)
    assert said["RequestPayer"] == read_parameters(EVERYTHING)["RequestPayer"] == "requester"
    assert "ChecksumAlgorithm" not in said
    assert copy_parameters(EVERYTHING, NOW) == said | {"TaggingDirective": "REPLACE", "ChecksumAlgorithm": "CRC32C"}


def test_encryption_with_the_stores_own_keys() -> None:
    assert headers(Options(encryption=Encryption.AES256), NOW) == {"x-amz-server-side-encryption": "AES256"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (Options(encryption=Encryption.KMS), "set encryption.kmsKeyId"),
        (Options(kms_key="k"), "encryption.sse is not KMS"),
        (Options(encryption=Encryption.AES256, kms_key="k"), "encryption.sse is not KMS"),
        (Options(lock_mode=LockMode.GOVERNANCE), "needs objectLock.days"),
        (Options(lock_mode=LockMode.GOVERNANCE, lock_days=36_501), "1 to 36500"),
        (Options(lock_days=1), "objectLock.mode"),
        (Options(storage_class="GLACIER"), "take GLACIER_IR"),
        (Options(storage_class="DEEP_ARCHIVE"), "take GLACIER_IR"),
        (Options(tags={str(number): "x" for number in range(11)}), "at most 10 tags an object, 11"),
        (Options(tags={"": "x"}), "1 to 128"),
        (Options(tags={"k" * 129: "x"}), "1 to 128"),
        (Options(tags={"k": "x" * 257}), "at most 256"),
        (Options(tags={"aws:k": "x"}), "the store's own"),
    ],
)
def test_what_no_s3_can_keep(options: Options, said: str) -> None:
    with pytest.raises(StoreError, match=said) as caught:
        check(options, "s3://bucket")
    assert (caught.value.kind, caught.value.retryable) == (Kind.INVALID, False)
    assert str(caught.value).startswith("open s3://bucket: ")


@pytest.mark.parametrize(
    "options",
    [
        Options(),
        EVERYTHING,
        Options(storage_class="SOMETHING_OF_CEPH"),
        Options(storage_class="GLACIER_IR"),
        Options(lock_mode=LockMode.GOVERNANCE, lock_days=36_500),
        Options(tags={"k" * 128: "v" * 256} | {str(number): "" for number in range(9)}),
    ],
)
def test_what_is_for_the_store_to_judge(options: Options) -> None:
    check(options)
