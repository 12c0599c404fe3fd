"""Programs that come ready made from the machine's package manager."""

import os
import shutil
import subprocess
from pathlib import Path

from dev.bed.paths import cache
from dev.bed.say import BedError, note, run_logged

# Program -> Debian package.
NEEDED = {
    "buildah": "buildah",
    "busybox": "busybox-static",
    "conntrack": "conntrack",
    "containerd": "containerd",
    "ip": "iproute2",
    "iptables": "iptables",
    "mmdebstrap": "mmdebstrap",
    "mount": "mount",
    "nsenter": "util-linux",
    "openssl": "openssl",
    "runc": "runc",
}


def ensure() -> None:
    """Install what is missing where apt can; else say what to install."""
    missing = [name for name in NEEDED if not shutil.which(name)]
    plugins = any(Path(folder, "bridge").exists() for folder in ("/usr/lib/cni", "/opt/cni/bin"))
    packages = sorted({NEEDED[name] for name in missing})
    if not plugins:
        packages.append("containernetworking-plugins")
    if not packages:
        return
    command = ["apt-get", "install", "-y", "--no-install-recommends", *packages]
    if not shutil.which("apt-get"):
        msg = f"install these first (Debian's names): {' '.join(packages)}"
        raise BedError(msg)
    note(f"  missing: {' '.join(packages)}")
    log = cache() / "logs" / "apt.log"
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with _no_services():
        if subprocess.run([*command, "--dry-run"], capture_output=True, check=False).returncode:
            run_logged("apt-get update", ["apt-get", "update"], log, env=env)
        run_logged("apt-get install", command, log, env=env)


class _no_services:  # noqa: N801  (reads as a statement)
    """Packages start their services as they are installed; the bed starts its own containerd in its own namespace."""

    policy = Path("/usr/sbin/policy-rc.d")

    def __enter__(self) -> None:
        self.ours = not self.policy.exists()
        if self.ours:
            self.policy.write_text("#!/bin/sh\nexit 101\n")
            self.policy.chmod(0o755)

    def __exit__(self, *_: object) -> None:
        if self.ours:
            self.policy.unlink(missing_ok=True)
