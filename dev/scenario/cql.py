"""CQL to one node, through `kubectl port-forward`: it works where pod addresses are not routable, as with kind.

The only import of the driver, which has no types.
"""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import cassandra.cluster
import cassandra.concurrent
import cassandra.policies
import cassandra.query

from dev.scenario.kubectl import Kubectl, KubectlError, eventually

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

Row = tuple[Any, ...]
_LOCAL = "127.0.0.1"
_PORT = 9042
_SECONDS = 60.0
_PROTOCOL = 5
_IN_FLIGHT = 48  # three nodes of 512Mi share a machine with everything else
_TRIES = 20
_driver: Any = cassandra.cluster
_policies: Any = cassandra.policies
_concurrent: Any = cassandra.concurrent
# The driver tells of each peer that it was told not to talk to.
logging.getLogger("cassandra").setLevel(logging.CRITICAL)


class Consistency(IntEnum):
    """How many replicas answer; the numbers are the protocol's."""

    ONE = 1
    ALL = 5


class _Patient:
    """A RetryPolicy. The scenario's statements can be said twice, and a laptop under load answers late."""

    def again(self, _query: Any, consistency: int, *, retry_num: int, **_details: Any) -> tuple[Any, Any]:
        if retry_num < _TRIES:
            return _policies.RetryPolicy.RETRY, consistency
        return _policies.RetryPolicy.RETHROW, None

    on_read_timeout = on_write_timeout = on_unavailable = on_request_error = again


@dataclass(frozen=True)
class Session:
    """Statements are coordinated by one node."""

    _raw: Any

    def rows(self, statement: str, parameters: Sequence[Any] = ()) -> Iterator[Row]:
        """Page by page. ``%s`` in the statement stands for a parameter."""
        yield from self._raw.execute(statement, parameters or None)

    def do(self, statement: str) -> None:
        """For statements without rows; a change of the schema is agreed upon by all nodes when this returns."""
        self._raw.execute(statement)

    def write(self, statement: str, rows: Iterable[Row]) -> None:
        """The same statement for every row, ``?`` for its values, many at the same time. Raises the first error."""
        prepared = self._raw.prepare(statement)
        _concurrent.execute_concurrent_with_args(
            self._raw, prepared, rows, concurrency=_IN_FLIGHT, raise_on_first_error=True
        )


@contextlib.contextmanager
def session(kubectl: Kubectl, pod: str, consistency: Consistency = Consistency.ALL) -> Iterator[Session]:
    """Statements are coordinated by ``pod`` and no other node."""
    with contextlib.ExitStack() as stack:

        def connect() -> Session | None:
            attempt = contextlib.ExitStack()
            try:
                port = attempt.enter_context(kubectl.port_forward(f"pod/{pod}", _PORT))
                cluster = attempt.enter_context(_cluster(port, consistency))
                opened = Session(cluster.connect())
            except (KubectlError, _driver.NoHostAvailable, OSError):
                attempt.close()
                return None
            stack.enter_context(attempt)
            return opened

        yield eventually(f"a CQL connection to {pod}", connect, _SECONDS)


@contextlib.contextmanager
def _cluster(port: int, consistency: Consistency) -> Iterator[Any]:
    profile = _driver.ExecutionProfile(
        load_balancing_policy=_policies.WhiteListRoundRobinPolicy([_LOCAL]),
        consistency_level=int(consistency),
        request_timeout=60,  # all tries of a statement together
        retry_policy=_Patient(),
        row_factory=cassandra.query.tuple_factory,
    )
    cluster = _driver.Cluster(
        [_LOCAL],
        port=port,
        protocol_version=_PROTOCOL,
        compression=False,
        connect_timeout=20,
        control_connection_timeout=20,
        max_schema_agreement_wait=60,
        schema_metadata_enabled=False,
        token_metadata_enabled=False,
        execution_profiles={_driver.EXEC_PROFILE_DEFAULT: profile},
    )
    try:
        yield cluster
    finally:
        cluster.shutdown()
