"""``medusa``, its command line as installed, on a machine without a Cassandra. Run by the Python of Medusa's own venv.

Replaced is what asks Cassandra by CQL for the schema, the tokens and the version (three small objects in the bucket),
and, for Azure's emulator, the service's address, which Medusa can only build for the real one. Everything else is
Medusa's: configuration, the snapshot by Jolokia, the comparison with what is stored, transfers, manifest and index.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any, Self


class Session:
    """What a backup asks over CQL."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def dump_schema(self) -> str:
        return "CREATE KEYSPACE bench WITH replication = {'class': 'SimpleStrategy', 'replication_factor': '1'};\n"

    def tokenmap(self) -> dict[str, Any]:
        tokens = [-(2**63) + number * 2**59 for number in range(1, 17)]
        return {os.environ["BENCH_NODE"]: {"tokens": tokens, "is_up": True, "rack": "r1", "dc": "dc1"}}

    def get_server_type_and_release_version(self) -> tuple[str, str]:
        return "cassandra", "5.0.6"


def main() -> None:
    medusacli = import_module("medusa.medusacli")  # first: it patches the standard library for gevent
    cassandra_utils = import_module("medusa.cassandra_utils")
    azure_storage = import_module("medusa.storage.azure_storage")

    cassandra_utils.CqlSessionProvider.new_session = lambda _self, _retry=False: Session()
    if url := os.environ.get("BENCH_AZURE_URL"):
        azure_storage.AzureStorage._make_blob_service_url = lambda *_: url  # noqa: SLF001
    sys.argv[0] = "medusa"
    medusacli.cli()


if __name__ == "__main__":
    main()
