"""An endpoint's own authorities: a file that is of no use is told when the store is opened, before anything is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from agent.errors import Reason, store_reason
from backends.base import Endpoint
from backends.errors import Kind, StoreError
from backends.registry import open_store
from tests.contract.certificates import make

if TYPE_CHECKING:
    from pathlib import Path

STORES = {  # with credentials that are of no use elsewhere
    "AWS_S3": {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"},
    "GCP_BLOB": {},
    "AZURE_BLOB": {"AZURE_STORAGE_ACCOUNT": "account", "AZURE_STORAGE_KEY": "a2V5"},
}
MOUNTED = r"cannot be read \(No such file or directory\): is the Secret mounted there, and has it this key\?"
NO_PEM = "holds no certificates, or a broken one: it is PEM, from -----BEGIN CERTIFICATE----- on"


@pytest.mark.parametrize("kind", STORES)
async def test_a_file_that_holds_no_authority(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str) -> None:
    for name, value in STORES[kind].items():
        monkeypatch.setenv(name, value)
    good = (make(tmp_path) / "public.crt").read_bytes()
    files = {
        "missing": (None, MOUNTED), "empty": (b"", NO_PEM), "text": (b"not a certificate", NO_PEM),
        "cut": (good[:200], NO_PEM), "second-cut": (good + good[:200], NO_PEM),
        "key": ((tmp_path / "private.key").read_bytes(), NO_PEM),
    }  # fmt: skip
    for name, (data, said) in files.items():
        path = tmp_path / name
        if data is not None:
            path.write_bytes(data)
        with pytest.raises(StoreError, match=rf"^open [a-z0-9]+://bucket: the CA bundle {path} {said}$") as caught:
            await open_store(kind, "bucket", Endpoint("https://127.0.0.1:9", ca_file=str(path)))
        assert (caught.value.kind, caught.value.retryable) == (Kind.UNTRUSTED, False)
        assert store_reason(caught.value) is Reason.CA_BUNDLE_UNUSABLE
