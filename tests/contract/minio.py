"""A real MinIO on a free loopback port, and a second user of it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
USER, PASSWORD = "contract-root", "contract-password"


@dataclass(frozen=True)
class MinIO:
    url: str
    port: int


@contextmanager
def running(
    directory: Path, *, certificates: Path | None = None, trust: ssl.SSLContext | None = None
) -> Iterator[MinIO]:
    """Starts a server on ``directory``, waits until it answers, ends it by its process."""
    binary = subprocess.run(
        [sys.executable, ROOT / "dev/tool", "minio"], check=True, capture_output=True, text=True
    ).stdout.strip()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    directory.mkdir()
    command = [binary, "server", "--quiet", "--address", f"127.0.0.1:{port}", str(directory / "data")]
    if certificates:
        command += ["--certs-dir", str(certificates)]
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(directory), "MINIO_BROWSER": "off", "MINIO_UPDATE": "off",
        "MINIO_ROOT_USER": USER, "MINIO_ROOT_PASSWORD": PASSWORD,
    }  # fmt: skip
    log = directory / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
    server = MinIO(f"http{'s' if certificates else ''}://127.0.0.1:{port}", port)
    try:
        _wait(server, process, log, trust)
        yield server
    finally:
        process.terminate()
        process.wait(10)


def _wait(server: MinIO, process: subprocess.Popen[bytes], log: Path, trust: ssl.SSLContext | None) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            with urllib.request.urlopen(f"{server.url}/minio/health/cluster", timeout=5, context=trust):
                return
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"MinIO does not start: {log.read_text()}") from None
            time.sleep(0.05)  # another process: there is nothing to wait on


def add_user(server: MinIO, name: str, password: str) -> None:
    """A user without any right. The admin API takes the body encrypted with the caller's password."""
    body = _sealed(json.dumps({"secretKey": password, "status": "enabled"}).encode(), PASSWORD)
    request = AWSRequest("PUT", f"{server.url}/minio/admin/v3/add-user?accessKey={name}", data=body)
    S3SigV4Auth(Credentials(USER, PASSWORD), "s3", "us-east-1").add_auth(request)
    sent = urllib.request.Request(request.url, body, dict(request.headers.items()), method="PUT")
    with urllib.request.urlopen(sent, timeout=10):
        pass


def _sealed(data: bytes, password: str) -> bytes:
    """MinIO's ``madmin.EncryptData``: salt, cipher (0 is AES-256-GCM), nonce, one final fragment."""
    salt, nonce = os.urandom(32), os.urandom(8)
    key = Argon2id(salt=salt, length=32, iterations=1, lanes=4, memory_cost=64 * 1024).derive(password.encode())
    cipher = AESGCM(key)
    tag = cipher.encrypt(nonce + (0).to_bytes(4, "little"), b"", b"")
    return salt + b"\0" + nonce + cipher.encrypt(nonce + (1).to_bytes(4, "little"), data, b"\x80" + tag)
