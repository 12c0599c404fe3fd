"""Every way that the SDK's default chain finds keys, and keys that end while a store is open.

The services that hand keys out are moto's STS or loopback servers; the store is one that notes who asks.
"""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import sys
from datetime import UTC, datetime, timedelta
from hashlib import sha1
from typing import TYPE_CHECKING

import pytest

from backends.base import BytesBody, Endpoint
from backends.errors import Kind, StoreError
from backends.registry import open_store
from backends.s3 import S3Store
from tests.contract.conftest import AT_ONCE
from tests.contract.minio import PASSWORD, USER
from tests.contract.moto_server import Moto, running
from tests.contract.odd_server import Odd, error, http, saying

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from tests.contract.minio import MinIO

pytestmark = pytest.mark.slow

ROLE = "arn:aws:iam::123456789012:role/backup"
STORED = http("200 OK", ETag='"etag"')


@pytest.fixture(scope="module")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moto]:
    with running(tmp_path_factory.mktemp("moto") / "server") as server:
        yield server


@pytest.fixture
def none(aws: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """No keys anywhere."""
    aws.delenv("AWS_ACCESS_KEY_ID")
    aws.delenv("AWS_SECRET_ACCESS_KEY")
    return aws


@pytest.fixture
async def noting() -> AsyncIterator[Odd]:
    """A store that keeps whatever it is given, and the requests' heads."""
    async with saying(STORED) as odd:
        yield odd


def asked_by(head: bytes) -> tuple[str, str]:
    """The access key's id and the token of a request."""
    signed = re.search(rb"(?i)\r\nauthorization: .*Credential=([^/]+)/", head)
    token = re.search(rb"(?i)\r\nx-amz-security-token: ([^\r]+)", head)
    assert signed, head
    return signed[1].decode(), token[1].decode() if token else ""


async def put_once(noting: Odd) -> tuple[str, str]:
    store = await S3Store.open("bucket", Endpoint(noting.url))
    try:
        await store.put("key", BytesBody(b"x"))
    finally:
        await store.close()
    return asked_by(noting.requests[-1])


def profile(path: Path, name: str, **settings: str) -> None:
    lines = [f"[{name}]", *(f"{key} = {value}" for key, value in settings.items())]
    with path.open("a") as file:
        file.write("\n".join(lines) + "\n")


def session(key: str) -> dict[str, str]:
    """As the containers' and the instance's services hand it out."""
    end = (datetime.now(UTC) + timedelta(hours=6)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"Code": "Success", "AccessKeyId": key, "SecretAccessKey": "s", "Token": "a-token", "Expiration": end}


def as_json(value: object) -> bytes:
    return http("200 OK", json.dumps(value).encode(), content_type="application/json")


async def test_the_environment(aws: pytest.MonkeyPatch, noting: Odd) -> None:
    aws.setenv("AWS_ACCESS_KEY_ID", " of-the-env\n")
    aws.setenv("AWS_SESSION_TOKEN", "token-of-the-env\n")
    assert await put_once(noting) == ("of-the-env", "token-of-the-env")


async def test_a_secret_made_of_files_has_newlines(minio: MinIO, bucket: S3Store, aws: pytest.MonkeyPatch) -> None:
    aws.setenv("AWS_ACCESS_KEY_ID", f"{USER}\n")
    aws.setenv("AWS_SECRET_ACCESS_KEY", f"{PASSWORD}\r\n")
    store = await S3Store.open(bucket._bucket, Endpoint(minio.url))
    await store.put("key", BytesBody(b"x"))
    assert [meta.key async for meta in store.list("")] == ["key"]
    await store.close()


async def test_a_shared_file_and_a_profile(none: pytest.MonkeyPatch, tmp_path: Path, noting: Odd) -> None:
    profile(tmp_path / "no-credentials", "default", aws_access_key_id="of-default", aws_secret_access_key="s")
    profile(tmp_path / "no-credentials", "other", aws_access_key_id="of-other", aws_secret_access_key="s")
    assert await put_once(noting) == ("of-default", "")
    none.setenv("AWS_PROFILE", "other")
    assert await put_once(noting) == ("of-other", "")


async def test_a_process(none: pytest.MonkeyPatch, tmp_path: Path, noting: Odd) -> None:
    said = json.dumps({"Version": 1, "AccessKeyId": "of-process", "SecretAccessKey": "s"})
    command = shlex.join([sys.executable, "-c", f"print({said!r})"])
    profile(tmp_path / "no-config", "default", credential_process=command)
    assert await put_once(noting) == ("of-process", "")


async def test_a_container(none: pytest.MonkeyPatch, tmp_path: Path, noting: Odd) -> None:
    """EKS Pod Identity and ECS."""
    (tmp_path / "token").write_text("authorization-of-the-pod")
    async with saying(as_json(session("of-container"))) as service:
        none.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{service.url}/v1/credentials")
        none.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", str(tmp_path / "token"))
        assert await put_once(noting) == ("of-container", "a-token")
        assert b"authorization-of-the-pod" in service.requests[0]


async def test_an_instance(none: pytest.MonkeyPatch, noting: Odd) -> None:
    def imds(head: bytes) -> bytes:
        path = head.split()[1]
        if path.endswith(b"/api/token"):
            return http("200 OK", b"imds-token")
        if path.endswith(b"/security-credentials/"):
            return http("200 OK", b"role-of-the-node")
        return as_json(session("of-instance"))

    async with saying(imds) as service:
        none.delenv("AWS_EC2_METADATA_DISABLED")
        none.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", service.url)
        assert await put_once(noting) == ("of-instance", "a-token")


async def test_single_sign_on(none: pytest.MonkeyPatch, tmp_path: Path, noting: Odd) -> None:
    start = "https://example.awsapps.com/start"
    profile(
        tmp_path / "no-config", "default",
        sso_start_url=start, sso_region="eu-west-1", sso_account_id="123456789012", sso_role_name="backup",
    )  # fmt: skip
    cache = tmp_path / ".aws/sso/cache"
    cache.mkdir(parents=True)
    end = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    name = sha1(start.encode(), usedforsecurity=False).hexdigest()
    (cache / f"{name}.json").write_text(json.dumps({"startUrl": start, "accessToken": "sso", "expiresAt": end}))
    none.setattr("botocore.credentials.SSOProvider._SSO_TOKEN_CACHE_DIR", str(cache))  # it is ~ when botocore is loaded
    role = {"accessKeyId": "of-sso", "secretAccessKey": "s", "sessionToken": "a-token", "expiration": 4e12}
    async with saying(as_json({"roleCredentials": role})) as service:
        none.setenv("AWS_ENDPOINT_URL_SSO", service.url)
        assert await put_once(noting) == ("of-sso", "a-token")


@pytest.fixture
def web_identity(none: pytest.MonkeyPatch, tmp_path: Path, moto: Moto) -> Path:
    """As a pod with a service account's role has it; the token's file."""
    token = tmp_path / "token"
    token.write_text("eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJrdWJlcm5ldGVzIn0.signature")
    none.setenv("AWS_ROLE_ARN", ROLE)
    none.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(token))
    none.setenv("AWS_REGION", "eu-west-1")  # and no AWS_DEFAULT_REGION: STS has to be found all the same
    none.setenv("AWS_ENDPOINT_URL_STS", moto.url)
    return token


async def test_web_identity(web_identity: Path, noting: Odd) -> None:
    key, token = await put_once(noting)
    assert key.startswith("ASIA")
    assert token


async def test_sts_is_not_there(web_identity: Path, noting: Odd, none: pytest.MonkeyPatch) -> None:
    none.setenv("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:1")
    with pytest.raises(StoreError, match=r"refused: no answer from http://127\.0\.0\.1:1") as caught:
        await put_once(noting)
    assert caught.value.retryable


async def test_sts_says_no(web_identity: Path, noting: Odd, none: pytest.MonkeyPatch) -> None:
    body = (
        b'<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>'
        b"<Code>AccessDenied</Code><Message>Not authorized to perform sts:AssumeRoleWithWebIdentity</Message>"
        b"</Error><RequestId>1</RequestId></ErrorResponse>"
    )
    async with saying(http("403 Forbidden", body, content_type="text/xml")) as sts:
        none.setenv("AWS_ENDPOINT_URL_STS", sts.url)
        with pytest.raises(StoreError, match="AssumeRoleWithWebIdentity was refused: AccessDenied") as caught:
            await put_once(noting)
        assert b"eyJhbGciOiJSUzI1NiJ9" not in str(caught.value).encode()
    assert (caught.value.kind, caught.value.retryable) == (Kind.UNAUTHENTICATED, False)


def ending(code: str = "ExpiredToken") -> tuple[Callable[[bytes], bytes], list[str]]:
    """A store that takes the first keys twice and then says ``code`` to them; and whom it saw."""
    seen: list[str] = []

    def answer(head: bytes) -> bytes:
        key = asked_by(head)[0]
        seen.append(key)
        if key == seen[0] and len(seen) > 2:
            return error("400 Bad Request", code)
        return http("200 OK", b"<DeleteResult/>") if head.startswith(b"POST") else STORED

    return answer, seen


async def test_a_session_that_ends_is_renewed(web_identity: Path) -> None:
    answer, seen = ending()
    async with saying(answer) as odd:
        store = await open_store("AWS_S3", "bucket", Endpoint(odd.url), policy=AT_ONCE)
        await store.put("a", BytesBody(b"x"))
        await store.put("b", BytesBody(b"x"))
        await asyncio.gather(*(store.put(f"c{number}", BytesBody(b"x")) for number in range(8)))
        await store.close()
    assert len(set(seen)) == 2  # one new session, whoever asked for it


@pytest.mark.parametrize("code", ["ExpiredToken", "InvalidAccessKeyId"])
async def test_keys_in_a_file_that_are_rotated_are_read_again(
    none: pytest.MonkeyPatch, tmp_path: Path, code: str
) -> None:
    path = tmp_path / "no-credentials"
    profile(path, "default", aws_access_key_id="old", aws_secret_access_key="s")
    answer, seen = ending(code)
    async with saying(answer) as odd:
        store = await open_store("AWS_S3", "bucket", Endpoint(odd.url), policy=AT_ONCE)
        await store.put("a", BytesBody(b"x"))
        await store.put("b", BytesBody(b"x"))
        path.unlink()
        profile(path, "default", aws_access_key_id="new", aws_secret_access_key="s")
        await store.delete(["key"])  # by the SDK; the puts are our own requests
        await store.put("c", BytesBody(b"x"))
        await store.close()
    assert seen == ["old", "old", "old", "new", "new"]


async def test_keys_of_the_environment_that_end_cannot_be_renewed(aws: pytest.MonkeyPatch) -> None:
    answer, seen = ending()
    async with saying(answer) as odd:
        store = await open_store("AWS_S3", "bucket", Endpoint(odd.url), policy=AT_ONCE)
        await store.put("a", BytesBody(b"x"))
        await store.put("b", BytesBody(b"x"))
        for _ in range(2):
            with pytest.raises(StoreError, match=r"ExpiredToken.*give new credentials") as caught:
                await store.put("c", BytesBody(b"x"))
            assert (caught.value.kind, caught.value.retryable) == (Kind.UNAUTHENTICATED, False)
        await store.close()
    assert len(seen) == 4


async def test_a_rotated_key_on_a_real_store(
    minio: MinIO, bucket: S3Store, none: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "no-credentials"
    profile(path, "default", aws_access_key_id="deleted", aws_secret_access_key="gone")
    store = await open_store("AWS_S3", bucket._bucket, Endpoint(minio.url), policy=AT_ONCE)
    path.unlink()
    profile(path, "default", aws_access_key_id=USER, aws_secret_access_key=PASSWORD)
    await store.put("key", BytesBody(b"x"))
    await store.close()
    assert [meta.key async for meta in bucket.list("")] == ["key"]
