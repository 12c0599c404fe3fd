"""A real MinIO on a free loopback port, and a second user of it."""

from __future__ import annotations

import json
import os
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from tests.contract.server import answers, program, started
from tests.ports import free_port

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator
    from pathlib import Path

USER, PASSWORD = "contract-root", "contract-password"


@dataclass(frozen=True)
class MinIO:
    url: str
    port: int


@contextmanager
def running(
    directory: Path, *, certificates: Path | None = None, trust: ssl.SSLContext | None = None, region: str = ""
) -> Iterator[MinIO]:
    """Starts a server on ``directory``, waits until it answers, ends it by its process.

    With a ``region`` it refuses requests that are signed for another.
    """
    port = free_port()
    command = [program("minio"), "server", "--quiet", "--address", f"127.0.0.1:{port}", str(directory / "data")]
    if certificates:
        command += ["--certs-dir", str(certificates)]
    environment = {
        "PATH": os.environ["PATH"], "MINIO_BROWSER": "off", "MINIO_UPDATE": "off",
        "MINIO_ROOT_USER": USER, "MINIO_ROOT_PASSWORD": PASSWORD, "MINIO_SITE_REGION": region,
    }  # fmt: skip
    server = MinIO(f"http{'s' if certificates else ''}://127.0.0.1:{port}", port)
    ask = answers(f"{server.url}/minio/health/cluster", trust)
    with started(command, environment, directory, ask, patience=30):
        yield server


def add_user(server: MinIO, name: str, password: str, *actions: str) -> None:
    """A user who may do ``actions`` (``s3:GetObject``) everywhere; without any, nothing."""
    user = json.dumps({"secretKey": password, "status": "enabled"}).encode()
    _admin(server, f"add-user?accessKey={name}", _sealed(user, PASSWORD))  # the one body that has to be encrypted
    if actions:
        allowed = {"Effect": "Allow", "Action": actions, "Resource": ["arn:aws:s3:::*"]}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]}).encode()
        _admin(server, f"add-canned-policy?name={name}", policy)
        _admin(server, f"set-user-or-group-policy?isGroup=false&policyName={name}&userOrGroup={name}", b"")


def disable_user(server: MinIO, name: str) -> None:
    """Its keys are answered with InvalidAccessKeyId."""
    _admin(server, f"set-user-status?accessKey={name}&status=disabled", b"")


def _admin(server: MinIO, path: str, body: bytes) -> None:
    request = AWSRequest("PUT", f"{server.url}/minio/admin/v3/{path}", data=body)
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
