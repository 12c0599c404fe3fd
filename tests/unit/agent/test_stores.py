from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from agent.errors import Reason, failure
from agent.protocol import Location
from agent.stores import Stores
from backends.errors import StoreError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("backup_type", ["AWS_S3", "GCP_BLOB", "AZURE_BLOB"])
async def test_credentials_of_the_location_are_the_only_ones(
    backup_type: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the environment has would do, and does not count."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT", "acc")
    monkeypatch.setenv("AZURE_STORAGE_KEY", "a2V5")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS_JSON", '{"type": "service_account", "client_email": "e"}')
    where = Location(backup_type=backup_type, target="bucket", credentials=str(tmp_path))
    with pytest.raises(StoreError, match=f"no credentials found in {tmp_path}") as e:
        async with Stores().opened(where):
            pass
    assert failure(e.value).reason == Reason.CREDENTIALS_MISSING
