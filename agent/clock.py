"""Times as the API writes them."""

from __future__ import annotations

import time
from datetime import UTC, datetime


def wall() -> float:
    """Epoch seconds."""
    return time.time()


def elapsed() -> float:
    """Seconds that pass also while the machine sleeps, and that nobody sets."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def now() -> str:
    """RFC 3339, UTC, whole seconds."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def seconds_since(text: str) -> float:
    """How long ago ``text`` (RFC 3339) was; 0 for an empty or unreadable one."""
    try:
        then = datetime.fromisoformat(text)
    except ValueError:
        return 0.0
    if then.tzinfo is None:
        return 0.0
    return (datetime.now(UTC) - then).total_seconds()


def timestamp(text: str) -> float:
    """Epoch seconds of ``text`` (RFC 3339); 0 for an empty or unreadable one."""
    try:
        then = datetime.fromisoformat(text)
    except ValueError:
        return 0.0
    return then.timestamp() if then.tzinfo is not None else 0.0
