"""What an endpoint can verify, learned from its answers to the first requests: no request is made to find out.

One ``Probe`` belongs to one store object, so to one run. A put goes like this:

    way = probe.way(known=body.crc32c is not None, if_absent=if_absent)
    while True:
        try send it that way
        refused:  lower = probe.lower(way, code, status); None: raise, else send it again that way
        answered: probe.settle(way, the answer's x-amz-checksum-crc32c, first=...); False: send it again, by probe.way()

S3 itself knows everything and is never asked twice.
"""

from __future__ import annotations

from enum import Enum, auto
from urllib.parse import urlsplit


class Checksums(Enum):
    """How the bytes of one request are verified by who receives them. The best first."""

    TRAILER = auto()  # STREAMING-UNSIGNED-PAYLOAD-TRAILER, aws-chunked, x-amz-checksum-crc32c behind the body
    HEADER = auto()  # UNSIGNED-PAYLOAD, x-amz-checksum-crc32c before the body
    MD5 = auto()  # UNSIGNED-PAYLOAD, Content-MD5
    NONE = auto()  # UNSIGNED-PAYLOAD: the size alone


_LOWER = {Checksums.TRAILER: Checksums.HEADER, Checksums.HEADER: Checksums.MD5, Checksums.MD5: Checksums.NONE}

# How servers say that they do not know a header or its value. Seen in the issues of Ceph, SeaweedFS, GCS, Backblaze,
# Storj, s3s, OVH and versitygw. Some of it may mean something else: a lower way is remembered only once it has worked.
_UNKNOWN = frozenset({"NotImplemented", "InvalidArgument", "InvalidRequest", "InvalidDigest", "UnsupportedHeader"})
_UNKNOWN_TRAILER = _UNKNOWN | {
    "SignatureDoesNotMatch",  # the server hashed the word, or the body, itself
    "AuthorizationHeaderMalformed",
    "XAmzContentSHA256Mismatch",
    "MissingContentLength",
    "MalformedTrailerError",
    "IncompleteBody",
    "UnsupportedSignature",
}
_STATUSES = frozenset({411, 501})


class Probe:
    """Safe to ask from concurrent requests: each steps down on its own, and what worked is remembered."""

    def __init__(self, endpoint_url: str) -> None:
        self.aws = is_aws(endpoint_url)
        self.best = Checksums.TRAILER
        self.full_object = True  # one CRC32C over all parts, ChecksumType=FULL_OBJECT; else Content-MD5 a part
        self._proven: set[Checksums] = set(Checksums) if self.aws else set()

    def way(self, *, known: bool, if_absent: bool = False) -> Checksums:
        """The way to send a body. ``known``: its CRC32C is known before its first byte is read.

        A trailer saves a pass over the bytes, nothing else. A server that does not know it may store the framing as
        if it were data, so it is not tried first with what cannot be sent again: a put that must not overwrite.
        """
        if self.best is not Checksums.TRAILER:
            return self.best
        if known or (if_absent and Checksums.TRAILER not in self._proven):
            return Checksums.HEADER
        return Checksums.TRAILER

    def lower(self, way: Checksums, code: str, status: int) -> Checksums | None:
        """The way to try after a refusal; None when it has nothing to do with checksums."""
        if way in self._proven:
            return None
        unknown = _UNKNOWN_TRAILER if way is Checksums.TRAILER else _UNKNOWN
        return _LOWER.get(way) if code in unknown or status in _STATUSES else None

    def settle(self, way: Checksums, answered: str | None, *, first: Checksums | None = None) -> bool:
        """Remembers what an accepted request shows. ``answered`` is the CRC32C in its answer, None for none.

        ``first`` is the way that was tried first, when that was another. False when what is stored now cannot be
        trusted and must be sent again: the store may have taken a trailer for data.
        """
        if way in self._proven:
            return True
        if answered is None and way is Checksums.TRAILER:
            self._down_to(Checksums.HEADER)
            return False
        if answered is None and way is Checksums.HEADER:  # stored, but the header was not understood: not verified
            self._down_to(Checksums.MD5)
            return True
        self._proven.add(way)
        if way is not Checksums.HEADER or first is Checksums.TRAILER:
            self._down_to(way)
        return True

    def refused_full_object(self, code: str, status: int) -> bool:
        """After a refused ``create_multipart_upload``: True to create it again, without algorithm and type."""
        return not self.aws and self.full_object and (code in _UNKNOWN or status in _STATUSES)

    def created(self, checksum_type: str | None, *, asked: bool) -> None:
        """Remembers what the answer to a ``create_multipart_upload`` shows; ``asked``: for FULL_OBJECT.

        A store that does not repeat the type has not understood it: parts get Content-MD5, and no checksum is asked
        for when they are put together.
        """
        if not self.aws and not (asked and checksum_type == "FULL_OBJECT"):
            self.full_object = False

    def _down_to(self, way: Checksums) -> None:
        if way.value > self.best.value:
            self.best = way


def is_aws(endpoint_url: str) -> bool:
    """Amazon's own: every partition ends with one of these."""
    host = urlsplit(endpoint_url).hostname or ""
    return host.endswith((".amazonaws.com", ".amazonaws.com.cn", ".amazonaws.eu", ".api.aws"))
