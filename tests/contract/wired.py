"""Each network store behind a faulty wire: how its requests look, and how its server says no."""

from __future__ import annotations

import http
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from backends.azure import AzureStore
from backends.base import Endpoint
from backends.gcs import GcsStore
from backends.s3 import S3Store
from tests.contract import azurite, fake_gcs
from tests.contract.conftest import new_bucket
from tests.fakes.faulty_wire import FaultyWire, faulty_wire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    import pytest

    from backends.base import ObjectStore
    from tests.contract.minio import MinIO

STALL = 2.0  # seconds


@dataclass
class Wired:
    """``store`` is bare, behind ``wire``, and gives up after STALL seconds without progress.

    ``refusal(status, more headers)`` is the whole answer by which the server says no. ``before`` counts the requests
    that opening cost.
    """

    store: ObjectStore
    wire: FaultyWire
    refusal: Callable[..., bytes]
    put_method: str = "PUT"
    part_method: str = "PUT"
    complete_method: str = "POST"
    complete_path: str = "key"

    def __post_init__(self) -> None:
        self.before = len(self.wire.requests)


def answer(status: int, body: bytes, more: bytes, kind: bytes) -> bytes:
    reason = http.HTTPStatus(status).phrase.encode()
    head = b"HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %d\r\nConnection: close\r\n" % (
        status, reason, kind, len(body),
    )  # fmt: skip
    return head + more + b"\r\n" + body


_S3 = {
    403: "AccessDenied", 404: "NoSuchKey", 409: "OperationAborted", 412: "PreconditionFailed",
    429: "Throttling", 500: "InternalError", 503: "SlowDown",
}  # fmt: skip


def s3_refusal(status: int, more: bytes = b"") -> bytes:
    body = f"<Error><Code>{_S3[status]}</Code><Message>as the test told</Message></Error>".encode()
    return answer(status, body, more, b"application/xml")


@asynccontextmanager
async def _s3(request: pytest.FixtureRequest) -> AsyncIterator[Wired]:
    request.getfixturevalue("aws")
    server: MinIO = request.getfixturevalue("minio")
    async with new_bucket(server) as plain, faulty_wire(server.port) as wire:
        store = await S3Store.open(plain._bucket, Endpoint(wire.url), stall=STALL)
        yield Wired(store, wire, s3_refusal)
        await store.close()


def gcs_refusal(status: int, more: bytes = b"") -> bytes:
    error = {"code": status, "message": "as the test told", "errors": [{"reason": "told"}]}
    return answer(status, json.dumps({"error": error}).encode(), more, b"application/json")


@asynccontextmanager
async def _gcs(request: pytest.FixtureRequest) -> AsyncIterator[Wired]:
    server: fake_gcs.FakeGcs = request.getfixturevalue("fake_gcs")
    async with fake_gcs.new_bucket(server) as plain, faulty_wire(server.port) as wire:
        bucket = plain.name.removeprefix("gs://")
        store = await GcsStore.open(bucket, Endpoint(wire.url), env={}, stall=STALL)
        yield Wired(store, wire, gcs_refusal, put_method="POST", part_method="POST", complete_path="/compose")
        await store.close()


_AZURE = {
    403: "AuthorizationPermissionMismatch", 404: "BlobNotFound", 409: "BlobImmutableDueToPolicy",
    412: "ConditionNotMet", 429: "TooManyRequests", 500: "InternalError", 503: "ServerBusy",
}  # fmt: skip


def azure_refusal(status: int, more: bytes = b"") -> bytes:
    code = _AZURE[status]
    body = f"<Error><Code>{code}</Code><Message>as the test told</Message></Error>".encode()
    said = b"x-ms-request-id: 1\r\nx-ms-version: 2025-01-05\r\nx-ms-error-code: %s\r\n" % code.encode()
    return answer(status, body, said + more, b"application/xml")


@asynccontextmanager
async def _azure(request: pytest.FixtureRequest) -> AsyncIterator[Wired]:
    server: azurite.Azurite = request.getfixturevalue("azurite")
    async with azurite.new_container(server) as plain, faulty_wire(server.port) as wire:
        endpoint = Endpoint(f"{wire.url}/{azurite.ACCOUNT}")
        container = plain.name.removeprefix("azure://")
        store = await AzureStore.open(container, endpoint, env=server.env, stall=STALL)
        yield Wired(store, wire, azure_refusal, complete_method="PUT", complete_path="comp=blocklist")
        await store.close()


WIRED: dict[str, Callable[[pytest.FixtureRequest], AbstractAsyncContextManager[Wired]]] = {
    "s3": _s3, "gcs": _gcs, "azure": _azure,
}  # fmt: skip
