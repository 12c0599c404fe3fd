"""Where tokens come from, on loopback: Microsoft Entra (https, as azure-identity insists) and a machine's metadata."""

from __future__ import annotations

import base64
import json
import ssl
import threading
import time
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Self
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from pathlib import Path

ROLE = "eyJhbGciOiJub25lIn0"  # how each token begins: what must not be told


def certificates(directory: Path) -> Path:
    """An authority (ca.crt) and a server's certificate for 127.0.0.1 (server.crt, server.key)."""
    now = datetime.now(UTC)
    root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    root = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "an authority of a test")])

    def certificate(name: x509.Name, public: ec.EllipticCurvePublicKey, *, ca: bool) -> x509.Certificate:
        builder = (
            x509.CertificateBuilder(root, name, public, x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if not ca:
            address = x509.IPAddress(IPv4Address("127.0.0.1"))
            builder = builder.add_extension(x509.SubjectAlternativeName([address]), critical=False)
        return builder.sign(root_key, hashes.SHA256())

    pem = serialization.Encoding.PEM
    server = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    (directory / "ca.crt").write_bytes(certificate(root, root_key.public_key(), ca=True).public_bytes(pem))
    (directory / "server.crt").write_bytes(certificate(server, key.public_key(), ca=False).public_bytes(pem))
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (directory / "server.key").write_bytes(private)
    return directory


def token() -> str:
    """What Azurite takes: issuer, audience and times are looked at, the signature is not."""
    now = int(time.time())
    claims = {
        "aud": "https://storage.azure.com", "iss": "https://sts.windows.net/tenant/", "iat": now - 60, "nbf": now - 60,
        "exp": now + 3600,
    }  # fmt: skip
    return f"{ROLE}.{base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip('=')}."


class Identities:
    """``asked``: of each question for a token, who asked and with what proof."""

    def __init__(self, certificates: Path) -> None:
        self.asked: list[tuple[str, str]] = []
        handler = type("Handler", (_Handler,), {"asked": self.asked})
        self._servers = [ThreadingHTTPServer(("127.0.0.1", 0), handler) for _ in range(2)]
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates / "server.crt", certificates / "server.key")
        self._servers[0].socket = context.wrap_socket(self._servers[0].socket, server_side=True)
        self.authority = f"https://127.0.0.1:{self._servers[0].server_port}"
        self.metadata = f"http://127.0.0.1:{self._servers[1].server_port}"

    def __enter__(self) -> Self:
        self._threads = [threading.Thread(target=server.serve_forever) for server in self._servers]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for server, thread in zip(self._servers, self._threads, strict=True):
            server.shutdown()
            server.server_close()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    asked: list[tuple[str, str]]

    def do_POST(self) -> None:
        """OAuth 2.0, client credentials: a secret, or an assertion in its place."""
        given = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        proof = given.get("client_assertion") or given.get("client_secret") or [""]
        self.asked.append((given["client_id"][0], proof[0]))
        self._answer({"token_type": "Bearer", "expires_in": 3600, "access_token": token()})

    def do_GET(self) -> None:
        """The instance metadata service; or what Entra says of itself."""
        query = parse_qs(urlsplit(self.path).query)
        if "resource" in query and self.headers.get("Metadata") == "true":
            self.asked.append(("metadata", query["resource"][0]))
            end = str(int(time.time()) + 3600)
            self._answer({"token_type": "Bearer", "expires_on": end, "resource": "x", "access_token": token()})
        else:
            self._answer({"error": "invalid_request"}, 400)

    def _answer(self, body: dict[str, object], status: int = 200) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass
