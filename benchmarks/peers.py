"""The peers: s5cmd and cassandra-medusa, each with its own settings, measured as processes from start to end."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import yaml

from benchmarks import measure
from benchmarks.paths import HERE, root
from benchmarks.servers import AZURITE_ACCOUNT, AZURITE_KEY, BUCKET, PASSWORD, USER
from dev.bed import tools
from dev.bed.paths import locked
from dev.bed.say import note

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.measure import Usage
    from benchmarks.tool import Place

MEDUSA = "0.31.0"
NODE = "c-0"
_TUNED = {"concurrent_transfers": "8", "transfer_max_bandwidth": ""}  # an empty cap is none
# Without it botocore waits 30 s after a file of no bytes that it sent with "Expect: 100-continue"; SAI has such files.
_NO_STALL = {"BOTO_EXPERIMENTAL__NO_EMPTY_CONTINUE": "true"}


class S5cmd:
    """``cp`` of the tree into the empty bucket, ``sync --delete`` after that, ``cp`` of everything back."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._sent = False
        self._command: list[str | Path] = [
            tools.ensure(["s5cmd"])["s5cmd"], "--endpoint-url", place.server.url, "--log", "error"
        ]  # fmt: skip
        self._environment = {"PATH": os.environ["PATH"], "AWS_ACCESS_KEY_ID": USER, "AWS_SECRET_ACCESS_KEY": PASSWORD}
        self._environment |= {"AWS_REGION": "us-east-1", "HOME": str(place.work)}
        if place.server.authority:
            self._environment["SSL_CERT_FILE"] = str(place.server.authority)

    def back_up(self, tag: str) -> Usage:
        tree = self._place.node.tree(self._place.work / tag)
        verb = ["sync", "--delete"] if self._sent else ["cp"]
        self._sent = True
        usage = self._run(*verb, f"{tree}/", f"s3://{BUCKET}/data/")
        shutil.rmtree(tree)
        return usage

    def restore(self, tag: str, target: Path) -> Usage:
        assert tag
        return self._run("cp", f"s3://{BUCKET}/data/*", f"{target}/")

    def close(self) -> None:
        pass

    def _run(self, *arguments: str) -> Usage:
        return measure.program([*self._command, *arguments], self._environment, self._place.work / "s5cmd.log")


class Medusa:
    """``backup-node`` (differential, its default mode) and ``download``. See medusa_node.py for what is replaced."""

    def __init__(self, place: Place, settings: dict[str, str], environment: dict[str, str]) -> None:
        self._place = place
        self._node = place.node
        self._python = medusa_python()
        self._configuration = place.work / "medusa.ini"
        self._configuration.write_text(configuration(place, settings))
        self._environment = {
            "PATH": os.environ["PATH"], "HOME": str(place.work), "TMPDIR": str(place.work), "BENCH_NODE": NODE,
            "BENCH_AZURE_URL": f"{place.server.url}/{AZURITE_ACCOUNT}" if place.server.kind == "azure" else "",
        }  # fmt: skip
        self._environment |= environment
        if place.server.kind == "gcs":
            self._environment["STORAGE_EMULATOR_HOST"] = f"127.0.0.1:{place.server.port}"
        (place.work / "credentials").write_text(_credentials(place.server.kind))
        yaml_file = place.work / "cassandra.yaml"
        yaml_file.write_text(yaml.safe_dump({"data_file_directories": [str(place.node.data)]}))

    def back_up(self, tag: str) -> Usage:
        before = self._node.seconds
        usage = self._run("backup-node", "--backup-name", tag)
        usage.extra["snapshot"] = self._node.seconds - before
        usage.wall -= usage.extra["snapshot"]
        return usage

    def restore(self, tag: str, target: Path) -> Usage:
        target.mkdir(parents=True)
        return self._run("download", "--backup-name", tag, "--download-destination", str(target))

    def close(self) -> None:
        pass

    def _run(self, *arguments: str) -> Usage:
        # -P: this folder's modules are not Medusa's.
        command: list[str | Path] = [self._python, "-P", HERE / "medusa_node.py", "--config-file", self._configuration]
        command += arguments
        return measure.program(command, self._environment, self._place.work / "medusa.log")


def medusa_default(place: Place) -> Medusa:
    return Medusa(place, {}, {})


def medusa_tuned(place: Place) -> Medusa:
    return Medusa(place, _TUNED, _NO_STALL)


def configuration(place: Place, settings: dict[str, str]) -> str:
    """medusa.ini: where things are, and ``settings`` over its defaults. Its mode is the one for Kubernetes."""
    server = place.server
    provider = {"azure": "azure_blobs", "gcs": "google_storage"}.get(server.kind, "s3_compatible")
    storage: dict[str, Any] = {
        "storage_provider": provider, "bucket_name": BUCKET, "fqdn": NODE, "key_file": place.work / "credentials"
    }  # fmt: skip
    if provider == "s3_compatible":
        storage |= {"host": "127.0.0.1", "port": server.port, "secure": server.kind == "https"}
    if provider == "google_storage":
        del storage["key_file"]  # the emulator asks for none
    sections: dict[str, dict[str, Any]] = {
        "storage": storage | settings,
        "cassandra": {"config_file": place.work / "cassandra.yaml"},
        "kubernetes": {"enabled": True, "cassandra_url": place.node.url, "use_mgmt_api": False},
    }
    lines = []
    for name, values in sections.items():
        lines += [f"[{name}]", *(f"{key} = {value}" for key, value in values.items())]
    return "\n".join(lines) + "\n"


def _credentials(kind: str) -> str:
    if kind == "azure":
        return json.dumps({"storage_account": AZURITE_ACCOUNT, "key": AZURITE_KEY})
    return f"[default]\naws_access_key_id = {USER}\naws_secret_access_key = {PASSWORD}\n"


def medusa_python() -> Path:
    """A venv of Medusa's own, made once: its dependencies are not ours."""
    venv = root() / f"medusa-{MEDUSA}"
    with locked("bench-medusa"):
        if not (venv / ".complete").exists():
            note(f"installing cassandra-medusa {MEDUSA} ...")
            subprocess.run([sys.executable, "-m", "venv", "--clear", venv], check=True)
            install = ["-m", "pip", "--disable-pip-version-check", "install", "--quiet", f"cassandra-medusa=={MEDUSA}"]
            subprocess.run([venv / "bin/python", *install], check=True)
            (venv / ".complete").touch()
    return venv / "bin" / "python"
