"""moto, which imitates AWS: what MinIO does not have, such as storage classes, KMS headers and STS."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.contract.server import answers, started
from tests.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass(frozen=True)
class Moto:
    url: str


@contextmanager
def running(directory: Path) -> Iterator[Moto]:
    """Starts a server whose log goes to ``directory``, waits until it answers, ends it by its process."""
    port = free_port()
    server = Moto(f"http://127.0.0.1:{port}")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "MOTO_"))}
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    ask = answers(f"{server.url}/moto-api/data.json")
    with started(command, environment, directory, ask, patience=60):
        yield server
