"""The pieces of the Azure store that need no server: signatures, block names, XML, options, tokens."""

from __future__ import annotations

import asyncio
import base64
import itertools
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from azure.core.pipeline import PipelineContext, PipelineRequest
from azure.core.pipeline.transport import AioHttpTransport, HttpRequest
from azure.storage.blob._shared.authentication import SharedKeyCredentialPolicy
from hypothesis import given
from hypothesis import strategies as st

from backends import azure_xml as xml
from backends.azure_blocks import BlockName, Ticks, is_upload, new_upload, parsed, parts_of
from backends.azure_client import IN_PATHS, account
from backends.azure_credentials import SharedKey, SharedSignature, Token
from backends.azure_options import kept
from backends.base import Encryption, Endpoint, LockMode, Options, Part
from backends.errors import Kind, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = base64.b64encode(b"not a real key").decode()


@pytest.mark.parametrize("key", ["a", "dir/a b+c%d", "é漢字🜁", "~'(x)!*@$[]{}|^`", "a=b&c"])
@pytest.mark.parametrize(
    ("method", "query", "headers"),
    [
        ("GET", "", {"x-ms-range": "bytes=0-9"}),
        ("PUT", "", {"Content-Length": "0", "x-ms-blob-type": "BlockBlob", "x-ms-meta-crc32c": "AAAAAA=="}),
        (
            "PUT",
            "comp=block&blockid=YWJj%2Fw%3D%3D",
            {
                "Content-Length": "12", "Content-Type": "application/xml", "x-ms-content-crc64": "AAAAAAAAAAA=",
                "x-ms-encryption-scope": "mine", "If-None-Match": "*", "x-ms-copy-source": "https://host/a?b=c",
                "x-ms-copy-source-authorization": "Bearer x", "x-ms-source-range": "bytes=0-1",
                "x-ms-source-if-match": '"0x1"', "x-ms-tags": "a=b", "x-ms-access-tier": "Cool",
                "x-ms-blob-content-type": "application/octet-stream", "x-ms-meta-upload": "u", "x-ms-meta-key": "k",
            },
        ),
        ("GET", "restype=container&comp=list&prefix=a%20b%2Fc&marker=x%3Dy&startFrom=%C3%A9", {}),
    ],
)  # fmt: skip
async def test_signatures_are_the_sdks(key: str, method: str, query: str, headers: dict[str, str]) -> None:
    path = f"/container/{quote(key, safe=IN_PATHS)}"
    ours = {"x-ms-date": "Thu, 01 Jan 1970 00:00:00 GMT", "x-ms-version": "2023-11-03", **headers}
    request = HttpRequest(method, f"https://account.example{path}{'?' if query else ''}{query}", headers=dict(ours))
    context = PipelineContext(AioHttpTransport())
    SharedKeyCredentialPolicy("account", KEY).on_request(PipelineRequest(request, context))
    await SharedKey("account", KEY).authorize(method, path, query, ours)
    assert ours["Authorization"] == request.headers["Authorization"]


def name(upload: str, number: int, sent: int, kind: str = "w", crc: int = 1) -> str:
    return str(BlockName(upload, number, sent, kind, crc))


@given(
    st.from_regex(r"[0-9a-f]{18}", fullmatch=True), st.integers(1, 50_000), st.integers(0, 16**13 - 1),
    st.sampled_from("wdn"), st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_block_names_are_of_one_length_and_come_back(upload: str, number: int, sent: int, kind: str, crc: int) -> None:
    text = name(upload, number, sent, kind, crc)
    assert len(text) == 45  # at most 64, the same for all, and no padding in base64
    assert parsed(text) == BlockName(upload, number, sent, kind, crc)


def test_foreign_block_names_are_nobodys() -> None:
    for text in ("", "AAAA", name("a" * 18, 1, 1) + "0", name("a" * 18, 1, 1).replace("w", "x")):
        assert parsed(text) is None


def test_uploads_have_names_that_a_path_takes() -> None:
    assert is_upload(new_upload())
    assert new_upload() != new_upload()
    for text in ("", "../x", "a" * 17, "A" * 18, "a" * 18 + "\n"):
        assert not is_upload(text)


def test_ticks_only_go_forward() -> None:
    clock = iter([5.0, 5.0, 1.0, 9.0])
    ticks = Ticks(lambda: next(clock))
    assert [ticks.next() for _ in range(4)] == [5_000_000, 5_000_001, 5_000_002, 9_000_000]


def test_parts_are_what_arrived_whole_and_last() -> None:
    mine, other = "a" * 18, "b" * 18
    blocks = [
        xml.Block(name(mine, 2, 7), 20),  # resent below
        xml.Block(name(mine, 2, 9, "d", 0), 21),
        xml.Block(name(mine, 2, 9, "n", 77), 1),
        xml.Block(name(mine, 2, 11, "d", 0), 99),  # broke off: no note
        xml.Block(name(mine, 1, 8, "w", 66), 10),
        xml.Block(name(mine, 3, 8, "n", 55), 1),  # a note without its block
        xml.Block(name(other, 4, 8), 30),
        xml.Block("somebody-elses", 5),
    ]
    expected = [Part(1, 10, name(mine, 1, 8, "w", 66), 66), Part(2, 21, name(mine, 2, 9, "d", 0), 77)]
    for shuffled in itertools.islice(itertools.permutations(blocks), 0, 40_320, 997):
        assert parts_of(mine, shuffled) == expected


def test_a_listing_is_read() -> None:
    page = xml.listed(
        b'\xef\xbb\xbf<?xml version="1.0" encoding="utf-8"?><EnumerationResults><Blobs>'
        b"<Blob><Name>a &amp; b</Name><Properties><Last-Modified>Thu, 01 Jan 1970 00:01:00 GMT</Last-Modified>"
        b'<Etag>"0x8D"</Etag><Content-Length>12</Content-Length></Properties></Blob>'
        b'<Blob><Name Encoded="true">a%EF%BF%BEb</Name><Properties><Content-Length>0</Content-Length></Properties>'
        b"<Metadata><Key>v</Key></Metadata></Blob></Blobs><NextMarker>more</NextMarker></EnumerationResults>"
    )
    first, second = page.blobs
    assert (first.key, first.size, first.etag, first.modified) == ("a & b", 12, "0x8D", 60.0)
    assert (second.key, second.modified) == ("a\ufffeb", 0.0)
    assert (page.metadata, page.marker) == ([{}, {"key": "v"}], "more")


@pytest.mark.parametrize("data", [b"", b"<html></html>", b"{}", b"<!DOCTYPE x><EnumerationResults/>"])
def test_what_is_no_listing_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        xml.listed(data)


def test_a_batch_is_written_and_its_answers_read() -> None:
    body = xml.batch([("/c/a", {"Authorization": "one"}), ("/c/b?sig=x", {})], "mark")
    assert body.count(b"--mark\r\n") == 2
    assert body.endswith(b"--mark--\r\n")
    assert b"DELETE /c/b?sig=x HTTP/1.1\r\nContent-Length: 0\r\n\r\n" in body
    answers = xml.batch_answers(
        b"--other\r\nContent-Type: application/http\r\nContent-ID: 1\r\n\r\nHTTP/1.1 404 gone\r\n"
        b"x-ms-error-code: BlobNotFound\r\n\r\n<Code>BlobNotFound</Code>\r\n"
        b"--other\r\nContent-Type: application/http\r\nContent-ID: 0\r\n\r\nHTTP/1.1 202 Accepted\r\n\r\n--other--",
        "other",
    )
    assert {number: answer.status for number, answer in answers.items()} == {0: 202, 1: 404}
    assert answers[1].headers == {"x-ms-error-code": "BlobNotFound"}


def test_options_become_headers() -> None:
    assert kept(Options(), "azure://c").blob == {}
    assert kept(Options(encryption=Encryption.AES256), "azure://c").blob == {}  # Azure always does
    asked = kept(
        Options(storage_class="cool", encryption=Encryption.KMS, kms_key="scope-1", tags={"a b": "c/d"}),
        "azure://c",
    )
    assert asked.block == {"x-ms-encryption-scope": "scope-1"}
    assert asked.blob == {
        "x-ms-access-tier": "Cool", "x-ms-encryption-scope": "scope-1", "x-ms-tags": "a%20b=c%2Fd",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (Options(storage_class="STANDARD_IA"), "no access tier STANDARD_IA on Azure, only Hot, Cool, Cold, Archive"),
        (Options(encryption=Encryption.KMS), "needs the name of an encryption scope"),
        (Options(encryption=Encryption.KMS, kms_key="https://vault/keys/1"), "needs the name of an encryption scope"),
        (Options(kms_key="scope"), "a key is for encryption KMS"),
        (Options(tags={str(n): "x" for n in range(11)}), "takes 10 index tags, not 11"),
        (Options(tags={"a": "b&c"}), "takes no index tag a=b&c"),
        (Options(tags={"": "b"}), "takes no index tag =b"),
        (Options(requester_pays=True), "no requester pays"),
        (Options(lock_mode=LockMode.COMPLIANCE), "set an immutability policy on the container"),
        (Options(lock_days=3), "set an immutability policy on the container"),
    ],
)
def test_what_azure_has_not_is_refused(options: Options, words: str) -> None:
    with pytest.raises(StoreError, match=words) as caught:
        kept(options, "azure://c")
    assert (caught.value.kind, caught.value.retryable) == (Kind.INVALID, False)


class Identity:
    """A credential of azure-identity: tokens of an hour, or what ``failure`` says."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.asked = 0
        self.failure: Exception | None = None
        self._clock = clock

    async def get_token(self, _scope: str) -> Any:
        self.asked += 1
        await asyncio.sleep(0)
        if self.failure:
            raise self.failure
        return SimpleNamespace(token=f"t{self.asked}", expires_on=int(self._clock()) + 3600)

    async def close(self) -> None:
        pass


async def test_a_token_is_asked_for_once_and_replaced_before_its_end() -> None:
    now = [0.0]
    identity = Identity(lambda: now[0])
    token = Token(identity, "azure://c", lambda: now[0])
    assert set(await asyncio.gather(*(token.bearer() for _ in range(5)))) == {"Bearer t1"}
    now[0] = 3200.0
    assert await token.bearer() == "Bearer t1"
    now[0] = 3301.0
    assert set(await asyncio.gather(*(token.bearer() for _ in range(5)))) == {"Bearer t2"}


async def test_a_token_that_holds_outlives_a_failed_refresh() -> None:
    now = [0.0]
    identity = Identity(lambda: now[0])
    token = Token(identity, "azure://c", lambda: now[0])
    await token.bearer()
    identity.failure = OSError("no way to https://authority/secret")
    now[0] = 3400.0
    assert await token.bearer() == "Bearer t1"
    now[0] = 3601.0
    with pytest.raises(StoreError, match="the token ran out") as caught:
        await token.bearer()
    assert (caught.value.kind, caught.value.retryable) == (Kind.UNAUTHENTICATED, True)
    assert "secret" not in str(caught.value)


async def test_what_entra_says_is_passed_on_in_one_line() -> None:
    identity = Identity(lambda: 0.0)
    identity.failure = ValueError(
        "DefaultAzureCredential failed.\n\tOne: AADSTS70021: No matching federated identity record found. Trace ID: 1"
    )
    with pytest.raises(StoreError, match=r"AADSTS70021: No matching federated identity record found \(check") as caught:
        await Token(identity, "azure://c").bearer()
    assert (caught.value.retryable, "\n" in str(caught.value)) == (False, False)


@pytest.mark.parametrize(
    ("env", "url", "expected"),
    [
        ({"AZURE_STORAGE_ACCOUNT": "acc"}, None, ("https://acc.blob.core.windows.net", "acc")),
        ({}, "https://acc.blob.core.chinacloudapi.cn/", ("https://acc.blob.core.chinacloudapi.cn", "acc")),
        ({"AZURE_STORAGE_ACCOUNT": "acc"}, "https://blobs.example", ("https://blobs.example", "acc")),
        ({}, "http://127.0.0.1:1/devstoreaccount1", ("http://127.0.0.1:1/devstoreaccount1", "devstoreaccount1")),
    ],
)
async def test_the_account_is_found(env: dict[str, str], url: str | None, expected: tuple[str, str]) -> None:
    found = await account("container", Endpoint(url), {**env, "AZURE_STORAGE_KEY": KEY})
    assert found[:2] == expected
    assert isinstance(found.credential, SharedKey)
    assert found.credential.account == expected[1]


async def test_connection_strings() -> None:
    text = f"DefaultEndpointsProtocol=https;AccountName=acc;AccountKey={KEY};EndpointSuffix=core.windows.net\n"
    env = {"AZURE_STORAGE_CONNECTION_STRING": text, "AZURE_STORAGE_ACCOUNT": "ignored", "AZURE_STORAGE_KEY": "ignored"}
    found = await account("container", Endpoint(), env)
    assert found[:2] == ("https://acc.blob.core.windows.net", "acc")
    found = await account("container", Endpoint("http://127.0.0.1:1/acc"), env)
    assert found[:2] == ("http://127.0.0.1:1/acc", "acc")
    text = "BlobEndpoint=https://acc.blob.core.windows.net/;SharedAccessSignature=sv=1&sig=abc%3D"
    found = await account("container", Endpoint(), {"AZURE_STORAGE_CONNECTION_STRING": text})
    assert found.url == "https://acc.blob.core.windows.net"
    assert isinstance(found.credential, SharedSignature)
    assert found.credential.query == "sv=1&sig=abc%3D"


@pytest.mark.parametrize(
    ("container", "env", "url", "kind", "words"),
    [
        ("container", {}, None, Kind.UNAUTHENTICATED, "set AZURE_STORAGE_ACCOUNT and AZURE_STORAGE_KEY"),
        ("Container", {}, None, Kind.INVALID, "3 to 63 small letters"),
        ("a--b", {}, None, Kind.INVALID, "3 to 63 small letters"),
        ("container", {}, "ftp://host", Kind.INVALID, "no http:// or https:// URL"),
        ("container", {"AZURE_STORAGE_ACCOUNT": "acc", "AZURE_STORAGE_KEY": "SEC-RET"}, None,
         Kind.UNAUTHENTICATED, "not base64"),
        ("container", {"AZURE_STORAGE_ACCOUNT": "acc", "AZURE_STORAGE_KEY": KEY}, "https://other.blob.core.windows.net",
         Kind.INVALID, "the endpoint is of the account other, AZURE_STORAGE_ACCOUNT says acc"),
        ("container", {"AZURE_STORAGE_CONNECTION_STRING": "SEC-RET"}, None, Kind.UNAUTHENTICATED, "copy it again"),
        ("container", {"AZURE_STORAGE_CONNECTION_STRING": "AccountName=acc"}, None,
         Kind.UNAUTHENTICATED, "no credentials found"),
    ],
)  # fmt: skip
async def test_settings_that_make_no_sense(
    container: str, env: dict[str, str], url: str | None, kind: Kind, words: str
) -> None:
    with pytest.raises(StoreError, match=words) as caught:
        await account(container, Endpoint(url), env)
    assert (caught.value.kind, caught.value.retryable) == (kind, False)
    assert "SEC-RET" not in str(caught.value)
