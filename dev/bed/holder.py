"""The namespaces of a cluster, and the one process that holds them.

The holder is process 1 of a PID namespace in which everything of the cluster runs, next to a mount and a network
namespace. When it ends the kernel ends all others, and with the last of them go the mounts of kubelet and containerd,
the pods' network and the veth pair. So `down` is one signal, and an unclean end leaves only files and cgroups.
"""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from dev.bed.paths import REPO
from dev.bed.process import Process, start_time
from dev.bed.say import BedError, wait_for
from dev.bed.settings import Settings

# Where containerd, libcni and kubelet write whatever their settings say: writable inside, untouched outside.
COVERED = ("/var/lib", "/var/log")


def record(bed: Settings) -> Path:
    return bed.state / "holder.json"


def find(bed: Settings) -> Process | None:
    """The running holder: by its record, else (the state was deleted under it) by its command line."""
    try:
        process = Process(**json.loads(record(bed).read_text()))
    except (OSError, ValueError, TypeError):
        pass
    else:
        return process if process.alive() else None
    mark = [b"dev.bed.holder", os.fsencode(bed.state)]
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            argv = (folder / "cmdline").read_bytes().split(b"\0")
            levels = [line for line in (folder / "status").read_text().splitlines() if line.startswith("NSpid:")]
        except OSError:
            continue
        if (
            all(word in argv for word in mark)
            and levels
            and levels[0].split()[-1] == "1"
            and len(levels[0].split()) > 2
        ):
            pid = int(folder.name)
            return Process(pid, start_time(pid) or 0)
    return None


def start(bed: Settings) -> Process:
    """Make the namespaces and wait until their mounts are in place."""
    if any(bed.state.is_relative_to(folder) for folder in COVERED):
        msg = f"the cache cannot be below {' or '.join(COVERED)}: set CASSANDRA_OPERATOR_CACHE"
        raise BedError(msg)
    (bed.state / "hosts").write_text(f"127.0.0.1 localhost\n{bed.address} {bed.node}\n")
    log = bed.logs / "holder.log"
    argv = ["unshare", "--fork", "--pid", "--mount", "--net", "--uts", "--propagation", "private"]
    argv += [sys.executable, "-m", "dev.bed.holder", str(bed.state), bed.node]
    with log.open("ab") as out:
        child = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=REPO, start_new_session=True
        )
    wait_for("the cluster's namespaces", lambda: record(bed).exists() or child.poll() is not None, hint=log)
    holder = find(bed)
    if holder is None:
        msg = f"the namespaces could not be made; see {log}"
        raise BedError(msg)
    return holder


def end(bed: Settings) -> bool:
    """End everything that runs in the cluster. True if there was something."""
    holder = find(bed)
    if holder is None:
        return False
    holder.signal(signal.SIGKILL)
    # The kernel reports the end of a namespace's first process only after that of all the others.
    wait_for("the end of the cluster's processes", lambda: not holder.exists(), seconds=60)
    return True


def _cover(folder: str) -> list[list[str]]:
    upper, work = f"/run/covered{folder}/upper", f"/run/covered{folder}/work"
    options = f"lowerdir={folder},upperdir={upper},workdir={work}"
    return [["mkdir", "-p", upper, work], ["mount", "-t", "overlay", "-o", options, "overlay", folder]]


def main() -> None:
    """Inside: mount, record, then reap whatever is handed to process 1."""
    state, hostname = Path(sys.argv[1]), sys.argv[2]
    outer = int(Path("/proc/self").readlink().name)  # still the outside's /proc
    process = Process(outer, start_time(outer) or 0)
    socket.sethostname(hostname)
    for argv in (
        ["mount", "--make-rshared", "/"],  # a pod's mounts may propagate inside, never outside
        ["mount", "-t", "proc", "proc", "/proc"],
        ["mount", "-t", "tmpfs", "-o", "mode=755", "run", "/run"],
        *(command for folder in COVERED for command in _cover(folder)),
        ["mount", "--bind", str(state / "hosts"), "/etc/hosts"],
    ):
        subprocess.run(argv, check=True)
    Path("/run/netns").mkdir()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    temporary = state / ".holder.json"
    temporary.write_text(json.dumps({"pid": process.pid, "started": process.started}))
    temporary.rename(state / "holder.json")
    while True:
        signal.sigwait({signal.SIGCHLD})
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass


if __name__ == "__main__":
    main()
