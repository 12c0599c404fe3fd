"""A thousand nodes: what is written, how often, how large."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from agent.protocol import Kind
from reconcilers.api.backup import BACKUPS

if TYPE_CHECKING:
    from tests.api.backup.world import World

NODES = 1000


@pytest.mark.slow
async def test_a_thousand_nodes(world: World) -> None:
    await world.crowd(NODES)
    world.agents.tick = 10
    for number, agent in enumerate(world.agents):
        agent.script(Kind.SNAPSHOT, seconds=1 + number % 7)
        agent.script(Kind.BACKUP, seconds=20 + number // 20 * 0.4, bytes=10 << 30, files=12_345)  # over 20 s
    await world.backup()
    await world.run(lambda: world.phase() == "Uploading")
    started, before = world.clock.monotonic(), statuses(world)
    await world.run(lambda: world.phase() == "Finalizing")
    seconds, written = world.clock.monotonic() - started, statuses(world) - before
    assert seconds >= 35
    # a write each 5 s, and one for each tenth of the nodes that ends
    assert written <= seconds / 5 + 10 + 2
    await world.run(lambda: world.phase() == "Completed")
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
