"""A real etcd and kube-apiserver on loopback: RBAC on, no controller-manager, no kubelet, writes in an audit log.

About 5 s to start. Everything lies in one temporary directory; both processes are ended by pid.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import ipaddress
import json
import secrets
import shutil
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
WRITES = ("create", "update", "patch", "delete", "deletecollection")

# no watch cache for this kind: after a compaction of etcd its watches and lists get 410, as any kind's do in the end
UNCACHED = "podtemplates"

USERS = ("operator", "nobody")


@dataclass
class ApiServer:
    """A running server; ``kubeconfig`` logs in as cluster-admin, and each of ``USERS`` has no right but those bound."""

    directory: Path
    port: int
    etcd_port: int
    token: str
    kubeconfig: Path
    tokens: dict[str, str] = field(default_factory=dict)
    _processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @classmethod
    def start(cls, directory: Path) -> ApiServer:
        """``directory`` must exist. Raises RuntimeError with the end of the log when a process does not come up."""
        etcd_port, peer_port, port = (free_port() for _ in range(3))
        token = secrets.token_hex(16)
        server = cls(directory, port, etcd_port, token, directory / "kubeconfig")
        _make_certificates(directory)
        server.tokens = {user: secrets.token_hex(16) for user in USERS}
        lines = [f"{token},admin,admin,system:masters", *(f"{t},{user},{user}" for user, t in server.tokens.items())]
        (directory / "tokens.csv").write_text("\n".join(lines) + "\n")
        (directory / "audit.yaml").write_text(_AUDIT_POLICY)
        server.kubeconfig.write_text(server.kubeconfig_for(token))
        try:
            server._start_etcd(peer_port)
            server.start_apiserver()
        except BaseException:
            server.stop()
            raise
        return server

    def save_kubeconfig(self, name: str, *, user: str = "", port: int = 0) -> Path:
        """For one of ``USERS``, else the admin; ``port`` of a proxy in between."""
        path = self.directory / f"kubeconfig-{name}"
        path.write_text(self.kubeconfig_for(self.tokens[user] if user else self.token, port))
        return path

    def kubeconfig_for(self, token: str, port: int = 0) -> str:
        url = f"https://127.0.0.1:{port or self.port}"
        cluster = {"server": url, "certificate-authority": str(self.directory / "ca.crt")}
        return json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "test", "cluster": cluster}],
                "users": [{"name": "user", "user": {"token": token}}],
                "contexts": [{"name": "test", "context": {"cluster": "test", "user": "user"}}],
                "current-context": "test",
            }
        )

    def _start_etcd(self, peer_port: int) -> None:
        client, peer = f"http://127.0.0.1:{self.etcd_port}", f"http://127.0.0.1:{peer_port}"
        self._spawn(
            "etcd",
            "--name=test",
            f"--data-dir={self.directory / 'etcd'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=test={peer}",
            "--unsafe-no-fsync",
        )
        self._wait("etcd", lambda: _get(f"{client}/health"))

    def start_apiserver(self) -> None:
        d = self.directory
        self._spawn(
            "kube-apiserver",
            f"--etcd-servers=http://127.0.0.1:{self.etcd_port}",
            "--etcd-compaction-interval=0",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            f"--secure-port={self.port}",
            f"--tls-cert-file={d / 'server.crt'}",
            f"--tls-private-key-file={d / 'server.key'}",
            f"--cert-dir={d}",
            "--authorization-mode=RBAC",
            f"--token-auth-file={d / 'tokens.csv'}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={d / 'sa.key'}",
            f"--service-account-signing-key-file={d / 'sa.key'}",
            "--service-cluster-ip-range=10.96.0.0/24",
            "--endpoint-reconciler-type=none",
            "--disable-admission-plugins=ServiceAccount",
            "--allow-privileged",
            f"--watch-cache-sizes={UNCACHED}#0",
            f"--audit-policy-file={d / 'audit.yaml'}",
            f"--audit-log-path={d / 'audit.log'}",
            "--audit-log-mode=blocking-strict",
            "--shutdown-delay-duration=0s",
        )
        self._wait("kube-apiserver", lambda: self.request("/readyz"))
        self._wait("kube-apiserver", lambda: self.request("/api/v1/namespaces/default"))

    def stop_apiserver(self) -> None:
        _end(self._processes.pop())

    def restart_apiserver(self) -> None:
        """Watches of clients end in the middle."""
        self.stop_apiserver()
        self.start_apiserver()

    def stop(self) -> None:
        while self._processes:
            _end(self._processes.pop())

    def compact(self) -> None:
        """Makes etcd forget every revision but the newest: older resourceVersions answer 410 from now on."""
        base = f"http://127.0.0.1:{self.etcd_port}/v3/kv"
        answer = _get(f"{base}/range", {"key": "AA=="})
        _get(f"{base}/compaction", {"revision": json.loads(answer)["header"]["revision"], "physical": True})

    def request(self, path: str) -> bytes:
        context = ssl.create_default_context(cafile=str(self.directory / "ca.crt"))
        return _get(f"https://127.0.0.1:{self.port}{path}", context=context, token=self.token)

    def writes(self, namespace: str = "", *, user_agent: str = "") -> list[dict[str, Any]]:
        """Audit records of write requests so far, oldest first: ``verb``, ``objectRef``, ``userAgent`` …"""
        found = []
        with contextlib.suppress(FileNotFoundError), (self.directory / "audit.log").open() as log:
            for line in log:
                if namespace not in line:
                    continue  # most are: the log is of the whole run
                record = json.loads(line)
                in_namespace = not namespace or record.get("objectRef", {}).get("namespace") == namespace
                if in_namespace and user_agent in record.get("userAgent", ""):
                    found.append(record)
        return found

    def _spawn(self, tool: str, *args: str) -> None:
        log = (self.directory / f"{tool}.log").open("ab")
        with log:
            self._processes.append(
                subprocess.Popen([tool_path(tool), *args], stdout=log, stderr=log, cwd=self.directory)
            )

    def _wait(self, tool: str, probe: Any, seconds: float = 60) -> None:
        process = self._processes[-1]
        end = time.monotonic() + seconds
        while True:
            try:
                probe()
            except OSError as e:
                if process.poll() is not None or time.monotonic() > end:
                    tail = (self.directory / f"{tool}.log").read_text(errors="replace")[-2000:]
                    raise RuntimeError(f"{tool} does not come up ({e}):\n{tail}") from None
                time.sleep(0.1)
            else:
                return


def tool_path(name: str) -> str:
    """A program that ``dev/tool`` has in its cache; builds it where it has not."""
    out = subprocess.run([sys.executable, ROOT / "dev" / "tool", name], check=True, capture_output=True, text=True)
    return out.stdout.strip()


def _get(
    url: str, body: dict[str, Any] | None = None, *, context: ssl.SSLContext | None = None, token: str = ""
) -> bytes:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers={"Authorization": f"Bearer {token}"} if token else {})
    handlers: list[Any] = [urllib.request.ProxyHandler({})]
    if context:
        handlers.append(urllib.request.HTTPSHandler(context=context))
    with urllib.request.build_opener(*handlers).open(request, timeout=10) as response:
        return response.read()  # type: ignore[no-any-return]


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _make_certificates(directory: Path) -> None:
    now = dt.datetime.now(dt.UTC)

    def save_key(key: ec.EllipticCurvePrivateKey, name: str) -> None:
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
        (directory / name).write_bytes(pem)

    def builder(subject: str, issuer: str, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(minutes=5))
            .not_valid_after(now + dt.timedelta(days=2))
        )

    ca_key, server_key, sa_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
    ca = (
        builder("test-ca", "test-ca", ca_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    names = [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")]
    server = (
        builder("kube-apiserver", "test-ca", server_key)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    save_key(server_key, "server.key")
    save_key(sa_key, "sa.key")
    (directory / "ca.crt").write_bytes(ca.public_bytes(serialization.Encoding.PEM))
    (directory / "server.crt").write_bytes(server.public_bytes(serialization.Encoding.PEM))


_AUDIT_POLICY = f"""\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
  verbs: [{", ".join(WRITES)}]
- level: None
"""


def main() -> None:
    """Starts one for work by hand, until Ctrl-C: ``python -m tests.api.apiserver DIRECTORY``."""
    directory = Path(sys.argv[1])
    directory.mkdir(parents=True)
    server = ApiServer.start(directory)
    sys.stdout.write(f"export KUBECONFIG={server.kubeconfig}\n")
    sys.stdout.flush()
    try:
        signal.pause()
    except KeyboardInterrupt:
        pass
    finally:
        server.stop()
        shutil.rmtree(directory)


if __name__ == "__main__":
    main()
