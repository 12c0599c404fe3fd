"""Certificates and kubeconfigs of one cluster, made anew at every `up` with the openssl program."""

import base64
import json
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from dev.bed.settings import Settings

# Who calls the API server: common name, groups. The bed's own daemons have names of their own in the audit log.
CLIENTS = {
    "admin": ("bed:admin", "system:masters"),
    "kubelet-client": ("bed:apiserver", "system:masters"),
    "kube-controller-manager": ("system:kube-controller-manager", ""),
    "kube-scheduler": ("system:kube-scheduler", ""),
    "kube-proxy": ("system:kube-proxy", ""),
    "volumes": ("bed:volumes", "system:masters"),
    "dns": ("bed:dns", "system:masters"),
}


def make(bed: Settings) -> Path:
    """A certificate authority, the servers' and the clients' certificates, the kubeconfigs. Returns their folder."""
    folder = bed.state / "pki"
    folder.mkdir(mode=0o700)
    _openssl(
        *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "3650"),
        *("-subj", "/CN=bed-ca", "-keyout", folder / "ca.key", "-out", folder / "ca.crt"),
    )
    _openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", folder / "accounts.key")
    names = ["localhost", bed.node, "kubernetes", "kubernetes.default", "kubernetes.default.svc"]
    names.append("kubernetes.default.svc.cluster.local")
    addresses = ["127.0.0.1", bed.address, bed.first_service]
    alternatives = ",".join([f"DNS:{name}" for name in names] + [f"IP:{address}" for address in addresses])
    clients = {**CLIENTS, "kubelet": (f"system:node:{bed.node}", "system:nodes")}
    with ThreadPoolExecutor() as pool:
        jobs = [pool.submit(_sign, folder, name, who, group, "") for name, (who, group) in clients.items()]
        jobs.append(pool.submit(_sign, folder, "server", "bed", "", alternatives))
        for job in jobs:
            job.result()
    for name in clients:
        (folder / f"{name}.kubeconfig").write_text(_kubeconfig(bed, folder, name))
    (folder / "admin.kubeconfig").replace(bed.kubeconfig)
    bed.kubeconfig.chmod(0o600)
    return folder


def _sign(folder: Path, name: str, common_name: str, organization: str, alternatives: str) -> None:
    subject = (f"/O={organization}" if organization else "") + f"/CN={common_name}"
    usage = "serverAuth" if alternatives else "clientAuth"
    extensions = folder / f"{name}.ext"
    lines = [f"extendedKeyUsage={usage}"] + ([f"subjectAltName={alternatives}"] if alternatives else [])
    extensions.write_text("\n".join(lines) + "\n")
    request = folder / f"{name}.csr"
    _openssl(
        *("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
        *("-subj", subject, "-keyout", folder / f"{name}.key", "-out", request),
    )
    _openssl(
        *("x509", "-req", "-days", "3650", "-in", request, "-CA", folder / "ca.crt", "-CAkey", folder / "ca.key"),
        *("-set_serial", f"0x{abs(hash(name)):x}", "-extfile", extensions, "-out", folder / f"{name}.crt"),
    )


def _kubeconfig(bed: Settings, folder: Path, name: str) -> str:
    """JSON is YAML, so this needs no YAML library."""

    def data(file: str) -> str:
        return base64.b64encode((folder / file).read_bytes()).decode()

    cluster = {"server": bed.apiserver, "certificate-authority-data": data("ca.crt")}
    user = {"client-certificate-data": data(f"{name}.crt"), "client-key-data": data(f"{name}.key")}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": bed.name,
        "clusters": [{"name": bed.name, "cluster": cluster}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": bed.name, "context": {"cluster": bed.name, "user": name}}],
    }
    return json.dumps(config, indent=1)


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)
