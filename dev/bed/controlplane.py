"""etcd, kube-apiserver, kube-controller-manager and kube-scheduler, as plain processes."""

import json
import ssl
import urllib.error
import urllib.request
from pathlib import Path

from dev.bed.process import Inside
from dev.bed.say import wait_for
from dev.bed.settings import Settings

# Every write and nothing else, one JSON object a line; Events and Leases can be told by objectRef.resource.
AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived", "ResponseStarted"],
    "rules": [
        {"level": "None", "verbs": ["get", "list", "watch"]},
        {"level": "None", "nonResourceURLs": ["*"]},
        {"level": "Metadata"},
    ],
}

STORAGE_CLASS = {
    "apiVersion": "storage.k8s.io/v1",
    "kind": "StorageClass",
    "metadata": {"name": "local", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
    "provisioner": "bed/local",
    "reclaimPolicy": "Delete",
    # As kind's. With Immediate the scheduler at times left a pod for five minutes whose claim had long been bound.
    "volumeBindingMode": "WaitForFirstConsumer",
}


def start_store(inside: Inside, tools: dict[str, Path]) -> None:
    """Start etcd on the namespace's own tmpfs: it waits for no disk and leaves nothing."""
    inside.spawn(
        "etcd",
        [
            *(tools["etcd"], "--data-dir=/run/etcd", "--log-level=warn", "--logger=zap"),
            *("--listen-client-urls=http://127.0.0.1:2379", "--advertise-client-urls=http://127.0.0.1:2379"),
            *("--listen-peer-urls=http://127.0.0.1:2380", "--initial-advertise-peer-urls=http://127.0.0.1:2380"),
            "--initial-cluster=default=http://127.0.0.1:2380",
        ],
        {"ETCD_UNSUPPORTED_ARCH": ""},
    )


def start_apiserver(bed: Settings, inside: Inside, tools: dict[str, Path], pki: Path) -> None:
    policy = bed.state / "audit-policy.json"
    policy.write_text(json.dumps(AUDIT_POLICY))
    inside.spawn(
        "kube-apiserver",
        [
            tools["kube-apiserver"],
            "--etcd-servers=http://127.0.0.1:2379",
            "--bind-address=0.0.0.0",
            f"--advertise-address={bed.address}",
            f"--service-cluster-ip-range={bed.services}",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--allow-privileged=true",
            f"--client-ca-file={pki}/ca.crt",
            f"--tls-cert-file={pki}/server.crt",
            f"--tls-private-key-file={pki}/server.key",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            f"--service-account-key-file={pki}/accounts.key",
            f"--service-account-signing-key-file={pki}/accounts.key",
            f"--kubelet-certificate-authority={pki}/ca.crt",
            f"--kubelet-client-certificate={pki}/kubelet-client.crt",
            f"--kubelet-client-key={pki}/kubelet-client.key",
            "--kubelet-preferred-address-types=InternalIP",
            f"--audit-policy-file={policy}",
            f"--audit-log-path={bed.audit_log}",
            "--audit-log-maxsize=1024",
        ],
    )


def start_controllers(inside: Inside, tools: dict[str, Path], pki: Path) -> None:
    inside.spawn(
        "kube-controller-manager",
        [
            tools["kube-controller-manager"],
            f"--kubeconfig={pki}/kube-controller-manager.kubeconfig",
            f"--root-ca-file={pki}/ca.crt",
            f"--service-account-private-key-file={pki}/accounts.key",
            f"--cluster-signing-cert-file={pki}/ca.crt",
            f"--cluster-signing-key-file={pki}/ca.key",
            *("--use-service-account-credentials=true", "--leader-elect=false", "--bind-address=127.0.0.1"),
            *("--kube-api-qps=100", "--kube-api-burst=200"),
        ],
    )
    inside.spawn(
        "kube-scheduler",
        [
            *(tools["kube-scheduler"], f"--kubeconfig={pki}/kube-scheduler.kubeconfig"),
            *("--leader-elect=false", "--bind-address=127.0.0.1", "--kube-api-qps=100", "--kube-api-burst=200"),
        ],
    )


class Api:
    """Just enough of a client for the bed: JSON over HTTPS with a client certificate."""

    def __init__(self, bed: Settings, certificate: str) -> None:
        pki = bed.state / "pki"
        self.url = bed.apiserver
        self.context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        self.context.load_cert_chain(pki / f"{certificate}.crt", pki / f"{certificate}.key")
        direct = urllib.request.ProxyHandler({})  # the machine's proxy knows no way into our namespace
        self.opener = urllib.request.build_opener(direct, urllib.request.HTTPSHandler(context=self.context))

    def call(self, method: str, path: str, body: object = None, *, seconds: float = 10) -> bytes:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}{path}", data=data, method=method)
        request.add_header("Content-Type", "application/json")
        with self.opener.open(request, timeout=seconds) as response:
            content: bytes = response.read()
        return content

    def ready(self) -> bool:
        try:
            return self.call("GET", "/readyz", seconds=2) == b"ok"
        except OSError:
            return False

    def create(self, path: str, body: object) -> bool:
        """Create, or leave alone what is there. True if it was created."""
        try:
            self.call("POST", path, body)
        except urllib.error.HTTPError as error:
            if error.code != 409:
                raise
            return False
        return True


def wait_ready(bed: Settings) -> Api:
    api = Api(bed, "admin")
    wait_for("an API server that is ready", api.ready, seconds=90, hint=bed.logs / "kube-apiserver.log")
    api.create("/apis/storage.k8s.io/v1/storageclasses", STORAGE_CLASS)
    return api
