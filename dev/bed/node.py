"""The node: containerd, kubelet and kube-proxy."""

import json
import subprocess
from pathlib import Path

from dev.bed import buildah
from dev.bed.controlplane import Api
from dev.bed.netns import BRIDGE
from dev.bed.process import Inside
from dev.bed.say import BedError, wait_for
from dev.bed.settings import Settings

PAUSE = "localhost/pause:bed"


def start_containerd(bed: Settings, inside: Inside) -> None:
    """Start containerd with every folder of its own in the cluster's state."""
    root = _root(bed, inside)
    cni = bed.state / "cni"
    cni.mkdir()
    network = {
        "cniVersion": "0.4.0",
        "name": "bed",
        "plugins": [
            {
                "type": "bridge",
                "bridge": BRIDGE,
                "hairpinMode": True,
                "ipam": {
                    "type": "host-local",
                    "dataDir": "/run/cni",
                    "ranges": [[{"subnet": bed.pods, "rangeStart": bed.address[:-1] + "10", "gateway": bed.address}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }
    (cni / "10-bed.conflist").write_text(json.dumps(network))
    config = bed.state / "containerd.toml"
    config.write_text(f"""\
version = 2
root = "{root}"
state = "/run/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.devmapper"]
[grpc]
address = "{bed.containerd_socket}"
[plugins."io.containerd.internal.v1.opt"]
path = "{root}/opt"
[plugins."io.containerd.gc.v1.scheduler"]
startup_delay = "60s"  # at once it would collect the blobs that no image names yet
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE}"
restrict_oom_score_adj = true  # lowering it takes CAP_SYS_RESOURCE, which not every root has
disable_apparmor = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{_cni_plugins()}"
conf_dir = "{cni}"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
BinaryName = "runc"
SystemdCgroup = false
""")
    inside.spawn("containerd", ["containerd", "--config", config])
    answers = ["ctr", "--address", str(bed.containerd_socket), "version"]
    wait_for(
        "an answer of containerd",
        lambda: subprocess.run(answers, capture_output=True, check=False).returncode == 0,
        hint=bed.logs / "containerd.log",
    )


def _root(bed: Settings, inside: Inside) -> Path:
    """Unpacked layers in memory (thousands of small files take seconds on a disk), blobs as links into the cache."""
    root = bed.state / "containerd"
    content = bed.state / "content"
    root.mkdir()
    content.mkdir()
    buildah.link_blobs(content / "blobs" / "sha256")
    mounted = root / "io.containerd.content.v1.content"
    inside.run("mount", "-t", "tmpfs", "-o", "mode=711", "containerd", root)
    inside.run("mkdir", mounted)
    inside.run("mount", "--bind", content, mounted)
    return root


def _cni_plugins() -> Path:
    for folder in map(Path, ("/usr/lib/cni", "/opt/cni/bin")):
        if (folder / "bridge").exists():
            return folder
    msg = "no CNI plugins: install containernetworking-plugins"
    raise BedError(msg)


def start_kubelet(bed: Settings, inside: Inside, tools: dict[str, Path], pki: Path) -> None:
    make_cgroup(bed)
    (bed.state / "resolv.conf").write_text(f"nameserver {bed.address}\n")
    config = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": f"{pki}/ca.crt"},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": f"{pki}/server.crt",
        "tlsPrivateKeyFile": f"{pki}/server.key",
        "containerRuntimeEndpoint": f"unix://{bed.containerd_socket}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{bed.cgroup}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "enforceNodeAllocatable": [],
        "evictionHard": {},
        "imageGCHighThresholdPercent": 100,  # an image that was removed could not be pulled again
        "oomScoreAdj": 0,
        "clusterDNS": [bed.address],
        "clusterDomain": "cluster.local",
        "resolvConf": f"{bed.state}/resolv.conf",
        "podLogsDir": f"{bed.state}/pods",
        "volumePluginDir": f"{bed.state}/kubelet/plugins-exec",
        "kubeAPIQPS": 100,
        "kubeAPIBurst": 200,
    }
    file = bed.state / "kubelet.json"
    file.write_text(json.dumps(config))
    inside.spawn(
        "kubelet",
        [
            *(tools["kubelet"], f"--config={file}", f"--kubeconfig={pki}/kubelet.kubeconfig"),
            *(f"--root-dir={bed.state}/kubelet", f"--hostname-override={bed.node}", f"--node-ip={bed.address}"),
        ],
    )


def start_proxy(bed: Settings, inside: Inside, tools: dict[str, Path], pki: Path) -> None:
    config = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "clientConnection": {"kubeconfig": f"{pki}/kube-proxy.kubeconfig"},
        "clusterCIDR": bed.pods,
        "hostnameOverride": bed.node,
        "oomScoreAdj": 0,
        "conntrack": {"maxPerCore": 0},  # the table's size belongs to the host
        "iptables": {"minSyncPeriod": "100ms"},
    }
    file = bed.state / "kube-proxy.json"
    file.write_text(json.dumps(config))
    inside.spawn("kube-proxy", [tools["kube-proxy"], f"--config={file}"])


def ready(bed: Settings, api: Api) -> bool:
    try:
        node = json.loads(api.call("GET", f"/api/v1/nodes/{bed.node}"))
    except OSError:
        return False
    conditions = node["status"].get("conditions", [])
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def _hierarchies() -> list[Path]:
    """Where control groups are mounted: one place with version 2, one per controller with version 1."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    return [Path(mount[1]) for mount in mounts if mount[2] in {"cgroup", "cgroup2"}]


def make_cgroup(bed: Settings) -> None:
    for hierarchy in _hierarchies():
        group = hierarchy / bed.cgroup
        group.mkdir(exist_ok=True)
        if hierarchy.name == "cpuset":  # version 1 starts a group without CPUs, and then nothing may enter it
            for file in ("cpuset.cpus", "cpuset.mems"):
                (group / file).write_text((hierarchy / file).read_text())


def remove_cgroup(bed: Settings) -> None:
    """Remove the groups of ended pods, innermost first. Their files are the kernel's and go with them."""

    def gone() -> bool:
        for group in [hierarchy / bed.cgroup for hierarchy in _hierarchies()]:
            inner = [path for path in group.rglob("*") if path.is_dir()] if group.exists() else []
            try:
                for path in [*sorted(inner, reverse=True), *([group] if group.exists() else [])]:
                    path.rmdir()
            except OSError:  # busy until the kernel has buried the last process
                return False
        return True

    wait_for("the end of the pods' control groups", gone, seconds=20)
