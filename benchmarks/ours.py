"""Our agent as it runs beside a node: ``agent serve``, driven over its HTTPS API; ``agent init`` for the restore.

A backup is the operations ``snapshot``, ``backup`` and ``commit``, from the first request until the answer that the
last one is over, without the time that the node's Cassandra takes. The agent stays between backups, as in its pod, so
its start is in no backup; the restore is a process of its own, with its start, as in the pod.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import ssl
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

from benchmarks import measure
from benchmarks.paths import free_port
from benchmarks.servers import AZURITE_ACCOUNT, AZURITE_KEY, BUCKET, PASSWORD, USER

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.measure import Usage
    from benchmarks.tool import Place

NODE, CLUSTER, DATACENTER, RACK = "c-0", "bench", "dc1", "r1"
_TYPES = {"azure": "AZURE_BLOB", "gcs": "GCP_BLOB"}
_STALL = re.compile(
    r'^cassandra_agent_event_loop_stall_seconds_bucket\{(?:.*,)?le="(?P<le>[^"]+)".*\} (?P<count>\S+)$', re.MULTILINE
)


class Agent:
    """One session: a resident agent, and what it needs to restore."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._port = free_port()
        self._results: dict[str, dict[str, Any]] = {}
        self._log = place.work / "agent.log"
        self._environment = self._settings()
        (place.work / "cassandra.yaml").write_text("num_tokens: 16\n")  # what a manifest carries of it
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                self._command("serve"), env=self._environment, cwd=place.checkout, stdout=output, stderr=output
            )
        authority = place.certificates / "CAs" / "ca.crt"
        self._context = ssl.create_default_context(cafile=str(authority))
        self._token = (place.certificates / "token").read_text()
        self._wait()

    def back_up(self, tag: str) -> Usage:
        stalls = self._stalls()
        linked = self._place.node.seconds
        common = {"location": self._location(), "cluster": CLUSTER, "datacenter": DATACENTER, "tag": tag}
        common["backupId"] = f"id-{tag}"
        with measure.resident(self._process.pid) as usage:
            self._do(f"s-{tag}", "snapshot", {"tag": tag})
            spec = {**common, "rack": RACK, "node": NODE, "epoch": tag.replace("-", "")}
            result = self._do(f"b-{tag}", "backup", spec)
            self._do(f"c-{tag}", "commit", {**common, "nodes": [result]})
        usage.extra["snapshot"] = self._place.node.seconds - linked
        usage.wall -= usage.extra["snapshot"]
        self._results[tag] = result
        if (p99 := quantile(stalls, self._stalls(), 0.99)) is not None:
            usage.extra["stall_p99"] = p99
        return usage

    def restore(self, tag: str, target: Path) -> Usage:
        state = self._place.work / "restore-state"
        plans, configuration = state / "plans", state / "conf"
        plans.mkdir(parents=True)
        configuration.mkdir()
        plan = {
            "restoreId": f"r-{tag}", "location": self._location(), "cluster": CLUSTER, "datacenter": DATACENTER,
            "node": NODE, "tag": tag, "digest": self._results[tag]["digest"],
        }  # fmt: skip
        (plans / f"{NODE}.json").write_text(json.dumps(plan))
        (state / "node.json").write_text(json.dumps(_NODE))
        (state / "jolokia.jar").touch()
        environment = self._environment | {
            "CASSANDRA_DATA_DIRS": str(target), "AGENT_STATE_DIR": str(state / "agent"), "AGENT_PLAN_DIR": str(plans),
            "AGENT_NODE_FILE": str(state / "node.json"), "CASSANDRA_CONF": str(configuration),
            "JOLOKIA_JAR": str(state / "jolokia.jar"), "AGENT_PORT": str(free_port()), "AGENT_FAILURE_LINGER": "1",
        }  # fmt: skip
        log = self._place.work / "init.log"
        usage = measure.program(self._command("init"), environment, log, self._place.checkout)
        if (p99 := said(log.read_text())) is not None:
            usage.extra["stall_p99"] = p99
        return usage

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(30)

    def _command(self, verb: str) -> list[str]:
        return [sys.executable, "-m", "agent", verb]

    def _settings(self) -> dict[str, str]:
        place, server = self._place, self._place.server
        settings = {
            "PATH": os.environ["PATH"], "HOME": str(place.work), "POD_NAME": NODE, "POD_IP": "127.0.0.1",
            "AGENT_PORT": str(self._port), "AGENT_CREDENTIALS_DIR": str(place.certificates),
            "JOLOKIA_URL": place.node.url, "CASSANDRA_DATA_DIRS": str(place.node.data),
            "AGENT_STATE_DIR": str(place.work / "agent-state"), "CASSANDRA_CONF": str(place.work),
        }  # fmt: skip
        if server.kind == "azure":
            return settings | {"AZURE_STORAGE_ACCOUNT": AZURITE_ACCOUNT, "AZURE_STORAGE_KEY": AZURITE_KEY}
        if server.kind == "gcs":
            return settings | {"STORAGE_EMULATOR_HOST": server.url}
        if server.authority:
            settings["AWS_CA_BUNDLE"] = str(server.authority)
        return settings | {"AWS_ACCESS_KEY_ID": USER, "AWS_SECRET_ACCESS_KEY": PASSWORD}

    def _location(self) -> dict[str, Any]:
        server = self._place.server
        where: dict[str, Any] = {"backupType": _TYPES.get(server.kind, "AWS_S3"), "target": BUCKET}
        if server.kind == "azure":
            where["endpoint"] = {"url": f"{server.url}/{AZURITE_ACCOUNT}"}
        elif server.kind != "gcs":
            where["endpoint"] = {"url": server.url, "region": "us-east-1", "pathStyle": True}
        return where

    def _do(self, name: str, kind: str, spec: dict[str, Any]) -> dict[str, Any]:
        """An operation to its end; its result."""
        operation = self._ask("PUT", f"/v1/operations/{name}", {"kind": kind, "spec": spec})
        while operation["state"] in {"Pending", "Running"}:
            operation = self._ask("GET", f"/v1/operations/{name}?since={operation['revision']}&wait=60")
        if operation["state"] != "Succeeded":
            raise RuntimeError(f"the {kind} ended as {operation['state']}: {operation.get('error')}")
        result: dict[str, Any] = operation.get("result", {})
        return result

    def _ask(self, method: str, path: str, body: object = None) -> Any:
        status, answer = self._request(method, path, body)
        if status >= 300:
            raise RuntimeError(f"the agent answered {status}: {answer.decode()[:500]}")
        return json.loads(answer)

    def _request(self, method: str, path: str, body: object = None) -> tuple[int, bytes]:
        connection = http.client.HTTPSConnection("127.0.0.1", self._port, context=self._context, timeout=120)
        try:
            content = None if body is None else json.dumps(body)
            connection.request(method, path, content, {"X-Agent-Token": self._token})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def _stalls(self) -> dict[float, float]:
        return buckets(self._request("GET", "/metrics")[1].decode())

    def _wait(self) -> None:
        deadline = time.monotonic() + 60
        while True:
            try:
                if self._request("GET", "/healthz")[0] == 200:
                    return
            except OSError:
                pass
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.close()
                raise RuntimeError(f"the agent does not start: {self._log.read_text()[-3000:]}")
            time.sleep(0.05)  # another process: there is nothing to wait on


_NODE = {
    "clusterName": CLUSTER, "datacenterName": DATACENTER, "rack": RACK, "seeds": ["127.0.0.1"], "firstPod": "c-1",
    "peers": [],
}  # fmt: skip


def said(log: str) -> float | None:
    """The p99 of the loop's stalls that ``agent init`` logs at its end, in seconds."""
    found = re.findall(r'"p99_ms": ([0-9.]+)', log)
    return float(found[-1]) / 1000 if found else None


def buckets(metrics: str) -> dict[float, float]:
    """The histogram of the loop's stalls: upper bound in seconds -> how many were no longer. Empty where it is not."""
    return {float(found["le"]): float(found["count"]) for found in _STALL.finditer(metrics)}


def quantile(before: dict[float, float], after: dict[float, float], share: float) -> float | None:
    """Of what was observed between two looks; within a bucket as if evenly spread, as Prometheus has it."""
    counts = {bound: after[bound] - before.get(bound, 0.0) for bound in sorted(after)}
    if not counts or not (total := max(counts.values())):
        return None
    lower, below = 0.0, 0.0
    for bound, count in counts.items():
        if count >= share * total:
            if bound == float("inf"):
                return lower
            return lower + (bound - lower) * (share * total - below) / (count - below)
        lower, below = bound, count
    return lower
