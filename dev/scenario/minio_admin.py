"""Users and policies of a MinIO server, by its admin API: how a test takes away one right of the agents at run time.

The root user stands above every policy, so a test that wants a store to refuse something needs a user of its own.
Requests are signed as S3's are. The body that carries a secret is encrypted with the admin's own secret key:
``salt(32) | algorithm(1) | nonce(8) | ciphertext``, where the ciphertext is one AES-256-GCM fragment.
"""

from __future__ import annotations

import hashlib
import json
import os
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

import botocore.auth
import botocore.awsrequest
import botocore.credentials
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_auth: Any = botocore.auth  # botocore has no types
_requests: Any = botocore.awsrequest
_credentials: Any = botocore.credentials
_PBKDF2_AES_GCM = b"\x02"
_PBKDF2_ROUNDS = 8192
_FINAL = b"\x80"  # marks the last fragment of a stream; ours has only one
_FRAGMENT = 1 << 14
_SECONDS = 10.0


class AdminError(Exception):
    """The server's own words."""


class MinioAdmin:
    """``endpoint`` is the server's URL as this machine reaches it, ``user`` and ``password`` are root's."""

    def __init__(self, endpoint: str, user: str, password: str) -> None:
        self._endpoint = endpoint.rstrip("/")
        self._password = password
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # no proxy knows the way
        self._signer = _auth.SigV4Auth(_credentials.Credentials(user, password), "s3", "us-east-1")

    def add_user(self, name: str, secret: str) -> None:
        body = json.dumps({"secretKey": secret, "status": "enabled"}).encode()
        self._put("add-user", encrypt(self._password, body), accessKey=name)

    def remove_user(self, name: str) -> None:
        """Its keys are answered with InvalidAccessKeyId. One that is not there is removed."""
        self._call("DELETE", "remove-user", b"", {"accessKey": name}, fine=404)

    def set_enabled(self, name: str, *, enabled: bool) -> None:
        """A disabled user's keys are answered with InvalidAccessKeyId."""
        self._put("set-user-status", b"", accessKey=name, status="enabled" if enabled else "disabled")

    def set_policy(self, user: str, statements: list[dict[str, Any]]) -> None:
        """Makes ``statements`` all that ``user`` may do; takes effect with the next request."""
        document = json.dumps({"Version": "2012-10-17", "Statement": statements}).encode()
        self._put("add-canned-policy", document, name=f"of-{user}")
        self._put("set-user-or-group-policy", b"", policyName=f"of-{user}", userOrGroup=user, isGroup="false")

    def set_quota(self, bucket: str, size: int) -> None:
        """Bytes that fit ``bucket``, 0 for any. MinIO counts what is there from time to time, each object at once."""
        self._put("set-bucket-quota", json.dumps({"quota": size, "quotatype": "hard"}).encode(), bucket=bucket)

    def _put(self, call: str, body: bytes, **query: str) -> None:
        self._call("PUT", call, body, query)

    def _call(self, method: str, call: str, body: bytes, query: dict[str, str], *, fine: int = 0) -> None:
        url = f"{self._endpoint}/minio/admin/v3/{call}?{urllib.parse.urlencode(query)}"
        digest = hashlib.sha256(body).hexdigest()
        signed = _requests.AWSRequest(method, url, data=body, headers={"X-Amz-Content-Sha256": digest})
        self._signer.add_auth(signed)
        request = urllib.request.Request(url, data=body, headers=dict(signed.headers), method=method)
        try:
            with self._opener.open(request, timeout=_SECONDS) as response:
                response.read()
        except urllib.error.HTTPError as error:
            with error:
                if error.code != fine:
                    said = error.read().decode(errors="replace")
                    raise AdminError(f"MinIO refused {call}: {error.code} {said}") from error


def allow_all() -> list[dict[str, Any]]:
    return [{"Effect": "Allow", "Action": ["s3:*"], "Resource": ["arn:aws:s3:::*"]}]


def deny_writes_below(bucket: str, prefix: str) -> list[dict[str, Any]]:
    """Everything is allowed but writing objects whose key begins with ``prefix``."""
    where = [f"arn:aws:s3:::{bucket}/{prefix}*"]
    return [*allow_all(), {"Effect": "Deny", "Action": ["s3:PutObject"], "Resource": where}]


def encrypt(password: str, data: bytes) -> bytes:
    """``data`` as the admin API takes it, at most one fragment of 16 KiB."""
    if len(data) > _FRAGMENT:
        raise ValueError(f"{len(data)} bytes do not fit one fragment of {_FRAGMENT}")
    salt, nonce = os.urandom(32), os.urandom(8)
    cipher = AESGCM(hashlib.pbkdf2_hmac("sha256", password.encode(), salt, _PBKDF2_ROUNDS, 32))
    # Fragment 0 seals the associated data, here none; its tag is then bound to every fragment of data.
    tag = cipher.encrypt(nonce + _counter(0), b"", b"")
    return salt + _PBKDF2_AES_GCM + nonce + cipher.encrypt(nonce + _counter(1), data, _FINAL + tag)


def _counter(number: int) -> bytes:
    return number.to_bytes(4, "little")
