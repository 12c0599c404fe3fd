"""What is learned of an endpoint from its answers, and what is not."""

from __future__ import annotations

import pytest

from backends.s3_probe import Checksums, Probe, is_aws

AWS = "https://s3.eu-west-1.amazonaws.com"
ELSEWHERE = "https://minio.example:9000"
TRAILER, HEADER, MD5, NONE = Checksums


def test_s3_itself_is_known() -> None:
    probe = Probe(AWS)
    assert probe.way(known=False) is probe.way(known=False, if_absent=True) is TRAILER
    assert probe.way(known=True) is HEADER
    for way in Checksums:
        assert probe.lower(way, "NotImplemented", 501) is None
        assert probe.settle(way, None)
    assert probe.way(known=False) is TRAILER
    assert not probe.refused_full_object("NotImplemented", 501)
    probe.created(None, asked=False)
    assert probe.full_object


def test_a_store_that_can_do_it_all() -> None:
    probe = Probe(ELSEWHERE)
    assert probe.way(known=False) is TRAILER
    assert probe.settle(TRAILER, "crc")
    assert probe.way(known=False, if_absent=True) is TRAILER
    assert probe.settle(HEADER, "crc")  # of a body that was known: says nothing against trailers
    assert probe.way(known=False) is TRAILER
    probe.created("FULL_OBJECT", asked=True)
    assert probe.full_object


def test_no_trailer_is_tried_first_where_it_could_not_be_sent_again() -> None:
    probe = Probe(ELSEWHERE)
    assert probe.way(known=False, if_absent=True) is HEADER
    assert probe.settle(HEADER, "crc")
    assert probe.way(known=False, if_absent=True) is HEADER  # still not known
    assert probe.way(known=False) is TRAILER


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("NotImplemented", 501), ("InvalidArgument", 400), ("InvalidRequest", 400), ("SignatureDoesNotMatch", 403),
        ("AuthorizationHeaderMalformed", 400), ("XAmzContentSHA256Mismatch", 400), ("MissingContentLength", 411),
        ("MalformedTrailerError", 400), ("", 411), ("", 501),
    ],
)  # fmt: skip
def test_a_trailer_that_is_refused(code: str, status: int) -> None:
    probe = Probe(ELSEWHERE)
    assert probe.lower(TRAILER, code, status) is HEADER
    assert probe.way(known=False) is TRAILER  # nothing is learned from a refusal alone
    assert probe.settle(HEADER, "crc", first=TRAILER)
    assert probe.way(known=False) is HEADER


@pytest.mark.parametrize(
    ("code", "status"),
    [("AccessDenied", 403), ("NoSuchBucket", 404), ("SlowDown", 503), ("InternalError", 500), ("BadDigest", 400)],
)
def test_refusals_that_have_nothing_to_do_with_it(code: str, status: int) -> None:
    probe = Probe(ELSEWHERE)
    for way in Checksums:
        assert probe.lower(way, code, status) is None


def test_a_wrong_key_is_not_asked_through_every_way() -> None:
    probe = Probe(ELSEWHERE)
    assert probe.lower(HEADER, "SignatureDoesNotMatch", 403) is None
    assert probe.settle(TRAILER, "crc")
    assert probe.lower(TRAILER, "SignatureDoesNotMatch", 403) is None


def test_down_to_nothing() -> None:
    probe = Probe(ELSEWHERE)
    assert probe.lower(HEADER, "InvalidArgument", 400) is MD5
    assert probe.lower(MD5, "NotImplemented", 501) is NONE
    assert probe.lower(NONE, "NotImplemented", 501) is None
    assert probe.settle(NONE, None, first=TRAILER)
    assert probe.way(known=True) is probe.way(known=False) is NONE


def test_a_trailer_that_may_have_become_data_is_sent_again() -> None:
    probe = Probe(ELSEWHERE)
    assert not probe.settle(TRAILER, None)
    assert probe.way(known=False) is HEADER


def test_a_header_that_was_ignored_gives_way_to_content_md5() -> None:
    probe = Probe(ELSEWHERE)
    assert probe.settle(HEADER, None)  # stored as it should be, but not verified
    assert probe.way(known=True) is probe.way(known=False) is MD5
    assert probe.settle(MD5, None)
    assert probe.way(known=False) is MD5


def test_what_worked_is_not_forgotten_for_one_refusal() -> None:
    probe = Probe(ELSEWHERE)
    assert probe.settle(TRAILER, "crc")
    assert probe.settle(TRAILER, None)  # a proxy that drops headers now and then
    assert probe.way(known=False) is TRAILER


def test_uploads_in_parts() -> None:
    probe = Probe(ELSEWHERE)
    assert probe.refused_full_object("InvalidArgument", 400)
    assert not probe.refused_full_object("AccessDenied", 403)
    probe.created(None, asked=False)
    assert not probe.full_object
    ignoring = Probe(ELSEWHERE)
    ignoring.created(None, asked=True)
    assert not ignoring.full_object
    composite = Probe(ELSEWHERE)
    composite.created("COMPOSITE", asked=True)
    assert not composite.full_object


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (AWS, True),
        ("https://bucket.s3.cn-north-1.amazonaws.com.cn/key", True),
        ("https://s3.eusc-de-east-1.amazonaws.eu", True),
        (ELSEWHERE, False),
        ("https://amazonaws.com.evil.example", False),
        ("http://127.0.0.1:9000", False),
    ],
)
def test_which_endpoints_are_amazons(url: str, expected: bool) -> None:
    assert is_aws(url) is expected
