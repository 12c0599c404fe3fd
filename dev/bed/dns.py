"""Cluster DNS: CoreDNS on the bridge's address. It answers for the cluster and for nothing else."""

import urllib.request
from pathlib import Path

from dev.bed.process import Inside
from dev.bed.say import wait_for
from dev.bed.settings import Settings


def start(bed: Settings, inside: Inside, tools: dict[str, Path], pki: Path) -> None:
    corefile = bed.state / "Corefile"
    corefile.write_text(f"""\
.:53 {{
    bind {bed.address}
    errors
    ready {bed.address}:8181
    kubernetes cluster.local in-addr.arpa ip6.arpa {{
        kubeconfig {pki}/dns.kubeconfig
        ttl 2
    }}
    cache 2
}}
""")
    inside.spawn("coredns", [tools["coredns"], "-conf", corefile])


def wait_ready(bed: Settings) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def ready() -> bool:
        try:
            with opener.open(f"http://{bed.address}:8181/ready", timeout=2) as response:
                return bool(response.status == 200)
        except OSError:
            return False

    wait_for("cluster DNS", ready, hint=bed.logs / "coredns.log")
