"""The cluster's network: a bridge inside the namespace, and one veth pair and one route outside.

The route inside points at the bridge, so nothing in the cluster can reach further than the machine it runs on.
"""

import subprocess
from pathlib import Path

from dev.bed.process import Inside
from dev.bed.settings import Settings

BRIDGE = "pods"


def up(bed: Settings, inside: Inside) -> None:
    """Make the bridge and the way in. Kernel settings are those of the namespace, not of the host."""
    script = f"""
        set -e
        ip link set lo up
        ip link add {BRIDGE} type bridge
        ip address add {bed.address}/16 dev {BRIDGE}
        ip link set {BRIDGE} up
        ip address add {bed.link_inside}/30 dev uplink
        ip link set uplink up
        ip route add default dev {BRIDGE}
        echo 1 > /proc/sys/net/ipv4/ip_forward
        for key in iptables ip6tables; do
            [ ! -e /proc/sys/net/bridge/bridge-nf-call-$key ] || echo 1 > /proc/sys/net/bridge/bridge-nf-call-$key
        done
    """
    down(bed)
    pid = str(inside.holder.pid)
    _host("ip", "link", "add", bed.veth, "type", "veth", "peer", "name", "uplink", "netns", pid)
    inside.run("/bin/sh", "-c", script)
    _host("ip", "address", "add", f"{bed.link_host}/30", "dev", bed.veth)
    _host("ip", "link", "set", bed.veth, "up")
    _host("ip", "route", "replace", bed.routed, "via", bed.link_inside, "dev", bed.veth)


def down(bed: Settings) -> None:
    """The veth goes with its namespace; this is for a namespace that something else keeps alive."""
    if (Path("/sys/class/net") / bed.veth).exists():
        subprocess.run(["ip", "link", "delete", bed.veth], capture_output=True, check=False)


def _host(*argv: str) -> None:
    subprocess.run(argv, check=True)
