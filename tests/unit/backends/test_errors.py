from __future__ import annotations

import pytest

from backends.errors import AlreadyExists, Kind, NotFound, SourceChanged, StoreError


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (Kind.NOT_FOUND, NotFound), (Kind.ALREADY_EXISTS, AlreadyExists), (Kind.SOURCE_CHANGED, SourceChanged),
        (Kind.THROTTLED, StoreError),
    ],
)  # fmt: skip
def test_the_class_follows_the_kind(kind: Kind, expected: type[StoreError]) -> None:
    assert type(StoreError(kind, "put", "s3://bucket", "key", "no")) is expected


@pytest.mark.parametrize(
    ("store", "key", "expected"),
    [
        ("s3://bucket", "a/b", "put s3://bucket/a/b: no"),
        ("s3://bucket", "", "put s3://bucket: no"),
        ("file:///srv", "a", "put file:///srv/a: no"),
        ("memory://", "a", "put memory://a: no"),
    ],
)
def test_it_reads_as_a_sentence(store: str, key: str, expected: str) -> None:
    assert str(StoreError(Kind.INVALID, "put", store, key, "no")) == expected


def test_retryable_follows_the_kind_unless_said() -> None:
    assert {kind for kind in Kind if StoreError(kind, "", "", "", "").retryable} == {
        Kind.THROTTLED, Kind.UNAVAILABLE, Kind.TIMEOUT, Kind.CORRUPT,
    }  # fmt: skip
    assert not StoreError(Kind.UNAVAILABLE, "", "", "", "", retryable=False).retryable
    assert StoreError(Kind.UNAUTHENTICATED, "", "", "", "", retryable=True).retryable
