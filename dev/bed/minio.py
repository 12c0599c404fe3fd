"""The object store of the bed: MinIO on the bridge's address, for pods and for tests on the host alike."""

import urllib.request
from pathlib import Path

from dev.bed.process import Inside
from dev.bed.say import wait_for
from dev.bed.settings import MINIO_KEY, MINIO_SECRET, Settings


def start(bed: Settings, inside: Inside, tools: dict[str, Path]) -> None:
    data = bed.state / "minio"
    data.mkdir()
    inside.spawn(
        "minio",
        [tools["minio"], "server", "--address", f"{bed.address}:9000", data],
        {
            "MINIO_ROOT_USER": MINIO_KEY,
            "MINIO_ROOT_PASSWORD": MINIO_SECRET,
            "MINIO_BROWSER": "off",
            "MINIO_UPDATE": "off",
        },
    )


def ready(bed: Settings) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{bed.minio}/minio/health/ready", timeout=2) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def wait_ready(bed: Settings) -> None:
    wait_for("MinIO", lambda: ready(bed), hint=bed.logs / "minio.log")
