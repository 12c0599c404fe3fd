"""kubectl as a library: the cluster is reached in the one way in which a user reaches it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
import subprocess
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

Object = dict[str, Any]
T = TypeVar("T")
_CALL_SECONDS = 60.0
_FORWARDED = re.compile(r"^Forwarding from 127\.0\.0\.1:(\d+)")


class KubectlError(Exception):
    """kubectl said no; the text is its own."""


class WaitedTooLong(Exception):  # noqa: N818  it reads as what happened
    """A condition of the cluster did not come true in time; the text says which, and how things stood."""


@dataclass(frozen=True)
class Kubectl:
    """``kubeconfig`` empty means kubectl's own default. Calls are bound to ``namespace``."""

    kubeconfig: Path | None
    namespace: str = "default"

    def within(self, namespace: str) -> Kubectl:
        return dataclasses.replace(self, namespace=namespace)

    def argv(self, *arguments: str) -> list[str]:
        config = ["--kubeconfig", str(self.kubeconfig)] if self.kubeconfig else []
        return ["kubectl", *config, "--namespace", self.namespace, *arguments]

    def run(self, *arguments: str, stdin: str = "", seconds: float = _CALL_SECONDS) -> str:
        """Standard output. Raises KubectlError with kubectl's words, also after ``seconds``."""
        try:
            done = subprocess.run(
                self.argv(*arguments), input=stdin, capture_output=True, text=True, timeout=seconds, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise KubectlError(f"kubectl {' '.join(arguments)}: no answer within {seconds:.0f} s") from error
        if done.returncode:
            raise KubectlError(f"kubectl {' '.join(arguments)}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def apply(self, document: str | Object) -> None:
        """Applies YAML text as it stands, or one object."""
        text = document if isinstance(document, str) else json.dumps(document)
        self.run("apply", "-f", "-", stdin=text)

    def get(self, kind: str, name: str) -> Object:
        found: Object = json.loads(self.run("get", kind, name, "-o", "json"))
        return found

    def find(self, kind: str, name: str) -> Object | None:
        """Like ``get``, and None where there is none."""
        text = self.run("get", kind, name, "-o", "json", "--ignore-not-found")
        return json.loads(text) if text.strip() else None

    def events(self, name: str, type_: str = "") -> list[Object]:
        """About the object of that name; of ``type_`` Normal or Warning where it is given."""
        found = [each for each in self.list("events") if each["involvedObject"]["name"] == name]
        return [each for each in found if type_ in ("", each["type"])]

    def list(self, kinds: str, selector: str = "") -> list[Object]:
        chosen = ["-l", selector] if selector else []
        items: list[Object] = json.loads(self.run("get", kinds, *chosen, "-o", "json"))["items"]
        return items

    def row(self, kind: str, name: str) -> dict[str, str]:
        """What ``kubectl get -o wide`` prints, by the column's heading."""
        return columns(self.run("get", kind, name, "-o", "wide"))

    def patch(self, kind: str, name: str, change: Object) -> None:
        """Merges ``change`` into the object, as ``kubectl edit`` would."""
        self.run("patch", kind, name, "--type=merge", "--patch", json.dumps(change))

    def wait(self, target: str, condition: str, seconds: float) -> None:
        """``kubectl wait --for=CONDITION TARGET``, as the documentation tells the user to type it."""
        self.run("wait", f"--for={condition}", target, f"--timeout={seconds:.0f}s", seconds=seconds + 10)

    def delete(self, *arguments: str, seconds: float = 120.0) -> None:
        """Deletes and waits until it is gone; what is not there is deleted."""
        self.run(
            "delete", "--ignore-not-found", "--wait", f"--timeout={seconds:.0f}s", *arguments, seconds=seconds + 10
        )

    @contextlib.contextmanager
    def port_forward(self, target: str, port: int) -> Iterator[int]:
        """A free port of this machine's loopback that leads to ``port`` of ``target`` while the block runs."""
        with subprocess.Popen(
            self.argv("port-forward", "--address", "127.0.0.1", target, f":{port}"),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as child:
            try:
                assert child.stdout is not None
                found = _FORWARDED.match(child.stdout.readline())
                if not found:
                    raise KubectlError(f"kubectl port-forward {target} {port} did not start")
                # It prints a line for every connection: unread, the pipe would fill and stop it.
                threading.Thread(target=child.stdout.read, daemon=True).start()
                yield int(found[1])
            finally:
                child.kill()


def columns(table: str) -> dict[str, str]:
    """The first line of a table that kubectl printed, by its headings; empty where it has nothing."""
    heading, line, *_ = table.splitlines()
    starts = [found.start() for found in re.finditer(r"\S+", heading)]
    cells = zip(starts, [*starts[1:], None], strict=True)
    return {heading[start:end].strip(): line[start:end].strip() for start, end in cells}


def condition_of(obj: Object, type_: str) -> Object:
    """The condition of that type, or an empty object."""
    conditions: list[Object] = obj.get("status", {}).get("conditions", [])
    return next((each for each in conditions if each["type"] == type_), {})


def eventually(what: str, ask: Callable[[], T | None], seconds: float, every: float = 1.0) -> T:
    """Asks until the answer is neither None nor False, and returns it. For states that `kubectl wait` cannot tell."""
    until = time.monotonic() + seconds
    while True:
        answer = ask()
        if answer is not None and answer is not False:
            return answer
        if time.monotonic() > until:
            raise WaitedTooLong(f"{what}: not within {seconds:.0f} s")
        time.sleep(every)
