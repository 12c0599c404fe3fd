"""A thousand nodes: what is written, how often, how large, and what the operator holds of it afterwards."""

from __future__ import annotations

import gc
import tracemalloc
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from agent.protocol import Kind
from reconcilers.api.backup import BACKUPS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.api.backup.world import World

NODES = 1000
HELD = 20 << 20  # bytes; of the operator's own code, see ``held``
ROOT = Path(__file__).parents[3]


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_a_thousand_nodes(world: World) -> None:
    await world.crowd(NODES)
    world.agents.tick = 10
    for number, agent in enumerate(world.agents):
        agent.script(Kind.SNAPSHOT, seconds=1 + number % 7)
        agent.script(Kind.BACKUP, seconds=20 + number // 20 * 0.4, bytes=10 << 30, files=12_345)  # over 20 s
    with traced():
        before_all = held()
        await world.backup()
        await world.run(lambda: world.phase() == "Uploading")
        started, before = world.clock.monotonic(), statuses(world)
        await world.run(lambda: world.phase() == "Finalizing")
        seconds, written = world.clock.monotonic() - started, statuses(world) - before
        assert seconds >= 35
        # a write each 5 s, and one for each tenth of the nodes that ends
        assert written <= seconds / 5 + 10 + 2
        during = held()
        await world.run(lambda: world.phase() == "Completed")
        await world.rest(10)
        left = held() - before_all
    # what is left is the object as it was written last; what it took to drive it was three times as much
    assert left < HELD
    assert left < (during - before_all) / 2
    assert world.operations.statistics()["followed"] == 0
    found = await world.client.get(BACKUPS, world.key("backup"))
    size = len(msgspec.json.encode(found["status"]))
    whole = len(msgspec.json.encode(found))
    assert len(found["status"]["nodes"]) == NODES
    assert size < 1 << 20
    assert whole < 1.4 * (1 << 20), "etcd takes no object over 1.5 MiB"
    assert world.get().status.size == "9.8TiB"
    assert set(world.agents.executed.values()) == {1}


def statuses(world: World) -> int:
    return sum(1 for verb, *_ in world.spy.writes if verb == "patch_status")


@contextmanager
def traced() -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
    finally:
        tracemalloc.stop()


def held() -> int:
    """Bytes that the operator's code allocated and somebody still holds; not what the fake agents have."""
    gc.collect()
    ours = [tracemalloc.Filter(True, f"{ROOT}/{part}/*") for part in ("controller", "reconcilers")]
    return sum(one.size for one in tracemalloc.take_snapshot().filter_traces(ours).statistics("filename"))
