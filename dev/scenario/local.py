"""`make run`: the operator on this machine, against $KUBECONFIG's cluster or else that of `dev/cluster`.

It reaches the agents through the API server's pod proxy where pod addresses are not routable from here, and it takes
the Lease as the operator in the cluster does: of several, one works.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from dev.scenario import bed, install
from dev.scenario.kubectl import Kubectl, KubectlError


def main() -> int:
    parser = argparse.ArgumentParser(prog="make run", description="The operator on this machine.")
    parser.add_argument("--namespace", default="", help="that it watches; default: that of the kubeconfig's context")
    parser.add_argument("--agent-access", default="auto", choices=["auto", "direct", "proxy"])
    options = parser.parse_args()
    try:
        kubeconfig = Path(os.environ["KUBECONFIG"]) if os.environ.get("KUBECONFIG") else bed.describe().kubeconfig
        namespace = options.namespace or _current_namespace(kubeconfig)
        kubectl = Kubectl(kubeconfig, namespace)
        install.definitions(kubectl)
        install.master_key(kubectl)
        key = _key(kubectl)
    except (KubectlError, bed.ClusterError) as error:
        print(f"make run: {error}", file=sys.stderr)
        return 1
    print(f"operator for namespace {namespace} of {kubeconfig}; Ctrl-C ends it", file=sys.stderr)
    with tempfile.NamedTemporaryFile(prefix="master-key-") as file:  # readable by this user alone
        file.write(key)
        file.flush()
        settings = {
            **os.environ,
            "KUBECONFIG": str(kubeconfig),
            "CASSANDRA_OPERATOR_NAMESPACE": namespace,
            "CASSANDRA_OPERATOR_LEASE_NAMESPACE": namespace,
            "CASSANDRA_OPERATOR_MASTER_KEY_FILE": file.name,
            "CASSANDRA_OPERATOR_AGENT_ACCESS": options.agent_access,
        }
        return _run([sys.executable, "-m", "controller"], {"CASSANDRA_OPERATOR_LOG_FORMAT": "text", **settings})


def _run(argv: list[str], settings: dict[str, str]) -> int:
    """The exit code. SIGTERM is passed on; Ctrl-C reaches the child by itself."""
    with subprocess.Popen(argv, env=settings, cwd=bed.REPO) as child:
        signal.signal(signal.SIGTERM, lambda *_: child.terminate())
        while True:
            with contextlib.suppress(KeyboardInterrupt):
                return child.wait()


def _current_namespace(kubeconfig: Path) -> str:
    view = Kubectl(kubeconfig).run("config", "view", "--minify", "-o", "jsonpath={..namespace}")
    return view.strip() or "default"


def _key(kubectl: Kubectl) -> bytes:
    return base64.b64decode(kubectl.get("secret", install.MASTER_KEY)["data"]["key"])


if __name__ == "__main__":
    sys.exit(main())
