"""Where Cloud Storage's tokens come from: each kind of credentials against a token endpoint on loopback."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import ssl
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from backends import gcs_credentials, gcs_session
from backends.base import BytesBody, Endpoint, Options
from backends.errors import Kind, StoreError
from backends.gcs import GcsStore
from backends.registry import open_store
from tests.contract.certificates import make
from tests.contract.google import Google, google

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.contract.fake_gcs import FakeGcs


@pytest.fixture
async def cloud(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Google]:
    """Google itself, as far as the store can tell: it wants tokens."""
    async with google() as made:
        made.valid = set()
        monkeypatch.setattr(gcs_session, "GOOGLE", made.url)
        yield made


@pytest.fixture(scope="module")
def private_key() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def service_account(cloud: Google, private_key: str) -> dict[str, str]:
    return {
        "type": "service_account", "project_id": "p", "client_email": "agent@p.iam.gserviceaccount.com",
        "private_key_id": "1", "private_key": private_key, "token_uri": f"{cloud.url}/token",
    }  # fmt: skip


@asynccontextmanager
async def opened(options: Options | None = None, **env: str) -> AsyncIterator[GcsStore]:
    store = await GcsStore.open("bucket", None, options, env=env, stall=10.0)
    try:
        yield store
    finally:
        await store.close()


async def refused(**env: str) -> StoreError:
    with pytest.raises(StoreError) as caught:
        async with opened(**env):
            pass
    assert str(caught.value).startswith("open gs://bucket: ")
    return caught.value


async def test_a_service_account_by_file_and_by_variable(cloud: Google, private_key: str, tmp_path: Path) -> None:
    text = json.dumps(service_account(cloud, private_key))
    (tmp_path / "key.json").write_text(text)
    for env in (
        {"GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path / "key.json")},
        {"GOOGLE_APPLICATION_CREDENTIALS_JSON": text},
        {"GOOGLE_APPLICATION_CREDENTIALS_JSON": text, "GOOGLE_APPLICATION_CREDENTIALS": "/no/such"},
    ):
        before = len(cloud.granted)
        async with opened(**env) as store:
            assert len(cloud.granted) == before, "opening asks for nothing"
            await asyncio.gather(*(store.put(f"key-{number}", BytesBody(b"x")) for number in range(8)))
        assert len(cloud.granted) == before + 1, "one token for all"


async def test_an_endpoints_own_authority_is_not_that_of_the_tokens(
    monkeypatch: pytest.MonkeyPatch, private_key: str, tmp_path: Path
) -> None:
    """The store stands behind something with a private authority, and Google's tokens come from Google."""
    files, contexts = [], []
    for name in ("store", "tokens"):
        (tmp_path / name).mkdir()
        files.append(make(tmp_path / name) / "public.crt")
        contexts.append(ssl.create_default_context(ssl.Purpose.CLIENT_AUTH))
        contexts[-1].load_cert_chain(files[-1], tmp_path / name / "private.key")
    async with google(contexts[0]) as cloud, google(contexts[1]) as accounts:
        monkeypatch.setattr(gcs_session, "GOOGLE", cloud.url)
        key = json.dumps(service_account(accounts, private_key))
        env = {"GOOGLE_APPLICATION_CREDENTIALS_JSON": key, "SSL_CERT_FILE": str(files[1])}
        store = await GcsStore.open("bucket", Endpoint(ca_file=str(files[0])), env=env)
        await store.put("key", BytesBody(b"x"))
        await store.close()
        assert cloud.names() == ["key"]
        assert len(accounts.granted) == 1


async def test_other_credentials_that_the_library_knows(cloud: Google, tmp_path: Path) -> None:
    (tmp_path / "subject").write_text("a token of the cluster")
    user = {"client_id": "i", "client_secret": "s", "refresh_token": "r"}
    known: list[dict[str, Any]] = [
        {"type": "authorized_user", "token_uri": f"{cloud.url}/token", **user},
        {
            "type": "external_account", "audience": "//iam.googleapis.com/pool", "token_url": f"{cloud.url}/token",
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "credential_source": {"file": str(tmp_path / "subject")},
        },
    ]  # fmt: skip
    for credentials in known:
        async with opened(GOOGLE_APPLICATION_CREDENTIALS_JSON=json.dumps(credentials)) as store:
            await store.put("key", BytesBody(b"x"))


async def test_what_gcloud_wrote_is_found_at_home(cloud: Google, private_key: str, tmp_path: Path) -> None:
    folder = tmp_path / ".config/gcloud"
    folder.mkdir(parents=True)
    (folder / "application_default_credentials.json").write_text(json.dumps(service_account(cloud, private_key)))
    for env in ({"HOME": str(tmp_path)}, {"CLOUDSDK_CONFIG": str(folder), "HOME": "/nowhere"}):
        async with opened(**env) as store:
            await store.put("key", BytesBody(b"x"))


def metadata_of(cloud: Google) -> dict[str, str]:
    return {"HOME": "/nowhere", "GCE_METADATA_HOST": cloud.url.removeprefix("http://")}


async def test_the_metadata_server(cloud: Google) -> None:
    async with opened(**metadata_of(cloud)) as store:
        assert len(cloud.granted) == 1
        await store.put("key", BytesBody(b"x"))
    path = next(path for _, path, _ in cloud.requests if path.startswith("/computeMetadata/"))
    assert path == "/computeMetadata/v1/instance/service-accounts/default/token"


@pytest.mark.slow
async def test_a_refused_token_is_renewed_once_for_all(cloud: Google) -> None:
    async with opened(**metadata_of(cloud)) as store:
        await store.put("key", BytesBody(b"x"))
        assert cloud.valid is not None
        cloud.valid.clear()  # revoked in the middle of a run
        large = BytesBody(os.urandom(12 << 20))
        jobs = [store.put(f"key-{number}", BytesBody(b"y" * 1000)) for number in range(20)]
        await asyncio.gather(store.put("large", large), *jobs, *(store.head("key") for _ in range(5)))
        assert len(cloud.granted) == 2
        assert b"".join([piece async for piece in store.get("key")]) == b"x"
        cloud.valid.clear()
        assert b"".join([piece async for piece in store.get("key")]) == b"x"
        assert len(cloud.granted) == 3
    assert len(cloud.objects) == 22


async def test_a_second_refusal_is_the_answer(cloud: Google) -> None:
    async with opened(**metadata_of(cloud)) as store:
        cloud.valid = {"another"}
        cloud.granted.clear()
        cloud.grants_good = False
        with pytest.raises(StoreError) as caught:
            await store.put("key", BytesBody(b"x"))
    assert (caught.value.kind, caught.value.retryable) == (Kind.UNAUTHENTICATED, False)
    assert "Invalid Credentials" in str(caught.value)
    assert "GOOGLE_APPLICATION_CREDENTIALS in spec.env" in str(caught.value)
    assert len(cloud.granted) == 1, "one more token, one more try"


class Asked:
    """A library token that counts: each lives for ``lifetime`` seconds."""

    def __init__(self, lifetime: int) -> None:
        self.service_data = {"type": "service_account"}
        self.token_uri = "http://nowhere"
        self.lifetime = lifetime
        self.count = 0

    async def refresh(self, *, timeout: int) -> Any:  # noqa: ASYNC109  the library's
        await asyncio.sleep(0)
        self.count += 1
        return gcs_credentials_response(f"token-{self.count}", self.lifetime)


def gcs_credentials_response(value: str, expires_in: int) -> Any:
    from gcloud.aio.auth.token import TokenResponse

    return TokenResponse(value=value, expires_in=expires_in)


async def test_a_token_is_renewed_before_it_ends() -> None:
    now = 1000.0
    token = Asked(3600)
    tokens = gcs_credentials.Tokens(token, lambda: now)  # type: ignore[arg-type]
    assert await asyncio.gather(*(tokens.get() for _ in range(5))) == ["token-1"] * 5
    now += 3600 - 226
    assert await tokens.get() == "token-1"
    now += 2
    assert await asyncio.gather(*(tokens.get() for _ in range(5))) == ["token-2"] * 5
    assert await tokens.renew("token-1") == "token-2", "another has renewed it"
    assert await tokens.renew("token-2") == "token-3"


async def test_off_the_cloud_without_credentials(cloud: Google) -> None:
    began = time.monotonic()
    error = await refused(HOME="/nowhere", GCE_METADATA_HOST="metadata.invalid")
    assert time.monotonic() - began < 10
    assert (error.kind, error.retryable) == (Kind.UNAUTHENTICATED, False)
    assert error.message == (
        "no credentials found: set GOOGLE_APPLICATION_CREDENTIALS in spec.env, or use workload identity"
    )


async def test_a_metadata_server_that_is_not_up_yet(cloud: Google, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{silent.getsockname()[1]}"
        for listens in (False, True):
            if listens:
                silent.listen()
                monkeypatch.setattr(gcs_credentials, "METADATA_TIMEOUT", 0.1)
            error = await refused(HOME="/nowhere", GCE_METADATA_HOST=host)
            assert (error.kind, error.retryable) == (Kind.UNAUTHENTICATED, True), listens
            assert "the metadata server does not answer" in str(error)


async def test_an_emulator_gets_no_credentials(cloud: Google, fake_gcs: FakeGcs, private_key: str) -> None:
    secret = {"GOOGLE_APPLICATION_CREDENTIALS_JSON": json.dumps(service_account(cloud, private_key))}
    for host in (fake_gcs.url, fake_gcs.url.removeprefix("http://"), f"{fake_gcs.url}/storage/v1/"):
        store = await open_store("GCP_BLOB", "gs://bucket/prefix", env={"STORAGE_EMULATOR_HOST": host, **secret})
        with pytest.raises(StoreError) as caught:
            await store.put("key", BytesBody(b"x"))
        assert caught.value.kind is Kind.NO_BUCKET, host
        await store.close()
    store = await GcsStore.open("bucket", Endpoint(cloud.url.replace("127.0.0.1", "localhost")), env=secret)
    with pytest.raises(StoreError, match="Invalid Credentials"):
        await store.put("key", BytesBody(b"x"))
    await store.close()
    assert cloud.granted == []


FEDERATED = {"type": "external_account", "audience": "a", "subject_token_type": "t", "token_url": "u"}
IMPERSONATED = {"type": "impersonated_service_account", "service_account_impersonation_url": "u"}


@pytest.mark.parametrize(
    ("held", "says"),
    [
        ("not json at all -----BEGIN PRIVATE KEY-----", "holds no JSON object"),
        ([], "holds no JSON object"),
        ({}, "holds credentials of type ''; supported are authorized_user"),
        ({"type": "gdch_service_account"}, "'gdch_service_account'; supported are"),
        ({"type": "service_account", "client_email": "a"}, "lacks private_key"),
        (FEDERATED | {"credential_source": {"environment_id": "aws1"}}, "federates from AWS"),
        (FEDERATED | {"credential_source": {"executable": {}}}, "with executable; supported are file and url"),
        (IMPERSONATED | {"source_credentials": {"type": "service_account"}}, "other credentials than a user's"),
    ],
)
async def test_credentials_that_cannot_be_used(cloud: Google, tmp_path: Path, held: object, says: str) -> None:
    text = held if isinstance(held, str) else json.dumps(held)
    path = tmp_path / "key.json"
    path.write_text(text)
    for env in ({"GOOGLE_APPLICATION_CREDENTIALS": str(path)}, {"GOOGLE_APPLICATION_CREDENTIALS_JSON": text}):
        error = await refused(**env)
        assert (error.kind, error.retryable) == (Kind.UNAUTHENTICATED, False)
        assert says in str(error)
        assert next(iter(env)) in str(error)
        assert "PRIVATE KEY" not in str(error)


async def test_a_key_file_that_is_not_there(cloud: Google, tmp_path: Path) -> None:
    error = await refused(GOOGLE_APPLICATION_CREDENTIALS=str(tmp_path / "none.json"))
    assert "none.json, which cannot be read: No such file or directory (mount the key there" in str(error)
    assert (error.kind, error.retryable) == (Kind.UNAUTHENTICATED, False)


async def test_keys_that_make_no_token(cloud: Google, private_key: str) -> None:
    good = service_account(cloud, private_key)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{unused.getsockname()[1]}/token"
        for change, says, retryable in (
            (
                {"private_key": "-----BEGIN PRIVATE KEY-----\nsecret\n-----END PRIVATE KEY-----"},
                "cannot be used",
                False,
            ),
            ({"token_uri": nowhere}, "/token does not answer", True),
            ({"token_uri": f"{cloud.url}/storage/v1/b/bucket/o/x"}, "authError: Invalid Credentials", False),
            ({}, "invalid_grant: Invalid JWT Signature", False),
        ):
            cloud.refuses = not change
            async with opened(GOOGLE_APPLICATION_CREDENTIALS_JSON=json.dumps(good | change)) as store:
                with pytest.raises(StoreError) as caught:
                    await store.head("key")
            assert (caught.value.kind, caught.value.retryable) == (Kind.UNAUTHENTICATED, retryable), change
            assert says in str(caught.value), str(caught.value)
            assert "secret" not in str(caught.value)


async def test_the_requester_pays_for_every_request(cloud: Google) -> None:
    paid = Options(requester_pays=True)
    async with opened(paid, GOOGLE_CLOUD_PROJECT="payer", **metadata_of(cloud)) as store:
        await store.put("key", BytesBody(b"x"))
        await store.put("large", BytesBody(bytes(9 << 20)))
        upload = await store.create_upload("big")
        await store.complete_upload("big", upload, [await store.upload_part("big", upload, 1, BytesBody(b"x"))])
        await store.copy("key", "other")
        assert b"".join([piece async for piece in store.get("key")]) == b"x"
        await store.delete(["key"])
    for method, path, query in cloud.requests:
        if not path.startswith("/computeMetadata/") and "upload_id" not in query:
            assert query.get("userProject") == "payer", (method, path)
    assert cloud.batched
    assert all("userProject=payer" in call for call in cloud.batched)
