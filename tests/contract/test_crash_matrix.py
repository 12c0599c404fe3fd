"""An agent that is killed at random moments of a backup goes on, sends little again, and loses nothing.

make crash-matrix                            50 kills of a backup of 1 GiB; minutes
CRASH_KILLS=5 CRASH_MIB=64 CRASH_SEED=1      as in `make test`
"""

from __future__ import annotations

import asyncio
import filecmp
import os
import random
import shutil
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from agent.protocol import State
from agent.upload import PART
from tests.contract.crashing import CLUSTER, DATACENTER, NODE, Agent, counting
from tests.fakes.jolokia import FakeCassandra
from tests.fakes.sstables import NodeData
from tests.unit.agent.test_bundle import restored

if TYPE_CHECKING:
    from pathlib import Path

    from backends.s3 import S3Store
    from tests.contract.crashing import Counter
    from tests.contract.minio import MinIO

KILLS = int(os.environ.get("CRASH_KILLS", "5"))
MIB = int(os.environ.get("CRASH_MIB", "64"))
SEED = int(os.environ.get("CRASH_SEED", "1"))
SLOTS = 2
BETWEEN = 72 << 20  # bytes that pass until the next kill, at most
OVERHEAD = 1.02  # headers, framing, listings and the manifest


def grow(data: NodeData) -> int:
    """A large file for each 200 MiB, and small SSTables beside them. Their bytes."""
    large = tuple(f"nb-{number}-big" for number in range(max(1, MIB // 200)))
    data.table("app", "large", 1, large, size=(MIB << 20) * 9 // 10 // len(large))
    small = tuple(f"nb-{number}-big" for number in range(MIB // 4))
    data.table("app", "small", 2, small, size=(MIB << 20) // 10 // len(small))
    data.table("system_schema", "tables", 3, ("nb-1-big",))
    return sum(path.stat().st_size for path in data.data_dirs[0].rglob("*-big-*"))


async def back_up(agent: Agent, tag: str, port: int, bucket: str) -> str:
    """Begins one of everything; the operation's name."""
    spec: dict[str, Any] = {"kind": "snapshot", "spec": {"tag": tag}}
    await agent.ask("PUT", f"/v1/operations/s-{tag}", spec)
    assert (await agent.over(f"s-{tag}"))["state"] == "Succeeded"
    endpoint = {"url": f"http://127.0.0.1:{port}", "region": "us-east-1", "pathStyle": True}
    spec = {
        "location": {"backupType": "AWS_S3", "target": bucket, "endpoint": endpoint}, "cluster": CLUSTER,
        "datacenter": DATACENTER, "rack": "r1", "node": NODE, "tag": tag, "backupId": f"uid-{tag}", "epoch": f"e{tag}",
        "full": True, "concurrentTransfers": SLOTS,
    }  # fmt: skip
    await agent.ask("PUT", f"/v1/operations/b-{tag}", {"kind": "backup", "spec": spec})
    return f"b-{tag}"


async def lives(agent: Agent, operation: str, counter: Counter, chance: random.Random) -> bool:
    """Until a random moment, and then it is killed: mostly in its upload, now and then before. False: it was over."""
    if chance.random() < 0.2:
        moment = asyncio.ensure_future(asyncio.sleep(chance.uniform(0, 2)))
    else:
        moment = asyncio.ensure_future(counter.reached(counter.bytes + chance.randrange(BETWEEN)))
    over = asyncio.ensure_future(agent.over(operation))
    await asyncio.wait([moment, over], return_when=asyncio.FIRST_COMPLETED)
    ended = over.done()
    if not ended:
        await agent.kill()
    for task in (moment, over):
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    return not ended


@pytest.mark.slow
@pytest.mark.timeout(3600)
async def test_a_backup_outlives_its_agent(bucket: S3Store, minio: MinIO, tmp_path: Path) -> None:
    data = NodeData([tmp_path / "data"])
    size = await asyncio.to_thread(grow, data)
    chance = random.Random(SEED)
    kills = backups = 0
    async with FakeCassandra(data) as cassandra, counting(minio.port) as counter:
        agent = Agent(tmp_path, cassandra.url, data.data_dirs[0])
        await agent.start()
        try:
            while kills < KILLS:
                backups += 1
                operation = await back_up(agent, str(backups), counter.port, bucket._bucket)
                while kills < KILLS and await lives(agent, operation, counter, chance):
                    kills += 1
                    await agent.start()
                ended = await agent.over(operation)
                assert ended["state"] == "Succeeded", ended
                await same_again(bucket, ended["result"]["digest"], str(backups), data, tmp_path / f"target{backups}")
        finally:
            await agent.kill()
    again = counter.bytes - backups * size
    went_on = agent.log.read_text().count("an upload goes on")
    sys.stdout.write(
        f"\n{kills} kills, {backups} backups of {size} bytes, {again} sent again, {went_on} times gone on\n"
    )
    assert counter.bytes <= OVERHEAD * (backups * size + kills * SLOTS * PART)
    assert went_on > 0
    assert [upload async for upload in bucket.list_uploads("")] == []
    assert list((tmp_path / "state" / "uploads").iterdir()) == []
    assert data.snapshots("*") == []


async def same_again(store: S3Store, digest: str, tag: str, data: NodeData, target: Path) -> None:
    """Restored, it is what it was. Takes no space afterwards."""
    operation = await restored(store, digest, target, tag)
    assert operation.state is State.SUCCEEDED, operation.error
    assert await asyncio.to_thread(differing, data.data_dirs[0], target / "data") == []
    await asyncio.to_thread(shutil.rmtree, target)


def differing(live: Path, found: Path) -> list[str]:
    files = [path for path in live.rglob("*-big-*") if "snapshots" not in path.parts]
    names = [str(path.relative_to(live)) for path in files]
    same, _, _ = filecmp.cmpfiles(live, found, names, shallow=False)
    return sorted(set(names) - set(same))
