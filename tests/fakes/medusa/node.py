"""``medusa`` as installed, without a Cassandra: what it asks by CQL is in a file. Run by Medusa's own Python.

``node.py FACTS ARGUMENTS...``: ``FACTS`` is JSON with ``schema``, ``tokenmap`` and ``version``.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any, Self


class Session:
    def __init__(self, facts: dict[str, Any]) -> None:
        self._facts = facts

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def dump_schema(self) -> str:
        return self._facts["schema"]

    def tokenmap(self) -> dict[str, Any]:
        return self._facts["tokenmap"]

    def get_server_type_and_release_version(self) -> tuple[str, str]:
        return "cassandra", self._facts["version"]


def main() -> None:
    facts = json.loads(Path(sys.argv.pop(1)).read_text())
    medusacli = import_module("medusa.medusacli")  # first: it patches the standard library for gevent
    cassandra_utils = import_module("medusa.cassandra_utils")
    cassandra_utils.CqlSessionProvider.new_session = lambda _self, _retry=False: Session(facts)
    sys.argv[0] = "medusa"
    medusacli.cli()


if __name__ == "__main__":
    main()
