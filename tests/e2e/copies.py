"""Datacenters of one node that a test makes, most of them out of a backup, and that go with it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dev.scenario import dataset, nodes
from dev.scenario.cql import Consistency, session
from dev.scenario.demo import CDC
from dev.scenario.waiting import wait_for

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from dev.scenario.cql import Session
    from tests.e2e.conftest import World

CRS = "cassandrarestore"
_SECONDS = 400.0


def only_node(world: World, datacenter: str) -> AbstractContextManager[Session]:
    """CQL to the one node that the datacenter has."""
    return session(world.kubectl, f"cassandra-{datacenter}-0", Consistency.ONE)


@dataclass
class Copies:
    """``name`` is the CassandraDataCenter's."""

    world: World
    made: list[str] = field(default_factory=list)
    restores: list[str] = field(default_factory=list)

    def make(self, name: str, **spec: Any) -> str:
        """Returns when it is ready."""
        self.made.append(name)
        self.world.kubectl.apply(self.world.documents.other_datacenter(name, 1, **spec))
        wait_for(self.world.kubectl, CDC, name, "Ready", _SECONDS)
        return name

    def restore(self, name: str, datacenter: str, **spec: Any) -> None:
        """A CassandraRestore as somebody writes it by hand."""
        kind = {"apiVersion": "stable.instaclustr.com/v1", "kind": "CassandraRestore"}
        self.restores.append(name)
        self.world.kubectl.apply({**kind, "metadata": {"name": name}, "spec": {"datacenter": datacenter, **spec}})

    def numbers(self, name: str, keyspace: str) -> list[int]:
        """The rows of ``dataset.write_numbers``."""
        with only_node(self.world, name) as cql:
            return dataset.numbers(cql, keyspace)

    def lose(self, name: str) -> None:
        """With every volume that held a row."""
        nodes.delete_with_claims(self.world.kubectl, name)
        self.made.remove(name)

    def clear(self) -> None:
        for name in [*self.made]:
            self.lose(name)
        for name in self.restores:
            self.world.kubectl.delete(CRS, name)
