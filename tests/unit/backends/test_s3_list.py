"""What a page of a listing says, and what is none."""

from __future__ import annotations

import pytest

from backends.base import ObjectMeta
from backends.s3_faults import NotS3
from backends.s3_list import parse

SPACE = ' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'


def page(inner: str, space: str = SPACE) -> bytes:
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult{space}>{inner}</ListBucketResult>'.encode()


def entry(key: str, size: int = 1) -> str:
    time = "<LastModified>2026-11-22T10:00:00.500Z</LastModified>"
    return f"<Contents><Key>{key}</Key>{time}<ETag>&quot;abc&quot;</ETag><Size>{size}</Size></Contents>"


@pytest.mark.parametrize("space", [SPACE, ""], ids=["as S3", "as some others"])
def test_a_page(space: str) -> None:
    found = parse(page(f"<IsTruncated>false</IsTruncated>{entry('a/b', 7)}{entry('c')}", space))
    assert found.found == [ObjectMeta("a/b", 7, "abc", 1795341600.5), ObjectMeta("c", 1, "abc", 1795341600.5)]
    assert not found.after


def test_keys_are_decoded_where_the_store_says_that_they_are_encoded() -> None:
    assert parse(page(entry("a%2Bb+c%25"))).found[0].key == "a%2Bb+c%25"
    assert parse(page(f"<EncodingType>url</EncodingType>{entry('a%2Bb+c%25')}")).found[0].key == "a+b c%"


def test_the_way_to_the_next_page() -> None:
    more = "<IsTruncated>true</IsTruncated><NextContinuationToken>t/1==</NextContinuationToken>"
    assert parse(page(more + entry("a"))).after == "t/1=="
    assert not parse(page(more.replace("true", "false"))).after


@pytest.mark.parametrize(
    "body",
    [
        b"", b"<ListBucketResult>", b"<rss/>", b"<Error><Code>x</Code></Error>",
        page("<IsTruncated>true</IsTruncated>" + entry("a")),
        b'<!DOCTYPE x [<!ENTITY a "aaaa">]>' + page(""),
    ],
    ids=["nothing", "half", "another", "an error", "no way on", "entities"],
)  # fmt: skip
def test_what_is_no_page(body: bytes) -> None:
    with pytest.raises(NotS3):
        parse(body)
