"""Ports for the servers that tests start."""

from __future__ import annotations

import secrets
import socket

FIRST, COUNT = 12_000, 20_000  # below those that the kernel gives to connections: none takes it before its server does
_given: set[int] = set()


def free_port() -> int:
    """A port of loopback that nothing listens on, and that this process was not given before."""
    while True:
        port = FIRST + secrets.randbelow(COUNT)  # tests seed ``random``
        if port in _given:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _given.add(port)
        return port
