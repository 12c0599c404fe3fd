"""What Prometheus reads: names, zeros at the start, and what happened."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from agent.bandwidth import Direction
from agent.errors import AgentError, Reason
from agent.flow import Flow
from agent.metrics import VERBS, Metrics
from agent.protocol import Endpoint, Kind, Level, Location, Operation, State, StoreOptions, Verified
from agent.serve import Agent
from agent.stores import Stores
from backends import registry
from backends.base import BytesBody, ObjectStore
from backends.errors import Kind as ErrorKind
from backends.errors import StoreError
from backends.memory import MemoryStore
from tests.fakes.faulty_store import Fault, FaultyStore
from tests.fakes.faulty_store import error as store_error
from tests.unit.agent.conftest import until
from tests.unit.agent.test_server import serving

if TYPE_CHECKING:
    from tests.unit.agent.conftest import World

PREFIX = "cassandra_agent_store_"


def read(metrics: Metrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    text = generate_latest(metrics.registry).decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(metrics: Metrics, name: str, **labels: str) -> float:
    return read(metrics)[name, frozenset(labels.items())]


def test_the_verbs_are_those_of_a_store() -> None:
    verbs = {name for name, what in vars(ObjectStore).items() if not name.startswith("_") and callable(what)}
    assert set(VERBS) == verbs - {"close", "pour"}  # which counts as "get"


async def test_every_series_begins_at_zero() -> None:
    metrics = Metrics([*Kind])
    metrics.watch_stores(Stores())
    metrics.watch(list)
    found = read(metrics)
    assert {value for (name, _), value in found.items() if not name.endswith("_created")} == {0.0}
    for verb in VERBS:
        assert (f"{PREFIX}requests_total", frozenset({("verb", verb)})) in found
        labels = frozenset({("verb", verb), ("kind", "Throttled")})
        assert (f"{PREFIX}errors_total", labels) in found
    for name in ("retries_total", "sent_bytes_total", "received_bytes_total", "requests_in_flight"):
        assert (f"{PREFIX}{name}", frozenset()) in found


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> FaultyStore:
    store = FaultyStore(MemoryStore())

    async def opener(*_args) -> tuple[ObjectStore, str]:
        return store, ""

    monkeypatch.setitem(registry.OPENERS, "MEMORY", (("memory",), opener))
    return store


async def test_what_goes_through_any_store_is_counted(faulty: FaultyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr("agent.stores.asyncio.sleep", sleep)
    stores, metrics = Stores(), Metrics([*Kind])
    metrics.watch_stores(stores)
    flow = Flow.of(0, 0)
    for key in ("one", "two"):
        async with stores.opened(Location(backup_type="MEMORY", target="bucket")) as store:
            faulty.fail("put", Fault(store_error(ErrorKind.THROTTLED)))
            async with flow.slot(5):
                assert value(metrics, "cassandra_agent_transfer_slots", direction="send") == flow.slots
                await store.put(key, BytesBody(b"12345"))
            assert [chunk async for chunk in store.get(key)] == [b"12345"]
    with pytest.raises(StoreError):
        await store.head("three")
    assert value(metrics, f"{PREFIX}requests_total", verb="put") == 4
    assert value(metrics, f"{PREFIX}errors_total", verb="put", kind="Throttled") == 2
    assert value(metrics, f"{PREFIX}errors_total", verb="head", kind="NotFound") == 1
    assert value(metrics, f"{PREFIX}retries_total") == len(waited) == 2
    assert value(metrics, f"{PREFIX}sent_bytes_total") == value(metrics, f"{PREFIX}received_bytes_total") == 10
    assert value(metrics, f"{PREFIX}requests_in_flight") == 0
    assert flow.slots == 4, "the store throttled its flow"
    assert value(metrics, "cassandra_agent_transfer_slots", direction="send") == 0, "nothing is transferred"


async def test_slots_are_told_by_direction() -> None:
    metrics = Metrics([*Kind])
    metrics.watch_stores(Stores())
    async with Flow.of(0, 0).slot(1), Flow.of(3, 0).slot(1), Flow.of(2, 0, direction=Direction.RECEIVE).slot(1):
        assert value(metrics, "cassandra_agent_transfer_slots", direction="send") == 11
        assert value(metrics, "cassandra_agent_transfer_slots", direction="receive") == 2


async def test_stalls_are_a_histogram_that_p99_can_be_read_from() -> None:
    metrics = Metrics([*Kind])
    for stall in (0.0005, 0.03, 0.2):
        metrics.stalled(stall)
    name = "cassandra_agent_event_loop_stall_seconds"
    assert value(metrics, f"{name}_count") == 3
    assert value(metrics, f"{name}_bucket", le="0.001") == 1
    assert value(metrics, f"{name}_bucket", le="0.05") == 2
    assert value(metrics, f"{name}_bucket", le="0.25") == 3


async def test_a_serving_agent_watches_its_event_loop(world: World) -> None:
    agent = Agent(world.settings, open_store=world.open_store)
    async with serving(world, agent.run):
        await until(lambda: value(agent.metrics, "cassandra_agent_event_loop_stall_seconds_count") >= 2)
    assert value(agent.metrics, "cassandra_agent_transfer_slots", direction="send") == 0


async def test_options_reach_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[tuple] = []

    async def opener(*args) -> tuple[ObjectStore, str]:
        found.append(args)
        return MemoryStore(), ""

    monkeypatch.setitem(registry.OPENERS, "MEMORY", (("memory",), opener))
    where = Location(
        backup_type="MEMORY", target="bucket", endpoint=Endpoint(url="http://x", region="r"),
        options=StoreOptions(storage_class="COLD", encryption="KMS", kms_key="k", tags={"a": "b"}),
    )  # fmt: skip
    async with Stores().opened(where):
        pass
    _, endpoint, options, _ = found[0]
    assert (endpoint.url, endpoint.region) == ("http://x", "r")
    assert (options.storage_class, options.encryption, options.kms_key, options.tags) == (
        "COLD",
        "KMS",
        "k",
        {"a": "b"},
    )


async def test_an_option_that_no_store_has_is_named() -> None:
    where = Location(backup_type="MEMORY", target="bucket", options=StoreOptions(encryption="ROT13"))
    with pytest.raises(AgentError, match="ROT13") as caught:
        async with Stores().opened(where):
            pass
    assert caught.value.reason == Reason.INVALID_SPEC


def verification(level: Level, at: str, *, state: State = State.SUCCEEDED, **more: int) -> Operation:
    result = msgspec.to_builtins(Verified(level=level, **more))
    return Operation(
        id=at,
        kind=Kind.VERIFY,
        state=state,
        revision=1,
        session="s",
        result=result if state.final else {},
        finished_at=at,
    )


def test_the_last_verification_of_each_level_is_told_also_after_a_restart() -> None:
    metrics = Metrics([*Kind])
    kept: list[Operation] = []
    metrics.watch_verifications(lambda: kept)
    prefix = "cassandra_agent_verify_"
    names = ("last_timestamp_seconds", "missing_objects", "damaged_objects", "lost_manifests")
    assert {value(metrics, prefix + name, level=level) for name in names for level in Level} == {0.0}
    kept += [
        verification(Level.SIZE, "2026-11-28T10:00:00Z", missing=5, manifests=1),
        verification(Level.SIZE, "2026-11-28T09:00:00Z", missing=9),
        verification(Level.SIZE, "2026-11-28T11:00:00Z", state=State.FAILED),
        verification(Level.READ, "2026-11-28T10:30:00Z", damaged=2),
        Operation(id="x", kind=Kind.PROBE, state=State.SUCCEEDED, revision=1, session="s"),
        Operation(id="y", kind=Kind.VERIFY, state=State.SUCCEEDED, revision=1, session="s", result={"level": "Sniff"}),
    ]
    told = {name: [value(metrics, prefix + name, level=level) for level in ("Size", "Hash", "Read")] for name in names}
    assert told == {
        "last_timestamp_seconds": [1795860000.0, 0.0, 1795861800.0],
        "missing_objects": [5, 0, 0],
        "damaged_objects": [0, 0, 2],
        "lost_manifests": [1, 0, 0],
    }


def test_what_verifications_read_and_healed_is_counted() -> None:
    metrics = Metrics([*Kind])
    for _ in range(2):
        metrics.ended(verification(Level.READ, "2026-11-28T10:00:00Z", read_bytes=7, healed=3))
    assert value(metrics, "cassandra_agent_verified_bytes_total") == 14
    assert value(metrics, "cassandra_agent_healed_objects_total") == 6
