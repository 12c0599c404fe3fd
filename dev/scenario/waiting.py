"""Waiting for a condition as a user does, with `kubectl wait`, and being told meanwhile what `kubectl get` says."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field

from dev.scenario.kubectl import Kubectl, KubectlError, WaitedTooLong, condition_of

_LOOK = 2.0  # seconds
_AGE_COLUMNS = 1


class Failed(Exception):  # noqa: N818  it reads as what happened
    """The object says of itself that it failed; the text is its own."""


def wait_for(kubectl: Kubectl, kind: str, name: str, condition: str, seconds: float) -> None:
    """Returns when ``condition`` is True. Raises Failed as soon as the condition Failed is, and WaitedTooLong."""
    target = f"{kind}/{name}"
    watcher = _Watcher(kubectl, kind, name)
    arguments = ["wait", f"--for=condition={condition}", target, f"--timeout={seconds:.0f}s"]
    with subprocess.Popen(
        kubectl.argv(*arguments), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as child:
        try:
            while True:
                try:
                    child.wait(_LOOK)
                    break
                except subprocess.TimeoutExpired:
                    watcher.look()
        finally:
            child.kill()
        if child.returncode:
            said = child.stderr.read().strip() if child.stderr else ""
            raise WaitedTooLong(f"kubectl {' '.join(arguments)}: {said}; it is: {watcher.last}")


@dataclass
class _Watcher:
    """Prints an object's columns when they change."""

    kubectl: Kubectl
    kind: str
    name: str
    last: str = field(default="not there")

    def look(self) -> None:
        try:
            row = self.kubectl.run("get", self.kind, self.name, "--no-headers").split()
            found = self.kubectl.get(self.kind, self.name)
        except KubectlError as error:
            row, found = [str(error)], {}
        said = " ".join(row[:-_AGE_COLUMNS])
        if said and said != self.last:
            self.last = said
            print(f"           {self.kind} {said}", file=sys.stderr, flush=True)
        failed = condition_of(found, "Failed")
        if failed.get("status") == "True":
            raise Failed(f"{self.kind} {self.name}: {failed['reason']}: {failed['message']}")
