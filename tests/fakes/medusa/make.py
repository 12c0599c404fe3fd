"""Makes ``objects.tar.xz`` again: what the real cassandra-medusa 0.31.0 writes into a bucket of a real MinIO.

``.venv/bin/python -m tests.fakes.medusa.make``. Two nodes, small tables of every kind, and the backups
``b1`` (differential), ``b2`` (differential, after a change), ``f1`` (full) and ``half``, which one node never made.
``expected.json`` in the archive has the SHA-256 of every file that each node had in each backup.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
import zlib
from pathlib import Path

import yaml

from backends.base import Endpoint
from backends.helpers import read_all
from backends.s3 import S3Store
from benchmarks.peers import medusa_python
from tests.contract.minio import PASSWORD, USER, running
from tests.fakes.sstables import SAI, UUID_ID, NodeData, live_files, table_id, write_sstable

HERE = Path(__file__).parent
NODES = ("c-0", "c-1")
BUCKET, PREFIX = "medusa", "some-prefix"
ROWS = 100_000  # make a Data.db of more than 1 MiB: an object of its own for us, an upload in parts for Medusa
SCHEMA = "CREATE KEYSPACE app WITH replication = {'class': 'SimpleStrategy', 'replication_factor': '1'};\n"


class Node:
    def __init__(self, root: Path, name: str) -> None:
        self.name = name
        self.root = root / name
        self.data = NodeData([self.root / "data"])
        users = self.data.table("app", "users", 1, ("nb-1-big", f"nc-{UUID_ID}-big"))
        _enlarge(users, "nb-1-big", name)
        write_sstable(users / ".by_name", "nb-1-big")
        self.data.table("app", "events", 2, ("da-2-bti",), extra=SAI)
        self.data.table("app", "empty", 3, ())
        self.data.table("system_schema", "tables", 4, ("nb-7-big",))
        self.data.table("system_auth", "roles", 5, ("nb-3-big",))
        self.data.table("system", "local", 7)

    def change(self) -> None:
        """Between two backups: an SSTable comes, one goes."""
        self.data.table("app", "events", 2, ("da-3-bti",), extra=SAI)
        for path in (self.data.data_dirs[0] / f"app/events-{table_id(2)}").glob("da-2-*"):
            path.unlink()

    def back_up(self, python: Path, port: int, backup: str, mode: str) -> dict[str, str]:
        self.data.snapshot(backup)
        (self.root / "cassandra.yaml").write_text(yaml.safe_dump({"data_file_directories": [str(self.root / "data")]}))
        tokenmap = {
            name: {"tokens": [-100 + at, 100 + at], "is_up": True, "rack": f"r{at + 1}", "dc": "dc1"}
            for at, name in enumerate(NODES)
        }
        facts = self.root / "facts.json"
        facts.write_text(json.dumps({"schema": SCHEMA, "tokenmap": tokenmap, "version": "5.0.6"}))
        (self.root / "credentials").write_text(
            f"[default]\naws_access_key_id = {USER}\naws_secret_access_key = {PASSWORD}\n"
        )
        ini = self.root / "medusa.ini"
        ini.write_text(_ini(self.root, self.name, port))
        environment = {
            "PATH": os.environ["PATH"], "HOME": str(self.root), "TMPDIR": str(self.root),
            "BOTO_EXPERIMENTAL__NO_EMPTY_CONTINUE": "true",
        }  # fmt: skip
        command = [
            python, "-P", HERE / "node.py", facts, "--config-file", ini, "backup-node", "--backup-name", backup,
            "--mode", mode, "--use-existing-snapshot", "--keep-snapshot",
        ]  # fmt: skip
        subprocess.run(command, env=environment, check=True)
        for path in self.data.snapshots(backup):
            shutil.rmtree(path)
        files = live_files(self.root / "data")
        return {path: hashlib.sha256(data).hexdigest() for path, data in files.items()}


def _enlarge(directory: Path, name: str, seed: str) -> None:
    """Data.db and Index.db that compress well in the archive."""
    line = f"{seed} row ".encode()
    data = b"".join(line + str(number).encode() for number in range(ROWS))
    (directory / f"{name}-Data.db").write_bytes(data)
    (directory / f"{name}-Index.db").write_bytes(data[::-1] * 2)
    (directory / f"{name}-Digest.crc32").write_text(str(zlib.crc32(data)))


def _ini(root: Path, fqdn: str, port: int) -> str:
    sections = {
        "storage": {
            "storage_provider": "s3_compatible", "bucket_name": BUCKET, "fqdn": fqdn, "prefix": PREFIX,
            "key_file": root / "credentials", "host": "127.0.0.1", "port": port, "secure": False,
            "multi_part_upload_threshold": "1MB", "multipart_chunksize": "5MB",
        },
        "cassandra": {"config_file": root / "cassandra.yaml"},
        "kubernetes": {"enabled": True, "cassandra_url": "http://127.0.0.1:1/jolokia", "use_mgmt_api": False},
    }  # fmt: skip
    lines = []
    for name, values in sections.items():
        lines += [f"[{name}]", *(f"{key} = {value}" for key, value in values.items())]
    return "\n".join(lines) + "\n"


async def _objects(url: str) -> dict[str, bytes]:
    store = await S3Store.open(BUCKET, Endpoint(url))
    try:
        return {meta.key: await read_all(store, meta.key, 64 << 20) async for meta in store.list("")}
    finally:
        await store.close()


async def _make_bucket(url: str) -> None:
    store = await S3Store.open(BUCKET, Endpoint(url))
    await store._client.create_bucket(Bucket=BUCKET)
    await store.close()


def main() -> None:
    os.environ |= {"AWS_ACCESS_KEY_ID": USER, "AWS_SECRET_ACCESS_KEY": PASSWORD, "AWS_REGION": "us-east-1"}
    python = medusa_python()
    with tempfile.TemporaryDirectory() as made, running(Path(made) / "minio") as server:
        asyncio.run(_make_bucket(server.url))
        nodes = [Node(Path(made), name) for name in NODES]
        expected: dict[str, dict[str, dict[str, str]]] = {}
        for backup, mode in (("b1", "differential"), ("f1", "full"), ("b2", "differential"), ("half", "differential")):
            for node in nodes:
                if backup == "b2":
                    node.change()
                if backup == "half" and node.name == NODES[1]:
                    continue
                expected.setdefault(backup, {})[node.name] = node.back_up(python, server.port, backup, mode)
        objects = asyncio.run(_objects(server.url))
    objects["expected.json"] = json.dumps(expected).encode()
    with tarfile.open(HERE / "objects.tar.xz", "w:xz") as archive:
        for key, data in sorted(objects.items()):
            entry = tarfile.TarInfo(key)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))


if __name__ == "__main__":
    main()
