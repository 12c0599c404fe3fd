"""How things stood when a scenario failed: what somebody who has to find out why would type first."""

from __future__ import annotations

import sys
from typing import TextIO

from dev.scenario.install import KINDS, NODES_SELECTOR, OPERATOR_SELECTOR
from dev.scenario.kubectl import Kubectl, KubectlError

_ALL = ",".join(KINDS)


def dump(kubectl: Kubectl, out: TextIO = sys.stderr) -> None:
    """Never raises: it is printed where something else went wrong."""
    for arguments in (
        ("get", _ALL, "-o", "wide"),
        ("get", "pods,statefulsets,persistentvolumeclaims", "-o", "wide"),
        ("get", _ALL, "-o", "jsonpath={range .items[*]}{.kind} {.metadata.name}: {.status}{'\\n'}{end}"),
        ("get", "events", "--sort-by=.lastTimestamp"),
        ("logs", "-l", OPERATOR_SELECTOR, "--tail=60", "--prefix"),
        ("logs", "-l", NODES_SELECTOR, "-c", "init", "--tail=30", "--prefix"),
        ("logs", "-l", NODES_SELECTOR, "-c", "sidecar", "--tail=40", "--prefix"),
        ("logs", "-l", NODES_SELECTOR, "-c", "cassandra", "--tail=25", "--prefix"),
    ):
        print(f"\n--- kubectl {' '.join(arguments)}", file=out)
        try:
            said = kubectl.run(*arguments, seconds=30)
        except KubectlError as error:
            said = str(error)
        print("\n".join(said.splitlines()[-80:]), file=out, flush=True)
