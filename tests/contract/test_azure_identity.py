"""Whom Azure lets in, on a real Azurite: keys, signatures, identities, TLS; and what is told to those kept out."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from azure.storage.blob import ContainerSasPermissions, generate_container_sas

from backends.azure import AzureStore
from backends.base import BytesBody, Endpoint, FileBody
from backends.checksums import crc32c
from backends.errors import Kind, StoreError
from backends.helpers import read_all
from backends.registry import open_store
from tests.contract.azure_identity import ROLE, Identities, certificates
from tests.contract.azurite import ACCOUNT, KEY, Azurite, create, refused, running
from tests.contract.certificates import make
from tests.contract.server import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from backends.base import ObjectStore

CHUNK = 1 << 20


def signature(store: AzureStore, rights: str = "rwdlc", **more: datetime) -> str:
    """A SAS of the container, for an hour."""
    end = more.get("expiry") or datetime.now(UTC) + timedelta(hours=1)
    name = store._wire.container
    return generate_container_sas(
        ACCOUNT, name, KEY, permission=ContainerSasPermissions.from_string(rights), expiry=end
    )


def connection_string(azurite: Azurite, key: str = KEY) -> str:
    return f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={key};BlobEndpoint={azurite.url};"


async def every_verb(store: ObjectStore) -> None:
    big = os.urandom(CHUNK + 5)
    await store.put("a", BytesBody(b"hello"), if_absent=True)
    await store.put("b", BytesBody(big))
    assert await read_all(store, "b", len(big)) == big
    assert (await store.head("b")).crc32c == crc32c(big)
    assert (await store.copy("b", "c")).crc32c == (await store.head("c")).crc32c == crc32c(big)
    assert await read_all(store, "c", len(big)) == big
    identity = await store.create_upload("d")
    parts = [await store.upload_part("d", identity, number, BytesBody(b"part")) for number in (1, 2)]
    assert await store.list_parts("d", identity) == parts
    await store.complete_upload("d", identity, parts)
    assert [meta.key async for meta in store.list("")] == ["a", "b", "c", "d"]
    assert [meta.key async for meta in store.list("", start_after="b")] == ["c", "d"]
    await store.delete(["a", "b", "c", "d"])
    assert [meta.key async for meta in store.list("")] == []


@pytest.mark.slow
@pytest.mark.parametrize("way", ["connection string", "key", "SAS", "SAS in a connection string"])
async def test_each_verb_with_each_credential(azurite: Azurite, container: AzureStore, way: str) -> None:
    sas = signature(container)
    env = {
        "connection string": {"AZURE_STORAGE_CONNECTION_STRING": connection_string(azurite)},
        "key": {"AZURE_STORAGE_ACCOUNT": ACCOUNT, "AZURE_STORAGE_KEY": KEY},
        "SAS": {"AZURE_STORAGE_ACCOUNT": ACCOUNT, "AZURE_STORAGE_SAS_TOKEN": f"?{sas}"},
        "SAS in a connection string": {
            "AZURE_STORAGE_CONNECTION_STRING": f"BlobEndpoint={azurite.url};SharedAccessSignature={sas}"
        },
    }[way]
    endpoint = Endpoint() if "connection" in way else Endpoint(azurite.url)
    store = await open_store("AZURE_BLOB", f"azure://{container._wire.container}", endpoint, env=env)
    try:
        await every_verb(store)
    finally:
        await store.close()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def secure(authority: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azurite]:
    place = tmp_path_factory.mktemp("secure") / "server"
    with running(place, certificate=authority / "server.crt", key=authority / "server.key") as server:
        yield server


@pytest.fixture
def identities(authority: Path) -> Iterator[Identities]:
    with Identities(authority) as server:
        yield server


IDENTITY_VERBS = """
import asyncio, sys
from backends.azure import AzureStore
from backends.base import BytesBody, Endpoint

async def main():
    store = await AzureStore.open("by-identity", Endpoint(sys.argv[1]))
    try:
        await store._wire.call("create", "PUT", query="restype=container", expected=(201, 409))
        await store.put("key", BytesBody(b"hello"))
        await store.put("other", BytesBody(bytes(2 << 20)))
        print(b"".join([piece async for piece in store.get("key")]).decode())
        await store.delete(["key", "other"])
    finally:
        await store.close()

asyncio.run(main())
"""


@pytest.mark.slow
@pytest.mark.parametrize("way", ["workload identity", "service principal", "managed identity"])
def test_identities(secure: Azurite, authority: Path, identities: Identities, tmp_path: Path, way: str) -> None:
    """In a process of its own: aiohttp reads the authorities that azure-identity trusts when it is imported."""
    (tmp_path / "token").write_text("a-token-of-kubernetes")
    common = {"AZURE_TENANT_ID": "tenant", "AZURE_AUTHORITY_HOST": identities.authority}
    env = {
        "workload identity": {
            **common, "AZURE_CLIENT_ID": "client", "AZURE_FEDERATED_TOKEN_FILE": str(tmp_path / "token"),
            "AZURE_TOKEN_CREDENTIALS": "WorkloadIdentityCredential",
        },
        "service principal": {
            **common, "AZURE_CLIENT_ID": "client", "AZURE_CLIENT_SECRET": "a-client-secret",
            "AZURE_TOKEN_CREDENTIALS": "EnvironmentCredential",
        },
        "managed identity": {
            "AZURE_POD_IDENTITY_AUTHORITY_HOST": identities.metadata,
            "AZURE_TOKEN_CREDENTIALS": "ManagedIdentityCredential",
        },
    }[way]  # fmt: skip
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", IDENTITY_VERBS, secure.url], capture_output=True, text=True, timeout=100,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "SSL_CERT_FILE": str(authority / "ca.crt"), **env},
        check=False,
    )  # fmt: skip
    assert (ran.returncode, ran.stdout) == (0, "hello\n"), ran.stderr
    assert identities.asked[-1] == {
        "workload identity": ("client", "a-token-of-kubernetes"), "service principal": ("client", "a-client-secret"),
        "managed identity": ("metadata", "https://storage.azure.com"),
    }[way]  # fmt: skip
    assert ROLE not in ran.stderr


async def test_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("AZURE_", "IDENTITY_", "MSI_"))]:
        monkeypatch.delenv(name)
    with socket.socket() as unused:  # where a machine's metadata would be
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", f"http://127.0.0.1:{unused.getsockname()[1]}")
        monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "prod")  # none of a developer's tools
        with pytest.raises(
            StoreError, match=r"no credentials found: set AZURE_STORAGE_ACCOUNT and .* spec\.env"
        ) as error:
            await open_store("AZURE_BLOB", "container", env={"AZURE_STORAGE_ACCOUNT": "acc"})
    assert (error.value.kind, error.value.retryable) == (Kind.UNAUTHENTICATED, False)


@pytest.mark.slow
async def test_a_wrong_key(azurite: Azurite, container: AzureStore) -> None:
    """Azurite says AuthorizationFailure where Azure says AuthenticationFailed: that one is in the unit tests."""
    env = {**azurite.env, "AZURE_STORAGE_KEY": "d3Jvbmc="}
    errors = await refused(await AzureStore.open(container._wire.container, Endpoint(azurite.url), env=env))
    for verb, error in errors.items():
        assert error.kind in {Kind.UNAUTHENTICATED, Kind.FORBIDDEN}, verb
        assert not error.retryable
        assert "check the key" in str(error)


@pytest.mark.slow
async def test_a_signature_without_the_right_or_too_old(azurite: Azurite, container: AzureStore) -> None:
    for sas in (signature(container, "t"), signature(container, expiry=datetime.now(UTC) - timedelta(minutes=1))):
        env = {"AZURE_STORAGE_ACCOUNT": ACCOUNT, "AZURE_STORAGE_SAS_TOKEN": sas}
        errors = await refused(await AzureStore.open(container._wire.container, Endpoint(azurite.url), env=env))
        for verb, error in errors.items():
            assert error.kind in {Kind.UNAUTHENTICATED, Kind.FORBIDDEN}, verb
            assert not error.retryable, verb


@pytest.mark.slow
async def test_no_secret_is_told(azurite: Azurite, container: AzureStore, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    key = "cGxhbnRlZC1zZWNyZXQta2V5"
    sas = signature(container, "t")
    told = []
    for env in (
        {**azurite.env, "AZURE_STORAGE_KEY": key},
        {"AZURE_STORAGE_CONNECTION_STRING": connection_string(azurite, key)},
        {"AZURE_STORAGE_ACCOUNT": ACCOUNT, "AZURE_STORAGE_SAS_TOKEN": sas},
    ):
        store = await AzureStore.open(container._wire.container, Endpoint(azurite.url), env=env)
        told += [repr(error) + str(error) for error in (await refused(store)).values()]
    text = "".join(told) + caplog.text
    for secret in (key, sas, sas.partition("sig=")[2][:20], "SharedKey", "AccountKey"):
        assert secret not in text


@pytest.mark.slow
@pytest.mark.parametrize("trusted", ["environment", "endpoint", "anybody"])
async def test_over_tls(
    secure: Azurite, authority: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, trusted: str
) -> None:
    own = str(authority / "ca.crt")
    if trusted != "anybody":
        other = make(tmp_path) / "public.crt"
        monkeypatch.setenv("SSL_CERT_FILE", own if trusted == "environment" else str(other))
    endpoint = Endpoint(secure.url, None, None, trusted == "anybody", own if trusted == "endpoint" else "")
    store = await create(await AzureStore.open(f"tls-{trusted}", endpoint, env=secure.env))
    path = tmp_path / "source"
    path.write_bytes(os.urandom(3 << 20))
    await store.put("key", FileBody(path))
    assert await read_all(store, "key", 3 << 20) == path.read_bytes()
    await store.close()


@pytest.mark.slow
@pytest.mark.parametrize("given", [True, False])
async def test_a_certificate_nobody_vouches_for(
    secure: Azurite, authority: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, given: bool
) -> None:
    if given:  # neither the right authority in the environment counts beside the endpoint's own, nor anybody
        monkeypatch.setenv("SSL_CERT_FILE", str(authority / "ca.crt"))
    own = str(make(tmp_path) / "public.crt") if given else ""
    endpoint = Endpoint(secure.url, None, None, given, own)
    errors = await refused(await AzureStore.open("container", endpoint, env=secure.env))
    for verb, error in errors.items():
        assert (error.kind, error.retryable) == (Kind.UNAVAILABLE, False), verb
        assert "the Secret of endpoint.caBundleSecretRef or, without one, into what SSL_CERT_FILE says" in str(error)
