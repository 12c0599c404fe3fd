from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from agent.protocol import Endpoint as AgentEndpoint
from backends import registry
from backends.base import BytesBody, Endpoint, ObjectStore, Options
from backends.errors import Kind, StoreError
from backends.memory import MemoryStore
from backends.registry import open_store

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class Opened(list[tuple[str, Endpoint]]):
    """Stands for an opener: the test seam of the registry."""

    async def __call__(
        self, target: str, endpoint: Endpoint, _options: Options, _env: Mapping[str, str]
    ) -> tuple[ObjectStore, str]:
        self.append((target, endpoint))
        bucket, _, prefix = target.strip("/").partition("/")
        return MemoryStore(f"memory://{bucket}"), prefix


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Opened:
    opener = Opened()
    monkeypatch.setitem(registry.OPENERS, "MEMORY", (("memory",), opener))
    return opener


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("bucket", "memory://bucket"), ("bucket/", "memory://bucket"), ("bucket/a/b", "memory://bucket/a/b"),
        ("memory://bucket/a/", "memory://bucket/a"), ("memory://bucket", "memory://bucket"),
    ],
)  # fmt: skip
async def test_targets(opened: Opened, target: str, name: str) -> None:
    store = await open_store("MEMORY", target)
    assert store.name == name
    assert (await store.put("key", BytesBody(b"x"))).key == "key"


@pytest.mark.parametrize("target", ["", "/", "memory://", "memory:///", "s3://bucket", "bucket//x", "bucket/../x"])
async def test_targets_that_make_no_sense(opened: Opened, target: str) -> None:
    with pytest.raises(StoreError) as caught:
        await open_store("MEMORY", target)
    assert (caught.value.kind, caught.value.retryable) == (Kind.INVALID, False)


@pytest.mark.parametrize(
    ("backup_type", "target"),
    [
        ("AWS_S3", "gs://bucket"),
        ("AWS_S3", "file:///x"),
        ("FILE", "s3://bucket"),
        ("FILE", "relative/path"),
        ("GCP_BLOB", "s3://b"),
    ],
)
async def test_type_and_target_must_agree(backup_type: str, target: str) -> None:
    with pytest.raises(StoreError) as caught:
        await open_store(backup_type, target)
    assert caught.value.kind is Kind.INVALID


@pytest.mark.parametrize("backup_type", ["MEMORY", "", "aws_s3"])
async def test_no_other_types(backup_type: str) -> None:
    with pytest.raises(StoreError, match="AWS_S3") as caught:
        await open_store(backup_type, "bucket")
    assert caught.value.kind is Kind.NOT_SUPPORTED


@pytest.mark.parametrize("scheme", ["", "file://"])
async def test_a_directory(tmp_path: Path, scheme: str) -> None:
    store = await open_store("FILE", f"{scheme}{tmp_path}/backups")
    await store.put("a/key", BytesBody(b"x"))
    assert (tmp_path / "backups/a/key").read_bytes() == b"x"
    await store.close()


@pytest.mark.parametrize(
    ("given", "url"),
    [(None, "https://account.blob.core.windows.net"), ("http://127.0.0.1:1/account", "http://127.0.0.1:1/account")],
)
async def test_the_host_of_an_azure_url_is_the_endpoint(
    monkeypatch: pytest.MonkeyPatch, given: str | None, url: str
) -> None:
    opener = Opened()
    monkeypatch.setitem(registry.OPENERS, "AZURE_BLOB", (("azure", "https"), opener))
    target = "https://account.blob.core.windows.net/box/some/prefix"
    store = await open_store("AZURE_BLOB", target, Endpoint(given))
    assert opener == [("box/some/prefix", Endpoint(url))]
    assert store.name == "memory://box/some/prefix"


async def test_the_agents_endpoint_is_taken_as_it_is(opened: Opened) -> None:
    await open_store(
        "MEMORY", "b", AgentEndpoint(url="http://x", region="", path_style=True, insecure_skip_verify=True, ca_file="f")
    )
    await open_store("MEMORY", "b")
    assert [endpoint for _, endpoint in opened] == [Endpoint("http://x", None, True, True, "f"), Endpoint()]


async def test_a_bad_prefix_closes_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = []

    class Closing(MemoryStore):
        async def close(self) -> None:
            closed.append(self)

    async def opener(*_: object) -> tuple[ObjectStore, str]:
        return Closing(), "../x"

    monkeypatch.setitem(registry.OPENERS, "MEMORY", ((), opener))
    with pytest.raises(StoreError):
        await open_store("MEMORY", "bucket")
    assert len(closed) == 1
